"""Finds what is wrong with a bundle for Databricks' command line, without having one.

That is: names that lead nowhere, and keys and values that the API does not have.
"""

from __future__ import annotations

import copy
import dataclasses
import enum
import re
import typing
from collections.abc import Iterator
from typing import Any

from databricks.sdk.service import catalog
from databricks.sdk.service import jobs
from databricks.sdk.service import ml


# Keys of a bundle's resources that are not in the API's own request.
OF_BUNDLES = {"permissions"}
RESOURCES = {
    "jobs": jobs.JobSettings,
    "experiments": ml.Experiment,
    "volumes": catalog.VolumeInfo,
}
LEVELS = {"jobs": jobs.JobPermissionLevel, "experiments": ml.ExperimentPermissionLevel}
ROOT = {"bundle", "variables", "artifacts", "sync", "resources", "targets"}
TARGET = {"mode", "default", "variables", "workspace", "git", "run_as"}
KNOWN = {
    "bundle.name",
    "workspace.current_user.short_name",
    "workspace.current_user.userName",
    "workspace.file_path",
}
REFERENCE = re.compile(r"\$\{([^}]*)\}")
CRON_FIELD = r"(\?|\*|[0-9A-Z,/*#L-]+)"
CRON = re.compile(rf"{CRON_FIELD}( {CRON_FIELD}){{5,6}}")


def problems(bundle: dict[str, Any]) -> list[str]:
    """Return what is wrong, in sentences."""
    checks = (_keys, _references, _tasks, _schedules, _permissions, _targets)
    return [problem for check in checks for problem in check(bundle)]


def of_kind(bundle: dict[str, Any], kind: str) -> dict[str, Any]:
    """Return the resources of a kind as their API would get them."""
    return {
        key: {name: value for name, value in one.items() if name not in OF_BUNDLES}
        for key, one in bundle["resources"].get(kind, {}).items()
    }


def _keys(bundle: dict[str, Any]) -> Iterator[str]:
    yield from (f"{key} is no key of a bundle" for key in set(bundle) - ROOT)
    for kind in bundle["resources"]:
        if kind not in RESOURCES:
            yield f"{kind} are no resources that are known here"
            continue
        for key, value in of_kind(bundle, kind).items():
            yield from _fields(RESOURCES[kind], value, f"{kind}.{key}")


def _fields(kind: Any, value: Any, place: str) -> Iterator[str]:
    """Compare a value with a type of the SDK, which is generated from the API."""
    if typing.get_origin(kind) is typing.Union:
        (kind,) = (one for one in typing.get_args(kind) if one is not type(None))
    if typing.get_origin(kind) is list:
        for number, item in enumerate(value):
            yield from _fields(typing.get_args(kind)[0], item, f"{place}[{number}]")
    elif dataclasses.is_dataclass(kind):
        types = typing.get_type_hints(kind)
        for key, item in value.items():
            if key in types:
                yield from _fields(types[key], item, f"{place}.{key}")
            else:
                yield f"{place}.{key} is no field of {kind.__name__}"
        required = [f.name for f in dataclasses.fields(kind) if _is_required(f)]
        yield from (f"{place} lacks {name}" for name in required if name not in value)
    elif isinstance(kind, type) and issubclass(kind, enum.Enum):
        if value not in [one.value for one in kind]:
            yield f"{place} is {value!r}, which is no {kind.__name__}"
    elif kind in (int, str, bool) and type(value) is not kind:
        yield f"{place} is {value!r}, which is no {kind.__name__}"


def _is_required(field: dataclasses.Field[Any]) -> bool:
    missing = dataclasses.MISSING
    return field.default is missing and field.default_factory is missing


def texts(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        value = [*value, *value.values()]
    if isinstance(value, list):
        for item in value:
            yield from texts(item)
    elif isinstance(value, str):
        yield value


def _references(bundle: dict[str, Any]) -> Iterator[str]:
    used = {name for text in texts(bundle) for name in REFERENCE.findall(text)}
    declared = {f"var.{name}" for name in bundle["variables"]}
    yield from (f"{name} is declared and not used" for name in declared - used)
    for name in used - declared - KNOWN:
        found: Any = bundle
        for key in name.split("."):
            found = found.get(key) if isinstance(found, dict) else None
        if found is None:
            yield f"${{{name}}} leads nowhere"
    for target in bundle["targets"].values():
        for name in set(target.get("variables", {})) - set(bundle["variables"]):
            yield f"a target sets the variable {name}, which is not declared"


def _tasks(bundle: dict[str, Any]) -> Iterator[str]:
    for job in bundle["resources"]["jobs"].values():
        environments = {one["environment_key"] for one in job.get("environments", ())}
        clusters = {one["job_cluster_key"] for one in job.get("job_clusters", ())}
        if not job.get("tasks") or not job.get("name"):
            yield "a job has neither name nor tasks"
        for task in job.get("tasks", ()):
            key = task.get("task_key", "")
            if not re.fullmatch(r"[A-Za-z0-9_-]{1,100}", key):
                yield f"{key!r} is no key of a task"
            where = [name for name in task if name in COMPUTE]
            if len(where) != 1:
                yield f"the task {key} is to run in one place, not in {where}"
            if task.get("environment_key") not in (None, *environments):
                yield f"the task {key} has an environment that is not there"
            if task.get("job_cluster_key") not in (None, *clusters):
                yield f"the task {key} has a cluster that is not there"


COMPUTE = ("environment_key", "job_cluster_key", "new_cluster", "existing_cluster_id")


def resolved(bundle: dict[str, Any]) -> dict[str, Any]:
    """Return the bundle with the variables' defaults in their places."""

    def resolve(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: resolve(item) for key, item in value.items()}
        if isinstance(value, list):
            return [resolve(item) for item in value]
        if not isinstance(value, str):
            return value
        return REFERENCE.sub(lambda found: defaults.get(found[1], found[0]), value)

    variables = bundle["variables"]
    defaults = {f"var.{name}": one["default"] for name, one in variables.items()}
    result: dict[str, Any] = resolve(copy.deepcopy(bundle))
    return result


def _schedules(bundle: dict[str, Any]) -> Iterator[str]:
    for key, job in resolved(bundle)["resources"]["jobs"].items():
        schedule = job.get("schedule", {})
        cron = schedule.get("quartz_cron_expression", "")
        if not CRON.fullmatch(cron) or cron.count("?") != 1:
            yield f"the schedule of {key} is {cron!r}, which is not Quartz's"
        if "pause_status" not in schedule or not schedule.get("timezone_id"):
            yield f"the schedule of {key} lacks a time zone or its status"


def _permissions(bundle: dict[str, Any]) -> Iterator[str]:
    for kind, levels in LEVELS.items():
        for key, resource in bundle["resources"].get(kind, {}).items():
            for granted in resource.get("permissions", ()):
                if granted["level"] not in [one.value for one in levels]:
                    yield f"{granted['level']} is no permission of {kind}.{key}"
                if len(granted) != 2 or not {*granted} <= {"level", *PRINCIPALS}:
                    yield f"a permission of {kind}.{key} is to name one principal"


PRINCIPALS = ("group_name", "user_name", "service_principal_name")


def _targets(bundle: dict[str, Any]) -> Iterator[str]:
    targets = bundle["targets"]
    if len([one for one in targets.values() if one.get("default")]) != 1:
        yield "one target is to be the default"
    for name, target in targets.items():
        for key in set(target) - TARGET:
            yield f"{key} is no key of the target {name}"
        if target.get("mode") not in ("development", "production"):
            yield f"the target {name} has no mode"
        is_production = target.get("mode") == "production"
        if is_production and not target.get("workspace", {}).get("root_path"):
            yield f"the target {name} does not say where its one copy lies"
