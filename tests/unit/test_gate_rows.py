import json
import math
import subprocess
import sys
from dataclasses import replace

import numpy
import pandas
import pytest
from scipy.stats import binomtest

from pytest_llmeval import CallableModel
from pytest_llmeval import Example
from pytest_llmeval import Metric
from pytest_llmeval import assert_metric
from pytest_llmeval import decide
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import GateNotPassed
from pytest_llmeval.errors import MetricError
from pytest_llmeval.gate import headline

from .chosen_scores import echo
from .chosen_scores import table


def given(prediction: str, example: Example) -> float:
    """The score that the data says."""
    return example.metadata["score"]


def interval(right, n, confidence=0.95):
    return tuple(
        getattr(binomtest(right, n, alternative=side).proportion_ci(confidence), end)
        for side, end in (("greater", "low"), ("less", "high"))
    )


PINNED = CallableModel(echo, version="1")


def test_rows_in_error_are_an_error_that_names_them(score):
    results = score([1.0] * 8, broken=range(7))

    with pytest.raises(GateNotPassed) as caught:
        assert_metric(results, "unit", ">=", 0.1)

    message = str(caught.value)
    assert message.startswith(
        "unit: error ROWS_MISSING: 7 of 8 rows could not be evaluated, so unit has no "
        "honest value: r0 (exception: RuntimeError: no answer); r1 ("
    )
    assert (
        "r4 (exception: RuntimeError: no answer); and 2 more. Run the same" in message
    )
    assert 'on_error="worst"' in message


@pytest.mark.parametrize(
    ("op", "threshold", "value"),
    [(">=", 0.5, 0.75), (">", 0.5, 0.75), ("<=", 0.9, 1.0), ("<", 0.9, 1.0)],
)
def test_worst_counts_rows_in_error_at_the_worst_bound(score, op, threshold, value):
    decision = decide(
        score([1.0] * 4, broken=[2]), "unit", op, threshold, on_error="worst"
    )

    assert (decision.value, decision.n, decision.errors) == (value, 4, 1)
    assert "1 rows in error counted at the worst" in headline(decision)


@pytest.mark.parametrize(("op", "threshold"), [("==", 0), ("==", 1), ("!=", 0.5)])
def test_a_row_in_error_never_helps_an_equality_to_pass(score, op, threshold):
    results = score([float(threshold)] * 4, broken=[2])

    assert decide(results, "unit", op, threshold, on_error="worst").status != "pass"


def test_exclude_leaves_rows_in_error_out_up_to_the_rate(score):
    results = score([1.0] * 4, broken=[2])
    options = {"on_error": "exclude"}

    kept = decide(results, "unit", "==", 1, max_error_rate=0.25, **options)
    refused = decide(results, "unit", "==", 1, max_error_rate=0.24, **options)

    assert (kept.status, kept.n, kept.errors) == ("pass", 3, 1)
    assert "1 rows in error left out" in headline(kept)
    assert refused.reason == "TOO_MANY_ERRORS"
    assert "1 of 4 rows are in error, 0.25 of them, and max_error_rate=0.24: r2 (" in (
        refused.detail
    )
    none_left = score([1.0], broken=[0])
    decision = decide(none_left, "unit", "==", 1, max_error_rate=1.0, **options)
    assert decision.reason == "ZERO_ROWS"


def test_where_gates_a_slice(score):
    results = score([1.0, 0.0, 1.0], topic=["a", "b", "a"], hard=[1, 0, 0])

    decision = decide(results, "unit", "==", 1, where={"topic": "a"})
    assert (decision.value, decision.n) == (1, 2)
    assert headline(decision) == ("unit where {'topic': 'a'} 1.000 (n=2) is == 1.000")
    both = decide(results, "unit", "==", 1, where={"topic": "a", "hard": 1})
    assert both.n == 1
    enough = decide(results, "unit", "==", 1, where={"topic": "a"}, min_rows=2)
    assert enough.status == "pass"
    few = decide(results, "unit", "==", 1, where={"topic": "a"}, min_rows=3)
    assert few.reason == "TOO_FEW_ROWS"


def test_where_reads_nullable_columns(score):
    results = score([1.0, 0.0], topic=["a", pandas.NA])

    assert decide(results, "unit", "==", 1, where={"topic": "a"}).status == "pass"


@pytest.mark.parametrize("wanted", [numpy.int64(1), math.nan, pandas.Timestamp(0)])
def test_a_gate_on_any_slice_fits_into_strict_json(score, wanted):
    decision = decide(score([1.0], x=[wanted]), "unit", "==", 1, where={"x": wanted})

    json.dumps(decision.to_dict(), allow_nan=False)


def test_clusters_gate_the_mean_of_cluster_means(score):
    # Means of the clusters: 1, 1/2 and 0 -> 1/2; of the rows: 4/6.
    results = score([1, 1, 1, 1, 0, 0], who=["a", "a", "a", "b", "b", "c"])

    decision = decide(results, "unit", "==", 0.5, cluster="who")
    assert decision.status == "pass"
    assert (decision.value, decision.n) == (0.5, 3)
    assert decision.row_mean == pytest.approx(4 / 6)
    assert "n=3 who clusters, row mean 0.667" in headline(decision)


def test_the_bound_of_clusters_is_taken_over_their_means(score):
    results = score([1.0] * 40, who=[i // 2 for i in range(40)])

    decision = decide(results, "unit", ">=", 0.9, cluster="who", confidence=0.95)

    assert decision.lower == pytest.approx(interval(20, 20)[0], abs=1e-9)
    assert decision.rows_needed == 29
    assert "about 29 who clusters like these would pass" in headline(decision)


def test_an_unbounded_metric_needs_bounds_for_a_confidence(score):
    results = score([0.5] * 30, given)

    decision = decide(results, "given", ">=", 0.1, confidence=0.95)
    assert decision.reason == "UNBOUNDED"
    assert "given has no known range, which a confidence needs: give" in decision.detail
    bounded = decide(results, "given", ">=", 0.1, confidence=0.95, bounds=(0, 1))
    assert bounded.status == "pass"
    assert decide(results, "given", ">=", 0.1).status == "pass"
    worst = decide(score([0.5], given, broken=[0]), "given", ">", 0, on_error="worst")
    assert worst.reason == "UNBOUNDED"
    assert 'on_error="worst" needs the range of given: give bounds=' in worst.detail


def test_an_infinite_bound_is_an_error_and_no_endless_loop():
    script = (
        "import math; from pytest_llmeval import *\n"
        "from pytest_llmeval.config import Settings\n"
        "def m(prediction, example): return 2.0\n"
        "r = evaluate(str, [{'input': 'a'}] * 2, [m], settings=Settings(cache='off'))\n"
        "d = decide(r, 'm', '>=', 1, bounds=(0, math.inf), confidence=0.95)\n"
        "print(d.status)"
    )
    result = subprocess.run(
        [sys.executable, "-c", script],
        capture_output=True,
        text=True,
        timeout=5,
        check=True,
    )

    assert result.stdout == "error\n"


def corpus(value):
    return Metric(name="whole", aggregate=lambda p, e: value, range=(0, 1))


def test_a_corpus_metric_without_a_confidence_compares_its_value(score):
    results = score([1.0] * 3, corpus(0.5))

    assert decide(results, "whole", ">=", 0.4).status == "pass"
    assert decide(results, "whole", ">=", 0.6).status == "fail"


@pytest.mark.parametrize("value", [math.nan, math.inf, "x", None])
def test_a_corpus_value_that_is_no_finite_number_ends_the_evaluation(score, value):
    with pytest.raises(MetricError, match="not a finite number"):
        score([1.0], corpus(value))


def test_a_corpus_value_outside_its_range_is_an_error(score):
    decision = decide(score([1.0], corpus(85.0)), "whole", ">=", 0)
    assert decision.reason == "OUT_OF_RANGE"


@pytest.mark.parametrize(
    ("change", "reason", "named"),
    [
        (lambda rows: rows[:2], "ROWS_MISSING", "missing: r2"),
        (lambda rows: [*rows, rows[0]], "DUPLICATE_ROWS", "more than once: r0"),
    ],
)
def test_rows_are_those_of_the_dataset(score, change, reason, named):
    results = score([1.0, 1.0, 1.0])
    results = replace(results, rows=change(results.rows))

    decision = decide(results, next(iter(results.values)), ">=", 0.5)

    assert decision.reason == reason
    assert named in decision.detail


def test_a_declared_range_cannot_be_narrowed(score):
    results = score([1.0] * 5)
    name = next(iter(results.values))

    decision = decide(results, name, ">=", 0.9, confidence=0.95, bounds=(0.85, 1))

    assert decision.reason == "BAD_TYPE"
    assert "declares the range" in decision.detail


def test_a_numpy_corpus_value_fits_into_strict_json(score):
    decision = decide(score([1.0], corpus(numpy.float32(0.5))), "whole", ">=", 0.4)

    assert json.loads(json.dumps(decision.to_dict()))["value"] == 0.5


def test_worst_never_lets_a_corpus_metric_count_unanswered_rows(score):
    share = Metric(
        name="bad",
        score=lambda p, e: 1.0,
        aggregate=lambda p, e: sum("echo" in x.text for x in p) / len(p),
        range=(0, 1),
    )
    results = score([1.0] * 2, share, broken=[0])

    assert decide(results, "bad", "<=", 0.5, on_error="worst").status != "pass"


def test_stored_replies_have_no_latency(tmp_path, run):
    settings = Settings(rootdir=tmp_path)
    model = {"model": PINNED, "data": table([1.0]), "metrics": ["latency_ms"]}
    fresh = run(**model, settings=settings)
    stored = run(**model, settings=settings)

    assert decide(fresh, "latency_ms", "<", 60_000).status == "pass"
    decision = decide(stored, "latency_ms", "<", 60_000)
    assert decision.reason == "CACHED_LATENCY"
    assert "ask again with --llmeval-cache refresh" in decision.detail
    assert decision.cached == 1


def test_only_results_can_be_gated():
    with pytest.raises(MetricError, match=r"needs what evaluate\(\) returns, got dict"):
        assert_metric({}, "unit", ">=", 0.4)
