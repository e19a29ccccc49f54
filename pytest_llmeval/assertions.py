"""Gates as a test writes them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmeval.decisions import BaselineName
from pytest_llmeval.decisions import Confidence
from pytest_llmeval.decisions import decide
from pytest_llmeval.decisions import decide_each_slice
from pytest_llmeval.decisions import decide_improved
from pytest_llmeval.decisions import decide_no_regression
from pytest_llmeval.decisions import decide_quantile
from pytest_llmeval.errors import GateNotPassed
from pytest_llmeval.gate import explain
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Missing
from pytest_llmeval.records import OnError
from pytest_llmeval.records import Op
from pytest_llmeval.results import EvalResults


SHOWN_SLICES = 20


def assert_metric(
    results: EvalResults,
    metric: str,
    op: Op,
    threshold: float,
    *,
    confidence: Confidence = None,
    bounds: tuple[float, float] | None = None,
    cluster: str | None = None,
    where: Mapping[str, Any] | None = None,
    min_rows: int | None = None,
    on_error: OnError = "fail",
    max_error_rate: float | None = None,
) -> Decision:
    """Gate on a metric: raise unless it reaches the threshold.

    With a confidence the gate passes when the one-sided confidence bound of the mean
    reaches the threshold, fails when the bound on the other side misses it, and is
    inconclusive in between. The decision is recorded when this is called, whatever
    happens to the exception.

    Args:
        results: What `evaluate` returned.
        metric: Name of the metric.
        op: ``>=``, ``>``, ``<=``, ``<``, ``==`` or ``!=``.
        threshold: A finite number within the metric's range.
        confidence: For example 0.95; the ini value ``llmeval_confidence`` when left
            out; ``"point"`` compares the point value whatever the ini says.
        bounds: Lowest and highest possible score, where the metric declares none.
        cluster: Column that groups rows that belong together; the gate is then on the
            mean of cluster means.
        where: Gate only rows with these column values.
        min_rows: Fewer rows are an error.
        on_error: What rows in error do: make the gate an error (``"fail"``), count at
            the worst possible score (``"worst"``), or stay out (``"exclude"``, together
            with `max_error_rate`).
        max_error_rate: The largest share of rows in error that may stay out.

    Returns:
        The decision, which is *pass*.

    Raises:
        GateNotPassed: the decision is fail, inconclusive or error.
    """
    __tracebackhide__ = True
    decision = decide(
        results,
        metric,
        op,
        threshold,
        confidence=confidence,
        bounds=bounds,
        cluster=cluster,
        where=where,
        min_rows=min_rows,
        on_error=on_error,
        max_error_rate=max_error_rate,
    )
    return _deliver(results, decision)


def assert_no_regression(
    results: EvalResults,
    baseline: BaselineName,
    metric: str,
    *,
    max_drop: float,
    confidence: float = 0.95,
    missing: Missing = "error",
) -> Decision:
    """Gate on a change: raise unless the metric has not dropped by more than that.

    Both evaluations are joined row by row. The gate passes when the lower confidence
    bound of the mean change is at least ``-max_drop``; a change is positive where a row
    became better, also for metrics of which less is better.

    Args:
        results: What `evaluate` returned.
        baseline: What it is compared with: an alias of the registered model under test
            (``"champion"``), a version (3), a run id, a results directory, or results.
        metric: Name of a metric with row scores and a known range.
        max_drop: The largest drop of the mean that is accepted, at least 0.
        confidence: Of the bound.
        missing: ``"first"`` passes with the reason FIRST_VERSION as long as no version
            of the model has the alias.

    Returns:
        The decision, which is *pass*.

    Raises:
        GateNotPassed: the decision is fail, inconclusive or error.
    """
    __tracebackhide__ = True
    decision = decide_no_regression(
        results,
        baseline,
        metric,
        max_drop=max_drop,
        confidence=confidence,
        missing=missing,
    )
    return _deliver(results, decision)


def assert_improved(
    results: EvalResults,
    baseline: BaselineName,
    metric: str,
    *,
    min_gain: float = 0,
    confidence: float = 0.95,
) -> Decision:
    """Gate on a change: raise unless the metric has improved by more than that.

    The gate passes when the lower confidence bound of the mean change is above
    `min_gain`.

    Args:
        results: What `evaluate` returned.
        baseline: As in `assert_no_regression`.
        metric: As in `assert_no_regression`.
        min_gain: The gain that must be exceeded, at least 0.
        confidence: Of the bound.

    Returns:
        The decision, which is *pass*.

    Raises:
        GateNotPassed: the decision is fail, inconclusive or error.
    """
    __tracebackhide__ = True
    decision = decide_improved(
        results, baseline, metric, min_gain=min_gain, confidence=confidence
    )
    return _deliver(results, decision)


def assert_quantile(
    results: EvalResults,
    metric: str,
    q: float,
    op: Op,
    threshold: float,
    *,
    confidence: Confidence = None,
) -> Decision:
    """Gate on a quantile, for latency and cost: raise unless it reaches the threshold.

    "p95 <= 2000" is decided as "the share of rows that are <= 2000 is >= 0.95", and
    "p95 >= 2000" as "the share of rows that are < 2000 is < 0.95". The metric needs no
    range.

    Args:
        results: What `evaluate` returned.
        metric: Name of a metric with row scores.
        q: Which quantile, above 0 and below 1; 0.95 is the 95th percentile.
        op: ``<=``, ``<``, ``>=`` or ``>``.
        threshold: A finite number in the metric's unit.
        confidence: As in `assert_metric`, of the bound of the share.

    Returns:
        The decision, which is *pass*; its bounds are of the share.

    Raises:
        GateNotPassed: the decision is fail, inconclusive or error.
    """
    __tracebackhide__ = True
    decision = decide_quantile(results, metric, q, op, threshold, confidence=confidence)
    return _deliver(results, decision)


def assert_each_slice(
    results: EvalResults,
    metric: str,
    op: Op,
    threshold: float,
    *,
    by: str,
    confidence: Confidence = None,
) -> tuple[Decision, ...]:
    """Gate each slice of the rows: raise unless all of them reach the threshold.

    All must pass, so the confidence of each needs no correction.

    Args:
        results: What `evaluate` returned.
        metric: Name of the metric.
        op: As in `assert_metric`.
        threshold: As in `assert_metric`.
        by: Column whose values make the slices; a row without one is an error.
        confidence: As in `assert_metric`.

    Returns:
        The decisions, which are *pass*, in the order in which the values come.

    Raises:
        GateNotPassed: a slice's decision is fail, inconclusive or error; the message
            explains 20 of them, and `decision` is the first.
    """
    __tracebackhide__ = True
    decisions = decide_each_slice(
        results, metric, op, threshold, by=by, confidence=confidence
    )
    recorder = results.recorder
    if recorder is not None:
        fields = results.dataset.columns
        decisions = tuple(recorder.record(one, fields) for one in decisions)
    failed = [decision for decision in decisions if decision.status != "pass"]
    if failed and (recorder is None or recorder.raises):
        head = f"{len(failed)} of {len(decisions)} slices by {by!r} did not pass"
        parts = [head, *map(explain, failed[:SHOWN_SLICES])]
        if len(failed) > SHOWN_SLICES:
            parts.append(f"and {len(failed) - SHOWN_SLICES} more slices")
        raise GateNotPassed("\n\n".join(parts), failed[0])
    return decisions


def _deliver(results: EvalResults, decision: Decision) -> Decision:
    """Record a decision, and raise unless it is *pass*."""
    __tracebackhide__ = True
    recorder = results.recorder
    if recorder is not None:
        decision = recorder.record(decision, results.dataset.columns)
    if decision.status != "pass" and (recorder is None or recorder.raises):
        raise GateNotPassed(explain(decision), decision)
    return decision
