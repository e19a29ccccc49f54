"""One run, from its first evaluation to its verdict. Free of pytest."""

from __future__ import annotations

from typing import Any

import pluggy

from pytest_llmeval.config import RunStart
from pytest_llmeval.config import Settings
from pytest_llmeval.evidence import Evidence
from pytest_llmeval.records import Progress
from pytest_llmeval.session.outbox import Outbox
from pytest_llmeval.session.recorder import RunRecorder
from pytest_llmeval.session.run import GATHERED
from pytest_llmeval.session.run import Run
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.tracking import RunTracking
from pytest_llmeval.tracking import Say


__all__ = ["Outbox", "Run", "RunRecorder", "open_outbox", "open_run"]


def open_run(
    settings: Settings,
    manager: pluggy.PluginManager,
    *,
    evidence: Evidence,
    start: RunStart,
    say: Say,
    progress: Progress | None = None,
    signing_key: str | None = None,
    command: str = "pytest",
    distributes: bool = False,
) -> tuple[Run, RunRecorder]:
    """Open the run where its verdict is kept, and what its tests use.

    Args:
        settings: The run's settings.
        manager: The plugin manager whose hooks are asked.
        evidence: Where tests and decisions are noted.
        start: The run's id and when it began.
        say: Shows a line to the user.
        progress: Shows how evaluations get on.
        signing_key: Signs the verdict.
        command: What the user typed, for the line that says how to repeat it.
        distributes: Whether the tests run in xdist workers.

    Raises:
        ConfigurationError: the manifest cannot be read, or the folder not written.
    """
    directory = RunDirectory(settings.home, start.id)
    tracking = _tracking(settings, manager, directory, start, say)
    run = Run(
        settings,
        manager.hook,
        evidence=evidence,
        directory=directory,
        tracking=tracking,
        started_at=start.at,
        say=say,
        signing_key=signing_key,
        command=command,
    )
    if distributes:
        directory = RunDirectory(settings.home, start.id, GATHERED)
    recorder = RunRecorder(
        settings,
        manager,
        keeper=run,
        evidence=evidence,
        directory=directory,
        tracking=tracking,
        run=start,
        progress=progress,
        signing_key=signing_key,
        worker=GATHERED if distributes else None,
    )
    run.begin()
    run.hold()
    return run, recorder


def open_outbox(
    settings: Settings,
    manager: pluggy.PluginManager,
    *,
    evidence: Evidence,
    start: RunStart,
    worker: str,
    signing_key: str | None = None,
) -> tuple[Outbox, RunRecorder]:
    """Open what the tests of a worker use; another process keeps the verdict.

    Args are those of `open_run`, and the worker's name.
    """
    outbox = Outbox(evidence)
    directory = RunDirectory(settings.home, start.id, worker)
    shared: dict[str, Any] = {"evidence": evidence, "directory": directory}
    shared["tracking"] = _tracking(settings, manager, directory, start, outbox.say)
    recorder = RunRecorder(
        settings,
        manager,
        keeper=outbox,
        run=start,
        signing_key=signing_key,
        worker=worker,
        **shared,
    )
    if not directory.verdict.exists():  # the first of all processes
        run = Run(
            settings,
            manager.hook,
            started_at=start.at,
            say=outbox.say,
            signing_key=signing_key,
            **shared,
        )
        run.begin()
    return outbox, recorder


def _tracking(
    settings: Settings,
    manager: pluggy.PluginManager,
    directory: RunDirectory,
    start: RunStart,
    say: Say,
) -> RunTracking:
    return RunTracking(settings, manager.hook, directory, started_at=start.at, say=say)
