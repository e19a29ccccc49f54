"""Decisions without raising and recording, for notebooks and for the assertions."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import PurePath
from typing import Any
from typing import Literal
from typing import TypeAlias

from pytest_llmeval.errors import BaselineError
from pytest_llmeval.errors import MetricError
from pytest_llmeval.gate import decide_change
from pytest_llmeval.gate import decide_gate
from pytest_llmeval.gate import decide_slices
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Missing
from pytest_llmeval.records import OnError
from pytest_llmeval.records import Op
from pytest_llmeval.records import is_number
from pytest_llmeval.repeats import by_example
from pytest_llmeval.results import Baseline
from pytest_llmeval.results import EvalResults


Confidence: TypeAlias = float | Literal["point"] | None
BaselineName: TypeAlias = str | int | PurePath | EvalResults


def decide(
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
    """Return the decision that `assert_metric` would take, without raising.

    Nothing is recorded: for notebooks. Arguments are those of `assert_metric`.
    """
    _check_results(results)
    gate = Gate(
        metric=metric,
        op=op,
        threshold=_as_float(threshold),
        confidence=_level(results.confidence, op, confidence),
        bounds=bounds,
        cluster=cluster,
        where=where,
        min_rows=min_rows,
        on_error=on_error,
        max_error_rate=max_error_rate,
    )
    return decide_gate(results, gate)


def decide_no_regression(
    results: EvalResults,
    baseline: BaselineName,
    metric: str,
    *,
    max_drop: float,
    confidence: float = 0.95,
    missing: Missing = "error",
) -> Decision:
    """Return the decision of `assert_no_regression`, without raising or recording."""
    drop = _as_float(max_drop)
    gate = Gate(
        metric=metric,
        op=">=",
        threshold=-drop if is_number(drop) else drop,
        kind="change",
        confidence=_given_level(confidence),
        missing=missing,
    )
    return _decide_change(results, baseline, gate)


def decide_improved(
    results: EvalResults,
    baseline: BaselineName,
    metric: str,
    *,
    min_gain: float = 0,
    confidence: float = 0.95,
) -> Decision:
    """Return the decision of `assert_improved`, without raising or recording."""
    gate = Gate(
        metric=metric,
        op=">",
        threshold=_as_float(min_gain),
        kind="change",
        confidence=_given_level(confidence),
    )
    return _decide_change(results, baseline, gate)


def decide_quantile(
    results: EvalResults,
    metric: str,
    q: float,
    op: Op,
    threshold: float,
    *,
    confidence: Confidence = None,
) -> Decision:
    """Return the decision of `assert_quantile`, without raising or recording."""
    _check_results(results)
    gate = Gate(
        metric=metric,
        op=op,
        threshold=_as_float(threshold),
        kind="quantile",
        quantile=_as_float(q),
        confidence=_level(results.confidence, op, confidence),
    )
    return decide_gate(results, gate)


def decide_each_slice(
    results: EvalResults,
    metric: str,
    op: Op,
    threshold: float,
    *,
    by: str,
    confidence: Confidence = None,
) -> tuple[Decision, ...]:
    """Return the decisions of `assert_each_slice`, without raising or recording."""
    _check_results(results)
    gate = Gate(
        metric=metric,
        op=op,
        threshold=_as_float(threshold),
        confidence=_level(results.confidence, op, confidence),
    )
    return decide_slices(results, gate, by)


def decide_listed(results: EvalResults, gate: Gate) -> Decision:
    """Return the decision on a gate that was written down before there were results.

    A gate without a confidence has that of the ini value ``llmeval_confidence``.
    """
    gate = complete_gate(gate, results.confidence)
    if gate.kind == "change":
        return _decide_change(results, gate.baseline or "", gate)
    return decide_gate(results, gate)


def complete_gate(gate: Gate, usual: float | None) -> Gate:
    """Return a gate that was written down with all that it left open.

    Args:
        gate: As the suite gives it.
        usual: The confidence of gates that name none.
    """
    return replace(
        gate,
        threshold=_as_float(gate.threshold),
        confidence=_level(usual, gate.op, gate.confidence),
    )


def _decide_change(
    results: EvalResults, baseline: BaselineName, gate: Gate
) -> Decision:
    _check_results(results)
    name = str(baseline)
    if isinstance(baseline, EvalResults):
        name = f"results of {baseline.model}"
    gate = replace(gate, baseline=name)
    return decide_change(results, gate, lambda: _find(results, baseline))


def _find(results: EvalResults, baseline: object) -> Baseline:
    if baseline is results:
        raise BaselineError(
            "BASELINE_UNUSABLE",
            "the baseline is the evaluation itself; give another one, or a name",
        )
    if isinstance(baseline, EvalResults):
        return by_example(baseline).as_baseline()
    if isinstance(baseline, bool) or not isinstance(baseline, (str, int, PurePath)):
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"{type(baseline).__name__} is no baseline: give an alias, a version, a "
            "run id, a results directory, or what evaluate() returned",
        )
    if results.find_baseline is None:
        raise BaselineError(
            "BASELINE_UNUSABLE",
            "these results do not know where runs are kept: give what evaluate() "
            "returned as the baseline",
        )
    name = str(baseline)
    if isinstance(baseline, PurePath) and not baseline.is_absolute():
        name = f"./{baseline}"  # not to be taken for an alias
    return results.find_baseline(name, results)


def _check_results(results: object) -> None:
    if not isinstance(results, EvalResults):
        raise MetricError(
            f"a gate needs what evaluate() returns, got {type(results).__name__}"
        )


def _as_float(value: float) -> float:
    """Return a number as a float, and anything else as it is: the gate refuses it."""
    if is_number(value):
        with suppress(OverflowError):
            return float(value)
    return value


def _level(usual: float | None, op: Op, confidence: Confidence) -> float | None:
    if confidence is None and op not in ("==", "!="):
        return usual
    return _given_level(confidence)


def _given_level(confidence: Confidence) -> float | None:
    if isinstance(confidence, str) and confidence == "point":
        return None
    return confidence
