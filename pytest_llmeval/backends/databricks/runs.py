"""Runs of jobs: started once, looked at until they end, cancelled."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.backends.databricks.storage import patiently
from pytest_llmeval.backends.databricks.workspace import WorkspaceError
from pytest_llmeval.backends.databricks.workspace import telling
from pytest_llmeval.errors import ConfigurationError


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient


ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
"""Life cycle states that a run does not leave."""
TOKEN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,63}")
ATTEMPT_VARIABLES = (
    "GITHUB_REPOSITORY",
    "GITHUB_RUN_ID",
    "GITHUB_RUN_ATTEMPT",
    "GITHUB_JOB",
    "BUILD_TAG",
    "CI_JOB_ID",
)
"""What tells one attempt of a CI job from another: GitHub's, Jenkins', GitLab's."""
LOG_TAIL = 40
RUN_ID = "{{job.run_id}}"
"""In a job's parameters, where Databricks puts the run's number."""


def make_token(settings: Mapping[str, Any]) -> str:
    """Return an idempotency token: of what is asked for and of the attempt in CI.

    The same attempt of the same CI job that asks for the same gets the same token, so
    that it never starts a second run. Outside CI it is another one each time.

    Args:
        settings: What is submitted.
    """
    attempt = [os.environ[n] for n in ATTEMPT_VARIABLES if os.environ.get(n)]
    return f"llmeval-{_digest([attempt or os.urandom(16).hex(), settings])[:40]}"


def short_digest(settings: Mapping[str, Any]) -> str:
    """Return what tells settings from others, in a few characters."""
    return _digest(settings)[:16]


def _digest(told: Any) -> str:
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def check_token(token: str) -> str:
    """Return an idempotency token of the user's.

    Raises:
        ConfigurationError: the Jobs API takes no such one.
    """
    if not TOKEN.fullmatch(token):  # it names a folder in the volume too
        raise ConfigurationError(
            f"--token {token!r:.100} has to be 1 to 64 letters, digits and ._:- that "
            "start with a letter or a digit"
        )
    return token


def parameters_of(tasks: Sequence[Mapping[str, Any]], run_id: int) -> tuple[str, ...]:
    """Return what the entry point of the first task gets in a run."""
    wheel = (tasks[0] if tasks else {}).get("python_wheel_task") or {}
    given = wheel.get("parameters") or ()
    return tuple(text.replace(RUN_ID, str(run_id)) for text in given)


@dataclass(frozen=True, slots=True, kw_only=True)
class Look:
    """A run as it is now."""

    run_id: int
    state: str
    """Its life cycle state: ``PENDING``, ``RUNNING``, ``TERMINATED`` …"""
    result: str
    """``SUCCESS``, ``FAILED``, ``TIMEDOUT``, ``CANCELED`` …; empty until it ends."""
    message: str
    """What Databricks says of it."""
    url: str
    parameters: tuple[str, ...]
    """Of the entry point, with the run's number in them."""
    task_run_id: int | None

    @property
    def has_ended(self) -> bool:
        """Whether it will not change any more."""
        return self.state in ENDED

    def __str__(self) -> str:
        """Return state and message: ``TERMINATED CANCELED: by the user``."""
        words = f"{self.state} {self.result}".strip()
        return f"{words}: {self.message}" if self.message else words


class Runs:
    """Starts runs, and asks for them.

    Args:
        client: Of the workspace.
    """

    def __init__(self, client: WorkspaceClient) -> None:
        self._client = client

    def submit(
        self, settings: Mapping[str, Any], *, name: str, token: str, timeout_s: int
    ) -> int:
        """Start a run, or find the one that the same token has started.

        Args:
            settings: ``tasks`` and ``environments``, as JSON.
            name: Shown in the list of runs.
            token: Makes that a lost answer starts no second run.
            timeout_s: When Databricks ends it.

        Raises:
            WorkspaceError: it is refused, or whether it was started is not known.
        """
        from databricks.sdk.service.jobs import JobEnvironment
        from databricks.sdk.service.jobs import SubmitTask

        tasks = [SubmitTask.from_dict(task) for task in settings["tasks"]]
        environments = [
            JobEnvironment.from_dict(one) for one in settings.get("environments", ())
        ]
        with telling("starting the run"):
            waiter = patiently(
                lambda: self._client.jobs.submit(
                    run_name=name,
                    tasks=tasks,
                    environments=environments or None,
                    idempotency_token=token,
                    timeout_seconds=timeout_s,
                )
            )
        return int(waiter.run_id)

    def start(self, job_id: int, token: str) -> int:
        """Start a job that is there, once for each token.

        Raises:
            WorkspaceError: it is refused, or whether it was started is not known.
        """
        with telling(f"starting the job {job_id}"):
            waiter = patiently(
                lambda: self._client.jobs.run_now(job_id, idempotency_token=token)
            )
        return int(waiter.run_id)

    def look(self, run_id: int) -> Look:
        """Return a run as it is now.

        Raises:
            WorkspaceError: it cannot be asked for.
        """
        with telling(f"the run {run_id}"):
            run = patiently(lambda: self._client.jobs.get_run(run_id))
        found = run.as_dict()
        state = found.get("state") or {}
        details = (found.get("status") or {}).get("termination_details") or {}
        tasks = found.get("tasks") or [{}]
        return Look(
            run_id=run_id,
            state=str(state.get("life_cycle_state") or "UNKNOWN"),
            result=str(state.get("result_state") or ""),
            message=str(details.get("message") or state.get("state_message") or ""),
            url=str(found.get("run_page_url") or ""),
            parameters=parameters_of(tasks, run_id),
            task_run_id=tasks[0].get("run_id"),
        )

    def cancel(self, run_id: int) -> None:
        """Ask for the end of a run; it takes a while until it has ended.

        Raises:
            WorkspaceError: it cannot be asked for.
        """
        with telling(f"cancelling the run {run_id}"):
            patiently(lambda: self._client.jobs.cancel_run(run_id))

    def said(self, look: Look) -> list[str]:
        """Return the last lines that a run's task has printed, and its error."""
        if look.task_run_id is None:
            return []
        try:
            with telling("the output of the task"):
                found = self._client.jobs.get_run_output(look.task_run_id).as_dict()
        except WorkspaceError as error:
            return [str(error)]
        lines = str(found.get("logs") or "").splitlines()[-LOG_TAIL:]
        return [*lines, *str(found.get("error") or "").splitlines()[:LOG_TAIL]]
