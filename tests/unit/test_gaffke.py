import math
import re
from fractions import Fraction

import numpy
import pytest
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st
from scipy.stats import binom
from scipy.stats import binomtest
from statsmodels.stats.proportion import proportion_confint

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.stats import GRID
from pytest_llmeval.stats import lower_bound
from pytest_llmeval.stats import mean
from pytest_llmeval.stats import p_value
from pytest_llmeval.stats import rows_to_decide
from pytest_llmeval.stats import upper_bound


CONFIDENCES = (0.5, 0.8, 0.9, 0.95, 0.99)
SIZES = (1, 2, 5, 17, 50, 200, 1_000)


def binary(right, n):
    return [1.0] * right + [0.0] * (n - right)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_bounds_of_0_and_1_scores_are_the_exact_binomial_ones(n, confidence):
    for right in sorted({0, 1, 2, n // 3, n // 2, n - n // 10, n - 2, n - 1, n}):
        if not 0 <= right <= n:
            continue
        at_least = binomtest(right, n, alternative="greater")
        at_most = binomtest(right, n, alternative="less")
        scores = binary(right, n)

        lower = lower_bound(scores, confidence, 0, 1)
        upper = upper_bound(scores, confidence, 0, 1)

        assert abs(lower - at_least.proportion_ci(confidence, "exact").low) < 1e-9
        assert abs(upper - at_most.proportion_ci(confidence, "exact").high) < 1e-9


def exact_p_value(scores, t):
    """P(sum E_i (x_i - t) <= 0) by partial fractions; the scores must differ."""
    distances = [Fraction(x) - Fraction(t) for x in (0, *scores)]
    below = Fraction(0)
    for i, d in enumerate(distances):
        if d < 0:
            others = distances[:i] + distances[i + 1 :]
            below += math.prod(d / (d - other) for other in others)
    return float(below)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("confidence", CONFIDENCES)
def test_the_bound_solves_the_p_value_exactly_for_scores_that_differ(seed, confidence):
    rng = numpy.random.default_rng(seed)
    scores = list(rng.beta(*rng.uniform(0.2, 5, 2), rng.integers(1, 25)))

    bound = lower_bound(scores, confidence, 0, 1)

    assert exact_p_value(scores, bound) == pytest.approx(1 - confidence, rel=1e-9)


@pytest.mark.parametrize(("right", "n"), [(9, 10), (95, 100), (480, 500), (3, 50)])
def test_both_bounds_are_the_interval_of_statsmodels(right, n):
    lower, upper = proportion_confint(right, n, alpha=0.1, method="beta")

    assert abs(lower_bound(binary(right, n), 0.95, 0, 1) - lower) < 1e-9
    assert abs(upper_bound(binary(right, n), 0.95, 0, 1) - upper) < 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_the_bound_is_the_quantile_of_a_million_dirichlet_weighted_means(seed):
    draws, confidence = 1_000_000, (0.8, 0.9, 0.95, 0.975)[seed]
    rng = numpy.random.default_rng(seed)
    scores = rng.choice([0, 0.25, 0.5, 0.75, 1], size=8 + 8 * seed)

    bound = lower_bound(scores, confidence, 0, 1)

    distances = numpy.append(0, scores) - bound
    blocks = (
        rng.standard_exponential((draws // 20, len(distances))) for _ in range(20)
    )
    below = sum(int((weights @ distances <= 0).sum()) for weights in blocks)
    deviation = math.sqrt(confidence * (1 - confidence) / draws)
    assert abs(below / draws - (1 - confidence)) < 4 * deviation


@pytest.mark.parametrize("score", [1e-9, 0.3, 1.0])
@pytest.mark.parametrize("n", [1, 20, 1_000])
def test_equal_scores_have_the_bound_of_a_beta_quantile(score, n):
    # One Dirichlet weight falls on the pseudo-score 0: the rest is Beta(n, 1).
    expected = score * 0.05 ** (1 / n)

    assert lower_bound([score] * n, 0.95, 0, 1) == pytest.approx(expected, rel=1e-9)


unit = st.floats(0, 1).map(lambda x: round(x, 6))
many = st.lists(unit, min_size=1, max_size=40)
confidence_of_a_gate = st.floats(0.5, 0.999)
EDGE = 1e-9


@given(many, confidence_of_a_gate)
def test_bounds_lie_in_the_range(scores, confidence):
    lower = lower_bound(scores, confidence, 0, 1)
    upper = upper_bound(scores, confidence, 0, 1)

    assert 0 <= lower <= max(scores) + EDGE
    assert min(scores) - EDGE <= upper <= 1
    if confidence >= 0.8:
        assert lower <= mean(scores) + EDGE
        assert upper >= mean(scores) - EDGE


@given(many, confidence_of_a_gate)
def test_upper_bound_is_the_mirror_of_the_lower(scores, confidence):
    mirrored = [1 - score for score in scores]

    assert upper_bound(scores, confidence, 0, 1) == pytest.approx(
        1 - lower_bound(mirrored, confidence, 0, 1), abs=1e-8
    )


@given(many, st.floats(-1e3, 1e3), st.floats(1e-2, 1e3))
def test_bounds_follow_shift_and_scale(scores, low, width):
    moved = [min(low + width * score, low + width) for score in scores]
    expected = low + width * lower_bound(scores, 0.95, 0, 1)

    bound = lower_bound(moved, 0.95, low, low + width)

    assert bound == pytest.approx(expected, abs=1e-7 * (abs(low) + width))


@given(many, st.data())
def test_bounds_rise_with_each_score_and_fall_with_confidence(scores, data):
    index = data.draw(st.integers(0, len(scores) - 1))
    better = [*scores]
    better[index] = data.draw(st.floats(scores[index], 1))
    bound = lower_bound(scores, 0.9, 0, 1)

    assert lower_bound(better, 0.9, 0, 1) >= bound - EDGE
    assert lower_bound(scores, 0.95, 0, 1) <= bound + EDGE


@given(many, st.data(), confidence_of_a_gate)
def test_counts_say_how_often_a_score_occurs(scores, data, confidence):
    counts = data.draw(
        st.lists(st.integers(1, 5), min_size=len(scores), max_size=len(scores))
    )
    listed = [x for x, count in zip(scores, counts, strict=True) for _ in range(count)]

    for bound in (lower_bound, upper_bound):
        counted = bound(scores, confidence, -1, 2, counts=counts)
        assert counted == pytest.approx(bound(listed, confidence, -1, 2), abs=EDGE)


@given(many, st.data())
def test_the_mean_of_counted_scores_is_to_the_last_bit_that_of_listed_ones(
    scores, data
):
    counts = data.draw(
        st.lists(st.integers(1, 50), min_size=len(scores), max_size=len(scores))
    )
    listed = [x for x, count in zip(scores, counts, strict=True) for _ in range(count)]
    assert mean(scores, counts=counts) == mean(listed)


def test_the_mean_of_a_milliard_scores_is_exact():
    assert mean([0.1, 0.3], counts=[10**9, 10**9]) == 0.2
    assert mean([5e-324, 1.0], counts=[1, 10**9]) == 1e9 / (1e9 + 1)


@given(many, st.data(), confidence_of_a_gate)
def test_rows_to_decide_are_the_same_for_counted_scores(scores, data, confidence):
    counts = data.draw(
        st.lists(st.integers(1, 3), min_size=len(scores), max_size=len(scores))
    )
    listed = [x for x, count in zip(scores, counts, strict=True) for _ in range(count)]
    bar = mean(listed) - 0.1

    def rows(values, **options):
        return rows_to_decide(
            values, confidence, -1, 2, reaches=lambda bound: bound >= bar, **options
        )

    assert rows(scores, counts=counts) == pytest.approx(rows(listed), abs=1)


def test_scores_that_somebody_has_counted_are_not_rounded_again():
    scores = [k / (GRID + 50) for k in range(GRID + 51)]
    counts = [1] * len(scores)
    counted = lower_bound(scores, 0.95, 0, 1, counts=counts)
    assert counted > lower_bound(scores, 0.95, 0, 1)


@given(many, st.floats(0, 1), confidence_of_a_gate)
def test_the_p_value_says_whether_the_bound_reaches_a_threshold(scores, bar, level):
    p, bound = p_value(bar, scores, 0, 1), lower_bound(scores, level, 0, 1)

    assert 0 <= p <= 1
    if abs(bar - bound) > 1e-7:
        assert (p <= 1 - level) == (bound >= bar)


@pytest.mark.parametrize("n", [10, 1_000, 1_000_000])
def test_counts_of_any_size_stay_exact(n):
    right = n * 9 // 10
    exact = binomtest(right, n, alternative="greater").proportion_ci(0.95, "exact")

    bound = lower_bound([0, 1], 0.95, 0, 1, counts=[n - right, right])

    assert abs(bound - exact.low) < 1e-9


@pytest.mark.parametrize(
    ("scores", "low", "high", "counts", "words"),
    [
        ([], 0, 1, None, "at least one number"),
        (0.5, 0, 1, None, "at least one number"),
        ([0.5, math.nan], 0, 1, None, "not all in the range 0 to 1"),
        ([0.5, math.inf], 0, 1, None, "not all in the range 0 to 1"),
        ([0.5, 85], 0, 1, None, "scores from 0.5 to 85 are not all in the range"),
        ([-0.1, 0.5], 0, 1, None, "scores from -0.1 to 0.5 are not all in"),
        ([0.5], 1, 1, None, "1 to 1 is no range"),
        ([0.5], 0, math.inf, None, "0 to inf is no range"),
        ([0.5], -1.7e308, 1.7e308, None, "is no range"),
        ([0.5, 0.6], 0, 1, [1], "1 counts do not belong to 2 scores"),
        ([0.5, 0.6], 0, 1, [1, 0], "counts must be above 0"),
        ([0.5, 0.6], 0, 1, [1, math.nan], "counts must be above 0"),
    ],
)
def test_what_has_no_bound_is_an_error(scores, low, high, counts, words):
    for bound in (lower_bound, upper_bound):
        with pytest.raises(ConfigurationError, match=re.escape(words)):
            bound(scores, 0.95, low, high, counts=counts)


@pytest.mark.parametrize("confidence", [0.05, 1, 95, math.nan, "0.95"])
def test_confidence_outside_its_range_is_an_error(confidence):
    with pytest.raises(ConfigurationError, match="confidence = "):
        lower_bound([0.5], confidence, 0, 1)


def test_a_mean_that_rounding_moved_out_of_the_range_still_counts():
    scores = [0.1 + 2e-17, mean([0.1, 0.1, 0.1])]
    assert max(scores) > 0.1

    assert 0 < lower_bound(scores, 0.95, 0, 0.1) < 0.1


@settings(max_examples=30)
@given(many)
def test_order_does_not_matter(scores):
    assert lower_bound(scores, 0.9, 0, 1) == lower_bound(scores[::-1], 0.9, 0, 1)


@pytest.mark.parametrize("n", [5, 20, 50, 100])
def test_a_model_at_the_bar_passes_in_at_most_5_percent_of_samples(n):
    """Exact enumeration over the number of right answers."""
    bounds = [lower_bound(binary(right, n), 0.95, 0, 1) for right in range(n + 1)]
    bars = numpy.linspace(0.02, 0.98, 97)
    # No bar is as close to 5 % as one on a bound itself.
    for bar in [*bars, *(b for b in bounds if 0 < b < 1)]:
        passing = [right for right, bound in enumerate(bounds) if bound >= bar]
        assert binom.pmf(passing, n, bar).sum() <= 0.05 + 1e-9


def test_20_of_20_has_the_bound_861_and_29_rows_would_pass():
    scores = binary(20, 20)

    assert round(lower_bound(scores, 0.95, 0, 1), 3) == 0.861
    needed = rows_to_decide(scores, 0.95, 0, 1, reaches=lambda bound: bound >= 0.9)
    assert needed == 29


@pytest.mark.parametrize(("bar", "rows"), [(0.95, 59), (0.99, 299)])
def test_rows_needed_when_all_are_right(bar, rows):
    # The least n with bar ** n <= 0.05
    assert rows == math.ceil(math.log(0.05) / math.log(bar))
    needed = rows_to_decide([1.0], 0.95, 0, 1, reaches=lambda bound: bound >= bar)
    assert needed == rows


def test_rows_to_decide_is_the_first_size_whose_binomial_bound_passes():
    def low(n):
        return binomtest(n * 9 // 10, n, alternative="greater").proportion_ci(0.95).low

    first = next(n for n in range(10, 10_000, 10) if low(n) >= 0.85)
    needed = rows_to_decide(
        binary(9, 10), 0.95, 0, 1, reaches=lambda bound: bound >= 0.85
    )

    assert first - 10 < needed <= first


@pytest.mark.parametrize("bar", [0.5, 0.51])
def test_no_number_of_rows_decides_at_or_above_the_mean(bar):
    scores = binary(5, 10)

    assert rows_to_decide(scores, 0.95, 0, 1, reaches=lambda b: b >= bar) is None


def test_more_distinct_scores_than_the_grid_are_rounded_outward():
    scores = numpy.random.default_rng(3).uniform(0.2, 0.9, GRID + 50_000)
    down = list(numpy.floor(scores * 100_000) / 100_000)
    up = list(numpy.ceil(scores * 100_000) / 100_000)

    lower = lower_bound(list(scores), 0.95, 0, 1)
    upper = upper_bound(list(scores), 0.95, 0, 1)

    assert lower == pytest.approx(lower_bound(down, 0.95, 0, 1), abs=1e-10)
    assert upper == pytest.approx(upper_bound(up, 0.95, 0, 1), abs=1e-10)
    # Normal theory is right to the fourth digit here; the grid costs at most 1e-5.
    width = 1.6449 * scores.std() / math.sqrt(len(scores))
    assert scores.mean() - width - 1.5e-5 < lower < scores.mean() - width + 2e-6
    assert scores.mean() + width - 2e-6 < upper < scores.mean() + width + 1.5e-5


def test_mean_is_correctly_rounded():
    assert mean([0.1] * 10) == 0.1
    assert mean([1e16, 1.0, -1e16]) == 1 / 3


@pytest.mark.parametrize(
    ("right", "n"), [(9_999, 9_999), (9_999, 10_000), (10**6, 10**6)]
)
def test_almost_all_right_of_many_rows_is_no_division_by_zero(right, n):
    scores, counts = ([0.0, 1.0], [n - right, right]) if right < n else ([1.0], [n])
    found = lower_bound(scores, 0.95, 0.0, 1.0, counts=counts)

    exact = binomtest(right, n, alternative="greater").proportion_ci(0.95).low
    assert found == pytest.approx(exact, abs=1e-9)
