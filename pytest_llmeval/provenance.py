"""Which code a run is of, and in which CI it runs: facts from git and environment."""

from __future__ import annotations

import getpass
import importlib.metadata
import json
import os
import platform
import subprocess
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.text import redact


SOURCE = ".llmeval-source.json"
"""Goes with a suite to a machine that has no checkout of it: `describe_source`."""
COMMIT_VARIABLES = ("GITHUB_SHA", "GIT_COMMIT", "CI_COMMIT_SHA")
REF_VARIABLES = (
    "GITHUB_REF_NAME",
    "BRANCH_NAME",
    "GIT_BRANCH",
    "CI_COMMIT_REF_NAME",
    "BUILD_SOURCEBRANCHNAME",
)
CI_VARIABLES = (
    "CI",
    "JENKINS_URL",
    "TF_BUILD",
    "CODEBUILD_BUILD_ID",
    "TEAMCITY_VERSION",
)
PULL_REQUEST_VARIABLES = (
    "CI_MERGE_REQUEST_IID",
    "CHANGE_ID",
    "SYSTEM_PULLREQUEST_PULLREQUESTID",
)
URL_VARIABLES = ("BUILD_URL", "CI_JOB_URL")
ACTOR_VARIABLES = ("GITHUB_ACTOR", "GITLAB_USER_LOGIN", "BUILD_USER_ID")
TRUST_VARIABLES = (
    "GITHUB_ACTIONS",
    "GITHUB_EVENT_NAME",
    "GITHUB_REF",
    "GITHUB_REF_PROTECTED",
    *REF_VARIABLES,
    *CI_VARIABLES,
    *PULL_REQUEST_VARIABLES,
)
"""What of the environment says whether a deployment may come from here."""
RUN_VARIABLES = (
    "GITHUB_REPOSITORY",
    "GITHUB_RUN_ID",
    "GITHUB_SERVER_URL",
    *URL_VARIABLES,
    *ACTOR_VARIABLES,
)
"""What of the environment names this one run of a CI job."""
DISTRIBUTIONS = (
    "pytest-llmeval-gate",
    "pytest",
    "mlflow",
    "rouge-score-rs",
    "xllamacpp",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """The code and the place of a run."""

    commit: str | None
    branch: str | None
    dirty: bool
    """Whether tracked files differ from the commit."""
    ci_url: str | None
    versions: Mapping[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Return the verdict's fields."""
        return {
            "commit": self.commit,
            "branch": self.branch,
            "dirty": self.dirty,
            "ci_url": self.ci_url,
            "versions": dict(self.versions),
        }


def read_provenance(rootdir: Path) -> Provenance:
    """Ask git and the environment; never fails."""
    environment = os.environ
    commit = _git(rootdir, "rev-parse", "HEAD")
    branch = _git(rootdir, "rev-parse", "--abbrev-ref", "HEAD")
    changes = _git(rootdir, "status", "--porcelain", "--untracked-files=no")
    dirty = bool(changes) or (changes is None and commit is not None)
    if commit is None and not in_checkout(rootdir):
        commit = _first(environment, COMMIT_VARIABLES)
        dirty = commit is not None
        with suppress(ConfigurationError):
            source = read_source(rootdir)
            if source is not None:
                commit, branch, dirty = source.commit, source.branch, source.dirty
    return Provenance(
        commit=commit,
        branch=_first(environment, REF_VARIABLES) or branch,
        dirty=dirty,
        ci_url=_ci_url(environment),
        versions=_versions(),
    )


def in_checkout(rootdir: Path) -> bool:
    """Return whether git has a checkout here, though it may not read it."""
    folders = (rootdir, *rootdir.parents)
    return any((folder / ".git").exists() for folder in folders)


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """Where a suite comes from that was sent to another machine."""

    commit: str | None
    branch: str | None
    dirty: bool
    place: Mapping[str, str]
    """The environment variables that say where that was."""


def describe_source(rootdir: Path, *, lasting: bool = False) -> dict[str, Any]:
    """Return what a machine without this checkout has to know of it, as JSON.

    Args:
        rootdir: Of the project.
        lasting: For more than this one run of a CI job, which it does not name then.
    """
    known = read_provenance(rootdir)
    names = TRUST_VARIABLES if lasting else (*TRUST_VARIABLES, *RUN_VARIABLES)
    place = {name: os.environ[name] for name in names if name in os.environ}
    return {
        "commit": known.commit,
        "branch": known.branch,
        "dirty": known.dirty,
        "place": {name: redact(value) for name, value in sorted(place.items())},
    }


def read_source(rootdir: Path) -> Source | None:
    """Return what was sent with a suite, or None where nothing was sent.

    Raises:
        ConfigurationError: the file is there and cannot be used.
    """
    path = rootdir / SOURCE
    if not path.exists():
        return None
    try:
        given = json.loads(path.read_bytes())
        return Source(
            commit=given["commit"],
            branch=given["branch"],
            dirty=given["dirty"] is not False,
            place={name: str(given["place"][name]) for name in given["place"]},
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"{path} is not what llmeval wrote beside a suite: {type(error).__name__}: "
            f"{error}; write it again with: llmeval databricks pack"
        ) from None


def who() -> dict[str, str | None]:
    """Return who runs this process, on which machine, and for which CI run."""
    return {
        "actor": _first(os.environ, ACTOR_VARIABLES) or _user(),
        "host": platform.node(),
        "ci_url": _ci_url(os.environ),
    }


def _user() -> str:
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a container whose user has no name
        return f"uid {os.getuid()}"


def is_ci(environment: Mapping[str, str]) -> bool:
    """Return whether a CI system runs this process."""
    if environment.get("GITHUB_ACTIONS"):
        return True
    return any(_is_on(environment.get(name)) for name in CI_VARIABLES)


def ask_git(folder: Path, *arguments: str) -> bytes | None:
    """Return what git says in a folder, None where it fails or is not there."""
    try:
        result = subprocess.run(  # noqa: S603  # fixed arguments
            ["git", *arguments],  # noqa: S607  # the git of the user's path
            cwd=folder,
            capture_output=True,
            timeout=30,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return result.stdout if result.returncode == 0 else None


def _git(rootdir: Path, *arguments: str) -> str | None:
    said = ask_git(rootdir, *arguments)
    return None if said is None else said.decode("utf-8", "replace").strip()


def _first(environment: Mapping[str, str], names: tuple[str, ...]) -> str | None:
    return next((environment[name] for name in names if environment.get(name)), None)


def _ci_url(environment: Mapping[str, str]) -> str | None:
    server, run = environment.get("GITHUB_SERVER_URL"), environment.get("GITHUB_RUN_ID")
    if server and run:
        return f"{server}/{environment.get('GITHUB_REPOSITORY')}/actions/runs/{run}"
    url = _first(environment, URL_VARIABLES)
    return redact(url) if url else None


def _versions() -> dict[str, str]:
    versions = {"python": platform.python_version()}
    for name in DISTRIBUTIONS:
        try:
            versions[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return versions


def _is_on(value: str | None) -> bool:
    return (value or "").lower() not in ("", "0", "false")


def untrusted(environment: Mapping[str, str], deploy_refs: str) -> str | None:
    """Return why a deployment must not come from here, or None.

    Args:
        environment: The process's environment variables.
        deploy_refs: Refs that may deploy where the CI system does not tell us whether
            a ref is protected, separated by spaces.
    """
    event = environment.get("GITHUB_EVENT_NAME", "")
    if event.startswith("pull_request"):
        return "a pull request is evaluated, never deployed"
    if environment.get("GITHUB_ACTIONS"):
        if environment.get("GITHUB_REF_PROTECTED") != "true":
            return f"the ref {environment.get('GITHUB_REF')!r} is not protected"
        return None
    if _first(environment, PULL_REQUEST_VARIABLES):
        return "a pull request is evaluated, never deployed"
    if is_ci(environment):
        ref = _first(environment, REF_VARIABLES)
        if ref not in deploy_refs.split():
            return (
                f"the ref {ref!r} is not listed in the ini value llmeval_deploy_refs, "
                "which CI systems other than GitHub Actions need"
            )
    return None
