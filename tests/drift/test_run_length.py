"""False alarms are as rare as promised: simulated through the public functions."""

import math

import pytest

from docs.figures import drift as figures


RUNS = 400
PROMISED = [name for name in figures.CASES if "not promised" not in name]


@pytest.mark.parametrize("name", PROMISED)
def test_false_alarms_are_as_rare_as_promised(name):
    mean = figures.mean_length(name, 30, RUNS)

    # A run without a memory is about as long, plus or minus, as its mean.
    assert mean >= 30 * (1 - 3 / math.sqrt(RUNS))


def test_the_promise_is_not_kept_by_never_giving_an_alarm():
    # Whoever looks at means that vary little for their range comes close to it.
    mean = figures.mean_length('bad days, unit "evaluation"', 100, RUNS)

    assert mean <= 130


def test_rows_that_share_bad_days_break_the_promise_of_the_unit_row():
    (broken,) = set(figures.CASES) - set(PROMISED)

    assert figures.mean_length(broken, 100, 100) < 50


def test_a_drop_of_5_points_is_seen_within_a_week():
    assert figures.detector_delay(200, 0.05, from_start=False, runs=100) < 5
    assert figures.detector_delay(200, 0.05, from_start=True, runs=100) < 7
