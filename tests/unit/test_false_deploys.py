"""How often a model at the bar passes: exactly, by counting every outcome."""

from bisect import bisect_left

import numpy
import pytest
from scipy.special import gammaln
from scipy.stats import binom

from pytest_llmeval.stats import lower_bound
from pytest_llmeval.stats import p_value


CONFIDENCES = (0.9, 0.95, 0.99)
BARS = (0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 0.97, 0.98, 0.99, 0.995, 0.999)
EDGE = 1e-9


def counted(outcomes):
    """Scores that occur, and how often."""
    seen = {score: count for score, count in outcomes.items() if count}
    return list(seen), list(seen.values())


def least_that_passes(rows, bar, confidence, worse=0.0, better=1.0):
    """The fewest `better` rows that pass, all others being `worse`."""

    def passes(count):
        scores, counts = counted({worse: rows - count, better: count})
        return lower_bound(scores, confidence, 0, 1, counts=counts) >= bar

    return bisect_left(range(rows + 1), True, key=passes)


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize("rows", [5, 7, 10, 20, 29, 30, 50, 100, 200, 300, 500, 1_000])
def test_right_or_wrong_scores_at_the_bar(rows, confidence):
    rates = {}
    for bar in BARS:
        least = least_that_passes(rows, bar, confidence)
        rates[bar] = binom.sf(least - 1, rows, bar)

    assert max(rates.values()) <= 1 - confidence + EDGE
    if rows >= 100:  # the gate is no more careful than it must be
        assert max(rates.values()) > 0.7 * (1 - confidence)


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize("rows", [10, 30, 100, 300])
def test_two_point_scores_at_the_bar(rows, confidence):
    pairs = [(0.0, a) for a in (0.1, 0.3, 0.5, 0.7, 0.9, 1.0)]
    pairs += [(0.1, 0.2), (0.5, 1.0), (0.8, 1.0), (0.2, 0.9), (0.97, 1.0)]
    for worse, better in pairs:
        for share in (0.02, 0.1, 0.3, 0.5, 0.7, 0.9, 0.95, 0.98, 0.995):
            bar = worse + (better - worse) * share
            least = least_that_passes(rows, bar, confidence, worse, better)
            rate = binom.sf(least - 1, rows, share)
            assert rate <= 1 - confidence + EDGE, (worse, better, share)


def staircase(rows, bar, confidence, most_losses):
    """The fewest gains that pass beside 0, 1, 2 … losses."""
    gains = 0
    for losses in range(most_losses + 1):
        while gains <= rows - losses:
            outcomes = {-1: losses, 0: rows - losses - gains, 1: gains}
            scores, counts = counted(outcomes)
            if p_value(bar, scores, -1, 1, counts=counts) <= 1 - confidence:
                break
            gains += 1
        yield gains


@pytest.mark.parametrize("confidence", CONFIDENCES)
@pytest.mark.parametrize("rows", [30, 60, 100, 200, 300, 500])
@pytest.mark.parametrize("max_drop", [0.02, 0.05])
def test_paired_differences_at_the_largest_drop(rows, confidence, max_drop):
    gain_rates = (0.0, 0.01, 0.02, 0.05, 0.1)
    most_losses = int(binom.isf(1e-12, rows, max_drop + max(gain_rates)))
    needed = list(staircase(rows, -max_drop, confidence, most_losses))
    for gain in gain_rates:
        loss = gain + max_drop
        losses = numpy.arange(most_losses + 1)
        enough = binom.sf(numpy.subtract(needed, 1), rows - losses, gain / (1 - loss))
        rate = binom.pmf(losses, rows, loss) @ enough
        assert rate <= 1 - confidence + EDGE, gain


def shares_with_mean(mean, middle):
    """Shares of 0, `middle` and 1 with this mean, as rows of an array."""
    of_middle = numpy.linspace(0, 1, 101)[:-1]
    of_1 = mean - middle * of_middle
    shares = numpy.column_stack([1 - of_middle - of_1, of_middle, of_1])
    return shares[(shares >= 0).all(axis=1)]


def chances(shares, counts):
    """The multinomial probability of each outcome under each distribution."""
    ways = gammaln(counts.sum(axis=1) + 1) - gammaln(counts + 1).sum(axis=1)
    logs = numpy.log(numpy.maximum(shares, 1e-300))
    return numpy.exp(ways + logs @ counts.T)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 10, 20])
@pytest.mark.parametrize("middle", [0.1, 0.4, 0.6, 0.8, 0.95])
def test_no_three_point_distribution_breaks_the_bound(rows, middle):
    """A search: the worst mean for a bound is one just below a value that it takes."""
    counts = numpy.array(
        [(a, rows - a - b, b) for a in range(rows + 1) for b in range(rows + 1 - a)]
    )
    outcomes = [counted(dict(zip((0, middle, 1), row, strict=True))) for row in counts]
    for confidence in CONFIDENCES:
        bounds = numpy.array(
            [lower_bound(s, confidence, 0, 1, counts=c) for s, c in outcomes]
        )
        for bar in bounds[(bounds > 0) & (bounds < 1)] - EDGE:
            likely = chances(shares_with_mean(bar, middle), counts)
            rates = likely[:, bounds >= bar].sum(axis=1)
            assert rates.max() <= 1 - confidence + 1e-6
