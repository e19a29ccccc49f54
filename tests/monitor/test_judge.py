"""From series to states."""

import datetime

import numpy as np

from pytest_llmeval.drift import Point
from pytest_llmeval.drift import Rule
from pytest_llmeval.drift import detect
from pytest_llmeval.drift import estimated
from pytest_llmeval.monitor.judge import Plan
from pytest_llmeval.monitor.judge import judge
from pytest_llmeval.monitor.series import Key
from pytest_llmeval.monitor.series import Series


START = datetime.datetime(2026, 11, 1, 5, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
PLAN = Plan(every=DAY)
KEY = Key("suite", "test_qa", "accuracy", "")


def points(*values, n=400, every=DAY):
    return [Point(START + at * every, value, n) for at, value in enumerate(values)]


def state_of(found, now, plan=PLAN):
    (finding,) = judge(found, plan, now)
    return finding


def series(values, better="higher", high=1.0):
    return {KEY: Series({"": points(*values)}, better, high)}


def after(values, hours=1):
    return START + (len(values) - 1) * DAY + datetime.timedelta(hours=hours)


def test_a_baseline_is_gathered_first():
    values = [0.9] * 7
    finding = state_of(series(values), after(values))
    assert (finding.state, finding.since) == ("ok", None)
    assert finding.message == "a baseline is gathered: 7 of 7 evaluations"
    assert finding.series == "suite test_qa accuracy"


def test_a_drop_is_an_alarm_as_the_detector_says():
    values = [0.9] * 12 + [0.7] * 3
    finding = state_of(series(values), after(values))
    rule = Rule(run_length=365, every=DAY)
    base = estimated(points(*values)[:7], rule, 1 - 0.05 / 2)
    alone = detect(points(*values)[7:], base, rule, after(values))
    assert finding.state == alone.state == "alarm"
    assert finding.message == alone.message
    assert "since 2026-11-13 05:00" in finding.message


def test_what_is_better_when_lower_alarms_when_it_rises():
    values = [0.02] * 12 + [0.2] * 3
    assert state_of(series(values, "lower"), after(values)).state == "alarm"
    assert state_of(series(values[::-1], "lower"), after(values)).state == "ok"


def test_a_change_either_way_alarms_without_a_direction():
    for values in ([0.5] * 12 + [0.8] * 3, [0.5] * 12 + [0.2] * 3):
        assert state_of(series(values, None), after(values)).state == "alarm"


def test_a_metric_that_is_back_is_in_order_again():
    values = [0.9] * 12 + [0.7] * 3 + [0.92] * 4
    assert state_of(series(values), after(values)).state == "ok"


def test_a_missed_evaluation_is_no_data():
    values = [0.9] * 12
    assert state_of(series(values), after(values, 35)).state == "ok"
    finding = state_of(series(values), after(values, 37))
    assert finding.state == "no_data"
    assert finding.since == START + 12 * DAY


def test_a_missed_evaluation_is_seen_while_a_baseline_is_gathered():
    values = [0.9] * 3
    assert state_of(series(values), after(values, 35)).state == "ok"
    finding = state_of(series(values), after(values, 37))
    assert finding.state == "no_data"
    assert finding.message.startswith("no evaluation since 2026-11-03 05:00")


def test_traffic_is_due_a_day_later():
    values = [0.9] * 12
    found = {KEY._replace(source="traffic"): series(values)[KEY]}
    assert state_of(found, after(values, 24 + 35)).state == "ok"
    assert state_of(found, after(values, 24 + 37)).state == "no_data"


def test_a_slice_that_goes_away_is_no_alarm():
    found = {
        KEY._replace(slice_by="lang"): Series(
            {"de": points(*[0.9] * 12)}, "higher", 1.0
        )
    }
    finding = state_of(found, START + 90 * DAY)
    assert finding.state == "ok"
    assert finding.series.endswith(" accuracy [lang=de]")


def test_slices_share_the_run_length():
    good, bad = points(*[0.9] * 15), points(*[0.9] * 12, *[0.6] * 3)
    key = KEY._replace(slice_by="lang")
    found = {key: Series({"de": good, "en": bad}, "higher", 1.0)}
    states = {f.series[-4:-1]: f.state for f in judge(found, PLAN, START + 14 * DAY)}
    assert states == {"=de": "ok", "=en": "alarm"}


def test_more_metrics_need_more_evidence_each():
    values = [0.9] * 12
    one = state_of(series(values), after(values)).message
    many = {KEY._replace(metric=f"m{i}"): series(values)[KEY] for i in range(4)}
    four = judge(many, PLAN, after(values))[0].message

    def limit(message):
        return float(message.partition(" of ")[2].split()[0])

    assert limit(four) / limit(one) > 3.9


def test_what_has_no_range_is_not_watched():
    assert judge(series([800.0] * 12, high=None), PLAN, START) == []


def test_a_metric_that_cannot_become_worse_says_so():
    values = [0.0] * 12
    finding = state_of(series(values, "higher"), after(values))
    assert finding.state == "ok"
    assert finding.message.startswith("not watched: nothing can be worse")


def test_false_alarms_are_as_rare_as_stated():
    # 300 years of a day each would be 365 days long; here each is 60 days of 4 metrics.
    rng = np.random.default_rng(7)
    alarms = 0
    for _ in range(40):
        found = {
            KEY._replace(metric=f"m{i}"): Series(
                {"": points(*(rng.binomial(400, 0.9, 60) / 400))}, "higher", 1.0
            )
            for i in range(4)
        }
        findings = judge(found, PLAN, START + 59 * DAY)
        alarms += any(finding.state == "alarm" for finding in findings)
    # At least 365 evaluations to an alarm on average: at most 53 / 365 of the years.
    assert alarms <= 40 * 53 / 365
