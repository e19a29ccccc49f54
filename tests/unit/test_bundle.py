"""The bundle that `llmeval init` writes is sound, and the checks find mistakes.

Databricks' command line was not asked: it cannot be had here.
"""

import copy

import pytest
import yaml
from databricks.sdk.service.jobs import JobSettings

from pytest_llmeval.scaffold.contents import TEMPLATES
from pytest_llmeval.scaffold.placeholders import fill

from .bundle import of_kind
from .bundle import problems
from .bundle import resolved


VALUES = {
    "BRANCH": "main",
    "MODEL": "models:/main.evals.qa@candidate",
    "NAME": "qa",
    "SUITE": "evals/",
}
SOURCE = (TEMPLATES / "databricks/databricks.yml").read_text()
BUNDLE = yaml.safe_load(fill(SOURCE, VALUES, "databricks.yml"))
(TASK,) = BUNDLE["resources"]["jobs"]["evals"]["tasks"]


def test_nothing_is_wrong_with_what_is_written():
    assert problems(BUNDLE) == []


def test_the_job_is_the_same_after_a_way_through_the_sdk():
    job = of_kind(BUNDLE, "jobs")["evals"]
    assert JobSettings.from_dict(copy.deepcopy(job)).as_dict() == job


def test_the_job_runs_the_suite_and_writes_into_the_volume():
    (task,) = resolved(BUNDLE)["resources"]["jobs"]["evals"]["tasks"]
    wheel = task["python_wheel_task"]
    assert (wheel["package_name"], wheel["entry_point"]) == (
        "pytest-llmeval-gate",
        "llmeval-job",
    )
    assert wheel["parameters"] == [
        "--suite",
        "${workspace.file_path}",
        "--out",
        "/Volumes/main/evals/llmeval/runs/{{job.run_id}}",
        "--experiment",
        "${resources.experiments.evals.name}",
        "--",
        "evals/",
        "--llmeval-require",
        "--llmeval-model",
        "models:/main.evals.qa@candidate",
    ]


def test_the_entry_point_understands_the_parameters():
    job = pytest.importorskip("pytest_llmeval.job")
    options, for_pytest = job._read(TASK["python_wheel_task"]["parameters"])
    assert for_pytest[0] == "evals/"
    assert options.experiment == "${resources.experiments.evals.name}"


def test_the_wheel_of_the_job_is_the_one_that_is_packed():
    (artifact,) = BUNDLE["artifacts"].values()
    assert artifact == {"type": "whl", "build": "llmeval databricks pack dist"}
    (environment,) = BUNDLE["resources"]["jobs"]["evals"]["environments"]
    assert environment["spec"]["dependencies"] == ["./dist/*.whl"]
    assert BUNDLE["sync"]["include"] == [".llmeval-source.json"]


def test_one_run_at_a_time_and_none_is_tried_again():
    job = BUNDLE["resources"]["jobs"]["evals"]
    assert job["max_concurrent_runs"] == 1
    assert job["queue"] == {"enabled": True}
    assert TASK["max_retries"] == 0
    assert TASK["disable_auto_optimization"] is True


JOB = ("resources", "jobs", "evals")
DELETED = object()
MISTAKES = [
    (("include",), [], "include is no key of a bundle"),
    ((*JOB, "shedule"), {}, "jobs.evals.shedule is no field of JobSettings"),
    ((*JOB, "queue", "on"), True, "queue.on is no field of QueueSettings"),
    ((*JOB, "tasks", 0, "wheel"), {}, "tasks[0].wheel is no field of Task"),
    ((*JOB, "tasks", 0, "task_key"), "a b", "'a b' is no key of a task"),
    ((*JOB, "tasks", 0, "task_key"), DELETED, "tasks[0] lacks task_key"),
    ((*JOB, "tasks"), DELETED, "neither name nor tasks"),
    ((*JOB, "tasks", 0, "environment_key"), "other", "environment that is not there"),
    ((*JOB, "tasks", 0, "environment_key"), DELETED, "run in one place, not in []"),
    ((*JOB, "tasks", 0, "job_cluster_key"), "big", "cluster that is not there"),
    ((*JOB, "timeout_seconds"), "7200", "'7200', which is no int"),
    ((*JOB, "schedule", "pause_status"), "ON", "'ON', which is no PauseStatus"),
    ((*JOB, "schedule", "timezone_id"), DELETED, "lacks a time zone"),
    ((*JOB, "schedule"), DELETED, "is '', which is not Quartz's"),
    (("variables", "schedule", "default"), "0 6 * * *", "which is not Quartz's"),
    (("variables", "schedule", "default"), "0 0 6 * * *", "which is not Quartz's"),
    (("variables", "catalog"), DELETED, "${var.catalog} leads nowhere"),
    (("variables", "unused"), {"default": "1"}, "var.unused is declared and not used"),
    (("targets", "dev", "variables", "volum"), "x", "variable volum, which is not"),
    (("resources", "experiments", "evals"), DELETED, "experiments.evals.name} leads"),
    (("resources", "experiments", "evals", "path"), "x", "no field of Experiment"),
    (("resources", "volumes", "results", "type"), "x", "no field of VolumeInfo"),
    (("resources", "volumes", "results", "volume_type"), "BIG", "no VolumeType"),
    (("resources", "volume"), {}, "volume are no resources"),
    ((*JOB, "permissions", 0, "level"), "CAN_READ", "no permission of jobs.evals"),
    ((*JOB, "permissions", 0, "group_name"), DELETED, "is to name one principal"),
    (("targets", "dev", "default"), False, "one target is to be the default"),
    (("targets", "prod", "mode"), "prod", "the target prod has no mode"),
    (("targets", "prod", "workspace"), DELETED, "where its one copy lies"),
    (("targets", "prod", "branch"), "main", "branch is no key of the target prod"),
]


@pytest.mark.parametrize(
    ("path", "value", "said"), MISTAKES, ids=[one[2] for one in MISTAKES]
)
def test_mistake_is_found(path, value, said):
    bundle = copy.deepcopy(BUNDLE)
    place = bundle
    for key in path[:-1]:
        place = place[key]
    if value is DELETED:
        del place[path[-1]]
    else:
        place[path[-1]] = value
    found = problems(bundle)
    assert any(said in problem for problem in found), found
