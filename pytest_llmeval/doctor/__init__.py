"""Looks at a project and its surroundings, and says what works and what does not.

Writes and changes nothing, and sends no request that costs money.
"""

from __future__ import annotations

from collections.abc import Sequence

from pytest_llmeval.doctor.findings import Diagnosis
from pytest_llmeval.doctor.findings import Finding
from pytest_llmeval.doctor.findings import run_checks
from pytest_llmeval.doctor.model import check_model
from pytest_llmeval.doctor.packages import check_extras
from pytest_llmeval.doctor.packages import check_package
from pytest_llmeval.doctor.place import check_ci
from pytest_llmeval.doctor.place import check_environment
from pytest_llmeval.doctor.place import check_git
from pytest_llmeval.doctor.place import check_manifest
from pytest_llmeval.doctor.place import check_runs
from pytest_llmeval.doctor.place import check_store
from pytest_llmeval.doctor.project import read_project
from pytest_llmeval.doctor.project import setting_lines
from pytest_llmeval.doctor.services import check_databricks
from pytest_llmeval.doctor.services import check_mlflow
from pytest_llmeval.doctor.services import check_spark


__all__ = ["Diagnosis", "Finding", "examine"]

# In the order in which they are reported; they run at the same time.
CHECKS = (
    check_package,
    check_extras,
    check_model,
    check_store,
    check_runs,
    check_manifest,
    check_git,
    check_ci,
    check_environment,
    check_mlflow,
    check_spark,
    check_databricks,
)


def examine(arguments: Sequence[str]) -> Diagnosis:
    """Read the settings as pytest does, and check all that they need.

    Takes about two seconds, or half a minute where something does not answer.

    Args:
        arguments: What pytest would be given.
    """
    project = read_project(arguments)
    findings = [] if project.problem is None else [project.problem]
    return Diagnosis(
        rootdir=project.rootdir,
        inifile=project.inifile,
        settings=setting_lines(project),
        findings=(*findings, *run_checks(CHECKS, project)),
    )
