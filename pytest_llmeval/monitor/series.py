"""Series of one metric in the history, as detectors take them."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from pytest_llmeval.drift import Point
from pytest_llmeval.drift.series import Better
from pytest_llmeval.history.places import HistoryPlace
from pytest_llmeval.metrics import built_in_metrics
from pytest_llmeval.monitor.inputs import METRICS as OF_INPUTS
from pytest_llmeval.monitor.signals import signals


FROM_RUNS = ("run_id", "source", "model_requested")
FROM_EVALUATIONS = ("run_id", "evaluation", "name", "test")
FROM_METRICS = (
    *("run_id", "evaluation", "metric", "slice_by", "slice_value", "started_at"),
    *("value", "n", "higher_is_better"),
)


class Key(NamedTuple):
    """Which series; its slices are watched together."""

    source: str
    """suite or traffic."""
    evaluation: str
    """The test and its evaluation, or where the traffic was read."""
    metric: str
    slice_by: str


class Series(NamedTuple):
    """The points of a metric by the value of its slice; empty for all rows."""

    slices: Mapping[str, list[Point]]
    better: Better | None
    high: float | None
    """End of its range, which begins at 0; None where it is not known."""


def read_series(
    place: HistoryPlace, model: str, since: datetime.datetime | None = None
) -> dict[Key, Series]:
    """Return all series of a model, oldest point first.

    Args:
        place: The history.
        model: As it was asked for, for example ``models:/docs-qa@champion``.
        since: What is older is left out.
    """
    runs = {
        record["run_id"]: record["source"] or "suite"
        for record in place.read("runs", FROM_RUNS).to_pylist()
        if record["model_requested"] == model
    }
    evaluations = {
        (record["run_id"], record["evaluation"]): _named(record)
        for record in _of_runs(place, "evaluations", FROM_EVALUATIONS, runs)
    }
    points: dict[Key, dict[str, list[Point]]] = {}
    directions: dict[Key, bool | None] = {}
    for record in _of_runs(place, "metrics", FROM_METRICS, runs):
        if since is not None and record["started_at"] < since:
            continue
        name = evaluations.get((record["run_id"], record["evaluation"]), "")
        key = Key(runs[record["run_id"]], name, record["metric"], record["slice_by"])
        point = Point(record["started_at"], record["value"], record["n"] or 0)
        points.setdefault(key, {}).setdefault(record["slice_value"], []).append(point)
        directions[key] = record["higher_is_better"]
    return {
        key: Series(
            {value: sorted(found) for value, found in sorted(slices.items())},
            {True: "higher", False: "lower", None: None}[directions[key]],
            _range_end(key, slices.values()),
        )
        for key, slices in sorted(points.items())
    }


def _of_runs(
    place: HistoryPlace, table: str, columns: tuple[str, ...], runs: Iterable[str]
) -> list[dict[str, Any]]:
    import pyarrow
    import pyarrow.compute

    whole = place.read(table, columns)
    wanted = pyarrow.array(list(runs), whole.schema.field("run_id").type)
    records: list[dict[str, Any]] = whole.filter(
        pyarrow.compute.is_in(whole.column("run_id"), value_set=wanted)
    ).to_pylist()
    return records


def _named(record: Mapping[str, Any]) -> str:
    """Return what tells an evaluation from others, in every run."""
    parts = (record["test"], record["name"])
    return " ".join(part for part in parts if part)


def _range_end(key: Key, slices: Iterable[list[Point]]) -> float | None:
    """Return the end of a metric's range; of an unknown one if its values allow it."""
    if key.source == "traffic" and key.metric in OF_INPUTS:
        return None  # they are comparisons already
    known = signals().get(key.metric) if key.source == "traffic" else None
    if known is not None:
        return known.high
    metric = built_in_metrics().get(key.metric)
    if metric is not None:
        return metric.range[1] if metric.range else None
    values = [point.value for points in slices for point in points]
    inside = all(value is None or 0.0 <= value <= 1.0 for value in values)
    return 1.0 if inside else None
