"""A sample of production's calls, day by day: always the same calls of a day."""

from __future__ import annotations

import datetime
import heapq
import json
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.datasets import read_rows
from pytest_llmeval.errors import DataError
from pytest_llmeval.examples import sample_place
from pytest_llmeval.monitor.calls import Call
from pytest_llmeval.monitor.calls import read_call
from pytest_llmeval.records import DatasetRef
from pytest_llmeval.records.traffic import TrafficRef
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    import pluggy

    from pytest_llmeval.config import Settings


LINES = (".jsonl", ".ndjson", ".log")


@dataclass(slots=True)
class Traffic:
    """What was found of each day."""

    days: dict[datetime.date, list[Call]]
    """The sample of each day that has calls, in the order of their ids."""
    unreadable: int = 0
    """Records without a time or a question, and broken lines."""


def read_traffic(
    ref: TrafficRef,
    hook: pluggy.HookRelay,
    settings: Settings,
    slices: tuple[str, ...] = (),
) -> Traffic:
    """Return the sampled calls of the wanted days.

    Raises:
        DataError: the source cannot be read.
    """
    records = hook.pytest_llmeval_traffic(ref=ref, settings=settings)
    if records is None:
        records = _read_files(ref, hook, settings)
    samples = {day: _DaySample(day, ref.sample) for day in ref.days}
    unreadable = 0
    for record in records:
        call = read_call(record, ref, slices)
        if call is None:
            unreadable += 1
        elif call.at.date() in samples:
            samples[call.at.date()].offer(call)
    found = {day: sample.calls for day, sample in samples.items() if sample.calls}
    return Traffic(found, unreadable)


def join_labels(
    traffic: Traffic, source: str, hook: pluggy.HookRelay, settings: Settings
) -> Traffic:
    """Return the calls with what is known by now of what would have been right.

    Args:
        traffic: The sample.
        source: File or table with the columns of `FIELDS` for id and reference.
        hook: Reads it.
        settings: For Spark, and the folder that paths start from.

    Raises:
        DataError: it cannot be read.
    """
    ref = TrafficRef(source=source, days=(datetime.date.min,), sample=0)
    wanted = {call.id for calls in traffic.days.values() for call in calls}
    labels: dict[str, str] = {}
    for path in _paths(source, settings):
        dataset = DatasetRef(source=path, name=one_line(source))
        for where, record in read_rows(dataset, hook, settings):
            row_id, label = _first(record, ref, "id"), _first(record, ref, "reference")
            if row_id is None:
                raise DataError(
                    f"{where}: no id; labels need the columns "
                    f"{' or '.join(ref.names('id'))}, and "
                    f"{' or '.join(ref.names('reference'))}"
                )
            if label is not None and str(row_id) in wanted:
                labels[str(row_id)] = str(label)
    days = {
        day: [replace(c, reference=labels.get(c.id, c.reference)) for c in calls]
        for day, calls in traffic.days.items()
    }
    return replace(traffic, days=days)


def _first(record: Mapping[str, Any], ref: TrafficRef, field: str) -> Any:
    values = (record.get(name) for name in ref.names(field))
    return next((value for value in values if value is not None), None)


class _DaySample:
    """The calls of a day whose hashes are the smallest."""

    def __init__(self, day: datetime.date, most: int) -> None:
        self._seed, self._most = day.toordinal(), most
        self._heap: list[tuple[int, str]] = []
        self._calls: dict[str, Call] = {}

    def offer(self, call: Call) -> None:
        """Take a call, unless there are enough; of copies of one id the first."""
        if call.id in self._calls:
            return
        entry = (-sample_place(call.id, self._seed), call.id)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            _, gone = heapq.heapreplace(self._heap, entry)
            del self._calls[gone]
        else:
            return
        self._calls[call.id] = call

    @property
    def calls(self) -> list[Call]:
        return [self._calls[row_id] for row_id in sorted(self._calls)]


def _read_files(
    ref: TrafficRef, hook: pluggy.HookRelay, settings: Settings
) -> Iterator[Mapping[str, Any]]:
    for path in _paths(ref.source, settings):
        if isinstance(path, Path) and path.suffix in LINES:
            yield from _read_lines(path)
        else:
            dataset = DatasetRef(source=path, name=one_line(ref.source))
            yield from _records(read_rows(dataset, hook, settings))


def _records(rows: Iterable[tuple[str, Mapping[str, Any]]]) -> Iterator[Any]:
    return (record for _, record in rows)


def _paths(source: str, settings: Settings) -> list[Path | str]:
    """Return the files that a path or a pattern names; what is none is for a hook."""
    from pytest_llmeval.sources import spark_kind

    if spark_kind(source) is not None:
        return [source]
    path = settings.rootdir / Path(source).expanduser()
    found = [path] if path.is_file() else sorted(path.parent.glob(path.name or "*"))
    files = [path for path in found if path.is_file()]
    if not files:
        raise DataError(
            f"{one_line(source)}: no such file; traffic is a log file or a pattern "
            "such as 'logs/*.jsonl', traces:EXPERIMENT, or a table that Spark reads"
        )
    return list(files)


def _read_lines(path: Path) -> Iterator[Mapping[str, Any]]:
    """Yield the objects of a log; a line that is broken, or not yet whole, is empty."""
    with path.open("rb") as file:
        for line in file:
            if not line.strip():
                continue
            try:
                record = json.loads(line)
            except (ValueError, RecursionError):
                record = {}
            yield record if isinstance(record, dict) else {}
