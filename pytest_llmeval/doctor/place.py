"""Where a run takes place: its files, the code's commit, CI, the environment."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from pytest_llmeval.database import SCHEMA_VERSION
from pytest_llmeval.doctor.findings import Finding
from pytest_llmeval.doctor.project import Project
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.provenance import read_provenance
from pytest_llmeval.provenance import untrusted
from pytest_llmeval.text import first_few
from pytest_llmeval.text import one_line
from pytest_llmeval.verdict import read_manifest


SYSTEMS = {
    "GITHUB_ACTIONS": "GitHub Actions",
    "GITLAB_CI": "GitLab CI",
    "JENKINS_URL": "Jenkins",
    "TF_BUILD": "Azure Pipelines",
    "CODEBUILD_BUILD_ID": "AWS CodeBuild",
    "TEAMCITY_VERSION": "TeamCity",
    "CI": "a CI system that sets CI",
}
SECRETS = (
    "OPENAI_API_KEY",
    "LLMEVAL_API_KEY",
    "LLMEVAL_SIGNING_KEY",
    "MLFLOW_TRACKING_TOKEN",
    "DATABRICKS_TOKEN",
)
OTHER_FOLDER = "choose another folder with --llmeval-dir"


class _Stored(NamedTuple):
    schema: int
    predictions: int


def check_store(project: Project) -> Iterator[Finding]:
    """Look at the stored predictions."""
    if project.settings is None:
        return
    path = project.settings.home / "predictions.db"
    shown = one_line(path)
    if not path.exists():
        yield Finding("ok", "store", f"no predictions are stored yet in {shown}")
        return
    size = f"{path.stat().st_size / 1e6:.1f} of {project.settings.cache_mb:g} MB"
    try:
        stored = _look_into(path)
    except sqlite3.Error as error:
        text = f"{shown} cannot be read: {one_line(error)}"
        yield Finding("problem", "store", text, f"delete it, or {OTHER_FOLDER}")
        return
    if stored.schema != SCHEMA_VERSION:
        text = f"{shown} has schema {stored.schema}, and {SCHEMA_VERSION} is read"
        yield Finding("problem", "store", text, f"delete it, or {OTHER_FOLDER}")
    elif not os.access(path, os.W_OK):
        yield Finding("problem", "store", f"{shown} is not writable", OTHER_FOLDER)
    else:
        text = f"{stored.predictions:,} predictions, {size}, writable: {shown}"
        yield Finding("ok", "store", text)


def _look_into(path: Path) -> _Stored:
    # Reading makes a log file where there is none, unless the file is called immutable.
    fixed = "" if path.with_name(f"{path.name}-wal").exists() else "&immutable=1"
    uri = f"{path.resolve().as_uri()}?mode=ro{fixed}"
    with closing(sqlite3.connect(uri, uri=True, timeout=3)) as database:
        ((schema,),) = database.execute("PRAGMA user_version")
        ((count,),) = database.execute("SELECT count(*) FROM predictions")
    return _Stored(schema, count)


def check_runs(project: Project) -> Iterator[Finding]:
    """Look at the folder of the runs."""
    if project.settings is None:
        return
    runs, last = project.settings.home / "runs", project.settings.home / "last"
    found = next(path for path in (runs, *runs.parents) if path.exists())
    if not found.is_dir() or not os.access(found, os.W_OK | os.X_OK):
        text = f"{one_line(runs)} cannot be written: {one_line(found)} is not writable"
        yield Finding("problem", "runs", text, OTHER_FOLDER)
        return
    try:
        newest = f", the last is {one_line(last.read_text(encoding='utf-8'))}"
    except OSError:
        newest = ""
    count = len(list(runs.iterdir())) if runs.is_dir() else 0
    yield Finding("ok", "runs", f"{count} in {one_line(runs)}, writable{newest}")


def check_manifest(project: Project) -> Iterator[Finding]:
    """Look at the gate manifest."""
    settings = project.settings
    if settings is None:
        return
    update = "llmeval gates update, and commit it"
    try:
        manifest = read_manifest(settings.manifest_path)
    except ConfigurationError as error:
        yield Finding("problem", "manifest", one_line(error, 500), update)
        return
    if manifest is None:
        is_needed = settings.require or settings.deploy is not None
        text = f"there is no gate manifest {one_line(settings.manifest)}"
        yield Finding("problem" if is_needed else "note", "manifest", text, update)
        return
    shown = f"{len(manifest.gates)} gates in {one_line(settings.manifest)}"
    yield Finding("ok", "manifest", f"{shown}, {manifest.digest[:19]}")


def check_git(project: Project) -> Iterator[Finding]:
    """Look at the commit that a verdict would name."""
    code = read_provenance(Path(project.rootdir))
    if code.commit is None:
        text = f"no commit is known of {one_line(project.rootdir)}"
        yield Finding("note", "git", text, "a deployment needs one: commit the suite")
    elif code.dirty:
        text = f"commit {one_line(code.commit)}, and tracked files differ from it"
        yield Finding("note", "git", text, "a deployment needs all of it committed")
    else:
        on = f" on {one_line(code.branch)}" if code.branch else ""
        yield Finding("ok", "git", f"commit {one_line(code.commit)}{on}, clean")


def check_ci(project: Project) -> Iterator[Finding]:
    """Look at the CI system, and whether a deployment may come from it."""
    system = next((SYSTEMS[name] for name in SYSTEMS if os.environ.get(name)), None)
    if system is None:
        yield Finding("ok", "ci", "no CI system is detected")
        return
    refs = project.settings.deploy_refs if project.settings else ""
    refusal = untrusted(os.environ, refs)
    text = f"{system} is detected"
    if refusal is None:
        yield Finding("ok", "ci", f"{text}; a deployment may come from here")
    else:
        text = f"{text}; no deployment may come from here: {one_line(refusal)}"
        yield Finding("note", "ci", text)


def check_environment(_: object) -> Iterator[Finding]:
    """Say which keys are set, and never what they are."""
    found = [name for name in SECRETS if os.environ.get(name)]
    text = f"keys that are set: {first_few(found, len(SECRETS))}"
    yield Finding("ok", "keys", text)
