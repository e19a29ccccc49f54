"""The evidence that a mean has fallen, against its definition by products."""

import math

import numpy
import pytest
from hypothesis import assume
from hypothesis import given
from hypothesis import settings
from hypothesis import strategies as st

from pytest_llmeval.drift import Bets


DROPS = [0.99 / 2**j for j in range(8)]


def evidence_by_definition(evaluations, mean, gain):
    """Sum over each evaluation to begin at of the product of gains from there on."""
    return math.fsum(
        math.prod(gain(evaluation, mean, drop) for evaluation in evaluations[begin:])
        for drop in DROPS
        for begin in range(len(evaluations))
    ) / len(DROPS)


def likelihood_ratio(scores, mean, drop):
    after = mean * (1 - drop)
    return math.prod(after / mean if x else (1 - after) / (1 - mean) for x in scores)


def bet_on_the_mean(scores, mean, drop):
    return 1 + drop * (mean - sum(scores) / len(scores)) / (1 - mean)


def evidence(evaluations, mean, unit):
    bets = Bets(mean, unit)
    for scores in evaluations:
        bets.add(sum(scores) / len(scores), len(scores))
    return bets.evidence


right_or_wrong = st.lists(
    st.lists(st.integers(0, 1), min_size=1, max_size=12), min_size=1, max_size=12
)
graded = st.lists(
    st.lists(st.floats(0, 1), min_size=1, max_size=12), min_size=1, max_size=12
)


@given(right_or_wrong, st.floats(0.05, 0.95))
def test_right_or_wrong_rows_multiply_by_the_likelihood_ratio(evaluations, mean):
    expected = evidence_by_definition(evaluations, mean, likelihood_ratio)
    assume(expected < 1e10)  # far below the cap

    assert evidence(evaluations, mean, "row") == pytest.approx(expected)


@given(graded, st.floats(0.05, 0.95))
def test_an_evaluation_multiplies_by_a_bet_on_its_mean(evaluations, mean):
    expected = evidence_by_definition(evaluations, mean, bet_on_the_mean)
    assume(expected < 1e10)  # far below the cap

    assert evidence(evaluations, mean, "evaluation") == pytest.approx(expected)


@given(graded, st.floats(0.05, 0.95))
def test_graded_rows_never_gain_more_than_bets_on_each_row(evaluations, mean):
    def bets_on_rows(scores, mean, drop):
        return math.prod(1 + drop * (mean - x) / (1 - mean) for x in scores)

    most = evidence_by_definition(evaluations, mean, bets_on_rows)

    assert evidence(evaluations, mean, "row") <= most * (1 + 1e-9)


@given(st.floats(0.05, 0.95), st.integers(1, 40), st.sampled_from([1.0, 0.9, 0.5]))
@settings(max_examples=30)
def test_an_evaluation_gains_nothing_on_average_while_all_is_well(mean, n, even):
    # Over all numbers of right answers; rows may be uneven, with the same mean.
    spread = min(mean, 1 - mean) * (1 - even)
    shares = [mean - spread if at % 2 else mean + spread for at in range(n)]
    level = sum(shares) / n
    chances = numpy.ones(1)
    for share in shares:
        chances = numpy.convolve(chances, [1 - share, share])

    gains = [evidence([[1] * k + [0] * (n - k)], level, "row") for k in range(n + 1)]

    assert float(chances @ gains) <= 1 + 1e-9


def test_evidence_of_huge_evaluations_stays_finite_and_can_fall_again():
    bets = Bets(0.9, "row")
    for _ in range(5):
        bets.add(0.2, 1_000_000)
    assert bets.evidence == 1e12

    bets.add(1.0, 1_000_000)

    assert bets.evidence < 1
