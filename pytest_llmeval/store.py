"""The run directory: ``.llmeval/runs/<run id>/`` and ``.llmeval/last``."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import NamedTuple

from pytest_llmeval.errors import BaselineError
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import StoredRun
from pytest_llmeval.text import redact_within
from pytest_llmeval.text import redactor


class AppendedRows(NamedTuple):
    """Where rows stand in ``results.jsonl``, and what they are."""

    span: tuple[int, int]
    """The first byte, and the one after the last."""
    digest: str


class RunDirectory:
    """Where one run keeps its files; nothing is written before `create`.

    Args:
        home: The ``.llmeval`` folder.
        run_id: Names the directory.
    """

    def __init__(self, home: Path, run_id: str) -> None:
        self._home, self.run_id = home, run_id
        self.path = home / "runs" / run_id
        self.verdict = self.path / "verdict.json"
        self.deployment = self.path / "deployment.json"
        self.results = self.path / "results.jsonl"
        self.tracking = self.path / "tracking.json"
        self.tracking_lock = self.path / "tracking.lock"
        self.tracked = self.path / "tracked"
        """Is there when a test, of whatever process, has opened a tracked run."""
        self.services = self.path / "services"

    def create(self, verdict: Mapping[str, Any]) -> None:
        """Make the directory with its first, incomplete verdict; move ``last``.

        Raises:
            ConfigurationError: the folder cannot be written.
        """
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            ignore = self._home / ".gitignore"
            if not ignore.exists():
                ignore.write_text("*\n", encoding="ascii")
            self.write(self.verdict, verdict)
            _replace(self._home / "last", f"{self.run_id}\n")
        except OSError as error:
            raise ConfigurationError(
                f"cannot write to {self.path}: {error}; choose another folder with "
                "--llmeval-dir"
            ) from None

    def write(self, path: Path, document: Mapping[str, Any]) -> None:
        """Replace a JSON file of the run in one step, secrets taken out."""
        text = json.dumps(
            redact_within(document, redactor()), indent=2, allow_nan=False
        )
        _replace(path, text + "\n")

    def append_rows(self, evaluation: int, lines: Iterable[bytes]) -> AppendedRows:
        """Append rows to ``results.jsonl``.

        Args:
            evaluation: Its number in the run; added to each row.
            lines: One JSON object each, secrets taken out.
        """
        with self.results.open("ab") as file:
            start, digest = file.tell(), hashlib.sha256()
            head = b'{"evaluation": %d, ' % evaluation
            for line in lines:
                whole = head + line[1:]
                digest.update(whole)
                file.write(whole)
            span = start, file.tell()
        return AppendedRows(span, f"sha256:{digest.hexdigest()}")


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


def _replace(path: Path, text: str) -> None:
    scratch = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        scratch.write_text(text, encoding="utf-8")
        scratch.replace(path)
    except OSError:
        scratch.unlink(missing_ok=True)
        raise
