"""A finished run as reports show it: read from the files in its directory."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

from pytest_llmeval.baselines import StoredRows
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.redaction import NO_RULES
from pytest_llmeval.redaction import Redaction
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.store import find_run
from pytest_llmeval.store import lines_within
from pytest_llmeval.text import one_line
from pytest_llmeval.verdict import SCHEMA


NEEDED = ("run_id", "status", "reason", "detail", "gates", "evaluations")


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRun:
    """What is to be shown of a run."""

    directory: RunDirectory
    verdict: Mapping[str, Any]
    """The content of ``verdict.json``; its texts are redacted, but not harmless."""
    deployment: Mapping[str, Any] | None = None
    """The content of ``deployment.json``, when a deployment was asked for."""
    redaction: Redaction = NO_RULES
    """What is taken out of its rows where they are shown."""
    baseline: ReportedRun | None = None
    """The run that this one is shown beside."""

    @property
    def undecided(self) -> Sequence[Mapping[str, Any]]:
        """The gates that were not decided; verdicts of the first versions lack them."""
        found: Sequence[Mapping[str, Any]] = self.verdict.get("undecided", ())
        return found

    def rows(self, evaluation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the rows of one of the verdict's evaluations, as their file has them.

        They may be shown only when `shown` has redacted them.

        Args:
            evaluation: An entry of the verdict's ``evaluations``.

        Raises:
            ConfigurationError: they are not those that the verdict is about.
        """
        digest = hashlib.sha256()
        if not self.directory.has_rows:
            return
        with self._reading():
            for line in lines_within(self.directory.results, evaluation["rows_span"]):
                digest.update(line)
                yield json.loads(line)
            _check_digest(f"sha256:{digest.hexdigest()}", evaluation)

    def shown(
        self, row: Mapping[str, Any], evaluation: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return a row of an evaluation's file as a report may show it."""
        if not self.redaction:
            return row
        return self.redaction.apply(row, evaluation.get("columns"))

    def read(self, evaluation: Mapping[str, Any]) -> StoredRows:
        """Return the rows of an evaluation, redacted, with their numbers as columns.

        Args:
            evaluation: An entry of the verdict's ``evaluations``.

        Raises:
            ConfigurationError: they are not those that the verdict is about.
        """
        has_rows = self.directory.has_rows
        with self._reading():
            rows = StoredRows(
                self.directory.results.open("rb") if has_rows else BytesIO(),
                evaluation["number"],
                list(evaluation["definitions"]),
                # Of a table single rows are shown, which are no whole examples.
                1 if evaluation.get("table") else evaluation["repeats"],
                lambda row: self.shown(row, evaluation),
            )
            if has_rows:
                _check_digest(rows.digest, evaluation)
        return rows

    @contextmanager
    def _reading(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:  # a file that somebody changed may hold anything
            raise ConfigurationError(
                f"cannot read the rows in {self.directory.results}: "
                f"{type(error).__name__}: {one_line(error, 300)}; restore the file, or "
                "run the suite again"
            ) from error

    def before(self, evaluation: Mapping[str, Any]) -> Mapping[str, Any] | None:
        """Return the baseline's evaluation of the same rows under the same name.

        Of several, the last one that asked in the same way, of the same test if there
        is one.
        """
        known: Sequence[Mapping[str, Any]]
        known = self.baseline.verdict["evaluations"] if self.baseline else ()
        identity = ("name", "dataset_digest", "repeats")
        same = [one for one in known if all(one[n] == evaluation[n] for n in identity)]

        def likeness(one: Mapping[str, Any]) -> tuple[bool, ...]:
            wanted = ("request_digest", "test")
            return tuple(one[name] == evaluation[name] for name in wanted)

        return max(reversed(same), key=likeness, default=None)


def _check_digest(digest: str, evaluation: Mapping[str, Any]) -> None:
    if digest != evaluation["rows_digest"]:
        raise ValueError("they are not the rows that the verdict is about")


def read_run(home: Path, run_id: str, baseline: str | None = None) -> ReportedRun:
    """Read a run from its directory.

    Args:
        home: The ``.llmeval`` folder.
        run_id: Names the run, or its directory; ``last`` is the newest one.
        baseline: Names the run that it is shown beside, likewise. Without one it is
            that of `home` which its gates on a change were measured against.

    Raises:
        ConfigurationError: a run is not there, or its files cannot be used.
        BaselineError: the run that gates were measured against cannot be used.
    """
    run = _read(_find(home, run_id))
    beside = _compared(home, run.verdict) if baseline is None else _find(home, baseline)
    return run if beside is None else replace(run, baseline=_read(beside))


def _find(home: Path, name: str) -> RunDirectory:
    if name == "last":
        try:
            name = (home / "last").read_text(encoding="utf-8").strip()
        except OSError as error:
            raise ConfigurationError(
                f"there is no last run in {home}: {error.strerror}; name the folder of "
                "the runs with --dir"
            ) from None
    is_path = "/" in name or "\\" in name
    directory = RunDirectory.at(Path(name)) if is_path else RunDirectory(home, name)
    if not directory.verdict.is_file():
        raise ConfigurationError(
            f"there is no run {name!r}: {directory.verdict} is missing; name a folder "
            f"with that file, a run in {home / 'runs'}, or last"
        )
    return directory


def _compared(home: Path, verdict: Mapping[str, Any]) -> RunDirectory | None:
    """Return the local run that a gate on a change was measured against."""
    run_ids = [gate.get("compared", {}).get("run_id") for gate in verdict["gates"]]
    found = (run_id for run_id in run_ids if run_id and find_run(home, run_id))
    run_id = next(found, None)
    return None if run_id is None else RunDirectory(home, run_id)


def _read(directory: RunDirectory) -> ReportedRun:
    verdict = _load(directory.verdict)
    missing = [name for name in NEEDED if name not in verdict]
    if missing or verdict.get("schema") != SCHEMA:
        problem = f"it lacks {missing[0]!r}" if missing else "its schema is another"
        raise ConfigurationError(
            f"cannot use {directory.verdict}: {problem}; this version reads verdicts "
            f"of schema {SCHEMA}, whole"
        )
    has_deployment = directory.deployment.exists()
    deployment = _load(directory.deployment) if has_deployment else None
    return ReportedRun(
        directory=directory,
        verdict=verdict,
        deployment=deployment,
        redaction=directory.read_redaction(),
    )


def _load(path: Path) -> Mapping[str, Any]:
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigurationError(
            f"cannot read {path}: {type(error).__name__}: {one_line(error, 300)}; "
            "restore the file, or run the suite again"
        ) from None
    return document if isinstance(document, dict) else {}
