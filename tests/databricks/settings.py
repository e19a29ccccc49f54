"""What the jobs API refuses of a job's settings before anything runs."""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from typing import Any
from zoneinfo import available_timezones

from .wire import Refused


CLASSIC = ("new_cluster", "existing_cluster_id", "job_cluster_key")
DEFAULTS = {
    "email_notifications": {},
    "webhook_notifications": {},
    "timeout_seconds": 0,
    "max_concurrent_runs": 1,
    "format": "MULTI_TASK",
    "queue": {"enabled": True},
}


def checked(settings: dict[str, Any], clusters: AbstractSet[str]) -> dict[str, Any]:
    """Return the settings of a job or a submitted run, if they are valid."""
    tasks = settings.get("tasks") or []
    keys = [task.get("task_key", "") for task in tasks]
    if len(set(keys)) < len(keys):
        raise Refused(400, f"The task keys {keys} are not unique.")
    for task in tasks:
        _check_task(task, settings, clusters)
    if settings.get("schedule"):
        _check_schedule(settings["schedule"])
    return settings


def is_classic(task: dict[str, Any]) -> bool:
    """Say whether a task runs on a cluster, and not on serverless compute."""
    return any(name in task for name in CLASSIC)


def _check_task(task: Any, settings: Any, clusters: AbstractSet[str]) -> None:
    key = task.get("task_key", "")
    if not re.fullmatch(r"[\w-]{1,100}", key):
        raise Refused(400, f"The task key {key!r} is not valid.")
    wheel = task.get("python_wheel_task")
    for field in ("package_name", "entry_point") if wheel is not None else ():
        if not wheel.get(field):
            raise Refused(400, f"Task {key}: the Python wheel task needs a {field}.")
    if not is_classic(task):
        _check_serverless(key, task, settings.get("environments") or [])
    elif "new_cluster" in task:
        _check_new_cluster(key, task["new_cluster"])
    elif task.get("existing_cluster_id") not in {None, *clusters}:
        raise Refused(400, f"Cluster {task['existing_cluster_id']} does not exist")


def _check_serverless(key: str, task: Any, environments: Any) -> None:
    specs = {env["environment_key"]: env.get("spec") or {} for env in environments}
    if "environment_key" not in task:
        raise Refused(
            400,
            f"An environment is required for serverless task {key}. Please define one "
            "using `environments` and `environment_key`.",
        )
    if task["environment_key"] not in specs:
        raise Refused(
            400, f"Task {key}: there is no environment {task['environment_key']}."
        )
    if task.get("libraries"):
        raise Refused(
            400,
            "Libraries field is not supported for serverless task, please specify "
            "libraries in environment.",
        )
    spec = specs[task["environment_key"]]
    if not (spec.get("environment_version") or spec.get("client")):
        raise Refused(400, f"Task {key}: its environment has no environment_version.")


def _check_new_cluster(key: str, cluster: dict[str, Any]) -> None:
    for field in ("spark_version", "node_type_id"):
        if not cluster.get(field):
            raise Refused(400, f"Task {key}: the new cluster needs a {field}.")


def _check_schedule(schedule: dict[str, Any]) -> None:
    cron = schedule.get("quartz_cron_expression", "")
    fields = cron.split()
    if len(fields) not in (6, 7) or fields.count("?") != 1:
        raise Refused(400, f"Invalid quartz_cron_expression: {cron!r}.")
    zone = schedule.get("timezone_id", "")
    if zone not in available_timezones():
        raise Refused(400, f"Invalid timezone_id: {zone!r}.")
    if schedule.get("pause_status", "UNPAUSED") not in ("PAUSED", "UNPAUSED"):
        raise Refused(400, f"Invalid pause_status: {schedule['pause_status']!r}.")
