"""Jobs on a schedule, one for each name, however often they are set."""

from __future__ import annotations

import os
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any
from typing import Literal
from typing import NamedTuple

from pytest_llmeval.backends.databricks.storage import patiently
from pytest_llmeval.backends.databricks.workspace import telling
from pytest_llmeval.errors import ConfigurationError


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient


TAG, TAGGED = "llmeval", "schedule"
CALL_TAG = "llmeval-call"
"""Tells what one call has created, where a lost answer has made it twice."""
Moment = Literal["start", "success", "failure"]


class Notifications(NamedTuple):
    """Who hears of a run, and when."""

    emails: tuple[str, ...]
    webhooks: tuple[str, ...]
    """Ids of notification destinations of the workspace."""
    moments: tuple[Moment, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Scheduled:
    """A schedule as it is in the workspace."""

    job_id: int
    name: str
    cron: str
    zone: str
    is_paused: bool
    settings: Mapping[str, Any]


def schedule_settings(
    name: str,
    job: Mapping[str, Any],
    *,
    cron: str,
    zone: str,
    timeout_s: int,
    told: Notifications,
) -> dict[str, Any]:
    """Return the settings of a job on a schedule, as the Jobs API 2.2 takes them."""
    schedule = {
        "quartz_cron_expression": cron,
        "timezone_id": zone,
        "pause_status": "UNPAUSED",
    }
    settings: dict[str, Any] = {
        "name": name,
        "tags": {TAG: TAGGED},
        "max_concurrent_runs": 1,
        "schedule": schedule,
        "timeout_seconds": timeout_s,
        **job,
    }
    if told.emails:
        settings["email_notifications"] = {
            f"on_{moment}": list(told.emails) for moment in told.moments
        }
    if told.webhooks:
        hooks = [{"id": webhook} for webhook in told.webhooks]
        settings["webhook_notifications"] = {
            f"on_{moment}": hooks for moment in told.moments
        }
    return settings


class Schedules:
    """The jobs of a workspace that `llmeval databricks schedule` has made.

    Args:
        client: Of the workspace.
    """

    def __init__(self, client: WorkspaceClient) -> None:
        self._jobs = client.jobs

    def all(self) -> list[Scheduled]:
        """Return every schedule of the workspace that these credentials may see.

        Raises:
            WorkspaceError: they cannot be listed.
        """
        with telling("listing the jobs"):
            jobs = patiently(lambda: list(self._jobs.list()))
        return list(filter(None, map(_scheduled, jobs)))

    def find(self, name: str) -> list[Scheduled]:
        """Return the schedule of a name; more than one only by accident.

        Raises:
            ConfigurationError: there is none.
            WorkspaceError: the workspace does not tell.
        """
        found = self._named(name)
        if not found:
            raise ConfigurationError(
                f"there is no schedule {name!r:.200}; see: llmeval databricks schedule "
                "list"
            )
        return found

    def set(self, settings: Mapping[str, Any]) -> tuple[int, list[str]]:
        """Create a schedule, or change the one of that name; the same again is nothing.

        One that is paused stays paused.

        Args:
            settings: Of `schedule_settings`.

        Returns:
            The job's id, and what was changed: ``created``, names of fields, or
            nothing.

        Raises:
            ConfigurationError: somebody else's job has the name.
            WorkspaceError: the workspace refuses or does not answer.
        """
        name = settings["name"]
        found = self._named(name)
        if not found:
            return self._create(settings), ["created"]
        kept, *others = found
        self.delete(others)
        wanted = dict(settings)
        if kept.is_paused:
            wanted["schedule"] = {**wanted["schedule"], "pause_status": "PAUSED"}
        changed = _differences(self.settings(kept.job_id), wanted)
        if changed:
            with telling(f"changing the job {kept.job_id}"):
                patiently(lambda: self._jobs.reset(kept.job_id, _typed(wanted)))
        return kept.job_id, changed

    def settings(self, job_id: int) -> dict[str, Any]:
        """Return all settings of a job, its tasks included.

        Raises:
            WorkspaceError: the workspace does not tell.
        """
        with telling(f"the job {job_id}"):
            job = patiently(lambda: self._jobs.get(job_id)).as_dict()
        return dict(job["settings"])

    def pause(self, found: Sequence[Scheduled], *, paused: bool) -> None:
        """Let a schedule rest, or go on.

        Raises:
            WorkspaceError: the workspace refuses or does not answer.
        """
        for one in found:
            schedule = {
                "quartz_cron_expression": one.cron,
                "timezone_id": one.zone,
                "pause_status": "PAUSED" if paused else "UNPAUSED",
            }
            with telling(f"changing the job {one.job_id}"):
                self._update(one.job_id, {"schedule": schedule})

    def _update(self, job_id: int, settings: Mapping[str, Any]) -> None:
        typed = _typed(settings)
        patiently(lambda: self._jobs.update(job_id, new_settings=typed))

    def delete(self, found: Sequence[Scheduled]) -> None:
        """Delete a schedule; runs that are there stay.

        Raises:
            WorkspaceError: the workspace refuses or does not answer.
        """
        for one in found:
            with telling(f"deleting the job {one.job_id}"):
                self._remove(one.job_id)

    def _remove(self, job_id: int) -> None:
        """Delete a job; one that is gone is fine, as after an answer that got lost."""
        from databricks.sdk.errors import BadRequest
        from databricks.sdk.errors import NotFound

        try:
            patiently(lambda: self._jobs.delete(job_id))
        except (BadRequest, NotFound) as error:
            if "does not exist" not in str(error):
                raise

    def last_run(self, job_id: int) -> str:
        """Return how the newest run of a job went, as a phrase; empty without one.

        Raises:
            WorkspaceError: the workspace does not tell.
        """
        with telling(f"the runs of the job {job_id}"):
            newest = patiently(
                lambda: next(iter(self._jobs.list_runs(job_id=job_id, limit=1)), None)
            )
        state = (newest.as_dict().get("state") or {}) if newest else {}
        return str(state.get("result_state") or state.get("life_cycle_state") or "")

    def _named(self, name: str) -> list[Scheduled]:
        """Return the schedules of a name, the oldest first; more than one by accident.

        Raises:
            ConfigurationError: a job of that name is somebody else's.
        """
        with telling(f"looking for the job {name!r:.100}"):
            listed = patiently(lambda: list(self._jobs.list(name=name)))
        jobs = [job for job in listed if job.settings and job.settings.name == name]
        found = [_scheduled(job) for job in jobs]
        if jobs and not any(found):
            raise ConfigurationError(
                f"the workspace has a job {name!r:.200} that llmeval has not made (id "
                f"{jobs[0].job_id}); choose another name"
            )
        return sorted(filter(None, found), key=lambda one: one.job_id)

    def _create(self, settings: Mapping[str, Any]) -> int:
        """Create a job once: the API has no token for it, and answers get lost."""
        call = os.urandom(8).hex()
        tagged = {**settings, "tags": {**settings["tags"], CALL_TAG: call}}
        body = _typed(tagged)
        with telling("creating the job"):
            patiently(lambda: self._jobs.create(**_arguments(body)))
        found = self._named(settings["name"])
        ours = [one for one in found if one.settings["tags"].get(CALL_TAG) == call]
        kept = found[0]
        self.delete([one for one in ours if one is not kept])
        if kept not in ours:  # somebody else was faster; the last word is ours
            with telling(f"changing the job {kept.job_id}"):
                patiently(lambda: self._jobs.reset(kept.job_id, _typed(settings)))
        return kept.job_id


def _scheduled(job: Any) -> Scheduled | None:
    """Return a job of the SDK's as a schedule, or None when it is none of ours."""
    settings = job.settings.as_dict() if job.settings else {}
    if (settings.get("tags") or {}).get(TAG) != TAGGED:
        return None
    schedule = settings.get("schedule") or {}
    return Scheduled(
        job_id=job.job_id,
        name=settings.get("name", ""),
        cron=schedule.get("quartz_cron_expression", ""),
        zone=schedule.get("timezone_id", ""),
        is_paused=schedule.get("pause_status") == "PAUSED",
        settings=settings,
    )


def _typed(settings: Mapping[str, Any]) -> Any:
    from databricks.sdk.service.jobs import JobSettings

    return JobSettings.from_dict(dict(settings))


def _arguments(settings: Any) -> dict[str, Any]:
    """Return the fields that are set, as `jobs.create` takes them."""
    fields = {name: getattr(settings, name) for name in settings.__dataclass_fields__}
    return {name: value for name, value in fields.items() if value is not None}


def _differences(present: Mapping[str, Any], wanted: Mapping[str, Any]) -> list[str]:
    """Return the fields that have to change."""
    differ = {key for key in wanted if not _holds(present.get(key), wanted[key])}
    if "environments" in present and "environments" not in wanted:
        differ.add("environments")
    for key in ("email_notifications", "webhook_notifications"):
        if _told(present.get(key)) != _told(wanted.get(key)):
            differ.add(key)
    return sorted(differ)


def _told(notifications: Mapping[str, Any] | None) -> dict[str, Any]:
    given = (notifications or {}).items()
    return {key: value for key, value in given if key.startswith("on_") and value}


def _holds(present: Any, wanted: Any) -> bool:
    """Return whether what is there says all that is wanted; it may say more."""
    if isinstance(wanted, Mapping):
        return isinstance(present, Mapping) and all(
            _holds(present.get(key), value) for key, value in wanted.items()
        )
    if isinstance(wanted, list):
        return (
            isinstance(present, list)
            and len(present) == len(wanted)
            and all(map(_holds, present, wanted))
        )
    return bool(present == wanted)
