import itertools
import math

import numpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.stats import BettingTest


def capital(scores, threshold, low, high):
    """By the formula: the mean over 25 bets of prod (1 + bet * (x - m)), each way."""
    fractions = [0.99 * j / 25 for j in range(1, 26)]
    return tuple(
        math.fsum(
            math.prod(1 + f * side * (x - threshold) / room for x in scores)
            for f in fractions
        )
        / 25
        for side, room in ((1, threshold - low), (-1, high - threshold))
    )


def decide_by_formula(scores, threshold, confidence, low, high):
    for rows in range(1, len(scores) + 1):
        above, below = capital(scores[:rows], threshold, low, high)
        if max(above, below) >= 1 / (1 - confidence):
            return "above" if above > below else "below", rows
    return None, len(scores)


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
@pytest.mark.parametrize("mean", [0.2, 0.5, 0.75, 0.95])
def test_decides_at_the_row_at_which_the_formula_crosses(mean, confidence):
    rng = numpy.random.default_rng(int(100 * mean))
    scores = list(-1 + 3 * rng.beta(8 * mean, 8 * (1 - mean), 120))
    test = BettingTest(0.6, confidence, -1, 2)

    test.add(scores)

    expected = decide_by_formula(scores, 0.6, confidence, -1, 2)
    assert (test.decided, test.rows) == expected


@given(
    st.lists(st.floats(0, 1), max_size=150),
    st.lists(st.integers(0, 150), max_size=6),
)
def test_how_scores_are_cut_into_calls_does_not_matter(scores, cuts):
    whole, cut = (BettingTest(0.7, 0.95, 0, 1) for _ in range(2))
    whole.add(scores)

    ends = [0, *sorted(cuts), len(scores)]
    for start, end in itertools.pairwise(ends):
        cut.add(scores[start:end])

    assert (cut.decided, cut.rows) == (whole.decided, whole.rows)


def test_nothing_counts_after_the_decision():
    test = BettingTest(0.5, 0.95, 0, 1)
    test.add([1] * 40)
    rows = test.rows
    assert test.decided == "above"

    test.add([0] * 1_000)

    assert (test.decided, test.rows) == ("above", rows)


def test_mirrored_scores_give_the_mirrored_decision():
    scores = numpy.random.default_rng(1).random(400)
    one, other = BettingTest(0.6, 0.95, 0, 1), BettingTest(0.4, 0.95, 0, 1)
    one.add(scores)
    other.add(1 - scores)

    assert (one.decided, other.decided) == ("below", "above")
    assert one.rows == other.rows


@pytest.mark.parametrize(
    ("mean", "rows", "decided"),
    [(0.95, 208, "above"), (0.99, 54, "above"), (0.8, 106, "below")],
)
def test_rows_that_a_gate_at_90_percent_takes_on_average(mean, rows, decided):
    samples = numpy.random.default_rng(7).random((600, 1_000)) < mean
    taken, decisions = [], []
    for scores in samples:
        test = BettingTest(0.9, 0.95, 0, 1)
        test.add(scores)
        taken.append(test.rows)
        decisions.append(test.decided)

    assert decisions.count(decided) > 0.98 * len(decisions)
    error = numpy.std(taken) / math.sqrt(len(taken))
    assert abs(numpy.mean(taken) - rows) < 3 * error + 3


@pytest.mark.parametrize("threshold", [0, 1, -0.5, 1.5, math.nan])
def test_threshold_at_the_end_of_the_range_is_refused(threshold):
    with pytest.raises(ConfigurationError, match="inside the range 0 to 1"):
        BettingTest(threshold, 0.95, 0, 1)


@pytest.mark.parametrize("score", [1.1, -0.1, math.nan, math.inf])
def test_score_outside_the_range_is_refused(score):
    test = BettingTest(0.5, 0.95, 0, 1)

    with pytest.raises(ConfigurationError, match="range 0 to 1"):
        test.add([0.5, score])
