"""What a series is compared with when the mean while all is well is not known."""

import math

import numpy
import pytest
from scipy.stats import binom
from scipy.stats import ttest_1samp

from pytest_llmeval.drift import Reference
from pytest_llmeval.drift import Rule
from pytest_llmeval.drift import estimated
from pytest_llmeval.drift import fixed
from pytest_llmeval.drift import measured
from pytest_llmeval.errors import ConfigurationError
from tests.drift.days import daily


def test_bounds_of_pooled_rows_invert_the_binomial_tail_times_e():
    lower, upper, doubt = estimated(daily([0.9, 0.8, 0.85], 40), Rule(), 0.95)

    assert doubt == pytest.approx(0.05)
    assert math.e * binom.sf(101, 120, lower) == pytest.approx(0.05)
    assert math.e * binom.cdf(102, 120, upper) == pytest.approx(0.05)


def test_a_count_with_a_part_of_a_row_is_rounded_to_the_safe_side():
    lower, upper, _ = estimated(daily([0.837], 100), Rule(), 0.95)

    assert math.e * binom.sf(82, 100, lower) == pytest.approx(0.05)
    assert math.e * binom.cdf(84, 100, upper) == pytest.approx(0.05)


@pytest.mark.parametrize(("value", "inside"), [(0.0, "upper"), (1.0, "lower")])
def test_a_baseline_at_an_end_of_the_range_has_a_bound_on_the_other_side(value, inside):
    found = estimated(daily([value] * 3), Rule())

    assert 0 < getattr(found, inside) < 1
    assert {found.lower, found.upper} & {0.0, 1.0} == {value}


def test_bounds_of_evaluations_are_those_of_student():
    values = [0.9, 0.87, 0.91, 0.9, 0.86]

    found = estimated(daily(values), Rule(unit="evaluation"), 0.95)

    both = ttest_1samp(values, 0).confidence_interval(0.9)
    assert (found.lower, found.upper) == pytest.approx((both.low, both.high))


def test_a_baseline_has_the_metric_s_range():
    rule = Rule(low=-1, high=3)
    plain = estimated(daily([0.7, 0.8]), Rule())

    found = estimated(daily([-1 + 4 * 0.7, -1 + 4 * 0.8]), rule)

    assert found.lower == pytest.approx(-1 + 4 * plain.lower)
    assert found.upper == pytest.approx(-1 + 4 * plain.upper)


@pytest.mark.parametrize("shape", [(0.1, 0.1), (8, 2), (1, 9)])
def test_baselines_are_rarely_luckier_than_they_say(shape):
    rng, mean = numpy.random.default_rng(5), shape[0] / sum(shape)
    beyond = [0, 0]
    for _ in range(1_500):
        points = daily(rng.beta(*shape, (2, 30)).mean(axis=1), 30)
        found = estimated(points, Rule(), 0.8)
        beyond[0] += found.lower > mean
        beyond[1] += found.upper < mean

    assert max(beyond) / 1_500 <= 0.2


def test_known_levels_and_verdicts_are_taken_as_they_are():
    assert fixed(0.8) == Reference(0.8, 0.8, 0)
    lower, upper, doubt = measured(0.8, 0.9, 0.95)
    assert (lower, upper) == (0.8, 0.9)
    assert doubt == pytest.approx(0.05)
    assert fixed(0.8).wider(0.1) == pytest.approx((0.7, 0.9, 0))


@pytest.mark.parametrize(
    ("values", "unit"), [([], "row"), ([None], "row"), ([0.9, 0.8], "evaluation")]
)
def test_too_few_evaluations_are_refused(values, unit):
    with pytest.raises(ConfigurationError, match=r"a baseline needs .* fixed level"):
        estimated(daily(values), Rule(unit=unit))
