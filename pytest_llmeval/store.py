"""The run directory: ``.llmeval/runs/<run id>/`` and ``.llmeval/last``."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import NamedTuple

from filelock import FileLock

from pytest_llmeval.errors import BaselineError
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import StoredRun
from pytest_llmeval.text import redact_within
from pytest_llmeval.text import redactor


Span = tuple[int, int]
"""The first byte of a part of a file, and the one after its last."""


class AppendedRows(NamedTuple):
    """Where rows stand in a file, and what they are."""

    span: Span
    digest: str


class RunDirectory:
    """Where one run keeps its files; nothing is written before `create`.

    Args:
        home: The ``.llmeval`` folder.
        run_id: Names the directory.
        worker: The xdist worker that writes rows here, to a file of its own.
    """

    def __init__(self, home: Path, run_id: str, worker: str | None = None) -> None:
        self._home, self.run_id = home, run_id
        self._place(home / "runs" / run_id)
        if worker is not None:
            self.results = self._workers / f"{worker}.jsonl"

    @classmethod
    def at(cls, path: Path) -> RunDirectory:
        """Return the directory at a path, wherever it lies, for reading."""
        directory = cls(path.parent, path.name)
        directory._place(path)
        return directory

    def _place(self, path: Path) -> None:
        self.path = path
        self.verdict = self.path / "verdict.json"
        self.deployment = self.path / "deployment.json"
        self.results = self.path / "results.jsonl"
        self._workers: Path = self.path / "workers"
        self.cases = self._workers / "cases"
        self.tracking = self.path / "tracking.json"
        self.tracking_lock = self.path / "tracking.lock"
        self.budget = self.path / "budget.db"
        self.tracked = self.path / "tracked"
        """Is there when a test, of whatever process, has opened a tracked run."""
        self.services = self.path / "services"

    def create(self, verdict: Mapping[str, Any]) -> None:
        """Make the directory with its first, incomplete verdict; move ``last``.

        Of the run's processes the first one does it.

        Raises:
            ConfigurationError: the folder cannot be written.
        """
        with self._naming_folder():
            self.prepare()
            with FileLock(self._home / "create.lock"):
                if self.verdict.exists():
                    return
                self.write(self.verdict, verdict)
                replace_file(self._home / "last", f"{self.run_id}\n")

    def prepare(self) -> None:
        """Make the directory alone.

        Raises:
            ConfigurationError: the folder cannot be written.
        """
        with self._naming_folder():
            self.path.mkdir(parents=True, exist_ok=True)
            ignore = self._home / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="ascii")

    @contextmanager
    def _naming_folder(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise ConfigurationError(
                f"cannot write to {self.path}: {error}; choose another folder with "
                "--llmeval-dir"
            ) from None

    def remove(self) -> None:
        """Remove the directory of a run that keeps nothing."""
        shutil.rmtree(self.path, ignore_errors=True)

    def write(self, path: Path, document: Mapping[str, Any]) -> None:
        """Replace a JSON file of the run in one step, secrets taken out."""
        text = json.dumps(
            redact_within(document, redactor()), indent=2, allow_nan=False
        )
        replace_file(path, text + "\n")

    def append_rows(self, evaluation: int, lines: Iterable[bytes]) -> AppendedRows:
        """Append rows to ``results.jsonl``, or to the worker's file.

        Args:
            evaluation: Its number in the run; added to each row.
            lines: One JSON object each, secrets taken out.
        """
        self.results.parent.mkdir(exist_ok=True)  # of a worker
        with self.results.open("ab") as file:
            start, digest = file.tell(), hashlib.sha256()
            head = b'{"evaluation": %d, ' % evaluation
            for line in lines:
                whole = head + line[1:]
                digest.update(whole)
                file.write(whole)
            span = start, file.tell()
        return AppendedRows(span, f"sha256:{digest.hexdigest()}")

    def take_rows(self, evaluation: int, worker: str, span: Span) -> AppendedRows:
        """Append the rows that a worker's file has in a span, under a new number."""
        path = RunDirectory(self._home, self.run_id, worker).results
        lines = lines_within(path, span)
        return self.append_rows(
            evaluation, (b"{" + line.partition(b", ")[2] for line in lines)
        )

    def leave(self, worker: str) -> None:
        """Note that a worker has come to its very end."""
        self._workers.mkdir(exist_ok=True)
        (self._workers / f"{worker}.left").touch()

    def has_left(self, worker: str) -> bool:
        """Return whether a worker has come to its very end."""
        return (self._workers / f"{worker}.left").exists()

    def drop_shared_files(self) -> None:
        """Remove what served the processes of this run alone: predictions, budget."""
        for name in ("predictions.db*", f"{self.budget.name}*"):
            for path in self.path.glob(name):
                path.unlink()
        shutil.rmtree(self.path / "claims", ignore_errors=True)

    def drop_tracking_files(self) -> None:
        """Remove what kept processes apart until the run was uploaded."""
        for path in (self.tracked, self.tracking_lock):
            path.unlink(missing_ok=True)

    def drop_worker_files(self) -> None:
        """Remove the workers' files, when their rows have been taken."""
        shutil.rmtree(self._workers, ignore_errors=True)  # there may be none


def lines_within(path: Path, span: Span) -> Iterator[bytes]:
    """Yield the lines of a part of a file."""
    at, end = span
    with path.open("rb") as file:
        file.seek(at)
        while at < end and (line := file.readline()):
            at += len(line)
            yield line


def find_run(home: Path, run_id: str) -> StoredRun | None:
    """Return a run by its id, or None when it is not there.

    Raises:
        BaselineError: its files cannot be read.
    """
    runs, path = home / "runs", home / "runs" / run_id
    is_inside = path.resolve().parent == runs.resolve()
    return stored_run(path) if is_inside and path.is_dir() else None


def stored_run(path: Path) -> StoredRun:
    """Return the run that left its files in a folder.

    Raises:
        BaselineError: there is no such folder, or its files cannot be read.
    """
    if not path.is_dir():
        raise BaselineError(
            "BASELINE_MISSING",
            f"there is no results directory {path}; name one that holds verdict.json "
            "and results.jsonl, such as .llmeval/runs/RUN",
        )
    try:
        verdict = json.loads((path / "verdict.json").read_bytes())
        run_id = verdict["run_id"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"{path} holds no usable verdict.json: {type(error).__name__}: {error}",
        ) from None
    return StoredRun(
        verdict=verdict,
        open_rows=lambda evaluation: (path / "results.jsonl").open("rb"),
        origin=f"the run {run_id} in {path}",
    )


def replace_file(path: Path, text: str) -> None:
    """Replace a file in one step."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
