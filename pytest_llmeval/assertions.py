"""Gates as a test writes them."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any
from typing import Literal

from pytest_llmeval.errors import GateNotPassed
from pytest_llmeval.errors import MetricError
from pytest_llmeval.gate import decide_gate
from pytest_llmeval.gate import explain
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.records import OnError
from pytest_llmeval.records import Op
from pytest_llmeval.records import is_number
from pytest_llmeval.results import EvalResults


def assert_metric(
    results: EvalResults,
    metric: str,
    op: Op,
    threshold: float,
    *,
    confidence: float | Literal["point"] | None = None,
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
    recorder = results.recorder
    if recorder is not None:
        decision = recorder.record(decision)
    if decision.status != "pass" and (recorder is None or recorder.raises):
        raise GateNotPassed(explain(decision), decision)
    return decision


def decide(
    results: EvalResults,
    metric: str,
    op: Op,
    threshold: float,
    *,
    confidence: float | Literal["point"] | None = None,
    bounds: tuple[float, float] | None = None,
    cluster: str | None = None,
    where: Mapping[str, Any] | None = None,
    min_rows: int | None = None,
    on_error: OnError = "fail",
    max_error_rate: float | None = None,
) -> Decision:
    """Return the decision that `assert_metric` would take, without raising.

    Nothing is recorded: for notebooks. Arguments are those of `assert_metric`.
    """
    if not isinstance(results, EvalResults):
        raise MetricError(
            f"assert_metric needs what evaluate() returns, got {type(results).__name__}"
        )
    if is_number(threshold):
        with suppress(OverflowError):  # decide_gate says what is wrong with it
            threshold = float(threshold)
    level = None if confidence == "point" else confidence
    if confidence is None and op not in ("==", "!="):
        level = results.confidence
    gate = Gate(
        metric=metric,
        op=op,
        threshold=threshold,
        confidence=level,
        bounds=bounds,
        cluster=cluster,
        where=where,
        min_rows=min_rows,
        on_error=on_error,
        max_error_rate=max_error_rate,
    )
    return decide_gate(results, gate)
