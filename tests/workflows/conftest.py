"""A project with a registry, and the events at GitHub that its workflows run at."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.behaviour.conftest import Suite
from tests.behaviour.conftest import _laptop  # noqa: F401  # a fixture
from tests.behaviour.conftest import as_on_a_laptop
from tests.behaviour.registry import Registered
from tests.behaviour.registry import copy_of
from tests.behaviour.registry import make_registered

from .github_api import GitHubApi
from .runner import GitHub


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    with pytest.MonkeyPatch.context() as patch:
        as_on_a_laptop(patch)
        yield make_registered(tmp_path_factory.mktemp("registered") / "project")


@pytest.fixture
def project(template: Registered, tmp_path: Path) -> Registered:
    """A committed suite whose model is a version of a real registry in SQLite."""
    return copy_of(template, tmp_path / "project")


KEY = "a key that two jobs share"


def event(project: Suite, name: str, **further: Any) -> dict[str, Any]:
    """Return what GitHub says of a pull request, or of a push to the branch trunk."""
    commit = subprocess.check_output(
        ("git", "rev-parse", "HEAD"), cwd=project.path, text=True
    )
    pull = name == "pull_request"
    return {
        "event_name": name,
        "ref": "refs/pull/7/merge" if pull else "refs/heads/trunk",
        "ref_name": "7/merge" if pull else "trunk",
        "ref_protected": "false" if pull else "true",
        "repository": "acme/qa",
        "run_id": "1234",
        "server_url": "https://github.example.org",
        "sha": commit.strip(),
        "token": "a token of the job",
        **further,
    }


def at_github(project: Suite, name: str, **further: Any) -> GitHub:
    """Return a repository with its settings, at which something has happened."""
    variables = {
        "LLMEVAL_TARGET": "registry:qa@champion",
        "MLFLOW_TRACKING_URI": f"sqlite:///{project.path / 'mlflow.db'}",
    }
    secrets = {"LLMEVAL_SIGNING_KEY": KEY, "MLFLOW_TRACKING_TOKEN": "an MLflow token"}
    return GitHub(
        folder=project.path.with_name(f"at-{name}"),
        repository=project.path,
        event=event(project, name, **further),
        vars=variables,
        secrets={"llmeval": secrets, "llmeval-production": secrets},
    )


@pytest.fixture
def api() -> Iterator[GitHubApi]:
    server = GitHubApi()
    yield server
    server.close()
