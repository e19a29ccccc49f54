"""Which rows a gate is about, and what those in error count for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from pytest_llmeval.gate.check import Undecidable
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Row
from pytest_llmeval.records import canonical
from pytest_llmeval.records import is_missing
from pytest_llmeval.results import EvalResults
from pytest_llmeval.text import first_few
from pytest_llmeval.text import one_line


NAMED_ROWS = 5
Bounds = tuple[float, float]


class Kept(NamedTuple):
    """The rows that count, and the scores that they count with."""

    positions: Sequence[int]
    scores: Sequence[float]


def check_row_count(gate: Gate, rows: int) -> None:
    """Refuse fewer rows than the gate asks for."""
    if gate.min_rows is not None and rows < gate.min_rows:
        raise Undecidable("TOO_FEW_ROWS", f"{rows} rows, and min_rows={gate.min_rows}")


def select_rows(results: EvalResults, gate: Gate) -> Sequence[int]:
    """Return the positions of the rows that the gate is about."""
    check_ids(results)
    positions: Sequence[int] = range(len(results.dataset.ids))
    if not gate.where:
        return positions
    for column in gate.where:
        if column not in results.dataset.filled:
            raise Undecidable(
                "ZERO_ROWS", f"where= names a column {column!r} that the data lacks"
            )
    for column, wanted in gate.where.items():
        values, value = column_values(results, column), canonical(wanted)
        positions = [at for at in positions if _is(values[at], value)]
    if not positions:
        raise Undecidable("ZERO_ROWS", f"no row has {gate.where!r}")
    return positions


def check_ids(results: EvalResults) -> None:
    """Refuse rows that are not exactly those of the dataset."""
    ids, expected = results.columns.ids, results.dataset.ids
    if ids is expected or Counter(ids) == Counter(expected):
        return
    found = Counter(ids)
    missing = [row_id for row_id in expected if row_id not in found]
    doubled = [row_id for row_id, times in found.items() if times > 1]
    raise Undecidable(
        "ROWS_MISSING" if missing or not doubled else "DUPLICATE_ROWS",
        f"the results have {len(ids)} rows and the dataset {len(expected)}; missing: "
        f"{first_few(missing)}; more than once: {first_few(doubled)}",
    )


def column_values(results: EvalResults, column: str) -> list[Any]:
    """Return a column of the data, in the order of the rows; None where it is missing.

    Rows that are read back have no secrets in them: two slices could be one there.
    """
    values = {one.id: one.metadata.get(column) for one in results.dataset.examples}
    return [values[row_id] for row_id in results.columns.ids]


def _is(value: Any, wanted: bytes) -> bool:
    return not is_missing(value) and canonical(value) == wanted


def find_slices(results: EvalResults, by: object) -> dict[bytes, tuple[Any, list[int]]]:
    """Return the values of a column with the positions of their rows, as they come."""
    if not isinstance(by, str):
        raise Undecidable("BAD_TYPE", f"by={by!r:.60} names no column")
    check_ids(results)
    slices: dict[bytes, tuple[Any, list[int]]] = {}
    for at, value in enumerate(column_values(results, by)):
        name = _group(results, at, value, f"{by!r}, which by=")
        slices.setdefault(name, (value, []))[1].append(at)
    if not slices:
        raise Undecidable("ZERO_ROWS", "the dataset has no rows")
    return slices


def _group(results: EvalResults, at: int, value: Any, column: str) -> bytes:
    """Return what tells a row's group apart."""
    if is_missing(value):
        row_id = one_line(results.columns.ids[at], 60)
        raise Undecidable("ROWS_MISSING", f"row {row_id} has no column {column} names")
    return canonical(value)


def apply_error_policy(
    results: EvalResults,
    positions: Sequence[int],
    gate: Gate,
    metric: Metric,
    bounds: Bounds | None,
) -> tuple[Kept, int]:
    """Return the rows that count, and how many rows had an error."""
    failed = set(results.columns.failed)
    bad = [at for at in positions if at in failed]
    good = [at for at in positions if at not in failed] if bad else positions
    scores = results.columns.scores.get(metric.name)
    kept = Kept(good, [scores[at] for at in good] if scores is not None else [])
    if metric.aggregate is None:
        _check_scored(results, kept, metric)
    if not bad:
        return kept, 0
    if gate.on_error == "exclude" and gate.max_error_rate is not None:
        _check_left_out(results, positions, bad, gate.max_error_rate)
        return kept, len(bad)
    if gate.on_error == "worst":
        if bounds is None or metric.aggregate is not None:
            raise Undecidable(
                "UNBOUNDED",
                f'on_error="worst" needs the range of {metric.name}: give bounds=',
            )
        worst = bounds[1] if gate.op in ("<=", "<") else bounds[0]
        return Kept([*good, *bad], [*kept.scores, *[worst] * len(bad)]), len(bad)
    advice = "Run the same command again to ask only for those"
    if {error.kind for at in bad for error in results.rows[at].errors} == {"test"}:
        advice = "Mend their tests, in which something else than an assert failed"
    if gate.kind == "metric":
        advice += ', or decide what they count for with on_error="worst"'
    raise Undecidable(
        _error_reason(results, bad),
        f"{len(bad)} of {len(positions)} rows could not be evaluated, so {metric.name} "
        f"has no honest value: {name_errors(results.rows, bad)}. {advice}",
    )


def _check_scored(results: EvalResults, kept: Kept, metric: Metric) -> None:
    """Refuse rows without a score: a test may record one for some of its cases."""
    without = kept.positions
    if kept.scores:
        without = [at for at, score in zip(*kept, strict=True) if math.isnan(score)]
    if without:
        ids = first_few(results.columns.ids[at] for at in without)
        raise Undecidable(
            "ROWS_MISSING",
            f"{len(without)} of {len(kept.positions)} rows have no score for "
            f"{metric.name}: {ids}; record one in every case, before what may fail",
        )


def _check_left_out(
    results: EvalResults, positions: Sequence[int], bad: Sequence[int], most: float
) -> None:
    rate, named = len(bad) / len(positions), name_errors(results.rows, bad)
    if rate > most:
        raise Undecidable(
            "TOO_MANY_ERRORS",
            f"{len(bad)} of {len(positions)} rows are in error, {rate:.3g} of "
            f"them, and max_error_rate={most:g}: {named}",
        )
    if len(bad) == len(positions):
        raise Undecidable("ZERO_ROWS", f"no row is left: {named}")


def _error_reason(results: EvalResults, bad: Sequence[int]) -> str:
    known = {"budget": "BUDGET", "not_finite": "NOT_FINITE", "bad_type": "BAD_TYPE"}
    if known.keys().isdisjoint(results.columns.kinds):
        return "ROWS_MISSING"
    kinds = {error.kind for at in bad for error in results.rows[at].errors}
    return next((known[kind] for kind in known if kind in kinds), "ROWS_MISSING")


def name_errors(rows: Sequence[Row], bad: Sequence[int]) -> str:
    """Return the first few rows in error with the first error of each."""
    named = "; ".join(
        f"{one_line(row.example.id, 60)} ({row.errors[0].kind}: "
        f"{one_line(row.errors[0].message)})"
        for row in (rows[at] for at in bad[:NAMED_ROWS])
    )
    more = len(bad) - NAMED_ROWS
    return f"{named}; and {more} more" if more > 0 else named


def check_range(
    results: EvalResults,
    kept: Kept,
    bounds: Bounds | None,
    gate: Gate,
) -> None:
    """Refuse scores outside the metric's range."""
    if bounds is None or bounds[0] <= min(kept.scores) <= max(kept.scores) <= bounds[1]:
        return
    for at, score in zip(*kept, strict=True):
        if not bounds[0] <= score <= bounds[1]:
            raise Undecidable(
                "OUT_OF_RANGE",
                f"row {one_line(results.columns.ids[at], 60)} has {gate.metric} = "
                f"{score!r}, outside the range {bounds[0]:g} to {bounds[1]:g}",
            )


def find_clusters(
    results: EvalResults, positions: Sequence[int], column: str
) -> list[list[int]]:
    """Return the rows of each cluster, as indices into `positions`."""
    clusters: dict[bytes, list[int]] = {}
    values = column_values(results, column)
    for index, at in enumerate(positions):
        name = _group(results, at, values[at], f"{column!r}, which cluster=")
        clusters.setdefault(name, []).append(index)
    return list(clusters.values())
