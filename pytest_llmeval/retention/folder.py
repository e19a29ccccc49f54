"""What lies in the ``.llmeval`` folder, and how much of it; no link is followed."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmeval.store import RunDirectory


TRASH = "trash"
"""Where things lie that have been removed and are still to be deleted."""
LIVES_ON = (
    "verdict.json",
    "deployment.json",
    "tracking.json",
    "redaction.json",
    "rows-removed",
)
"""What a run has left when its rows are removed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFolder:
    """One run, as it lies there."""

    directory: RunDirectory
    verdict: Mapping[str, Any]
    """Empty where there is none that can be read."""
    deployment: Mapping[str, Any]
    ended_at: float
    """Unix time in seconds; of a run that did not end, when something last changed."""
    size_bytes: int
    """Of everything that goes with the run."""
    rows: tuple[Path, ...]
    """What holds rows of it: all but what outlives them."""
    rows_bytes: int

    @property
    def run_id(self) -> str:
        """Names it."""
        return self.directory.run_id

    @property
    def has_ended(self) -> bool:
        """Whether it came to its verdict."""
        return isinstance(self.verdict.get("finished_at"), (int, float))

    @property
    def paths(self) -> tuple[Path, ...]:
        """Everything of the run."""
        outside = (path for path in self.rows if path.parent != self.directory.path)
        return (self.directory.path, *outside)

    @property
    def baselines(self) -> Iterator[str]:
        """The runs that its gates were measured against."""
        gates = self.verdict.get("gates")
        for gate in gates if isinstance(gates, list) else ():
            compared = gate.get("compared") if isinstance(gate, dict) else None
            if isinstance(compared, dict) and isinstance(compared.get("run_id"), str):
                yield compared["run_id"]


def read_runs(home: Path) -> list[RunFolder]:
    """Return the runs of a folder, the oldest first."""
    tables: dict[str, list[Path]] = {}
    for path in _scores(home):
        tables.setdefault(path.name.rpartition("-")[0], []).append(path)
    names = [path.name for path in folders_in(home / "runs")]
    runs = [_read_run(home, name, tables.get(name, [])) for name in names]
    return sorted(runs, key=lambda run: (run.ended_at, run.run_id))


def _scores(home: Path) -> Iterator[Path]:
    """Yield the tables of rows that Spark has written for runs."""
    for answers in folders_in(home / "spark"):
        yield from folders_in(answers / "scores")


def _read_run(home: Path, run_id: str, tables: list[Path]) -> RunFolder:
    directory = RunDirectory(home, run_id)
    rows = (
        *(path for path in _listed(directory.path) if path.name not in LIVES_ON),
        *tables,
    )
    verdict = _read(directory.verdict)
    return RunFolder(
        directory=directory,
        verdict=verdict,
        deployment=_read(directory.deployment),
        ended_at=_moment(verdict.get("finished_at")) or changed_at(directory.path),
        size_bytes=size_of(directory.path) + sum(map(size_of, tables)),
        rows=rows,
        rows_bytes=sum(map(size_of, rows)),
    )


def folders_in(path: Path) -> list[Path]:
    """Return the folders in a folder, by name; none where it is a link itself."""
    return [one for one in _listed(path) if one.is_dir() and not one.is_symlink()]


def _listed(path: Path) -> list[Path]:
    if path.is_symlink():
        return []
    try:
        return sorted(path.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []


def size_of(path: Path) -> int:
    """Return how many bytes a file, or all files below a folder, have."""
    return sum(status.st_size for status in _all_below(path))


def changed_at(path: Path) -> float:
    """Return when anything at or below a path last changed; 0 where nothing is."""
    return max((status.st_mtime for status in _all_below(path)), default=0.0)


def _all_below(path: Path) -> Iterator[os.stat_result]:
    try:
        yield path.lstat()
    except FileNotFoundError:  # another process has just removed it
        return
    if path.is_dir() and not path.is_symlink():
        for below in _listed(path):
            yield from _all_below(below)


def _read(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}


def _moment(value: Any) -> float | None:
    usable = isinstance(value, (int, float)) and math.isfinite(value) and value > 0
    return float(value) if usable else None
