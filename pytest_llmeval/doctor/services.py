"""Whether MLflow, Spark and Databricks are there."""

from __future__ import annotations

import configparser
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pytest_llmeval.backends.spark.session import check_flavours
from pytest_llmeval.doctor import reach
from pytest_llmeval.doctor.findings import Finding
from pytest_llmeval.doctor.packages import version_of
from pytest_llmeval.doctor.probe import sqlite_file
from pytest_llmeval.doctor.project import Project
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import MissingDependency
from pytest_llmeval.text import one_line


JAVA_LIMIT_S = 5
LEAST_JAVA = 17
"""What Spark 4 needs."""


def check_mlflow(project: Project) -> Iterator[Finding]:
    """Look at the tracking store."""
    if project.settings is None:
        return
    uri, shown = project.settings.tracking_uri, one_line(project.settings.tracking_uri)
    if project.settings.tracking == "off" and not project.settings.deploy:
        yield Finding("ok", "mlflow", "tracking is off")
    elif uri.startswith("databricks"):
        yield Finding("ok", "mlflow", f"{shown}: see databricks")
    elif (file := sqlite_file(uri)) is not None:
        yield _check_file(shown, file)
    elif "://" in uri and not uri.startswith("file:"):
        yield _check_server(shown, uri)
    else:
        yield _check_file(shown, Path(uri.removeprefix("file://")))


def _check_file(shown: str, path: Path) -> Finding:
    found = next(p for p in (path.absolute(), *path.absolute().parents) if p.exists())
    is_usable = path.exists() or found.is_dir()
    if not is_usable or not os.access(found, os.W_OK):
        return Finding(
            "problem",
            "mlflow",
            f"{shown} cannot be written: {one_line(found)} is not writable",
            "name another with --llmeval-tracking",
        )
    state = "is there" if path.exists() else "will be made by the first run"
    return Finding("ok", "mlflow", f"{shown} {state}")


def _check_server(shown: str, uri: str) -> Finding:
    if not uri.startswith(("http://", "https://")):
        return _finding(shown, reach.connect(uri))
    answer = reach.get(f"{uri.rstrip('/')}/health", by_proxy=True)
    if isinstance(answer, str):
        return _finding(shown, answer)
    if answer.status >= 500:
        return _finding(shown, f"HTTP {answer.status}")
    if answer.status != 200:
        text = f"{shown} answers HTTP {answer.status} where MLflow says that it is well"
        return Finding("note", "mlflow", text, "see whether it is an MLflow server")
    return Finding("ok", "mlflow", f"{shown} answers")


def _finding(shown: str, failure: str | None) -> Finding:
    if failure is None:
        return Finding("ok", "mlflow", f"{shown} takes connections")
    return Finding(
        "problem",
        "mlflow",
        f"{shown} does not answer: {one_line(failure)}",
        "start it, or name another with --llmeval-tracking or MLFLOW_TRACKING_URI",
    )


def check_spark(_: object) -> Iterator[Finding]:
    """Look for a server of Spark, and for Java; its packages are extras."""
    try:
        check_flavours()
    except ConfigurationError as error:
        yield Finding("problem", "spark", one_line(error, 400))
    except MissingDependency:
        pass  # the extras say so
    remote = os.environ.get("SPARK_REMOTE")
    if remote:
        yield _check_remote(remote)
    else:
        text = "SPARK_REMOTE is not set: Spark would run on this machine"
        yield Finding("ok", "spark", text)
    yield _check_java()


def _check_remote(remote: str) -> Finding:
    address = remote.partition(";")[0].rstrip("/")  # a token may stand behind it
    shown = f"SPARK_REMOTE {one_line(address)}"
    if not address.startswith("sc://"):
        return Finding("ok", "spark", shown)
    port = "" if re.search(r":\d+$", address) else ":15002"
    failure = reach.connect(f"{address}{port}")
    if failure is None:
        return Finding("ok", "spark", f"{shown} takes connections")
    text = f"{shown} does not answer: {one_line(failure)}"
    return Finding("note", "spark", text, "start it before a run that uses Spark")


def _check_java() -> Finding:
    home = os.environ.get("JAVA_HOME")
    java = str(Path(home, "bin", "java")) if home else shutil.which("java")
    install = f"local Spark needs Java {LEAST_JAVA} or newer; Spark Connect does not"
    if java is None:
        return Finding("note", "java", "Java is not found", install)
    try:
        done = subprocess.run(  # noqa: S603  # the Java that Spark would start
            [java, "-version"],
            capture_output=True,
            text=True,
            timeout=JAVA_LIMIT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Finding("note", "java", f"{one_line(java)}: {one_line(error)}", install)
    version = re.search(r'version "((\d+)[^"]*)"', done.stderr)
    if version is None:
        return Finding("note", "java", f"{one_line(java)} says no version", install)
    text = f"Java {version[1]}: {one_line(java)}"
    if int(version[2]) < LEAST_JAVA:
        return Finding("note", "java", text, install)
    return Finding("ok", "java", text)


class _Workspace(NamedTuple):
    host: str
    source: str


def check_databricks(project: Project) -> Iterator[Finding]:
    """Look for a Databricks workspace, and whether it takes connections."""
    version = version_of("databricks-sdk")
    sdk = "no databricks-sdk" if version is None else f"databricks-sdk {version}"
    settings = project.settings
    needed = settings is not None and any(
        str(place).startswith(("databricks", "endpoints:/"))
        for place in (settings.tracking_uri, settings.model)
    )
    workspace = _workspace()
    give = "set DATABRICKS_HOST, or make a profile with: databricks configure"
    if workspace is None:
        text = f"{sdk}, and no host is configured"
        yield Finding("problem" if needed else "note", "databricks", text, give)
        return
    shown = f"{sdk}, {one_line(workspace.host)} from {one_line(workspace.source)}"
    failure = reach.connect(workspace.host)
    if failure is None:
        yield Finding("ok", "databricks", f"{shown}, takes connections")
    else:
        text = f"{shown}, does not answer: {one_line(failure)}"
        yield Finding("problem" if needed else "note", "databricks", text, give)


def _workspace() -> _Workspace | None:
    """Return the host that the SDK would use, and where it is set."""
    host, source = os.environ.get("DATABRICKS_HOST"), "DATABRICKS_HOST"
    if not host:
        name = os.environ.get("DATABRICKS_CONFIG_PROFILE") or "DEFAULT"
        file = os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg"
        profiles = configparser.ConfigParser()
        try:
            profiles.read(Path(file).expanduser(), encoding="utf-8")
            host = profiles.get(name, "host", fallback=None)
        except (OSError, configparser.Error, UnicodeDecodeError):
            return None
        source = f"the profile {name} in {file}"
    if not host:
        return None
    return _Workspace(host if "://" in host else f"https://{host}", source)
