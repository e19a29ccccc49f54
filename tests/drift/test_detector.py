"""The states of a series, and slices that share one rate of false alarms."""

import random
from datetime import timedelta

import numpy
import pytest

from pytest_llmeval.drift import Bets
from pytest_llmeval.drift import Reference
from pytest_llmeval.drift import Rule
from pytest_llmeval.drift import detect
from pytest_llmeval.drift import detect_slices
from pytest_llmeval.drift import fixed
from pytest_llmeval.drift import measured
from pytest_llmeval.errors import ConfigurationError
from tests.drift.days import DAY
from tests.drift.days import daily
from tests.drift.days import day


WELL, ILL = [0.9, 0.91, 0.89, 0.92, 0.88], [0.8, 0.79, 0.81]


def test_a_steady_metric_is_ok_from_its_first_evaluation():
    found = detect(daily(WELL * 20), fixed(0.9))

    assert (found.state, found.since) == ("ok", day(0))
    assert found.limit == 365
    assert found.change_point is found.change_interval is None
    assert found.message.endswith("of 365 that the mean is below 0.9")


def test_a_drop_is_an_alarm_that_says_when_it_was():
    found = detect(daily([*WELL, *WELL, *ILL]), fixed(0.9))

    assert found.state == "alarm"
    assert found.statistic >= found.limit
    assert found.since == day(11)
    assert found.change_point == day(10)
    earliest, latest = found.change_interval
    assert earliest <= day(10) <= latest <= found.since
    assert "the mean is below 0.9 since 2026-11-11" in found.message
    assert "with 95 % confidence" in found.message


def test_less_evidence_is_a_warning_first():
    points = daily([*WELL, 0.84])
    bets = Bets(0.9, "row")
    for point in points:
        bets.add(point.value, point.n)
    assert 1.5 < bets.evidence < 365

    by_warning = Rule(warning_length=bets.evidence * 0.99)
    warned = detect(points, fixed(0.9), by_warning)
    silent = detect(points, fixed(0.9), Rule(warning_length=bets.evidence * 1.01))

    assert (warned.state, warned.since) == ("warning", day(5))
    assert (silent.state, silent.since) == ("ok", day(0))
    assert detect([*points, *daily(WELL * 9)[6:]], fixed(0.9), by_warning).state == "ok"


def test_an_alarm_ends_when_three_evaluations_together_are_good_again():
    ill = [*WELL, *ILL]

    assert detect(daily([*ill, 0.9, 0.9]), fixed(0.9)).state == "alarm"
    assert detect(daily([*ill, 0.9, 0.9, 0.89]), fixed(0.9)).state == "alarm"
    well = detect(daily([*ill, 0.9, 0.92, 0.89]), fixed(0.9))
    assert (well.state, well.since) == ("ok", day(10))
    assert well.statistic == 0
    again = detect(daily([*ill, *WELL, *ILL]), fixed(0.9))
    assert (again.state, again.change_point) == ("alarm", day(13))


def test_evaluations_before_the_alarm_do_not_help_to_end_it():
    points = daily([*WELL, 0.93, 0.6, 0.9])
    points[5] = points[5]._replace(n=100_000)

    found = detect(points, fixed(0.9))

    assert (found.state, found.since) == ("alarm", day(6))


@pytest.mark.parametrize("rule", [Rule(better="lower"), Rule(better=None)])
def test_a_metric_that_is_better_when_lower_alarms_when_it_rises(rule):
    found = detect(daily([0.1] * 10 + [0.2] * 3), fixed(0.1), rule)

    assert (found.state, found.change_point) == ("alarm", day(10))
    assert "above 0.1" in found.message
    assert detect(daily([0.1] * 10 + [0.02] * 9), fixed(0.1), rule).state == (
        "ok" if rule.better else "alarm"
    )


def test_a_metric_without_a_better_way_recovers_on_the_side_it_left():
    rule = Rule(better=None)

    found = detect(daily([0.5] * 5 + [0.8] * 3 + [0.49] * 3), fixed(0.5), rule)

    assert (found.state, found.since) == ("ok", day(10))


def test_scores_of_another_range_are_scaled():
    grades = [1 + 4 * value for value in [*WELL, *ILL]]

    found = detect(daily(grades), fixed(1 + 4 * 0.9), Rule(low=1, high=5))

    plain = detect(daily([*WELL, *ILL]), fixed(0.9))
    assert found.statistic == pytest.approx(plain.statistic)
    assert found.change_interval == plain.change_interval
    assert "below 4.6" in found.message


def test_the_order_of_the_points_does_not_matter():
    points = daily([*WELL, *ILL])
    mixed = random.Random(3).sample(points, len(points))

    assert detect(mixed, fixed(0.9)) == detect(points, fixed(0.9))


def test_a_missed_evaluation_is_no_data_after_the_grace():
    rule, points = Rule(every=DAY, grace=2), daily(WELL)

    assert detect(points, fixed(0.9), rule, day(6)).state == "ok"
    found = detect(points, fixed(0.9), rule, day(6) + timedelta(minutes=1))
    assert (found.state, found.since) == ("no_data", day(5))
    assert found.message.startswith("no evaluation since 2026-11-05 00:00+00:00; until")
    ill = detect(daily(ILL * 3), fixed(0.9), rule, day(99))
    assert "the mean is below 0.9" in ill.message


def test_evaluations_without_a_scored_row_are_no_data():
    unscored = [point._replace(value=None, n=0) for point in daily(WELL)]

    found = detect(unscored, fixed(0.9))

    assert (found.state, found.since, found.statistic) == ("no_data", None, 0)
    assert found.message == "there is no evaluation yet"
    late = [*daily(WELL), *[p._replace(time=p.time + 5 * DAY) for p in unscored]]
    assert detect(late, fixed(0.9), Rule(every=DAY), day(9)).state == "no_data"


def test_a_doubtful_baseline_raises_the_limit():
    found = detect(daily(WELL), measured(0.87, 0.92, 0.95))
    either = detect(daily(WELL), measured(0.87, 0.92, 0.95), Rule(better=None))

    assert found.limit == pytest.approx(365 / 0.95)
    assert either.limit == pytest.approx(365 / 0.9)
    assert "below 0.87" in found.message


def test_a_margin_is_tolerated():
    falling = daily([0.86] * 30)

    assert detect(falling, fixed(0.9)).state == "alarm"
    assert detect(falling, fixed(0.9).wider(0.05)).state == "ok"


def holm_by_hand(evidence, limit):
    """Step down from the strongest: of k slices left it needs k times the limit."""
    alarms, left = set(), dict(evidence)
    while left:
        name = max(left, key=left.get)
        if left[name] < len(left) * limit:
            break
        alarms.add(name)
        del left[name]
    return alarms


def test_slices_are_alarmed_by_holm():
    rng, seen = numpy.random.default_rng(11), set()
    for _ in range(300):
        ends = {name: rng.uniform(0.66, 0.85) for name in "abcd"}
        series = {name: daily([end]) for name, end in ends.items()}
        evidence = {}
        for name, end in ends.items():
            bets = Bets(0.9, "row")
            bets.add(end, 100)
            evidence[name] = bets.evidence

        found = detect_slices(series, dict.fromkeys(series, fixed(0.9)))

        alarms = {name for name, one in found.items() if one.state == "alarm"}
        assert alarms == holm_by_hand(evidence, 365)
        seen.add(len(alarms))
    assert seen == {0, 1, 2, 3, 4}


def test_an_alarm_that_is_on_makes_it_easier_for_the_other_slices():
    one_ill = {"ill": daily([*WELL, *ILL]), "other": daily(WELL + [0.9] * 3)}

    found = detect_slices(one_ill, dict.fromkeys(one_ill, fixed(0.9)))

    assert (found["ill"].limit, found["ill"].state) == (730, "alarm")
    assert (found["other"].limit, found["other"].state) == (365, "ok")


def test_an_alarm_counts_while_it_is_on_though_its_evidence_has_faded():
    ill, fading, other = [0.6, 0.99, 0.99], [0.9] * 3, [0.9, 0.9, 0.76]
    series = {"ill": daily(ill), "other": daily(other)}
    alone = detect(series["other"], fixed(0.9))
    assert 365 < alone.statistic < 730

    found = detect_slices(series, dict.fromkeys(series, fixed(0.9)))
    beside = detect_slices(
        {**series, "ill": daily(fading)}, dict.fromkeys(series, fixed(0.9))
    )

    assert found["ill"].statistic < 365
    assert found["ill"].state == found["other"].state == "alarm"
    assert beside["other"].state == "warning"


def test_a_slice_that_comes_later_counts_from_the_start_and_has_no_data_yet():
    found = detect_slices(
        {"old": daily(WELL), "new": []}, dict.fromkeys(("old", "new"), fixed(0.9))
    )

    assert (found["new"].state, found["new"].since) == ("no_data", None)
    assert found["old"].limit == 730


def test_many_doubtful_slices_are_refused_with_the_confidence_to_use():
    series = {str(at): daily(WELL) for at in range(20)}
    doubtful = dict.fromkeys(series, measured(0.87, 0.92, 0.95))
    surer = dict.fromkeys(series, measured(0.85, 0.93, 0.9975))

    with pytest.raises(ConfigurationError, match=r"20 slice.*confidence of 0\.995"):
        detect_slices(series, doubtful)
    assert detect_slices(series, surer)["0"].limit == pytest.approx(20 * 365 / 0.95)


@pytest.mark.parametrize("reference", [fixed(0), fixed(1), Reference(-0.1, 0.2)])
def test_a_reference_that_nothing_can_be_worse_than_is_refused(reference):
    with pytest.raises(ConfigurationError, match="inside the metric's range 0"):
        detect(daily(WELL), reference)


def test_a_value_outside_the_range_is_refused():
    with pytest.raises(
        ConfigurationError, match=r"90\.0 is not in .* range 0\.0 to 1\.0"
    ):
        detect(daily([90]), fixed(0.9))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"better": "more"}, "'higher', 'lower' or None"),
        ({"unit": "day"}, "'row' or 'evaluation'"),
        ({"low": 1}, "share of rows beyond a limit"),
        ({"high": float("inf")}, "share of rows beyond a limit"),
        ({"run_length": 20}, "rising"),
        ({"warning_length": 1}, "above 1"),
        ({"run_length": 1e7}, "at most 1,000,000"),
        ({"recovery": 0}, "at least 1"),
        ({"grace": 0.5}, "at least 1"),
    ],
)
def test_a_rule_that_makes_no_sense_is_refused(wrong, said):
    with pytest.raises(ConfigurationError, match=said):
        Rule(**wrong)
