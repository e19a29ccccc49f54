import itertools
import math
import statistics

import numpy
import pytest

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.stats import pass_at_k
from pytest_llmeval.stats import pass_hat_k
from pytest_llmeval.stats import split_variance


# By hand, 2 of 5 right: C(5,2) = 10 pairs, of which C(3,2) = 3 hold no right answer
# and C(2,2) = 1 holds only right ones.
@pytest.mark.parametrize(
    ("right", "repeats", "k", "at", "hat"),
    [
        (2, 5, 1, 2 / 5, 2 / 5),
        (2, 5, 2, 7 / 10, 1 / 10),
        (2, 5, 3, 9 / 10, 0),
        (2, 5, 4, 1, 0),
        (0, 5, 2, 0, 0),
        (5, 5, 2, 1, 1),
        (1, 1, 1, 1, 1),
        (4, 8, 4, 1 - 1 / 70, 1 / 70),
    ],
)
def test_pass_at_k_and_pass_hat_k_by_hand(right, repeats, k, at, hat):
    assert pass_at_k(right, repeats, k) == pytest.approx(at, abs=1e-15)
    assert pass_hat_k(right, repeats, k) == pytest.approx(hat, abs=1e-15)


@pytest.mark.parametrize("k", [1, 2, 3, 6])
def test_they_are_shares_of_all_draws_of_k_answers(k):
    answers = [True, True, False, True, False, False]
    draws = list(itertools.combinations(answers, k))

    assert pass_at_k(3, 6, k) == pytest.approx(sum(map(any, draws)) / len(draws))
    assert pass_hat_k(3, 6, k) == pytest.approx(sum(map(all, draws)) / len(draws))


def test_many_repeats_stay_exact():
    assert pass_hat_k(1_999, 2_000, 1_000) == 0.5
    assert pass_at_k(1, 2_000, 1_000) == 0.5


@pytest.mark.parametrize("estimate", [pass_at_k, pass_hat_k])
@pytest.mark.parametrize(
    ("right", "repeats", "k", "words"),
    [
        (1, 3, 4, "k=4 answers cannot be drawn from 3"),
        (1, 3, 0, "k=0 answers cannot be drawn from 3"),
        (4, 3, 2, "4 of 3 answers cannot be right"),
        (-1, 3, 2, "-1 of 3 answers cannot be right"),
    ],
)
def test_impossible_counts_are_refused(estimate, right, repeats, k, words):
    with pytest.raises(ConfigurationError, match=words):
        estimate(right, repeats, k)


def test_variance_in_two_parts_by_hand():
    # Row means 0.5, 1 and 0, whose variance is 0.25. Within: 0.5, 0 and 0, so 1/6 on
    # average, of which half is in the variance of means of two repeats.
    found = split_variance([[0, 1], [1, 1], [0, 0]])

    assert found.within == pytest.approx(1 / 6)
    assert found.between == pytest.approx(0.25 - 1 / 12)


def test_repeats_that_differ_only_within_rows_have_no_variance_between():
    assert split_variance([[0, 1], [1, 0], [0, 1]]) == (0, 0.5)


def test_both_parts_are_unbiased_with_rows_of_different_length():
    rng = numpy.random.default_rng(5)
    between, within = [], []
    for _ in range(1_500):
        rows = [
            rng.normal(rng.normal(0, 2), 1, repeats) for repeats in (2, 3, 5, 8) * 5
        ]
        parts = split_variance(rows)
        between.append(parts.between)
        within.append(parts.within)

    for parts, truth in ((between, 4), (within, 1)):
        error = statistics.stdev(parts) / math.sqrt(len(parts))
        assert abs(statistics.fmean(parts) - truth) < 3.5 * error


@pytest.mark.parametrize("rows", [[], [[0, 1]], [[0, 1], [1]]])
def test_variance_needs_two_rows_of_two_repeats(rows):
    with pytest.raises(ConfigurationError, match="at least 2 rows of at least 2"):
        split_variance(rows)
