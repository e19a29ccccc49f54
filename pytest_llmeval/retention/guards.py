"""Why a run has to stay, whatever its age and size."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path

from pytest_llmeval.claims import living_owners
from pytest_llmeval.deploy.journal import UNSETTLED
from pytest_llmeval.deploy.journal import past_attempts
from pytest_llmeval.deploy.journal import unsettled
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.retention.folder import RunFolder
from pytest_llmeval.retention.folder import changed_at
from pytest_llmeval.services import lives_in
from pytest_llmeval.tracking import is_uploaded


STARTING_S = 86_400.0
"""A run without an end may still go on when something has changed within this time:
it holds its lock only from when it has evaluated for the first time."""


def find_guards(
    home: Path, runs: Iterable[RunFolder], named: Iterable[str]
) -> dict[str, str]:
    """Return the runs that have to stay, by id, each with the reason.

    Args:
        home: The ``.llmeval`` folder.
        runs: What lies there.
        named: The baselines that the gate manifest names: run ids and folders.

    Raises:
        ConfigurationError: the books of deployments cannot be read.
    """
    found: dict[str, str] = {}
    tests: list[tuple[str, Callable[[RunFolder], bool]]] = [
        ("it is the last run", _one_of({_last(home)})),
        ("a deployment names it", _one_of(_deployed(home))),
        ("a deployment names it", _has_deployed),
        ("it is to be uploaded: llmeval sync", _waits),
        ("it is running", _runs),
        ("the gate manifest names it", _one_of({Path(name).name for name in named})),
    ]
    for run in runs:
        for reason, holds in tests:
            if holds(run):
                found[run.run_id] = reason
                break
    return found


def _one_of(run_ids: set[str]) -> Callable[[RunFolder], bool]:
    return lambda run: run.run_id in run_ids


def _last(home: Path) -> str:
    try:
        return (home / "last").read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError):
        return ""


def _deployed(home: Path) -> set[str]:
    """Return the runs of deployments that have begun to write, or have to be settled.

    One that was refused has changed nothing, and needs its run no more.
    """
    begun = {
        str(attempt.get("run_id"))
        for attempt in past_attempts(home)
        if attempt.get("plans")
    }
    broken = unsettled(home)
    if broken is not None:
        begun |= {str(broken.run_id), broken.path.parent.name}
    return begun


def _has_deployed(run: RunFolder) -> bool:
    """Return whether its own books say so: those of a job come without the list."""
    reason, plans = run.deployment.get("reason"), run.deployment.get("plans")
    return reason in UNSETTLED or bool(plans and reason != "DRY_RUN")


def _waits(run: RunFolder) -> bool:
    try:
        return run.directory.tracking.exists() and not is_uploaded(run.directory)
    except ConfigurationError:
        return True


def _runs(run: RunFolder) -> bool:
    is_young = time.time() - changed_at(run.directory.path) < STARTING_S
    if not run.has_ended and is_young:
        return True
    return bool(living_owners(run.directory.running)) or lives_in(
        run.directory.services
    )
