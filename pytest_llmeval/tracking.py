"""Uploads finished runs to where a team looks them up: at a run's end, or later.

Separate from the session, because `llmeval sync` uploads runs that ended long ago.
"""

from __future__ import annotations

import json
import os
import shlex
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import ExitStack
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pluggy
from filelock import FileLock

from pytest_llmeval.config import Settings
from pytest_llmeval.config import experiment
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.outgoing import outgoing_rows
from pytest_llmeval.records import Tracker
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.text import URL_USER
from pytest_llmeval.text import one_line


SCHEMA = 1

Say = Callable[[str, str], None]
"""Shows a line to the user; the first argument is a status, or empty."""


class RunTracking:
    """The way of one run into the tracking store.

    Args:
        settings: The run's settings.
        hook: Gives the tracker, when it is first needed.
        directory: The run's files.
        started_at: When the run began, Unix time in seconds.
        say: Shows a line to the user.
    """

    def __init__(
        self,
        settings: Settings,
        hook: pluggy.HookRelay,
        directory: RunDirectory,
        *,
        started_at: float,
        say: Say,
    ) -> None:
        self._settings, self._hook = settings, hook
        self._directory, self._say = directory, say
        self._started_at = started_at
        self._tracker: Tracker | None = None

    @contextmanager
    def child(self, name: str) -> Iterator[Any]:
        """Open the tracked run of one evaluation now, and give it.

        Processes of one run that do so at once share one parent.

        Raises:
            ConfigurationError: tracking is off, or the store does not answer.
        """
        settings = self._settings
        if settings.tracking == "off":
            raise ConfigurationError(
                "the fixture mlflow_run needs tracking, and --llmeval-tracking is off"
            )
        head = _head(self._directory.run_id, self._started_at)
        child = self._open(settings.tracking_uri).child(name, head)
        with ExitStack() as opened:
            self._directory.path.mkdir(parents=True, exist_ok=True)
            # The first one makes the parent, which the others then find.
            with FileLock(self._directory.tracking_lock):
                run = opened.enter_context(child)
                self._directory.tracked.touch()
            yield run

    def upload(
        self,
        verdict: Mapping[str, Any],
        evaluations: Sequence[Mapping[str, Any]],
        write_verdict: Callable[[Mapping[str, Any]], None],
    ) -> Mapping[str, Any]:
        """Write down what is to be uploaded, then upload it; a failure ends no run.

        Args:
            verdict: The run's final verdict, which stands in its file.
            evaluations: What the session keeps of each.
            write_verdict: Replaces the verdict file.

        Returns:
            The verdict, which names the tracked run where the upload worked.
        """
        is_empty = not evaluations and not self._directory.tracked.exists()
        if self._settings.tracking == "off" or is_empty:
            return verdict
        self._say("", "tracking the run in MLflow …")
        uri, directory = self._settings.tracking_uri, self._directory
        try:
            directory.write(directory.tracking, _pending(verdict, evaluations, uri))
        except OSError as error:
            self._say("fail", f"tracking failed: {directory.tracking}: {error}")
            return verdict
        named: dict[str, Any] = {}

        def name_run(tracked_id: str) -> None:
            write_verdict({**verdict, "mlflow_run_id": tracked_id})
            named["mlflow_run_id"] = tracked_id

        try:
            _upload(directory, uri, self._open, name_run)
        except Exception as error:  # noqa: BLE001  # remote: its faults end no run
            later = f"upload it later with: {_sync_command(self._settings.home)}"
            self._say("fail", f"tracking failed: {_cause(error)}; {later}")
            if named:
                write_verdict(verdict)
            return verdict
        return {**verdict, **named}

    def _open(self, uri: str) -> Tracker:
        if self._tracker is None:
            self._tracker = _find_tracker(self._hook, uri, self._settings)
        return self._tracker


def sync(
    home: Path, run_ids: Sequence[str], uri: str | None, say: Callable[[str], None]
) -> bool:
    """Upload runs that are not uploaded yet, oldest first, each exactly once.

    Safe at any time: beside another sync, beside the end of the run itself, and again
    after a sync that was killed.

    Args:
        home: The ``.llmeval`` folder.
        run_ids: The runs; every one that waits when empty.
        uri: The tracking URI; None takes the one that each run has written down.
        say: Shows a line to the user.

    Returns:
        Whether all of them are uploaded.

    Raises:
        ConfigurationError: there is no such folder, or no such run.
    """
    directories = _named(home, run_ids) if run_ids else _waiting(home)
    if not directories:
        say(f"nothing to upload in {home}")
    open_tracker = _opener(headless_manager().hook, Settings(directory=str(home)))
    outcomes = [_sync(directory, uri, open_tracker, say) for directory in directories]
    return all(outcomes)


def is_uploaded(directory: RunDirectory) -> bool:
    """Return whether a run is in the tracking store, whole.

    Raises:
        ConfigurationError: ``tracking.json`` cannot be read.
    """
    return directory.tracking.exists() and _read(directory)["status"] == "done"


def tracked_id(directory: RunDirectory) -> str | None:
    """Return the MLflow run of a run that is uploaded, else None."""
    if not is_uploaded(directory):
        return None
    run_id: str = _read(directory)["mlflow_run_id"]
    return run_id


def tracked_at(directory: RunDirectory) -> str | None:
    """Return the tracking URI of a run that is uploaded, else None."""
    if not is_uploaded(directory):
        return None
    return _recorded(_read(directory)["tracking_uri"])


def _read(directory: RunDirectory) -> dict[str, Any]:
    """Return ``tracking.json``: what is to be uploaded, and whether it was."""
    path = directory.tracking
    try:
        document: dict[str, Any] = json.loads(path.read_bytes())
        if document["schema"] == SCHEMA:
            return document
        problem = f"its schema is {document['schema']!r}"
    except (OSError, ValueError, TypeError, KeyError) as error:
        problem = _cause(error)
    raise ConfigurationError(
        f"cannot use {path}: {problem}; this version reads schema {SCHEMA}"
    )


def _pending(
    verdict: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]], uri: str
) -> dict[str, Any]:
    """Return ``tracking.json``: all that an upload needs, but the rows."""
    counts = Counter(gate["decision"] for gate in verdict["gates"])
    words = ("pass", "fail", "inconclusive", "error")
    versions = verdict["versions"].items()
    return {
        "schema": SCHEMA,
        "status": "pending",
        "tracking_uri": _public(uri),
        "mlflow_run_id": None,
        **_head(verdict["run_id"], verdict["started_at"]),
        "finished_at": verdict["finished_at"],
        "passed": verdict["status"] == "pass",
        "metrics": {f"gates/{word}": counts[word] for word in words},
        "tags": {
            "llmeval.verdict": verdict["status"],
            "llmeval.reason": verdict["reason"],
            "mlflow.source.git.commit": verdict["commit"],
            "mlflow.source.git.branch": verdict["branch"],
            "llmeval.ci_url": verdict["ci_url"],
            **{f"llmeval.version.{name}": version for name, version in versions},
        },
        "evaluations": [
            _evaluation(number, evaluation)
            for number, evaluation in enumerate(evaluations, 1)
        ],
    }


def _head(run_id: str, started_at: float) -> dict[str, Any]:
    """Return what a tracked run is found or created by."""
    return {"run_id": run_id, "started_at": started_at, **experiment()}


def _evaluation(number: int, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    kept = (
        "name",
        "started_at",
        "test",
        "dataset",
        "predictions_digest",
        "rows_span",
        "mlflow_run_id",
    )
    return {
        "number": number,
        **{key: evaluation[key] for key in kept},
        "finished_at": evaluation["started_at"] + evaluation["duration_s"],
        "columns": evaluation.get("columns"),
        "metrics": _numbers(evaluation),
        "params": evaluation["params"],
    }


def _numbers(evaluation: Mapping[str, Any]) -> dict[str, float]:
    """Return metric values with their intervals, and usage, in one flat mapping."""
    numbers = {
        name if part == "value" else f"{name}/{part}": number
        for name, value in evaluation["metrics"].items()
        for part, number in value.items()
    }
    stop = evaluation.get("early_stop") or {}
    numbers |= {f"early_stop/{name}": stop[name] for name in stop if name != "seed"}
    usage = evaluation.get("usage", {}).items()
    numbers |= {f"usage/{name}": number for name, number in usage}
    return {name: number for name, number in numbers.items() if number is not None}


def _upload(
    directory: RunDirectory,
    uri: str,
    open_tracker: Callable[[str], Tracker],
    name_run: Callable[[str], None],
) -> dict[str, Any]:
    """Upload a run unless it is done; return its ``tracking.json`` as it is then."""
    with FileLock(directory.tracking_lock):
        document = _read(directory)
        if document["status"] != "done":
            tracker = open_tracker(uri)
            with outgoing_rows(directory, document) as (outgoing, rows):
                tracked_id = tracker.log_run(outgoing, rows)
            name_run(tracked_id)
            tracker.log_verdict(tracked_id, document, directory.verdict)
            document = {
                **document,
                "status": "done",
                "tracking_uri": _public(uri),
                "mlflow_run_id": tracked_id,
            }
            directory.write(directory.tracking, document)
        directory.drop_tracking_files()
        return document


def _sync(
    directory: RunDirectory,
    uri: str | None,
    open_tracker: Callable[[str], Tracker],
    say: Callable[[str], None],
) -> bool:
    try:
        target = uri or _recorded(_read(directory)["tracking_uri"])
        done = _upload(directory, target, open_tracker, lambda tracked_id: None)
    except Exception as error:  # noqa: BLE001  # remote; other runs may do better
        say(f"{directory.run_id}: not uploaded: {_cause(error)}")
        return False
    tracked_id, where = done["mlflow_run_id"], done["tracking_uri"]
    say(f"{directory.run_id}: uploaded as MLflow run {tracked_id} at {where}")
    return True


def _waiting(home: Path) -> list[RunDirectory]:
    def waits(directory: RunDirectory) -> bool:
        try:
            return directory.tracking.exists() and not is_uploaded(directory)
        except ConfigurationError:
            return True  # the upload will say what is wrong with the file

    # A run's id begins with the time.
    return [
        run for run in map(partial(RunDirectory, home), _run_ids(home)) if waits(run)
    ]


def _named(home: Path, run_ids: Sequence[str]) -> list[RunDirectory]:
    known = _run_ids(home)
    for run_id in run_ids:
        if run_id not in known:
            raise ConfigurationError(f"there is no run {run_id!r} in {home / 'runs'}")
    directories = [RunDirectory(home, run_id) for run_id in sorted(run_ids)]
    for directory in directories:
        if not directory.tracking.exists():
            raise ConfigurationError(
                f"the run {directory.run_id!r} has nothing to upload: it did not reach "
                "its end, evaluated nothing, or ran with --llmeval-tracking off"
            )
    return directories


def _run_ids(home: Path) -> list[str]:
    try:
        return sorted(path.name for path in (home / "runs").iterdir())
    except OSError as error:
        raise ConfigurationError(
            f"there are no runs in {home}: {error.strerror}; name the folder that "
            "--llmeval-dir or llmeval_dir gave them with --dir"
        ) from None


def _find_tracker(hook: pluggy.HookRelay, uri: str, settings: Settings) -> Tracker:
    tracker: Tracker | None = hook.pytest_llmeval_tracker(uri=uri, settings=settings)
    if tracker is None:
        raise ConfigurationError(f"no plugin tracks runs at {_public(uri)}")
    return tracker


def _opener(hook: pluggy.HookRelay, settings: Settings) -> Callable[[str], Tracker]:
    """Return a function that opens each store once, and tries no dead one again."""
    opened: dict[str, Tracker | ConfigurationError] = {}

    def open_tracker(uri: str) -> Tracker:
        if uri not in opened:
            try:
                opened[uri] = _find_tracker(hook, uri, settings)
            except ConfigurationError as error:
                opened[uri] = error
        tracker = opened[uri]
        if isinstance(tracker, ConfigurationError):
            raise tracker
        return tracker

    return open_tracker


def _public(uri: str) -> str:
    """Return a tracking URI to write down: without user info, files from the root."""
    scheme, slashes, path = uri.partition("sqlite:///")
    if slashes and not scheme:
        return f"sqlite:///{Path(path).absolute()}"
    return URL_USER.sub("", uri)


def _recorded(uri: str) -> str:
    """Return a written URI, with the user info that the environment has for it."""
    given = os.environ.get("MLFLOW_TRACKING_URI", "")
    return given if _public(given) == uri else uri


def _sync_command(home: Path) -> str:
    if home == Path.cwd() / ".llmeval":
        return "llmeval sync"
    return f"llmeval sync --dir {shlex.quote(str(home))}"


def _cause(error: Exception) -> str:
    if isinstance(error, LLMEvalError):
        return one_line(error, 500)
    return f"{type(error).__name__}: {one_line(error, 500)}"
