"""Gates on rows that lie in a table: from counts and a few rows to a decision."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from pytest_llmeval.errors import BaselineError
from pytest_llmeval.gate.baseline import check_baseline
from pytest_llmeval.gate.baseline import without_baseline
from pytest_llmeval.gate.check import Undecidable
from pytest_llmeval.gate.check import change_range
from pytest_llmeval.gate.check import check_bar
from pytest_llmeval.gate.check import check_gate
from pytest_llmeval.gate.check import find_metric
from pytest_llmeval.gate.check import is_corpus
from pytest_llmeval.gate.check import score_range
from pytest_llmeval.gate.errors import NAMED_ROWS
from pytest_llmeval.gate.errors import Bad
from pytest_llmeval.gate.errors import Bounds
from pytest_llmeval.gate.errors import errors_count_as
from pytest_llmeval.gate.interval import WORST_SHOWN
from pytest_llmeval.gate.interval import counted_op
from pytest_llmeval.gate.interval import decide_interval
from pytest_llmeval.gate.interval import decide_mean
from pytest_llmeval.gate.interval import rank_of
from pytest_llmeval.gate.interval import refuse
from pytest_llmeval.gate.interval import settle
from pytest_llmeval.gate.interval import share_gate
from pytest_llmeval.gate.select import check_row_count
from pytest_llmeval.gate.select import check_slice_columns
from pytest_llmeval.records import Comparison
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Flip
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Sample
from pytest_llmeval.records import ScoreTable
from pytest_llmeval.records import WorstRow
from pytest_llmeval.results import Baseline
from pytest_llmeval.results import EvalResults


MOST_SLICES = 1_000


def decide_in_table(
    results: EvalResults, gate: Gate, blank: Decision, table: ScoreTable
) -> Decision:
    """Decide a gate on a metric or a quantile over all rows, or over a slice."""
    check_gate(gate)
    metric = find_metric(results, gate)
    _check_kind(metric)
    if gate.where:
        check_slice_columns(results, gate)
        table = table.select(gate.where)
    rows, bad = _count(results, gate, table)
    _check_latency(table, metric)
    bounds = score_range(gate, metric)
    check_bar(gate, bounds)
    score = _score_of_errors(gate, metric, table, (rows, bad), bounds)
    counted = rows - bad if score is None else rows
    blank = replace(blank, n=counted, errors=bad, rows=rows)
    decision = _decide_scores(gate, blank, table, bounds, score)
    if gate.on_error == "exclude" and bad:
        strict = replace(gate, on_error="worst", max_error_rate=None, where=None)
        at_worst = settle(
            results, strict, lambda b: _at_worst(strict, b, table, bounds)
        )
        return replace(decision, at_worst=at_worst.status)
    return decision


def _at_worst(
    gate: Gate, blank: Decision, table: ScoreTable, bounds: Bounds | None
) -> Decision:
    """Decide with rows in error counted at the worst."""
    if bounds is None:
        raise Undecidable("UNBOUNDED", "there is no worst score")
    score = bounds[1] if gate.op in ("<=", "<") else bounds[0]
    return _decide_scores(gate, blank, table, bounds, score)


def _check_kind(metric: Metric) -> None:
    if is_corpus(metric):
        raise Undecidable(
            "UNSUPPORTED",
            f"{metric.name} is computed over all rows together, which lie in Spark: "
            'evaluate with engine="local"',
        )


def _count(results: EvalResults, gate: Gate, table: ScoreTable) -> tuple[int, int]:
    """Return how many rows the gate is about, and how many of them are in error."""
    rows, bad = table.sizes()
    expected = len(results.dataset.ids)
    if gate.where and not rows:
        raise Undecidable("ZERO_ROWS", f"no row has {gate.where!r}")
    if not gate.where and rows != expected:
        raise Undecidable(
            "ROWS_MISSING", f"the results have {rows} rows and the dataset {expected}"
        )
    check_row_count(gate, rows)
    return rows, bad


def _check_latency(table: ScoreTable, metric: Metric) -> None:
    if metric.name == "latency_ms" and table.tally.cached:
        raise Undecidable(
            "CACHED_LATENCY",
            "some replies are of an earlier run, so their latency is not of this run; "
            "ask again with --llmeval-cache refresh",
        )


def _score_of_errors(
    gate: Gate,
    metric: Metric,
    table: ScoreTable,
    counts: tuple[int, int],
    bounds: Bounds | None,
) -> float | None:
    rows, bad = counts
    if not bad:
        return None
    few = Bad(rows, bad, table.failed(NAMED_ROWS), table.tally.kinds)
    return errors_count_as(gate, metric, few, bounds)


def _decide_scores(
    gate: Gate,
    blank: Decision,
    table: ScoreTable,
    bounds: Bounds | None,
    score: float | None,
) -> Decision:
    """Decide; rows in error count with a score, or not at all when it is None."""
    sample = table.sample(gate.metric, bounds, errors_as=score)
    _check_range(sample, bounds, gate)
    if gate.kind == "quantile":
        decision = _decide_quantile(gate, blank, table, score)
    elif gate.cluster is not None:
        means = table.sample(gate.metric, bounds, cluster=gate.cluster, errors_as=score)
        blank = replace(blank, n=means.rows, row_mean=sample.mean)
        decision = decide_mean(means, gate, blank, bounds)
    else:
        decision = decide_mean(sample, gate, blank, bounds)
    if decision.status == "pass":
        return decision
    return replace(decision, worst=_worst(table, gate, bounds, score))


def _check_range(sample: Sample, bounds: Bounds | None, gate: Gate) -> None:
    if bounds is None:
        return
    low, high = sample.extremes
    if not bounds[0] <= low <= high <= bounds[1]:
        raise Undecidable(
            "OUT_OF_RANGE",
            f"a row has {gate.metric} = {low if low < bounds[0] else high!r}, outside "
            f"the range {bounds[0]:g} to {bounds[1]:g}",
        )


def _decide_quantile(
    gate: Gate, blank: Decision, table: ScoreTable, score: float | None
) -> Decision:
    """Decide by the share of answers on one side of the threshold, which is a mean."""
    if gate.quantile is None:
        raise Undecidable("BAD_TYPE", "q= is missing")
    shares = table.shares(gate.metric, counted_op(gate), gate.threshold, score)
    decision = decide_mean(shares, share_gate(gate), blank, (0.0, 1.0))
    rank = rank_of(gate.quantile, blank.n * blank.repeats)
    value = table.quantile(gate.metric, rank, score)
    return replace(decision, gate=gate, value=value, share=decision.value)


def _worst(
    table: ScoreTable, gate: Gate, bounds: Bounds | None, score: float | None
) -> tuple[WorstRow, ...]:
    highest_first = gate.op in ("<=", "<")
    worst = table.worst(
        gate.metric,
        WORST_SHOWN,
        highest_first=highest_first,
        best=bounds[not highest_first] if bounds else None,
        errors_as=score,
    )
    return tuple(WorstRow.of(row, value) for row, value in worst)


def slices_in_table(
    results: EvalResults, gate: Gate, by: str, table: ScoreTable
) -> tuple[Decision, ...]:
    """Decide a gate on each slice of the rows that has one value of a column."""
    try:
        if not isinstance(by, str):
            raise Undecidable("BAD_TYPE", f"by={by!r:.60} names no column")
        values = table.values(by, MOST_SLICES + 1)
        if len(values) > MOST_SLICES:
            raise Undecidable(
                "UNSUPPORTED",
                f"the column {by!r} has more than {MOST_SLICES} values, and each would "
                "be a slice; group them with prepare=",
            )
    except Exception as error:  # noqa: BLE001  # whatever it is, it is recorded
        return (refuse(results, gate, error),)
    return tuple(
        _decide_slice(results, replace(gate, where={by: value}), table)
        for value in values
    )


def _decide_slice(results: EvalResults, gate: Gate, table: ScoreTable) -> Decision:
    return settle(results, gate, lambda b: decide_in_table(results, gate, b, table))


def change_in_table(
    results: EvalResults,
    gate: Gate,
    blank: Decision,
    table: ScoreTable,
    find: Callable[[], Baseline],
) -> Decision:
    """Decide a gate on the mean change of a metric's scores, row by row."""
    check_gate(gate)
    metric = find_metric(results, gate)
    bounds = change_range(gate, metric)
    width = bounds[1] - bounds[0]
    rows, bad = _count(results, gate, table)
    _check_latency(table, metric)
    _score_of_errors(gate, metric, table, (rows, bad), bounds)
    sample = table.sample(gate.metric, bounds)
    _check_range(sample, bounds, gate)
    blank = replace(blank, n=sample.rows)
    try:
        baseline = find()
    except BaselineError as error:
        return without_baseline(error, gate, blank)
    check_baseline(results, baseline, metric)
    sign = 1.0 if metric.higher_is_better else -1.0
    changes = table.changes(baseline, gate.metric, sign, bounds)
    flips = tuple(
        Flip(
            id=now.example.id,
            input=now.example.input,
            before=before.prediction.text,
            after=now.prediction.text,
            change=change,
        )
        for now, before, change in changes.flips
    )
    compared = Comparison(
        origin=baseline.origin,
        model=baseline.model,
        request_digest=baseline.request_digest,
        value=changes.before,
        value_now=sample.mean,
        less_is_better=not metric.higher_is_better,
        worse=changes.worse,
        better=changes.better,
        flips=flips,
        run_id=baseline.run_id,
    )
    blank = replace(blank, value=changes.sample.mean, compared=compared)
    return decide_interval(changes.sample, gate, blank, (-width, width))
