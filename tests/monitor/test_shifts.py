"""From comparisons of inputs to states."""

import datetime

import pytest

from pytest_llmeval.drift import Point
from pytest_llmeval.monitor.judge import Plan
from pytest_llmeval.monitor.judge import judge
from pytest_llmeval.monitor.series import Key
from pytest_llmeval.monitor.series import Series
from pytest_llmeval.monitor.shifts import Levels
from pytest_llmeval.monitor.shifts import judge_inputs


START = datetime.datetime(2026, 11, 1, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)
PLAN = Plan(every=DAY)
OK, WARNING, ALARM = 0.4, 1 / 300, 1 / 3_000
"""P-values beside 1 / (8 * 30) and 1 / (8 * 365)."""


def history(p_values, base=7, days=None, source="log"):
    """Return a history of days, of which those after the baseline were compared."""
    first = START + base * DAY
    lengths = [
        Point(START + at * DAY, 40.0, 100) for at in range(days or base + len(p_values))
    ]
    names = {
        "input_length": lengths,
        **{
            f"input_{name}": [
                Point(first + at * DAY, value and value * factor, 100)
                for at, value in enumerate(p_values)
            ]
            for name, factor in (
                ("drift_p", 1),
                ("trigrams_p", 1 / 3),
                ("trigrams_distance", 30),
                ("length_p", 200),
                ("length_psi", 30),
            )
        },
    }
    return {
        Key("traffic", source, name, ""): Series({"": points}, None, None)
        for name, points in names.items()
    }


def finding_of(found, plan=PLAN, late=0):
    seen = found[next(iter(found))].slices[""]
    now = seen[-1].time + DAY + datetime.timedelta(hours=5 + late)
    (finding,) = judge_inputs(found, plan, now)
    return finding


@pytest.mark.parametrize(
    ("p_values", "state", "day"),
    [
        ([OK] * 5, "ok", None),
        ([OK, ALARM], "alarm", 9),
        ([OK, WARNING], "warning", 9),
        ([WARNING, ALARM], "alarm", 9),
        ([ALARM, WARNING], "alarm", 8),
        ([WARNING, OK], "ok", None),
        ([ALARM, OK, OK], "alarm", 8),
        ([ALARM, OK, OK, OK], "ok", None),
        ([ALARM, OK, OK, WARNING, OK], "alarm", 8),
        ([ALARM, OK, OK, OK, ALARM], "alarm", 12),
    ],
)
def test_states_begin_at_once_and_an_alarm_ends_after_three_days(p_values, state, day):
    finding = finding_of(history(p_values))
    assert finding.state == state
    assert finding.since == (None if day is None else START + (day - 1) * DAY)


def test_an_alarm_names_the_day_the_baseline_and_what_differs():
    finding = finding_of(history([OK, 0.0003, OK]))
    assert finding.series == "traffic log inputs"
    assert finding.message == (
        "inputs of 2026-11-09 differ from those of 2026-11-01 to 2026-11-07: "
        "trigrams distance 0.01, p=0.0001"
    )


def test_what_is_in_order_says_what_it_is_like():
    expected = "inputs are like those of 2026-11-01 to 2026-11-07"
    assert finding_of(history([OK])).message == expected


def test_a_baseline_is_gathered_first():
    finding = finding_of(history([], base=4))
    assert finding.state == "ok"
    assert finding.message == "a baseline is gathered: 4 of 7 evaluations"


def test_days_that_are_not_compared_become_no_data():
    found = history([], days=9)
    finding = finding_of(found)
    assert (finding.state, finding.since) == ("no_data", START + 7 * DAY)
    assert finding.message == (
        "no evaluation since 2026-11-07; inputs of 2026-11-09 were not compared, "
        "because those of 2026-11-01 to 2026-11-07 are not kept; begin a new baseline "
        "by --since"
    )


@pytest.mark.parametrize(("p_value", "state"), [(OK, "ok"), (ALARM, "alarm")])
def test_an_alarm_stays_when_its_baseline_is_lost(p_value, state):
    one_day_later = finding_of(history([p_value], days=9))
    assert one_day_later.state == state
    assert one_day_later.message.startswith("inputs of 2026-11-09 were not compared")
    assert finding_of(history([p_value], days=10)).state == "no_data"


def test_days_with_too_few_inputs_change_nothing():
    assert finding_of(history([OK, None, None, None])).state == "ok"
    assert finding_of(history([ALARM, None, None, None])).state == "alarm"


def test_days_that_belong_to_a_later_baseline_do_not_count():
    found = history([ALARM, OK, OK], base=5)
    assert finding_of(found, Plan(every=DAY, baseline=5)).state == "alarm"
    assert finding_of(found, Plan(every=DAY, baseline=6)).state == "ok"


def test_a_missed_day_is_no_data():
    found = history([OK])
    assert finding_of(found, late=30).state == "ok"
    finding = finding_of(found, late=32)
    assert finding.state == "no_data"
    assert finding.since == START + 8 * DAY
    assert finding.message.startswith("no evaluation since 2026-11-08; inputs are like")


def test_a_run_length_beyond_what_can_be_told_apart_is_said():
    length = 50_000 // (8 * 3)
    assert (
        finding_of(history([0.0]), Plan(every=DAY, run_length=length)).state == "alarm"
    )
    finding = finding_of(history([0.0]), Plan(every=DAY, run_length=length + 1))
    assert (finding.state, finding.since) == ("ok", None)
    assert finding.message.startswith("not watched: a run length of 2,084 needs")


def test_several_sources_share_the_run_length():
    alone = history([1 / 3_000])
    other = history([OK], source="other")
    assert finding_of(alone).state == "alarm"
    now = START + 8 * DAY + datetime.timedelta(hours=5)
    states = [f.state for f in judge_inputs({**alone, **other}, PLAN, now)]
    assert states == ["warning", "ok"]
    assert Levels.of(PLAN, 2).alarm == Levels.of(PLAN, 1).alarm / 2


def test_detectors_of_traffic_leave_half_of_the_evidence_to_inputs():
    points = [Point(START + at * DAY, 0.9, 400) for at in range(12)]

    def limit(source):
        found = {Key(source, "t", "m", ""): Series({"": points}, "higher", 1.0)}
        (finding,) = judge(found, PLAN, START + 13 * DAY)
        return float(finding.message.partition(" of ")[2].split()[0])

    assert limit("traffic") / limit("suite") == pytest.approx(2, rel=0.1)


def test_a_false_alarm_takes_the_run_length_however_days_depend():
    # The worst case of the proof: detectors alarm at once in half of all histories, and
    # of the others one more in each day has its first small p-value.
    level = Levels.of(PLAN, 1).alarm
    survive = [max(0.0, 0.5 - day * level) for day in range(10_000)]
    assert sum(survive) >= 365
