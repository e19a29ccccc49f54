"""Brings the rows that the workers of a run have left in files together."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_llmeval.records import RowError
from pytest_llmeval.rows import RowLog


def gather_rows(log: RowLog, ids: Sequence[str], files: Sequence[Path]) -> None:
    """Put each row of the workers' files into a log once.

    With ``--dist each`` several workers have a row. When they do not agree on it, it
    is in error, because a gate over the rows of one of them would hide the others.

    Args:
        log: Takes the rows.
        ids: Those of its rows, in order.
        files: One of each worker; the last line of an id counts.
    """
    places = {example_id: at for at, example_id in enumerate(ids)}
    owners: dict[int, Path] = {}
    attempts: Counter[int] = Counter()
    for path in files:
        again: dict[int, dict[str, Any]] = {}
        attempts.update(_asked(path))
        for line in _whole_lines(path):
            entry = json.loads(line)
            at = places[entry["id"]]
            attempts[at] += entry["attempts"]
            if owners.setdefault(at, path) == path:
                log.put_line(at, line)
            else:
                again[at] = {name: entry[name] for name in ("scores", "errors")}
        for at, told in again.items():
            _compare(log, at, told, (owners[at].stem, path.stem))
    for at in filter(log.has, attempts):
        _count(log, at, attempts[at])


def _asked(path: Path) -> dict[int, int]:
    """Return a worker's attempts for tests in other workers, by the row's place."""
    asked = path.with_suffix(".asked")
    return dict(json.loads(asked.read_bytes())) if asked.exists() else {}


def _whole_lines(path: Path) -> Iterator[bytes]:
    with path.open("rb") as lines:
        for line in lines:
            if line.endswith(b"\n"):  # its worker died over it otherwise
                yield line


def _count(log: RowLog, at: int, attempts: int) -> None:
    """See that a row tells of all attempts, in whichever worker they were made."""
    if log.columns.numbers["attempts"][at] < attempts:
        row = log.row(at)
        log.put(at, replace(row, prediction=replace(row.prediction, attempts=attempts)))


def _compare(
    log: RowLog, at: int, told: dict[str, Any], workers: tuple[str, str]
) -> None:
    entry = json.loads(log.line(at))
    if any(entry[name] != value for name, value in told.items()):
        row = log.row(at)
        message = f"its test came out otherwise in {workers[1]} than in {workers[0]}"
        error = RowError(id=row.example.id, kind="test", message=message)
        log.put(at, replace(row, scores={}, errors=(error,)))
