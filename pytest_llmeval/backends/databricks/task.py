"""What a job is: one task, what is installed for it, and where it runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.backends.databricks.wheel import DISTRIBUTION
from pytest_llmeval.backends.databricks.wheel import ENTRY_POINT
from pytest_llmeval.backends.databricks.workspace import telling


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient


TASK = "evaluate"
ENVIRONMENT = "llmeval"
ENVIRONMENT_VERSION = "4"
"""Of serverless compute; it has Python 3.12."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Compute:
    """Where a job runs."""

    cluster: str | None = None
    """``new``, the id of a cluster, or None for serverless compute."""
    node_type: str | None = None
    workers: int = 0
    spark_version: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """What a job does."""

    suite: str
    """Path of the archive."""
    out: str
    """Folder in a Volume for its results."""
    cwd: str
    """Where pytest starts, from the suite's root."""
    wheel: str
    """Path of the wheel of this package."""
    requirements: Sequence[str]
    """What else is installed: requirements of pip, and paths of wheels."""
    arguments: Sequence[str]
    """For pytest."""
    secrets: Sequence[str] = ()
    experiment: str | None = None
    """In MLflow; None for the job's own choice."""
    deploy: str | None = None
    rollback: bool = False

    @property
    def parameters(self) -> list[str]:
        """For the entry point."""
        given = ["--suite", self.suite, "--out", self.out]
        if self.cwd != ".":
            given += ["--cwd", self.cwd]
        for secret in self.secrets:
            given += ["--secret", secret]
        if self.experiment is not None:
            given += ["--experiment", self.experiment]
        if self.deploy is not None:
            given += ["--deploy", self.deploy]
        if self.rollback:
            given.append("--rollback")
        return [*given, "--", *self.arguments]


def parameter(parameters: Sequence[str], name: str) -> str | None:
    """Return one of the entry point's own parameters, of those before ``--``."""
    own = list(parameters)
    own = own[: own.index("--")] if "--" in own else own
    return own[own.index(name) + 1] if name in own[:-1] else None


def for_pytest(parameters: Sequence[str]) -> list[str]:
    """Return what of the entry point's parameters is for pytest."""
    given = list(parameters)
    return given[given.index("--") + 1 :] if "--" in given else []


def job_settings(
    work: Work, compute: Compute, client: WorkspaceClient
) -> dict[str, Any]:
    """Return ``tasks`` and ``environments`` of the Jobs API 2.2, as JSON.

    Args:
        work: What the job does.
        compute: Where it runs.
        client: Asked for a node type and a Spark version, where a new cluster needs
            one and none is given.
    """
    task: dict[str, Any] = {
        "task_key": TASK,
        "python_wheel_task": {
            "package_name": DISTRIBUTION,
            "entry_point": ENTRY_POINT,
            "parameters": work.parameters,
        },
        # Serverless compute tries failed tasks again by itself; red stays red.
        "max_retries": 0,
        "disable_auto_optimization": True,
    }
    if compute.cluster is None:
        needed = [work.wheel, *work.requirements]
        spec = {"environment_version": ENVIRONMENT_VERSION, "dependencies": needed}
        environments = [{"environment_key": ENVIRONMENT, "spec": spec}]
        task["environment_key"] = ENVIRONMENT
        return {"tasks": [task], "environments": environments}
    task["libraries"] = [_library(one) for one in (work.wheel, *work.requirements)]
    if compute.cluster == "new":
        task["new_cluster"] = _new_cluster(compute, client)
    else:
        task["existing_cluster_id"] = compute.cluster
    return {"tasks": [task]}


def _library(requirement: str) -> dict[str, Any]:
    if requirement.endswith(".whl"):
        return {"whl": requirement}
    return {"pypi": {"package": requirement}}


def _new_cluster(compute: Compute, client: WorkspaceClient) -> dict[str, Any]:
    with telling("the node types and Spark versions of the workspace"):
        node_type = compute.node_type or client.clusters.select_node_type(
            local_disk=True
        )
        version = compute.spark_version or client.clusters.select_spark_version(
            long_term_support=True
        )
    cluster: dict[str, Any] = {
        "spark_version": version,
        "node_type_id": node_type,
        "num_workers": compute.workers,
        "data_security_mode": "SINGLE_USER",  # which volumes need
    }
    if not compute.workers:
        cluster["spark_conf"] = {
            "spark.databricks.cluster.profile": "singleNode",
            "spark.master": "local[*]",
        }
        cluster["custom_tags"] = {"ResourceClass": "SingleNode"}
    return cluster
