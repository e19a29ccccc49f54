"""From a gate on a change to a decision: the same rows, before and now."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pytest_llmeval import stats
from pytest_llmeval.errors import BaselineError
from pytest_llmeval.errors import MetricError
from pytest_llmeval.gate.baseline import check_baseline
from pytest_llmeval.gate.baseline import check_whole
from pytest_llmeval.gate.baseline import without_baseline
from pytest_llmeval.gate.check import Undecidable
from pytest_llmeval.gate.check import change_range
from pytest_llmeval.gate.check import check_gate
from pytest_llmeval.gate.check import find_metric
from pytest_llmeval.gate.decide import check_latency
from pytest_llmeval.gate.errors import Bounds
from pytest_llmeval.gate.interval import decide_interval
from pytest_llmeval.gate.interval import listed
from pytest_llmeval.gate.interval import refuse
from pytest_llmeval.gate.interval import settle
from pytest_llmeval.gate.select import apply_error_policy
from pytest_llmeval.gate.select import check_range
from pytest_llmeval.gate.select import select_rows
from pytest_llmeval.gate.table import change_in_table
from pytest_llmeval.records import Comparison
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Flip
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.repeats import by_example
from pytest_llmeval.results import Baseline
from pytest_llmeval.results import EvalResults
from pytest_llmeval.text import first_few
from pytest_llmeval.text import one_line


FLIPS_SHOWN = 3


def decide_change(
    results: EvalResults,
    gate: Gate,
    find: Callable[[], Baseline],
) -> Decision:
    """Decide a gate on the mean change of a metric's scores, row by row.

    A change is positive where the row became better, also for metrics of which less is
    better. Never raises for anything about the gate, the data or the baseline.

    Args:
        results: What is gated.
        gate: A gate on a change.
        find: Gives the baseline, or raises BaselineError.
    """
    table = results.table
    if table is not None:
        return settle(
            results,
            gate,
            lambda blank: change_in_table(results, gate, blank, table, find),
        )
    if results.source is not None:
        results.source.begin()
    try:
        examples = by_example(results, gate.metric)
    except MetricError as error:
        return refuse(by_example(results), gate, error)
    return settle(examples, gate, lambda blank: _decide(examples, gate, blank, find))


def _decide(
    results: EvalResults, gate: Gate, blank: Decision, find: Callable[[], Baseline]
) -> Decision:
    check_gate(gate)
    metric = find_metric(results, gate)
    bounds = change_range(gate, metric)
    width = bounds[1] - bounds[0]
    check_whole(results.early_stopped, "the evaluation")
    positions = select_rows(results, gate)
    check_latency(results, positions, metric)
    kept, _ = apply_error_policy(results, positions, gate, metric, bounds)
    check_range(results, kept, bounds, gate)
    blank = replace(blank, n=len(kept.scores))
    try:
        baseline = find()
    except BaselineError as error:
        return without_baseline(error, gate, blank)
    pairs = _pair(results, kept.scores, baseline, metric, bounds)
    blank = replace(
        blank,
        value=stats.mean(pairs.changes),
        compared=_compare(results, baseline, metric, pairs),
    )
    return decide_interval(listed(pairs.changes), gate, blank, (-width, width))


class _Pairs(NamedTuple):
    """The rows of both sides, in the order of the rows under test."""

    before: Sequence[float]
    now: Sequence[float]
    changes: Sequence[float]
    """Positive where the row became better."""
    positions: Sequence[int]
    """Of each row in the baseline."""


def _pair(
    results: EvalResults,
    now: Sequence[float],
    baseline: Baseline,
    metric: Metric,
    bounds: Bounds,
) -> _Pairs:
    _check_same(results, baseline, metric)
    at_id = {row_id: at for at, row_id in enumerate(baseline.columns.ids)}
    positions = [at_id[row_id] for row_id in results.columns.ids]
    scores = baseline.columns.scores[metric.name]
    before = [scores[at] for at in positions]
    for row_id, score in zip(results.columns.ids, before, strict=True):
        if not bounds[0] <= score <= bounds[1]:
            raise Undecidable(
                "BASELINE_UNUSABLE",
                f"row {one_line(row_id, 60)} of {baseline.origin} has {metric.name} = "
                f"{score!r}, outside the range {bounds[0]:g} to {bounds[1]:g}",
            )
    sign = 1.0 if metric.higher_is_better else -1.0
    changes = [sign * (new - old) for new, old in zip(now, before, strict=True)]
    return _Pairs(before, now, changes, positions)


def _check_same(results: EvalResults, baseline: Baseline, metric: Metric) -> None:
    """Refuse a baseline of other rows, or scored by another metric."""
    if baseline.table is not None:
        raise Undecidable(
            "UNSUPPORTED",
            f"the rows of {baseline.origin} lie in Spark; compare with them by "
            'evaluate(engine="spark")',
        )
    ids, known = set(results.columns.ids), set(baseline.columns.ids)
    new, gone = _differing(results.columns.ids, known), _differing(known, ids)
    difference = f"only now: {first_few(new)}; only there: {first_few(gone)}"
    check_baseline(results, baseline, metric, f" ({difference})")
    if new or gone or len(baseline.columns.ids) != len(known):
        raise Undecidable(
            "ROWS_MISSING",
            f"{baseline.origin} does not hold the same rows: {difference}",
        )


def _differing(ids: Iterable[str], known: set[str]) -> list[str]:
    return [row_id for row_id in ids if row_id not in known]


def _compare(
    results: EvalResults, baseline: Baseline, metric: Metric, pairs: _Pairs
) -> Comparison:
    ids = results.columns.ids

    def flips(indices: list[int], sign: float) -> list[Flip]:
        few = heapq.nsmallest(
            FLIPS_SHOWN, indices, key=lambda at: (sign * pairs.changes[at], ids[at])
        )
        return [_flip(results, baseline, pairs, index) for index in few]

    worse = [index for index, change in enumerate(pairs.changes) if change < 0]
    better = [index for index, change in enumerate(pairs.changes) if change > 0]
    return Comparison(
        origin=baseline.origin,
        model=baseline.model,
        request_digest=baseline.request_digest,
        value=stats.mean(pairs.before),
        value_now=stats.mean(pairs.now),
        less_is_better=not metric.higher_is_better,
        worse=len(worse),
        better=len(better),
        flips=(*flips(worse, 1.0), *flips(better, -1.0)),
        run_id=baseline.run_id,
    )


def _flip(results: EvalResults, baseline: Baseline, pairs: _Pairs, index: int) -> Flip:
    row = results.rows[index]
    return Flip(
        id=row.example.id,
        input=row.example.input,
        before=baseline.rows[pairs.positions[index]].prediction.text,
        after=row.prediction.text,
        change=pairs.changes[index],
    )
