"""A finished run as reports show it: read from the files in its directory."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmeval.store import RunDirectory


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportedRun:
    """What is to be shown of a run."""

    directory: RunDirectory
    verdict: Mapping[str, Any]
    """The content of ``verdict.json``; its texts are redacted, but not harmless."""
    deployment: Mapping[str, Any] | None = None
    """The content of ``deployment.json``, when a deployment was asked for."""
    baseline: ReportedRun | None = None
    """The run that this one is shown beside."""

    def rows(self, evaluation: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
        """Yield the rows of one of the verdict's evaluations, as their file has them.

        Args:
            evaluation: An entry of the verdict's ``evaluations``.
        """
        start, end = evaluation["rows_span"]
        with self.directory.results.open("rb") as file:
            file.seek(start)
            while start < end:
                line = file.readline()
                start += len(line)
                yield json.loads(line)


def read_run(home: Path, run_id: str) -> ReportedRun:
    """Read a run from its directory.

    Args:
        home: The ``.llmeval`` folder.
        run_id: Names the run.
    """
    directory = RunDirectory(home, run_id)
    deployment = None
    if directory.deployment.exists():
        deployment = json.loads(directory.deployment.read_bytes())
    verdict = json.loads(directory.verdict.read_bytes())
    return ReportedRun(directory=directory, verdict=verdict, deployment=deployment)
