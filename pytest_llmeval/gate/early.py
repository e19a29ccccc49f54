"""Gates on an evaluation that asks for no more rows than they take."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pytest_llmeval import stats
from pytest_llmeval.gate.check import check_bar
from pytest_llmeval.gate.check import check_gate
from pytest_llmeval.gate.check import find_metric
from pytest_llmeval.gate.check import is_corpus
from pytest_llmeval.gate.check import score_range
from pytest_llmeval.gate.errors import Bounds
from pytest_llmeval.gate.select import Kept
from pytest_llmeval.gate.select import apply_error_policy
from pytest_llmeval.gate.select import check_range
from pytest_llmeval.gate.select import check_row_count
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Row
from pytest_llmeval.repeats import score_of
from pytest_llmeval.results import EvalResults


def ask_for(results: EvalResults, gate: Gate) -> stats.BettingTest | None:
    """Ask for the rows that a gate takes, where the evaluation has not asked for all.

    Returns:
        The test that has stopped the asking; None where the gate is on all rows.

    Raises:
        Undecidable: the gate has no meaning.
        LLMEvalError: the model must not be asked on, or the evaluation is over.
    """
    if results.source is None:
        return None
    results.source.begin()
    check_gate(gate)
    metric = find_metric(results, gate)
    check_row_count(gate, len(results.dataset.ids))
    bounds = score_range(gate, metric)
    check_bar(gate, bounds)
    if bounds is None or gate.confidence is None or not _may_stop(gate, metric, bounds):
        results.source.ask()
        return None
    low, high = bounds
    test = stats.BettingTest(gate.threshold, gate.confidence, low, high)

    def is_decided(rows: Sequence[Row]) -> bool:
        if any(row.errors for row in rows):
            return True  # no further row can make the gate pass
        score = score_of(rows, gate.metric)
        if not low <= score <= high:
            return True
        test.add([score])
        return test.decided is not None

    results.source.ask(is_decided)
    return test


def _may_stop(gate: Gate, metric: Metric, bounds: Bounds) -> bool:
    """Return whether the betting test serves a gate; the others are on all rows."""
    is_mean = gate.kind == "metric" and not is_corpus(metric)
    is_of_all = not gate.where and gate.cluster is None and gate.on_error == "fail"
    return is_mean and is_of_all and bounds[0] < gate.threshold < bounds[1]


def decide_early(
    results: EvalResults, gate: Gate, blank: Decision, test: stats.BettingTest
) -> tuple[Decision, Kept, Bounds | None]:
    """Decide by the betting test alone; return also the rows that it has counted."""
    metric = find_metric(results, gate)
    bounds = score_range(gate, metric)
    last = test.rows if test.decided else test.rows + 1  # the row that ended it, if any
    positions = range(min(last, len(results.rows)))
    kept, _ = apply_error_policy(results, positions, gate, metric, bounds)
    check_range(results, kept, bounds, gate)
    status, reason = "fail", "GATE_FAILED"
    if test.decided is None:
        status, reason = "inconclusive", "INCONCLUSIVE"
    elif (test.decided == "above") == (gate.op in (">=", ">")):
        status, reason = "pass", "OK"
    decision = replace(
        blank,
        status=status,  # type: ignore[arg-type]  # one of these three
        reason=reason,
        method="betting",
        value=stats.mean(kept.scores),
        n=len(kept.scores),
        errors=0,
    )
    return decision, kept, bounds
