"""Where an export takes runs from: a ``.llmeval`` folder, one run, or MLflow."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Protocol
from typing import runtime_checkable

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.history.export import Exported
from pytest_llmeval.history.export import export
from pytest_llmeval.history.places import HistoryPlace
from pytest_llmeval.history.places import open_place
from pytest_llmeval.history.runs import FinishedRun
from pytest_llmeval.history.runs import LeftOut
from pytest_llmeval.history.runs import attempts_of
from pytest_llmeval.history.runs import loose_attempts
from pytest_llmeval.history.runs import read_run
from pytest_llmeval.history.runs import stored_runs
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.text import redact


if TYPE_CHECKING:
    import pluggy

    from pytest_llmeval.config import Settings


OVERLAP = datetime.timedelta(days=2)
"""Asked for again: clocks differ, and an upload may have been on its way."""


@runtime_checkable
class RunArchive(Protocol):
    """A tracker that gives back what it keeps."""

    def finished_runs(
        self, since: datetime.date | None
    ) -> Iterator[FinishedRun | LeftOut]:
        """Yield the runs that changed on a day or later, or all of them."""


def export_runs(
    home: Path,
    place: HistoryPlace,
    *,
    with_rows: bool = False,
    again: bool = False,
) -> Exported:
    """Export the runs in a folder, see `export`.

    Raises:
        ConfigurationError: the folder or the place cannot be used.
    """
    loose = loose_attempts(home)
    return export(
        stored_runs(home), place, loose=loose, with_rows=with_rows, again=again
    )


def export_run(
    directory: RunDirectory, text: str, hook: pluggy.HookRelay, settings: Settings
) -> str:
    """Export one run that has just ended, without its rows; return where it is.

    Raises:
        ConfigurationError: the place cannot be used.
    """
    place = open_place(text, hook, settings)
    attempts = attempts_of(settings.home, directory.run_id)
    export([read_run(directory, attempts)], place)
    return place.name


def export_mlflow(
    hook: pluggy.HookRelay,
    settings: Settings,
    place: HistoryPlace,
    *,
    with_rows: bool = False,
    again: bool = False,
) -> Exported:
    """Export the runs that MLflow keeps; after the first time what has changed there.

    Args:
        hook: Gives the tracker.
        settings: Name the tracking URI.
        place: Where to.
        with_rows: See `export`; with rows, and with `again`, all runs are read.
        again: Likewise.

    Raises:
        ConfigurationError: MLflow or the place cannot be used.
    """
    uri = settings.tracking_uri
    began = datetime.datetime.now(datetime.UTC).date()
    note = f"read {redact(uri)}" + (" with rows" if with_rows else "")
    noted = None if again else place.note(note)
    since = datetime.date.fromisoformat(noted) - OVERLAP if noted else None
    tracker = hook.pytest_llmeval_tracker(uri=uri, settings=settings)
    if not isinstance(tracker, RunArchive):
        raise ConfigurationError(f"no plugin gives back the runs at {redact(uri)}")
    done = export(tracker.finished_runs(since), place, with_rows=with_rows, again=again)
    if all(left.is_final for left in done.left_out):
        place.keep_note(note, began.isoformat())
    return done
