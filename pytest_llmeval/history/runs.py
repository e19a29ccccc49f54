"""Finished runs as an export takes them, and those in a ``.llmeval`` folder."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.redaction import NO_RULES
from pytest_llmeval.redaction import Redaction
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.store import lines_within
from pytest_llmeval.text import one_line
from pytest_llmeval.verdict import SCHEMA


class NotExported(LLMEvalError, ValueError):
    """A run is no finished run of ours, so its history cannot be told."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FinishedRun:
    """A run that has ended, with all that the history tells of it."""

    verdict: Mapping[str, Any]
    """The content of its ``verdict.json``."""
    verdict_digest: str
    """SHA-256 of that file."""
    attempts: Sequence[Mapping[str, Any]] = ()
    """The books of the deployments that rest on it."""
    mlflow_run_id: str | None = None
    redaction: Redaction = NO_RULES
    """The rules that its rows leave the folder by."""
    rows: Callable[[Mapping[str, Any]], Iterable[bytes]] = field(
        default=lambda evaluation: (), compare=False
    )
    """Gives the rows of an entry of the verdict's evaluations, one JSON object each."""

    @property
    def run_id(self) -> str:
        """Its id."""
        return str(self.verdict["run_id"])


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A run that is not exported."""

    run_id: str
    why: str
    is_final: bool = True
    """Whether another try would come to the same."""


def read_verdict(content: bytes) -> dict[str, Any]:
    """Return a verdict that is worth a place in the history.

    Raises:
        NotExported: it is none, or its run has not come to an end.
    """
    try:
        verdict = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise NotExported(f"its verdict is no JSON: {one_line(error)}") from None
    if not isinstance(verdict, dict) or verdict.get("schema") != SCHEMA:
        raise NotExported(f"its verdict is none of schema {SCHEMA}")
    for name, kind in (("run_id", str), ("gates", list), ("evaluations", list)):
        if not isinstance(verdict.get(name), kind):
            raise NotExported(f"its verdict has no usable {name!r}")
    if not isinstance(verdict.get("started_at"), (int, float)):
        raise NotExported("its verdict does not say when it began")
    if verdict.get("finished_at") is None:
        raise NotExported("it has not come to an end")
    return verdict


def run_ids(home: Path) -> list[str]:
    """Return the ids of all runs in a folder, oldest first.

    Raises:
        ConfigurationError: there are none.
    """
    try:
        return sorted(path.name for path in (home / "runs").iterdir())
    except OSError as error:
        raise ConfigurationError(
            f"there are no runs in {home}: {error.strerror}; name the folder that "
            "--llmeval-dir or llmeval_dir gave them with --dir"
        ) from None


def stored_runs(home: Path) -> Iterator[FinishedRun | LeftOut]:
    """Yield the runs in a folder, oldest first.

    Raises:
        ConfigurationError: the folder cannot be read.
    """
    attempts = _attempts_by_run(home)
    for run_id in run_ids(home):
        directory = RunDirectory(home, run_id)
        try:
            yield read_run(directory, attempts.get(run_id, ()))
        except NotExported as error:
            yield LeftOut(run_id=run_id, why=str(error))


def read_run(
    directory: RunDirectory, attempts: Iterable[Mapping[str, Any]] = ()
) -> FinishedRun:
    """Return the run in a directory.

    Args:
        directory: Of the run.
        attempts: Deployments of it that are known from elsewhere.

    Raises:
        NotExported: it is no finished run.
    """
    try:
        content = directory.verdict.read_bytes()
    except OSError as error:
        raise NotExported(f"its verdict cannot be read: {error.strerror}") from None
    verdict = read_verdict(content)
    try:
        redaction = directory.read_redaction()
    except ConfigurationError as error:
        raise NotExported(str(error)) from None
    last = _document(directory.deployment)
    by_id = {one["id"]: one for one in (*attempts, last) if one.get("id")}
    tracked = _document(directory.tracking).get("mlflow_run_id")
    return FinishedRun(
        verdict=verdict,
        verdict_digest=hashlib.sha256(content).hexdigest(),
        attempts=[by_id[key] for key in sorted(by_id)],
        mlflow_run_id=tracked or verdict.get("mlflow_run_id"),
        redaction=redaction,
        rows=lambda entry: lines_within(directory.results, entry["rows_span"]),
    )


def loose_attempts(home: Path) -> list[Mapping[str, Any]]:
    """Return the deployments that rest on no run in the folder, such as rollbacks."""
    return [
        attempt
        for run_id, attempts in _attempts_by_run(home).items()
        if not run_id or not RunDirectory(home, run_id).verdict.exists()
        for attempt in attempts
    ]


def attempts_of(home: Path, run_id: str) -> list[Mapping[str, Any]]:
    """Return the deployments of one run that the folder's books name."""
    return _attempts_by_run(home).get(run_id, [])


def _attempts_by_run(home: Path) -> dict[str, list[Mapping[str, Any]]]:
    found: dict[str, list[Mapping[str, Any]]] = {}
    try:
        lines = (home / "deployments.jsonl").read_bytes().splitlines()
    except FileNotFoundError:
        return {}
    for line in lines:
        attempt = _parsed(line)
        if isinstance(attempt.get("id"), str):
            found.setdefault(str(attempt.get("run_id") or ""), []).append(attempt)
    return found


def _document(path: Path) -> Mapping[str, Any]:
    try:
        return _parsed(path.read_bytes())
    except OSError:
        return {}


def _parsed(content: bytes) -> Mapping[str, Any]:
    """Return a JSON object; an empty one for what was cut short by a crash."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError):
        return {}
    return document if isinstance(document, dict) else {}
