"""Gates with a confidence on metrics that are no mean of rows."""

import math

import numpy
import pytest
from scipy.stats import bootstrap

from pytest_llmeval import Metric
from pytest_llmeval import decide
from pytest_llmeval.gate import explain
from pytest_llmeval.gate import headline


def variance(predictions, examples):
    return float(numpy.var([example.metadata["score"] for example in examples]))


VARIANCE = Metric(name="variance", aggregate=variance, range=(0, 1))
SCORES = [round(0.5 + 0.5 * math.sin(i * i), 3) for i in range(120)]


def independent(scores):
    """The interval of 5 % in each tail, drawn by SciPy with other resamples."""
    found = bootstrap(
        (scores,), numpy.var, confidence_level=0.9, n_resamples=20_000, rng=7
    )
    return found.confidence_interval


def test_the_interval_is_a_bootstrap_and_says_so(score):
    decision = decide(score(SCORES, VARIANCE), "variance", ">=", 0.05, confidence=0.95)

    low, high = independent(SCORES)
    assert (decision.status, decision.method, decision.seed) == ("pass", "bca", 0)
    assert decision.lower == pytest.approx(low, abs=0.003)
    assert decision.upper == pytest.approx(high, abs=0.003)
    assert "approximate 95 % lower bound" in headline(decision)
    assert decision.to_dict()["seed"] == 0


@pytest.mark.parametrize(
    ("op", "threshold", "status"),
    [
        (">=", 0.2, "fail"),
        (">=", 0.125, "inconclusive"),
        ("<=", 0.2, "pass"),
        ("<", 0.05, "fail"),
    ],
)
def test_the_whole_interval_must_lie_on_one_side(score, op, threshold, status):
    results = score(SCORES, VARIANCE)
    decision = decide(results, "variance", op, threshold, confidence=0.95)

    assert decision.status == status
    if status == "inconclusive":
        share = (decision.value - decision.upper) / (decision.value - threshold)
        if decision.value >= threshold:
            share = (decision.value - decision.lower) / (decision.value - threshold)
        assert decision.rows_needed == int(120 * share**2) + 1


def test_the_same_results_give_the_same_interval(score):
    results = score(SCORES, VARIANCE)
    first, second = (
        decide(results, "variance", ">=", 0.1, confidence=0.95) for _ in range(2)
    )
    assert (first.lower, first.upper) == (second.lower, second.upper)


def test_fewer_than_100_rows_are_inconclusive(score):
    results = score(SCORES[:99], VARIANCE)
    decision = decide(results, "variance", ">=", 0.05, confidence=0.95)

    assert (decision.status, decision.lower) == ("inconclusive", None)
    assert "takes at least 100 rows or clusters, and there are 99" in explain(decision)


def test_clusters_are_resampled_whole(score):
    results = score(SCORES * 2, VARIANCE, who=[i % 120 for i in range(240)])
    decision = decide(results, "variance", ">=", 0.05, confidence=0.95, cluster="who")
    # Each cluster holds the same score twice, so they are as good as 120 rows.
    assert decision.n == 120
    assert decision.lower == pytest.approx(independent(SCORES).low, abs=0.003)


def test_a_value_that_never_varies_is_inconclusive(score):
    constant = Metric(name="whole", aggregate=lambda p, e: 0.5, range=(0, 1))
    decision = decide(score(SCORES, constant), "whole", ">=", 0.4, confidence=0.95)

    assert decision.status == "inconclusive"
    assert "whole hardly varies between resampled rows" in headline(decision)


def test_a_corpus_metric_needs_no_range(score):
    free = Metric(name="variance", aggregate=variance)
    decision = decide(score(SCORES, free), "variance", ">=", 0.05, confidence=0.95)

    assert decision.status == "pass"


def test_a_metric_that_raises_on_a_resample_is_an_error(score):
    def picky(predictions, examples):
        if len({example.id for example in examples}) < len(examples):
            raise ZeroDivisionError("twins")
        return 0.5

    results = score(SCORES, Metric(name="picky", aggregate=picky, range=(0, 1)))
    decision = decide(results, "picky", ">=", 0.4, confidence=0.95)

    assert (decision.status, decision.reason) == ("error", "METRIC_ERROR")
    assert "picky raised ZeroDivisionError: twins" in decision.detail
