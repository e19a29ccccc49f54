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
from dataclasses import asdict
from pathlib import Path
from typing import Any
from typing import BinaryIO
from typing import NamedTuple

from filelock import FileLock

from pytest_llmeval.claims import Owner
from pytest_llmeval.errors import BaselineError
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import StoredRun
from pytest_llmeval.redaction import Redaction
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
        self.redaction = self.path / "redaction.json"
        self.running = self.path / "running"
        """Has a locked file for as long as the run goes on."""
        self.rows_removed = self.path / "rows-removed"
        """Is there when ``llmeval gc`` has removed the rows, or was about to."""
        self._owner: Owner | None = None

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

    def hold(self) -> None:
        """Tell other processes that the run goes on, until `release` or our end."""
        self._owner = Owner(self.running)
        self._owner.begin()

    def release(self) -> None:
        """Tell them that it is over."""
        if self._owner is not None:
            self._owner.end()
            shutil.rmtree(self.running, ignore_errors=True)

    @property
    def has_rows(self) -> bool:
        """Whether its rows were not removed."""
        return self.results.exists() or not self.rows_removed.exists()

    def adopt(self, folder: Path) -> None:
        """Take over what a run has left on another machine; move ``last``.

        What is here of the same run already stays, with what has become of it.

        Raises:
            ConfigurationError: the folder cannot be written, or holds another run.
        """
        with self._naming_folder():
            self.prepare()
            if not self.verdict.exists():
                self.remove()
                shutil.move(folder, self.path)
            elif self.verdict.read_bytes() != (folder / "verdict.json").read_bytes():
                raise ConfigurationError(
                    f"{self.path} is another run of that name; move it away, or choose "
                    "another folder with -o llmeval_dir=DIR"
                )
            replace_file(self._home / "last", f"{self.run_id}\n")

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

    def keep_redaction(self, rules: Redaction) -> None:
        """Write down what has to be taken out of the rows before they leave."""
        if rules:
            replace_file(self.redaction, json.dumps(asdict(rules), indent=2) + "\n")

    def read_redaction(self) -> Redaction:
        """Return the rules that the run was evaluated with.

        Raises:
            ConfigurationError: the file cannot be read, so that no row may leave.
        """
        try:
            found = json.loads(self.redaction.read_bytes())
            return Redaction(tuple(found["patterns"]), tuple(found["columns"]))
        except FileNotFoundError:
            return Redaction()
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ConfigurationError(
                f"cannot read {self.redaction}: {type(error).__name__}: {error}; no "
                "row leaves the folder without the rules that stand there: restore the "
                "file, or evaluate again"
            ) from None

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
    """Return a run by its id, or None when it is not there, with its rows.

    Raises:
        BaselineError: its files cannot be read.
    """
    runs, path = home / "runs", home / "runs" / run_id
    is_inside = path.resolve().parent == runs.resolve()
    is_there = is_inside and path.is_dir() and RunDirectory(home, run_id).has_rows
    return stored_run(path) if is_there else None


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

    def open_rows(evaluation: int) -> BinaryIO:
        directory = RunDirectory.at(path)
        if not directory.has_rows:
            raise BaselineError(
                "BASELINE_UNUSABLE",
                "llmeval gc has removed its rows; evaluate it again",
            )
        return directory.results.open("rb")

    return StoredRun(
        verdict=verdict,
        open_rows=open_rows,
        origin=f"the run {run_id} in {path}",
    )


def replace_file(path: Path, content: str | bytes) -> None:
    """Replace a file in one step."""
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        scratch.write_bytes(content if isinstance(content, bytes) else content.encode())
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
