"""From a gate on one evaluation to a decision: a metric, a slice, a quantile."""

from __future__ import annotations

import heapq
import math
import operator
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_llmeval import stats
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.gate.check import Undecidable
from pytest_llmeval.gate.check import check_bar
from pytest_llmeval.gate.check import check_gate
from pytest_llmeval.gate.check import find_metric
from pytest_llmeval.gate.check import is_corpus
from pytest_llmeval.gate.check import score_range
from pytest_llmeval.gate.corpus import corpus_interval
from pytest_llmeval.gate.corpus import corpus_value
from pytest_llmeval.gate.corpus import rows_for_corpus
from pytest_llmeval.gate.early import ask_for
from pytest_llmeval.gate.early import decide_early
from pytest_llmeval.gate.select import Bounds
from pytest_llmeval.gate.select import Kept
from pytest_llmeval.gate.select import apply_error_policy
from pytest_llmeval.gate.select import check_range
from pytest_llmeval.gate.select import check_row_count
from pytest_llmeval.gate.select import find_clusters
from pytest_llmeval.gate.select import find_slices
from pytest_llmeval.gate.select import select_rows
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Op
from pytest_llmeval.records import WorstRow
from pytest_llmeval.repeats import ExampleRows
from pytest_llmeval.repeats import by_example
from pytest_llmeval.repeats import rows_of
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
WORST_SHOWN = 3
USUAL_CONFIDENCE = 0.95


def decide_gate(results: EvalResults, gate: Gate) -> Decision:
    """Decide a gate on a metric or on one of its quantiles.

    Never raises for anything about the gate or the data: what is wrong comes back as a
    decision with status ``error``, so that it is recorded like any other.
    """
    try:
        test = ask_for(results, gate)
        examples = by_example(results, gate.metric)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is recorded
        return refuse(by_example(results), gate, error)
    if test is None:
        return settle(examples, gate, lambda blank: _decide(examples, gate, blank))
    found = test
    return settle(
        examples, gate, lambda blank: _decide_early(examples, gate, blank, found)
    )


def _decide_early(
    results: EvalResults, gate: Gate, blank: Decision, test: stats.BettingTest
) -> Decision:
    decision, kept, bounds = decide_early(results, gate, blank, test)
    check_latency(results, kept.positions, find_metric(results, gate))
    if decision.status == "pass":
        return decision
    return replace(decision, worst=worst_rows(results, kept, gate.op, bounds))


def refuse(results: EvalResults, gate: Gate, error: Exception) -> Decision:
    """Return the decision on a gate that cannot be decided."""
    known = isinstance(error, (Undecidable, LLMEvalError))
    reason = getattr(error, "reason", "CONFIGURATION") if known else "GATE_ERROR"
    detail = str(error) if known else f"{type(error).__name__}: {error}"
    return replace(_blank(results, gate), reason=reason, detail=detail)


def decide_slices(results: EvalResults, gate: Gate, by: str) -> tuple[Decision, ...]:
    """Decide a gate on each slice of the rows that has one value of a column.

    Args:
        results: What is gated.
        gate: The gate without ``where``.
        by: The column.

    Returns:
        A decision for each value, in the order in which the values come; or one in
        error, when a row has no value or there are no rows.
    """
    try:
        if results.source is not None:  # a slice takes all rows
            results.source.ask()
        results = by_example(results, gate.metric)
        slices = find_slices(results, by).values()
    except Exception as error:  # noqa: BLE001  # whatever it is, it is recorded
        return (refuse(by_example(results), gate, error),)
    return tuple(
        _decide_slice(results, replace(gate, where={by: value}), positions)
        for value, positions in slices
    )


def _decide_slice(
    results: EvalResults, gate: Gate, positions: Sequence[int]
) -> Decision:
    return settle(results, gate, lambda blank: _decide(results, gate, blank, positions))


def settle(
    results: EvalResults, gate: Gate, take: Callable[[Decision], Decision]
) -> Decision:
    """Take a decision, starting from what is known of every decision on results."""
    blank = _blank(results, gate)
    try:
        return take(blank)
    except Exception as error:  # noqa: BLE001  # whatever it is, it is recorded
        return refuse(results, gate, error)


def _blank(results: EvalResults, gate: Gate) -> Decision:
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
        errors=len(results.columns.failed),
        repeats=results.request.repeats,
        request_digest=results.request.digest,
    )


def _decide(
    results: EvalResults,
    gate: Gate,
    blank: Decision,
    positions: Sequence[int] | None = None,
) -> Decision:
    check_gate(gate)
    metric = find_metric(results, gate)
    if positions is None:
        positions = select_rows(results, gate)
    check_row_count(gate, len(positions))
    check_latency(results, positions, metric)
    bounds = score_range(gate, metric)
    check_bar(gate, bounds)
    kept, errors = apply_error_policy(results, positions, gate, metric, bounds)
    blank = replace(blank, n=len(kept.positions), errors=errors, rows=len(positions))
    if is_corpus(metric):
        decision = _decide_corpus(results, kept, gate, metric, blank)
    else:
        check_range(results, kept, bounds, gate)
        decision = _decide_scores(results, kept, gate, blank, bounds)
    if gate.on_error == "exclude" and errors:
        strict = replace(gate, on_error="worst", max_error_rate=None)
        at_worst = settle(
            results, strict, lambda b: _decide(results, strict, b, positions)
        )
        return replace(decision, at_worst=at_worst.status)
    return decision


def check_latency(
    results: EvalResults, positions: Sequence[int], metric: Metric
) -> None:
    """Refuse the latency of replies that were stored."""
    stored_at = results.columns.numbers["stored_at"]
    if metric.name == "latency_ms" and any(stored_at[at] > 0 for at in positions):
        raise Undecidable(
            "CACHED_LATENCY",
            "some replies come from the predictions store, so their latency is not of "
            "this run; ask again with --llmeval-cache refresh",
        )


def _decide_scores(
    results: EvalResults,
    kept: Kept,
    gate: Gate,
    blank: Decision,
    bounds: Bounds | None,
) -> Decision:
    if gate.kind == "quantile":
        answers = answer_scores(results, gate.metric, kept)
        decision = _decide_quantile(answers, gate, blank)
    elif gate.cluster is not None:
        clusters = find_clusters(results, kept.positions, gate.cluster)
        scores = [stats.mean([kept.scores[i] for i in rows]) for rows in clusters]
        blank = replace(blank, n=len(scores), row_mean=stats.mean(kept.scores))
        decision = _decide_mean(scores, gate, blank, bounds)
    else:
        decision = _decide_mean(kept.scores, gate, blank, bounds)
    if decision.status == "pass":
        return decision
    return replace(decision, worst=worst_rows(results, kept, gate.op, bounds))


def _decide_mean(
    scores: Sequence[float], gate: Gate, blank: Decision, bounds: Bounds | None
) -> Decision:
    blank = replace(blank, value=stats.mean(scores))
    if gate.confidence is not None and bounds is not None:
        return decide_interval(scores, gate, blank, bounds)
    decision = _decide_point(gate, blank)
    if decision.status != "pass" or bounds is None or gate.op in ("==", "!="):
        return decision
    strict = replace(gate, confidence=USUAL_CONFIDENCE)
    usual = decide_interval(scores, strict, blank, bounds)
    return replace(decision, point_only=usual.status)


def answer_scores(
    results: EvalResults, metric: str, kept: Kept
) -> Sequence[Sequence[float]]:
    """Return the scores of each row's answers: one for each repeat."""
    rows = results.rows
    if isinstance(rows, ExampleRows):
        return [rows.answers(metric, at) for at in kept.positions]
    return [[score] for score in kept.scores]


def _decide_quantile(
    answers: Sequence[Sequence[float]], gate: Gate, blank: Decision
) -> Decision:
    """Decide by the share of answers on one side of the threshold, which is a mean.

    "p95 <= 2" says that at least 95 % of the answers are at most 2, and its complement
    "p95 > 2" that fewer are. Answers to one row are counted together, for that row.
    """
    if gate.quantile is None:
        raise Undecidable("BAD_TYPE", "q= is missing")
    side = COMPARE[counted_op(gate)]
    counted = [
        stats.mean([float(side(score, gate.threshold)) for score in scores])
        for scores in answers
    ]
    decision = _decide_mean(counted, share_gate(gate), blank, (0.0, 1.0))
    value = _quantile_of([one for row in answers for one in row], gate.quantile)
    return replace(decision, gate=gate, value=value, share=decision.value)


def share_gate(gate: Gate) -> Gate:
    """Return the gate on a share of rows that a gate on a quantile stands for."""
    op: Op = ">=" if gate.op in ("<=", "<") else "<"
    return replace(gate, kind="metric", op=op, threshold=gate.quantile or 0.0)


def counted_op(gate: Gate) -> Op:
    """Return how the rows that a gate on a quantile counts lie to its threshold."""
    return gate.op if gate.op in ("<=", "<") else OPPOSITE[gate.op]


def _quantile_of(scores: Sequence[float], share: float) -> float:
    """Return the smallest score that so large a share of the scores does not pass."""
    rows = len(scores)
    count = math.ceil(share * rows)
    if (count - 1) / rows >= share:  # the product was rounded up past a whole number
        count -= 1
    return sorted(scores)[count - 1]


def _decide_corpus(
    results: EvalResults, kept: Kept, gate: Gate, metric: Metric, blank: Decision
) -> Decision:
    if gate.cluster is not None and gate.confidence is None:
        raise Undecidable(
            "UNSUPPORTED",
            f"the value of {metric.name} does not depend on cluster=; give a "
            "confidence, or leave it out",
        )
    rows = [row for at in kept.positions for row in rows_of(results, at)]
    blank = replace(blank, value=corpus_value(metric, rows, score_range(gate, metric)))
    if gate.confidence is None:
        return _decide_point(gate, blank)
    size = len(rows) // len(kept.positions)  # the repeats of an example are one unit
    units = [list(range(at, at + size)) for at in range(0, len(rows), size)]
    if gate.cluster is not None:
        clusters = find_clusters(results, kept.positions, gate.cluster)
        units = [[row for one in cluster for row in units[one]] for cluster in clusters]
    found = corpus_interval(metric, rows, units, gate.confidence)
    blank = replace(
        blank, n=len(units), method="bca", seed=found.seed, detail=found.problem
    )
    if found.lower is None or found.upper is None:
        return replace(blank, status="inconclusive", reason="INCONCLUSIVE")
    decision = _by_bounds(gate, replace(blank, lower=found.lower, upper=found.upper))
    if decision.status != "inconclusive":
        return decision
    return replace(decision, rows_needed=rows_for_corpus(decision))


def _decide_point(gate: Gate, blank: Decision) -> Decision:
    value = blank.value
    if value is None or not math.isfinite(value):
        raise Undecidable("NOT_FINITE", f"{gate.metric} is {value!r}")
    if not COMPARE[gate.op](value, gate.threshold):
        return replace(blank, status="fail", reason="GATE_FAILED")
    return replace(blank, status="pass", reason="OK")


def decide_interval(
    scores: Sequence[float], gate: Gate, blank: Decision, bounds: Bounds
) -> Decision:
    """Decide by the one-sided bounds of a mean of scores within `bounds`."""
    confidence = gate.confidence or USUAL_CONFIDENCE
    lower = stats.lower_bound(scores, confidence, *bounds)
    upper = stats.upper_bound(scores, confidence, *bounds)
    blank = replace(blank, method="gaffke", lower=lower, upper=upper)
    decision = _by_bounds(gate, blank)
    if decision.status != "inconclusive":
        return decision
    needed = _rows_needed(scores, gate.threshold, confidence, bounds)
    return replace(decision, rows_needed=needed)


def _by_bounds(gate: Gate, blank: Decision) -> Decision:
    """Pass or fail where the whole interval lies on one side of the bar."""
    lower, upper = blank.lower or 0.0, blank.upper or 0.0
    at_least = gate.op in (">=", ">")
    if COMPARE[gate.op](lower if at_least else upper, gate.threshold):
        return replace(blank, status="pass", reason="OK")
    if COMPARE[OPPOSITE[gate.op]](upper if at_least else lower, gate.threshold):
        return replace(blank, status="fail", reason="GATE_FAILED")
    return replace(blank, status="inconclusive", reason="INCONCLUSIVE")


def _rows_needed(
    scores: Sequence[float], bar: float, confidence: float, bounds: Bounds
) -> int | None:
    """Return about how many rows like these would decide, whichever way it goes."""
    low, high = bounds
    if stats.mean(scores) >= bar:
        return stats.rows_to_decide(
            scores, confidence, low, high, reaches=lambda bound: bound >= bar
        )
    mirrored = [-score for score in scores]
    return stats.rows_to_decide(
        mirrored, confidence, -high, -low, reaches=lambda bound: bound >= -bar
    )


def worst_rows(
    results: EvalResults, kept: Kept, op: str, bounds: Bounds | None
) -> tuple[WorstRow, ...]:
    """Return the rows to look at first; a row with the best score is none of them."""
    highest_first = op in ("<=", "<")
    best = bounds[not highest_first] if bounds else None
    pick: Callable[..., list[Any]]
    pick = heapq.nlargest if highest_first else heapq.nsmallest
    pairs = (pair for pair in zip(*kept, strict=True) if pair[1] != best)
    worst = pick(WORST_SHOWN, pairs, key=lambda pair: pair[1])
    rows = [(results.rows[at], score) for at, score in worst]
    return tuple(
        WorstRow(
            id=row.example.id,
            input=row.example.input,
            expected=row.example.references,
            got=row.prediction.text,
            score=score,
        )
        for row, score in rows
    )
