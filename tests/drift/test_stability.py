"""Population stability of a column, counted in stored bins."""

import itertools
import json
import math

import numpy
import pandas
import pytest

from pytest_llmeval.drift import Bins
from pytest_llmeval.drift import category_bins
from pytest_llmeval.drift import number_bins
from pytest_llmeval.drift import stability_index
from pytest_llmeval.errors import ConfigurationError


def psi_by_hand(then, now):
    """Over bins that anything fell into, with half a value added to each."""
    used = [(a + 0.5, b + 0.5) for a, b in zip(then, now, strict=True) if a + b]
    all_a, all_b = (math.fsum(column) for column in zip(*used, strict=True))
    return math.fsum(
        (b / all_b - a / all_a) * math.log((b / all_b) / (a / all_a)) for a, b in used
    )


def test_numbers_are_counted_up_to_their_edges():
    bins = number_bins([1, 2, 3, 4, None, math.nan], bins=2)

    assert bins.edges == (2,)
    assert bins.counts == (2, 2, 2)
    assert bins.count([2, 2.1, -9, 99, math.inf, -math.inf, None]) == [3, 3, 1]


def test_bins_hold_about_equal_shares_and_no_empty_one():
    values = numpy.random.default_rng(2).normal(size=1_000)
    assert number_bins(values).counts == (100,) * 10 + (0,)

    mostly_zero = number_bins([0] * 90 + list(range(1, 11)))

    assert mostly_zero.edges == (0.0,)
    assert mostly_zero.counts == (90, 10, 0)
    assert number_bins([7] * 5).counts == (5, 0)


def test_categories_are_counted_by_name_with_others_and_missing_last():
    bins = category_bins(
        ["b", "a", "b", "c", None, math.nan, pandas.NA, 1], categories=2
    )

    assert bins.names == ("b", "1")
    assert bins.counts == (2, 1, 2, 3)
    assert bins.count(["1", "b", "new", None]) == [1, 1, 1, 1]


def test_hostile_values_are_counted_and_never_an_error():
    numbers = number_bins([1, 2, "3", "=1+1", {}, 10**999])
    assert numbers.counts == (1, 1, 1, 3)

    names = category_bins(["x" * 10**6, "x" * 100, "\ud800", {"a": 1}])

    assert names.names == ("x" * 100, "{'a': 1}", "\ud800")
    assert names.counts == (2, 1, 1, 0, 0)


def test_index_is_that_of_the_formula():
    then, now = ["a"] * 50 + ["b"] * 50, ["a"] * 10 + ["b"] * 20 + ["c"] * 10

    found = stability_index(category_bins(then), now)

    assert found.psi == pytest.approx(psi_by_hand([50, 50, 0], [10, 20, 10]))
    assert found.p_value == 1 / 2_000
    assert stability_index(category_bins(then), then).psi == 0


def test_p_value_is_the_share_of_all_splits_that_are_as_far_apart():
    then, now = "aaaab", "abb"
    observed = psi_by_hand([4, 1], [1, 2])
    splits = list(itertools.combinations(then + now, 3))
    beyond = [
        psi_by_hand([5 - s.count("a"), 3 - s.count("b")], [s.count("a"), s.count("b")])
        >= observed - 1e-12
        for s in splits
    ]

    found = stability_index(category_bins(then), now)

    share = sum(beyond) / len(splits)
    assert 0.1 < share < 0.9
    assert found.p_value == pytest.approx(
        share, abs=4 * math.sqrt(share * (1 - share) / 2_000)
    )


def test_the_level_holds_for_small_samples_where_the_rule_of_thumb_does_not():
    rng, results = numpy.random.default_rng(4), []
    for _ in range(600):
        bins = number_bins(rng.exponential(size=150))
        results.append(stability_index(bins, rng.exponential(size=150)))

    rejected = sum(result.p_value <= 0.05 for result in results) / 600
    assert rejected <= 0.05 + 3 * math.sqrt(0.05 * 0.95 / 600)
    assert sum(result.psi > 0.1 for result in results) / 600 > 0.3


@pytest.mark.parametrize(
    "bins", [number_bins([1.5, 2, 3, None]), category_bins(["a", "ü", None])]
)
def test_stored_bins_come_back_the_same(bins):
    assert Bins.from_dict(json.loads(json.dumps(bins.to_dict()))) == bins


def test_same_seed_gives_the_same_result():
    bins = number_bins(range(100))

    first, again = (stability_index(bins, range(20, 120), seed=3) for _ in range(2))

    assert first == again


def test_nothing_to_compare_is_refused():
    with pytest.raises(ConfigurationError, match="no values"):
        stability_index(number_bins([1, 2]), [])
    with pytest.raises(ConfigurationError, match="at least one number"):
        number_bins([None, math.nan])


def test_more_splits_give_smaller_p_values():
    bins = number_bins(range(100))

    for splits in (500, 20_000):
        found = stability_index(bins, range(900, 1_000), splits=splits)
        assert found.p_value == 1 / (1 + splits)
