"""Runs that lie on this machine, as baselines."""

from __future__ import annotations

from pathlib import Path

from pytest_llmeval.config import Settings
from pytest_llmeval.hooks import hookimpl
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import StoredRun
from pytest_llmeval.store import find_run
from pytest_llmeval.store import stored_run


@hookimpl(trylast=True)
def pytest_llmeval_baseline(
    name: str, model: ModelRef, settings: Settings
) -> StoredRun | None:
    """Give the run of a results directory, or of an id in the ``.llmeval`` folder."""
    is_path = "/" in name or "\\" in name
    if not is_path:
        return find_run(settings.home, name)
    path = Path(name).expanduser()
    return stored_run(settings.rootdir / path)
