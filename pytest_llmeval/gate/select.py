"""Which rows a gate is about, and what those in error count for."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from pytest_llmeval.gate.check import Undecidable
from pytest_llmeval.gate.errors import NAMED_ROWS
from pytest_llmeval.gate.errors import Bad
from pytest_llmeval.gate.errors import Bounds
from pytest_llmeval.gate.errors import errors_count_as
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import canonical
from pytest_llmeval.records import is_missing
from pytest_llmeval.results import EvalResults
from pytest_llmeval.text import first_few
from pytest_llmeval.text import one_line


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
    check_slice_columns(results, gate)
    for column, wanted in gate.where.items():
        values, value = column_values(results, column), canonical(wanted)
        positions = [at for at in positions if _is(values[at], value)]
    if not positions:
        raise Undecidable("ZERO_ROWS", f"no row has {gate.where!r}")
    return positions


def check_slice_columns(results: EvalResults, gate: Gate) -> None:
    """Refuse a slice by a column that the data lacks."""
    for column in gate.where or ():
        if column not in results.dataset.filled:
            raise Undecidable(
                "ZERO_ROWS", f"where= names a column {column!r} that the data lacks"
            )


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
    score = errors_count_as(gate, metric, bad_rows(results, positions, bad), bounds)
    if score is None:
        return kept, len(bad)
    return Kept([*good, *bad], [*kept.scores, *[score] * len(bad)]), len(bad)


def bad_rows(results: EvalResults, positions: Sequence[int], bad: Sequence[int]) -> Bad:
    """Return the rows in error among those at positions."""
    failed = results.columns.failed
    return Bad(
        rows=len(positions),
        failed=len(bad),
        first=[results.rows[at] for at in bad[:NAMED_ROWS]],
        kinds={kind for at in bad for kind in failed[at]},
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
