"""From a sample of scores to a decision: by its mean, or by the bounds of its mean."""

from __future__ import annotations

import math
import operator
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace

from pytest_llmeval import stats
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.gate.check import Undecidable
from pytest_llmeval.gate.errors import Bounds
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Op
from pytest_llmeval.records import Sample
from pytest_llmeval.results import EvalResults


COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
OPPOSITE: Mapping[str, Op] = {">=": "<", ">": "<=", "<=": ">", "<": ">="}
USUAL_CONFIDENCE = 0.95
WORST_SHOWN = 3


def settle(
    results: EvalResults, gate: Gate, take: Callable[[Decision], Decision]
) -> Decision:
    """Take a decision, starting from what is known of every decision on results."""
    blank = blank_decision(results, gate)
    try:
        return take(blank)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is recorded
        return refuse(results, gate, error)


def blank_decision(results: EvalResults, gate: Gate) -> Decision:
    """Return what is known of every decision on results."""
    return Decision(
        gate=gate,
        status="error",
        reason="",
        cached=results.cached,
        oldest_reply=results.oldest_reply,
        model=results.model,
        dataset=results.dataset.name,
        dataset_digest=results.dataset.digest,
        rows=len(results.dataset.ids),
        errors=results.tally.failed,
        repeats=results.request.repeats,
        request_digest=results.request.digest,
    )


def refuse(results: EvalResults, gate: Gate, error: Exception) -> Decision:
    """Return the decision on a gate that cannot be decided."""
    known = isinstance(error, (Undecidable, LLMEvalError))
    reason = getattr(error, "reason", "CONFIGURATION") if known else "GATE_ERROR"
    detail = str(error) if known else f"{type(error).__name__}: {error}"
    return replace(blank_decision(results, gate), reason=reason, detail=detail)


def decide_mean(
    sample: Sample, gate: Gate, blank: Decision, bounds: Bounds | None
) -> Decision:
    """Decide by the bounds of a mean, or by its value without a confidence."""
    blank = replace(blank, value=sample.mean)
    if gate.confidence is not None and bounds is not None:
        return decide_interval(sample, gate, blank, bounds)
    decision = decide_point(gate, blank)
    if decision.status != "pass" or bounds is None or gate.op in ("==", "!="):
        return decision
    strict = replace(gate, confidence=USUAL_CONFIDENCE)
    usual = decide_interval(sample, strict, blank, bounds)
    return replace(decision, point_only=usual.status)


def decide_point(gate: Gate, blank: Decision) -> Decision:
    """Decide by a value."""
    value = blank.value
    if value is None or not math.isfinite(value):
        raise Undecidable("NOT_FINITE", f"{gate.metric} is {value!r}")
    if not COMPARE[gate.op](value, gate.threshold):
        return replace(blank, status="fail", reason="GATE_FAILED")
    return replace(blank, status="pass", reason="OK")


def decide_interval(
    sample: Sample, gate: Gate, blank: Decision, bounds: Bounds
) -> Decision:
    """Decide by the one-sided bounds of a mean of scores within `bounds`."""
    confidence = gate.confidence or USUAL_CONFIDENCE
    lower, upper = stats.bounds_of(sample, confidence, bounds)
    blank = replace(blank, method="gaffke", lower=lower, upper=upper)
    decision = decide_by_bounds(gate, blank)
    if decision.status != "inconclusive":
        return decision
    needed = _rows_needed(sample, gate.threshold, confidence, bounds)
    return replace(decision, rows_needed=needed)


def decide_by_bounds(gate: Gate, blank: Decision) -> Decision:
    """Pass or fail where the whole interval lies on one side of the bar."""
    lower, upper = blank.lower or 0.0, blank.upper or 0.0
    at_least = gate.op in (">=", ">")
    if COMPARE[gate.op](lower if at_least else upper, gate.threshold):
        return replace(blank, status="pass", reason="OK")
    if COMPARE[OPPOSITE[gate.op]](upper if at_least else lower, gate.threshold):
        return replace(blank, status="fail", reason="GATE_FAILED")
    return replace(blank, status="inconclusive", reason="INCONCLUSIVE")


def _rows_needed(
    sample: Sample, bar: float, confidence: float, bounds: Bounds
) -> int | None:
    """Return about how many rows like these would decide, whichever way it goes."""
    low, high = bounds
    if sample.mean >= bar:
        return stats.rows_to_decide(
            sample.scores,
            confidence,
            low,
            high,
            reaches=lambda bound: bound >= bar,
            counts=sample.counts,
        )
    return stats.rows_to_decide(
        [-score for score in sample.scores],
        confidence,
        -high,
        -low,
        reaches=lambda bound: bound >= -bar,
        counts=sample.counts,
    )


def share_gate(gate: Gate) -> Gate:
    """Return the gate on a share of rows that a gate on a quantile stands for."""
    op: Op = ">=" if gate.op in ("<=", "<") else "<"
    return replace(gate, kind="metric", op=op, threshold=gate.quantile or 0.0)


def counted_op(gate: Gate) -> Op:
    """Return how the rows that a gate on a quantile counts lie to its threshold."""
    return gate.op if gate.op in ("<=", "<") else OPPOSITE[gate.op]


def listed(scores: Sequence[float]) -> Sample:
    """Return scores that lie in memory, at least one, as a sample."""
    return Sample(scores=scores, counts=None, mean=stats.mean(scores))


def rank_of(share: float, rows: int) -> int:
    """Return the rank, from 1, of the first score that is a quantile of so many rows.

    Args:
        share: Of the rows, which the quantile does not pass.
        rows: How many there are.
    """
    count = math.ceil(share * rows)
    if (count - 1) / rows >= share:  # the product was rounded up past a whole number
        count -= 1
    return count
