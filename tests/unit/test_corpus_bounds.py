import math

import numpy
import pytest

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.stats import corpus_bounds


SCORES = numpy.random.default_rng(3).beta(8, 2, 300)


def mean_of(scores):
    return lambda units: scores[units].mean()


def test_bounds_of_a_mean_are_near_normal_theory():
    bounds = corpus_bounds(mean_of(SCORES), 300, 0.95, seed=1)

    reach = 1.6449 * SCORES.std() / math.sqrt(300)
    assert bounds.lower == pytest.approx(SCORES.mean() - reach, abs=0.15 * reach)
    assert bounds.upper == pytest.approx(SCORES.mean() + reach, abs=0.15 * reach)


def test_bounds_are_one_sided():
    # Each bound of the one-sided 97.5 % is what a two-sided 95 % interval has.
    inner = corpus_bounds(mean_of(SCORES), 300, 0.95, seed=1)
    outer = corpus_bounds(mean_of(SCORES), 300, 0.975, seed=1)

    ratio = (outer.upper - outer.lower) / (inner.upper - inner.lower)
    assert ratio == pytest.approx(1.95996 / 1.64485, abs=0.06)


def test_skewed_metrics_get_skewed_bounds():
    # Values far above the median: BCa moves both bounds up from the percentiles.
    scores = numpy.random.default_rng(4).lognormal(0, 1.5, 200)
    bounds = corpus_bounds(mean_of(scores), 200, 0.95, seed=1)

    assert bounds.upper - scores.mean() > 1.3 * (scores.mean() - bounds.lower)


def test_the_seed_decides():
    one, again, other = (
        corpus_bounds(mean_of(SCORES), 300, 0.95, seed=seed) for seed in (1, 1, 2)
    )

    assert one == again
    assert one != other


def test_resamples_are_2_000_of_as_many_units():
    drawn = []

    def metric(units):
        drawn.append(len(units))
        return float(SCORES[units].mean())

    corpus_bounds(metric, 100, 0.95, seed=1)

    assert drawn.count(100) >= 2_000
    assert drawn.count(99) == 100  # each unit left out once


@pytest.mark.parametrize(
    ("metric", "units"),
    [(mean_of(SCORES), 99), (lambda units: 0.7, 200), (lambda units: math.nan, 200)],
    ids=["few", "equal", "nan"],
)
def test_there_are_no_bounds_where_they_would_mean_nothing(metric, units):
    assert corpus_bounds(metric, units, 0.95, seed=1) is None


def test_confidence_below_a_half_is_refused():
    with pytest.raises(ConfigurationError, match=r"at least 0\.5 and below 1"):
        corpus_bounds(mean_of(SCORES), 300, 0.05, seed=1)
