"""Where a series changed, against the likelihood of each place written out."""

import math

import numpy
import pytest
from scipy.stats import binom
from scipy.stats import norm

from docs.figures import drift as figures
from pytest_llmeval.drift import locate


def within(fits):
    near = [at for at, fit in enumerate(fits) if fit >= max(fits) - math.log(40)]
    return int(numpy.argmax(fits)), near[0], near[-1]


def binomial(right, n):
    return binom.logpmf(right, n, sum(right) / (n * len(right))).sum() if right else 0


def test_rows_are_cut_where_two_binomials_fit_best():
    rng = numpy.random.default_rng(8)
    for at in range(0, 30, 3):
        right = [*rng.binomial(80, 0.9, at), *rng.binomial(80, 0.8, 31 - at)]
        fits = [
            binomial(right[:cut], 80) + binomial(right[cut:], 80) for cut in range(31)
        ]

        found = locate([k / 80 for k in right], [80] * 31, "row")

        assert found == within(fits)


def test_evaluations_are_cut_where_two_normals_of_one_variance_fit_best():
    rng = numpy.random.default_rng(9)
    for at in range(0, 24, 4):
        values = [*rng.normal(0.9, 0.02, at), *rng.normal(0.85, 0.02, 25 - at)]
        fits = []
        for cut in range(25):
            parts = [part for part in (values[:cut], values[cut:]) if part]
            left = numpy.concatenate([part - numpy.mean(part) for part in parts])
            fits.append(norm.logpdf(left, 0, left.std()).sum())

        found = locate(values, [100] * 25, "evaluation")

        assert found == within(fits)


@pytest.mark.parametrize("unit", ["row", "evaluation"])
def test_a_single_evaluation_is_the_change(unit):
    assert locate([0.5], [100], unit) == (0, 0, 0)


def test_large_evaluations_count_for_more():
    values = [0.9, 0.9, 0.8, 0.9, 0.8, 0.8]

    assert locate(values, [500, 500, 10, 500, 500, 500], "row").first == 4
    assert locate(values, [500, 500, 500, 10, 500, 500], "row").first == 2


@pytest.mark.parametrize(("n", "drop"), [(100, 0.03), (200, 0.05)])
def test_intervals_at_an_alarm_hold_the_change_as_often_as_they_say(n, drop):
    held = figures.coverage(n, drop, 400)["held"]

    assert held >= 0.95 - 3 * math.sqrt(0.95 * 0.05 / 400)
