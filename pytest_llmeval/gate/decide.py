"""From a gate on one evaluation to a decision: a metric, a slice, a quantile."""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import replace

from pytest_llmeval import stats
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
from pytest_llmeval.gate.errors import Bounds
from pytest_llmeval.gate.interval import COMPARE
from pytest_llmeval.gate.interval import WORST_SHOWN
from pytest_llmeval.gate.interval import counted_op
from pytest_llmeval.gate.interval import decide_by_bounds
from pytest_llmeval.gate.interval import decide_mean
from pytest_llmeval.gate.interval import decide_point
from pytest_llmeval.gate.interval import listed
from pytest_llmeval.gate.interval import rank_of
from pytest_llmeval.gate.interval import refuse
from pytest_llmeval.gate.interval import settle
from pytest_llmeval.gate.interval import share_gate
from pytest_llmeval.gate.select import Kept
from pytest_llmeval.gate.select import apply_error_policy
from pytest_llmeval.gate.select import check_range
from pytest_llmeval.gate.select import check_row_count
from pytest_llmeval.gate.select import find_clusters
from pytest_llmeval.gate.select import find_slices
from pytest_llmeval.gate.select import select_rows
from pytest_llmeval.gate.table import decide_in_table
from pytest_llmeval.gate.table import slices_in_table
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import WorstRow
from pytest_llmeval.repeats import ExampleRows
from pytest_llmeval.repeats import by_example
from pytest_llmeval.repeats import rows_of
from pytest_llmeval.results import EvalResults


def decide_gate(results: EvalResults, gate: Gate) -> Decision:
    """Decide a gate on a metric or on one of its quantiles.

    Never raises for anything about the gate or the data: what is wrong comes back as a
    decision with status ``error``, so that it is recorded like any other.
    """
    table = results.table
    if table is not None:
        return settle(results, gate, lambda b: decide_in_table(results, gate, b, table))
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
    if results.table is not None:
        return slices_in_table(results, gate, by, results.table)
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
        decision = decide_mean(listed(scores), gate, blank, bounds)
    else:
        decision = decide_mean(listed(kept.scores), gate, blank, bounds)
    if decision.status == "pass":
        return decision
    return replace(decision, worst=worst_rows(results, kept, gate.op, bounds))


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
    decision = decide_mean(listed(counted), share_gate(gate), blank, (0.0, 1.0))
    value = _quantile_of([one for row in answers for one in row], gate.quantile)
    return replace(decision, gate=gate, value=value, share=decision.value)


def _quantile_of(scores: Sequence[float], share: float) -> float:
    """Return the smallest score that so large a share of the scores does not pass."""
    return sorted(scores)[rank_of(share, len(scores)) - 1]


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
        return decide_point(gate, blank)
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
    decision = decide_by_bounds(
        gate, replace(blank, lower=found.lower, upper=found.upper)
    )
    if decision.status != "inconclusive":
        return decision
    return replace(decision, rows_needed=rows_for_corpus(decision))


def worst_rows(
    results: EvalResults, kept: Kept, op: str, bounds: Bounds | None
) -> tuple[WorstRow, ...]:
    """Return the rows to look at first; a row with the best score is none of them.

    Of equal scores those whose ids come first, as on any engine.
    """
    highest_first = op in ("<=", "<")
    best = bounds[not highest_first] if bounds else None
    sign, ids = -1.0 if highest_first else 1.0, results.columns.ids
    pairs = (pair for pair in zip(*kept, strict=True) if pair[1] != best)
    worst = heapq.nsmallest(
        WORST_SHOWN, pairs, key=lambda pair: (sign * pair[1], ids[pair[0]])
    )
    return tuple(WorstRow.of(results.rows[at], score) for at, score in worst)
