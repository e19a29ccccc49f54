"""A verdict that another process has written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from typing import NoReturn

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.seal import broken_seal
from pytest_llmeval.store import RunDirectory


NEEDED = {
    "schema",
    "run_id",
    "status",
    "reason",
    "detail",
    "gates",
    "model",
    "manifest",
    "commit",
    "dirty",
    "started_at",
    "finished_at",
    "mlflow_run_id",
}


def find_verdict(home: Path) -> Path:
    """Return the verdict file of the newest run.

    Raises:
        ConfigurationError: there is no run.
    """
    try:
        run_id = (home / "last").read_text(encoding="utf-8").strip()
    except OSError as error:
        raise ConfigurationError(
            f"there is no run in {home}: {error.strerror}; evaluate with: pytest "
            "evals/, or name a verdict file with --verdict FILE"
        ) from None
    return RunDirectory(home, run_id).verdict


def read_verdict(path: Path, key: str | None) -> dict[str, Any]:
    """Return what a verdict file says.

    Args:
        path: Of the file.
        key: What it has to be signed with, where there is a key.

    Raises:
        DeploymentRefused: VERDICT_UNUSABLE: there is none, or it is no verdict;
            VERDICT_TAMPERED: it is not as it was written.
    """
    try:
        verdict = json.loads(path.read_bytes(), parse_constant=_refuse)
    except (OSError, ValueError, RecursionError) as error:
        raise _unusable(path, f"{type(error).__name__}: {error}") from None
    if not isinstance(verdict, dict) or not verdict.keys() >= NEEDED:
        raise _unusable(path, "it is not the verdict of a run")
    problem = broken_seal(verdict, key)
    if problem is not None:
        raise DeploymentRefused(
            "VERDICT_TAMPERED",
            f"{path} is not as a run wrote it: {problem}; evaluate again, and hand the "
            "file over unchanged",
        )
    return verdict


def _refuse(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number of JSON")


def _unusable(path: Path, problem: str) -> DeploymentRefused:
    return DeploymentRefused(
        "VERDICT_UNUSABLE",
        f"cannot use {path}: {problem}; evaluate with: pytest evals/, and name the "
        "verdict.json of that run",
    )
