"""The numbers of an evaluation in the HTML report."""

import pytest
from scipy.stats import binomtest

from pytest_llmeval.report.html.figures import bin_latencies
from pytest_llmeval.report.html.figures import bin_scores
from pytest_llmeval.report.html.figures import measure

from .stored_rows import entry
from .stored_rows import evaluation
from .stored_rows import store


def test_few_distinct_scores_have_a_bar_each():
    assert bin_scores([1, 0, 1, 0.5]) == [(0, 0, 1), (0.5, 0.5, 1), (1, 1, 2)]


def test_many_distinct_scores_are_counted_in_bins_of_equal_width():
    bins = bin_scores(range(101))

    assert [each.size for each in bins] == [5] * 19 + [6]
    assert [each.high - each.low for each in bins] == [5] * 20
    assert (bins[0].low, bins[-1].high) == (0, 100)


def test_bins_of_latencies_grow_by_one_ratio():
    bins = bin_latencies([float(2**at) for at in range(21)])

    assert sum(each.size for each in bins) == 21
    assert [each.high / each.low for each in bins] == pytest.approx([2.0] * 20)


def test_slice_has_its_mean_and_the_exact_bounds(tmp_path):
    rows = [
        entry(f"r{at}", float(at % 4 > 0), metadata={"topic": "ab"[at % 2]})
        for at in range(40)
    ]
    figures = measure(store(tmp_path, *rows), evaluation())

    a, b = figures.slices["topic"]
    assert (a.value, a.n, a.errors) == ("a", 20, 0)
    assert a.estimates["right"].value == 0.5  # of the even rows, every other is wrong
    lower = binomtest(10, 20, alternative="greater").proportion_ci(0.95, "exact").low
    upper = binomtest(10, 20, alternative="less").proportion_ci(0.95, "exact").high
    assert a.estimates["right"].lower == pytest.approx(lower, abs=1e-6)
    assert a.estimates["right"].upper == pytest.approx(upper, abs=1e-6)
    assert b.estimates["right"].value == 1


def test_row_in_error_is_counted_in_its_slice_and_has_no_score(tmp_path):
    scores = [1.0, 0.0, None, 1.0]
    rows = [
        entry(f"r{at}", score, metadata={"topic": "ab"[at // 2]})
        for at, score in enumerate(scores)
    ]
    figures = measure(store(tmp_path, *rows), evaluation())

    _, b = figures.slices["topic"]
    assert (b.n, b.errors, b.estimates["right"].value) == (1, 1, 1.0)
    assert [each.size for each in figures.spreads["right"].bins] == [1, 2]


def test_score_of_a_row_in_error_counts_nowhere(tmp_path):
    error = {"kind": "scorer", "message": "of another metric", "attempts": 1}
    rows = [entry("a", 1.0), entry("b", 0.0), entry("c", 0.0, errors=[error])]
    figures = measure(store(tmp_path, *rows), evaluation())

    assert [each.size for each in figures.spreads["right"].bins] == [1, 1]


def test_values_that_hardly_repeat_make_no_slices(tmp_path):
    rows = [entry(f"r{at}", metadata={"it": at // 2}) for at in range(9)]

    assert measure(store(tmp_path, *rows), evaluation()).slices == {}
    whole = measure(store(tmp_path, *rows, *rows[:1]), evaluation())
    assert len(whole.slices["it"]) == 5


@pytest.mark.parametrize(
    "value",
    [
        pytest.param(lambda at: "same", id="one value"),
        pytest.param(lambda at: f"value {at}", id="a value for each row"),
        pytest.param(lambda at: "x" * (61 + at % 2), id="long texts"),
        pytest.param(lambda at: [at % 2], id="lists"),
        pytest.param(lambda at: at % 2 + 0.5, id="fractions"),
        pytest.param(lambda at: None, id="nothing"),
    ],
)
def test_column_without_a_few_short_values_makes_no_slices(tmp_path, value):
    rows = [entry(f"r{at}", metadata={"it": value(at)}) for at in range(30)]

    assert measure(store(tmp_path, *rows), evaluation()).slices == {}


def test_example_counts_once_by_the_mean_of_its_repeats(tmp_path):
    scores = [1.0, 0.0, 1.0, 1.0]
    rows = [entry(f"r{at // 2}", s, repeat=at % 2) for at, s in enumerate(scores)]
    figures = measure(store(tmp_path, *rows, repeats=2), evaluation(repeats=2))

    assert figures.spreads["right"].bins == [(0.5, 0.5, 1), (1, 1, 1)]


def test_stored_replies_are_told_apart_from_those_asked_now(tmp_path):
    rows = [
        *(entry(f"r{at}", latency_ms=10.0 * (at + 1)) for at in range(100)),
        entry("again", attempts=2, latency_ms=5_000.0),
        entry("stored", attempts=0, latency_ms=7.0, stored_at=1.0, cost_usd=0.5),
        entry("over budget", None, attempts=0, latency_ms=None, prompt_tokens=None),
    ]
    figures = measure(store(tmp_path, *rows), evaluation())

    asked, stored = figures.asked, figures.stored
    assert (asked.rows, asked.requests, asked.prompt_tokens) == (101, 102, 303)
    assert asked.cost_usd is None
    assert asked.percentiles_ms == [510, 910, 960, 1_000, 5_000]
    assert (stored.rows, stored.requests, stored.cost_usd) == (1, 0, 0.5)
    assert stored.latencies_ms == [7.0]
