"""Brings finished runs into a place, each exactly once, and again when one changes."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from pytest_llmeval.history.arrow import to_arrow
from pytest_llmeval.history.places import HistoryPlace
from pytest_llmeval.history.records import Record
from pytest_llmeval.history.records import Recorder
from pytest_llmeval.history.records import Records
from pytest_llmeval.history.records import digest_of
from pytest_llmeval.history.runs import FinishedRun
from pytest_llmeval.history.runs import LeftOut
from pytest_llmeval.history.runs import NotExported
from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.history.schema import Table


RUNS_AT_ONCE = 1_000
RECORDS_AT_ONCE = 200_000
"""After so many a batch is written, which bounds the memory."""


@dataclass(slots=True)
class Exported:
    """What an export has done."""

    new: int = 0
    changed: int = 0
    same: int = 0
    """Runs that stood there already."""
    left_out: list[LeftOut] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Known:
    digest: str
    has_rows: bool


def export(
    runs: Iterable[FinishedRun | LeftOut],
    place: HistoryPlace,
    *,
    loose: Iterable[Mapping[str, Any]] = (),
    with_rows: bool = False,
    again: bool = False,
) -> Exported:
    """Write runs to a place; those that stand there unchanged are left alone.

    Args:
        runs: What to write.
        place: Where to.
        loose: Deployments that rest on none of the runs.
        with_rows: Whether the table ``rows`` is filled too.
        again: Write also what stands there unchanged.
    """
    exporter = _Exporter(place, with_rows, again)
    for run in runs:
        if isinstance(run, LeftOut):
            exporter.done.left_out.append(run)
        else:
            exporter.add(run)
    exporter.add_attempts(loose)
    exporter.flush()
    place.finish()
    return exporter.done


class _Exporter:
    def __init__(self, place: HistoryPlace, with_rows: bool, again: bool) -> None:
        self._place, self._with_rows, self._again = place, with_rows, again
        self._recorder, self._known = Recorder(), _known(place)
        self._batch: Records = {}
        self._count = 0
        self.done = Exported()

    def add(self, run: FinishedRun) -> None:
        known = self._known.get(run.run_id)
        if known is not None and not self._again and self._is_there(run, known):
            self.done.same += 1
            return
        try:
            records = self._records(run, known)
        except NotExported as error:
            self.done.left_out.append(LeftOut(run_id=run.run_id, why=str(error)))
            return
        if known is None:
            self.done.new += 1
        else:
            self.done.changed += 1
        self._take(records)
        if self._count >= RECORDS_AT_ONCE or len(self._batch["runs"]) >= RUNS_AT_ONCE:
            self.flush()

    def add_attempts(self, attempts: Iterable[Mapping[str, Any]]) -> None:
        records = [self._recorder.attempt(one) for one in attempts]
        stored = _stored(self._place) if records else {}
        new = [
            one for one in records if stored.get(one["deployment_id"]) != _state(one)
        ]
        if new:
            self.flush()
            self._place.replace({"deployments": _table(BY_NAME["deployments"], new)})

    def flush(self) -> None:
        if self._batch:
            tables = {
                name: _table(BY_NAME[name], records)
                for name, records in self._batch.items()
            }
            self._place.replace(tables)
        self._batch, self._count = {}, 0

    def _is_there(self, run: FinishedRun, known: _Known) -> bool:
        wants_rows = self._with_rows and not known.has_rows
        return known.digest == digest_of(run) and not wants_rows

    def _records(self, run: FinishedRun, known: _Known | None) -> Records:
        records = self._recorder.records(run)
        has_rows = known is not None and known.has_rows
        if self._with_rows:
            records["rows"] = list(self._recorder.rows(run))
            has_rows = True
        records["runs"][0]["has_rows"] = has_rows
        return records

    def _take(self, records: Records) -> None:
        for name, some in records.items():
            self._batch.setdefault(name, []).extend(some)
            self._count += len(some)


def _known(place: HistoryPlace) -> dict[str, _Known]:
    columns = place.read("runs", ["run_id", "digest", "has_rows"]).to_pydict()
    return {
        run_id: _Known(digest, bool(has_rows))
        for run_id, digest, has_rows in zip(*columns.values(), strict=True)
    }


def _stored(place: HistoryPlace) -> dict[str, tuple[Any, ...]]:
    records = place.read("deployments", ["deployment_id", *_STATE]).to_pylist()
    return {record["deployment_id"]: _state(record) for record in records}


_STATE = ("reason", "ended_at")


def _state(record: Record) -> tuple[Any, ...]:
    return tuple(record[name] for name in _STATE)


def _table(table: Table, records: Iterable[Record]) -> Any:
    """Return records as Arrow, each key once: a hostile verdict may name one twice."""
    by_key = {tuple(record[name] for name in table.keys): record for record in records}
    return to_arrow(table, by_key.values())
