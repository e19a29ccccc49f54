"""Gates on quantiles, decided by shares of rows."""

import math
from fractions import Fraction

import pytest
from scipy.stats import binomtest

from pytest_llmeval import CallableModel
from pytest_llmeval import Example
from pytest_llmeval import Metric
from pytest_llmeval import assert_quantile
from pytest_llmeval import decide_quantile
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import GateNotPassed
from pytest_llmeval.gate import explain
from pytest_llmeval.gate import headline

from .chosen_scores import echo
from .chosen_scores import table


def cost(prediction: str, example: Example) -> float:
    """The score that the data says, without a range."""
    return example.metadata["score"]


@pytest.fixture
def costs(score):
    return lambda *scores: score(list(scores), cost)


def bound(count, rows, side):
    found = binomtest(count, rows, alternative=side).proportion_ci(0.95)
    return found.low if side == "greater" else found.high


# The costs 1 to 100: 97 of them are <= 97 (lower bound .924, upper .992).
HUNDRED = tuple(map(float, range(1, 101)))


@pytest.mark.parametrize(
    ("q", "op", "threshold", "point", "decided"),
    [
        (0.9, "<=", 97, "pass", "pass"),
        (0.95, "<=", 97, "pass", "inconclusive"),
        (0.95, "<=", 95, "pass", "inconclusive"),
        (0.95, "<=", 94, "fail", "inconclusive"),
        (0.95, "<=", 89, "fail", "fail"),
        (0.95, "<", 95, "fail", "inconclusive"),
        (0.95, "<", 95.5, "pass", "inconclusive"),
        (0.95, "<", 1000, "pass", "pass"),
        (0.95, ">=", 95, "pass", "inconclusive"),
        (0.95, ">=", 96, "fail", "inconclusive"),
        (0.95, ">=", 1000, "fail", "fail"),
        (0.95, ">=", 89, "pass", "pass"),
        (0.95, ">", 95, "fail", "inconclusive"),
        (0.95, ">", 94, "pass", "inconclusive"),
        (0.1, ">", 1, "pass", "pass"),
        (0.1, "<=", 1, "fail", "fail"),
    ],
)
def test_each_operator_with_and_without_a_confidence(
    costs, q, op, threshold, point, decided
):
    results = costs(*HUNDRED)

    assert decide_quantile(results, "cost", q, op, threshold).status == point
    decision = decide_quantile(results, "cost", q, op, threshold, confidence=0.95)
    assert decision.status == decided


@pytest.mark.parametrize("rows", [1, 7, 20, 100])
@pytest.mark.parametrize("q", [0.05, 0.07, 0.1, 0.29, 0.5, 0.9, 0.95, 0.99])
@pytest.mark.parametrize("op", ["<=", "<", ">=", ">"])
def test_the_decision_agrees_with_the_quantile_that_is_shown(costs, rows, q, op):
    results = costs(*HUNDRED[:rows])
    # numpy.quantile(…, method="inverted_cdf") says 8 for 7 % of 1 to 100.
    expected = HUNDRED[math.ceil(Fraction(str(q)) * rows) - 1]
    compare = {"<=": float.__le__, "<": float.__lt__, ">=": float.__ge__}
    for threshold in (expected - 0.5, expected, expected + 0.5):
        decision = decide_quantile(results, "cost", q, op, threshold)
        assert decision.value == expected
        holds = compare.get(op, float.__gt__)(expected, threshold)
        assert decision.status == ("pass" if holds else "fail")


def test_the_bound_is_the_exact_one_of_the_share(costs):
    results = costs(*HUNDRED)
    within = decide_quantile(results, "cost", 0.9, "<=", 97, confidence=0.95)
    below = decide_quantile(results, "cost", 0.9, ">=", 97, confidence=0.95)

    assert (within.value, within.share) == (90, 0.97)
    assert within.lower == pytest.approx(bound(97, 100, "greater"), abs=1e-9)
    assert (below.status, below.share) == ("fail", 0.96)
    assert below.lower == pytest.approx(bound(96, 100, "greater"), abs=1e-9)
    entry = within.to_dict()
    assert (entry["kind"], entry["quantile"], entry["share"]) == ("quantile", 0.9, 0.97)


def test_the_message_shows_share_bounds_and_rows_that_would_decide(costs):
    decision = decide_quantile(
        costs(*[1.0] * 20), "cost", 0.9, "<=", 2, confidence=0.95
    )
    assert decision.rows_needed == 29
    assert headline(decision) == (
        "p90 cost 1.000 (share of rows <= 2.000: 1.000, needed >= 0.9, 95 % lower "
        "bound 0.861, 95 % upper bound 1.000, n=20) is inconclusive against <= 2.000; "
        "about 29 rows like these would pass"
    )


def test_a_failure_shows_the_largest_rows(costs):
    with pytest.raises(GateNotPassed) as caught:
        assert_quantile(costs(*HUNDRED), "cost", 0.5, "<=", 10, confidence=0.95)

    assert "p50 cost 50.000 (share of rows <= 10.000: 0.100, " in str(caught.value)
    assert "is above 10.000" in str(caught.value)
    assert "  r99  score 100.000" in explain(caught.value.decision)


@pytest.mark.parametrize(
    ("q", "op", "threshold", "detail"),
    [
        (95, "<=", 1, "q=95.0 is no share between 0 and 1, .* did you mean 0.95"),
        (0, "<=", 1, "q=0.0 is no share"),
        ("p95", "<=", 1, "q='p95' is no share"),
        (0.5, "==", 1, "== has no meaning for a quantile"),
        (0.5, "<=", "1", "the threshold '1' is str"),
    ],
)
def test_arguments_without_meaning_are_errors(costs, q, op, threshold, detail):
    with pytest.raises(GateNotPassed, match=detail) as caught:
        assert_quantile(costs(1.0), "cost", q, op, threshold)
    assert caught.value.decision.reason == "BAD_TYPE"


def test_a_threshold_outside_a_declared_range_is_an_error(score):
    decision = decide_quantile(score([0.5]), "unit", 0.5, ">=", 50)
    assert decision.reason == "OUT_OF_RANGE"


def test_a_corpus_metric_has_no_quantile(score):
    whole = Metric(name="whole", aggregate=lambda p, e: 0.5, range=(0, 1))
    decision = decide_quantile(score([0.5], whole), "whole", 0.5, ">=", 0.1)
    assert decision.reason == "UNSUPPORTED"


def test_stored_replies_have_no_latency(tmp_path, run):
    settings, model = Settings(rootdir=tmp_path), CallableModel(echo, version="1")
    rows = table([1.0] * 3)
    fresh = run(model, rows, ["latency_ms"], settings=settings)
    stored = run(model, rows, ["latency_ms"], settings=settings)

    assert decide_quantile(fresh, "latency_ms", 0.5, "<=", 60_000).status == "pass"
    decision = decide_quantile(stored, "latency_ms", 0.5, "<=", 60_000)
    assert decision.reason == "CACHED_LATENCY"
