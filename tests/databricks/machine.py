"""Executes Python wheel tasks in a process that sees what a cluster's would see.

The wheels come from the workspace's storage and stand first on the path, so that what
was uploaded runs and not this repository. There is no mount: in parameters, the folder
of the storage stands for ``/Volumes`` and ``/Workspace``.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Iterator
from contextlib import suppress
from email.parser import HeaderParser
from importlib import metadata
from pathlib import Path
from typing import Any

from packaging.requirements import InvalidRequirement
from packaging.requirements import Requirement

from .runs import TASK_FAILED
from .runs import Outcome
from .runs import Run
from .runs import TaskRun
from .settings import is_classic
from .storage import Storage
from .surroundings import Surroundings


ENTRY = Path(__file__).with_name("cluster_entry.py")
KEPT = ("PATH", "JAVA_HOME", "LANG", "SYSTEMROOT")
MOUNTED = re.compile(r"(?<![\w./])/(?=(?:Volumes|Workspace)/)")
REFERENCE = re.compile(r"\{\{([\w.]+)\}\}")


class CannotInstall(Exception):
    """A library of the task is not to be had."""


class Machine:
    """Serverless compute or a cluster, one process for a task.

    Attributes:
        environment: What a task's process has beside what a cluster sets.
    """

    def __init__(self, folder: Path, storage: Storage, around: Surroundings) -> None:
        self.environment: dict[str, str] = {}
        self._folder, self._storage, self._around = folder, storage, around

    def execute(self, run: Run, task: TaskRun) -> Outcome:
        """Install what the task needs, and call its entry point."""
        wheel_task = task.task.get("python_wheel_task")
        if wheel_task is None:
            error = "This machine executes Python wheel tasks only."
            return Outcome(b"", error, "", TASK_FAILED)
        try:
            sites = [self._installed(wheel) for wheel in self._wheels(run, task)]
        except CannotInstall as error:
            message = f"Library installation failed: {error}"
            state = TASK_FAILED._replace(
                message=message, code="LIBRARY_INSTALLATION_ERROR"
            )
            return Outcome(b"", message, "", state)
        home = Path(tempfile.mkdtemp(prefix="task-", dir=self._folder))
        environment = self._environment(task.task, home, sites)
        command = (wheel_task["package_name"], wheel_task["entry_point"])
        parameters = self._parameters(run, task, wheel_task)
        return _call(run, home, environment, [*command, *parameters])

    def _wheels(self, run: Run, task: TaskRun) -> Iterator[Path]:
        """Yield where the wheels of a task are; all it needs beside is checked."""
        for library in _libraries(run, task.task):
            if not library.endswith(".whl"):
                _must_be_there(library)
                continue
            wheel = self._storage.local(library)
            if not wheel.is_file():
                raise CannotInstall(f"there is no file {library}")
            for requirement in _required(wheel):
                _must_be_there(requirement)
            yield wheel

    def _installed(self, wheel: Path) -> Path:
        """Return a folder with what the wheel holds; each content is installed once."""
        content = hashlib.sha256(wheel.read_bytes()).hexdigest()[:16]
        site = self._folder / f"site-{content}"
        if not site.exists():
            pip = (sys.executable, "-m", "pip", "--disable-pip-version-check")
            what = ("--quiet", "--no-deps", "--no-index", "--no-compile")
            done = subprocess.run(
                (*pip, "install", *what, "--target", str(site), str(wheel)),
                capture_output=True,
                text=True,
                check=False,
            )
            if done.returncode:
                raise CannotInstall(done.stderr.strip())
        return site

    def _environment(
        self, task: dict[str, Any], home: Path, sites: list[Path]
    ) -> dict[str, str]:
        """Return the variables of a cluster, and none of the test that goes on here."""
        (home / "tmp").mkdir()
        kept = {name: os.environ[name] for name in KEPT if name in os.environ}
        given = task.get("new_cluster", {}).get("spark_env_vars", {})
        return {
            **kept,
            "HOME": str(home),
            "TMPDIR": str(home / "tmp"),
            "USER": "root",
            "PYTHONPATH": os.pathsep.join(map(str, sites)),
            "PYTHONUNBUFFERED": "1",
            "DATABRICKS_RUNTIME_VERSION": "16.4" if is_classic(task) else "client.4.9",
            **self.environment,
            **{name: self._around.resolved(value) for name, value in given.items()},
        }

    def _parameters(self, run: Run, task: TaskRun, given: Any) -> list[str]:
        named = given.get("named_parameters") or {}
        parameters = given.get("parameters") or [
            f"--{name}={value}" for name, value in named.items()
        ]
        values = {
            "job.id": str(run.job_id),
            "job.name": run.name,
            "job.run_id": str(run.run_id),
            "task.name": task.key,
            "task.run_id": str(task.run_id),
        }
        root = f"{self._storage.folder}/"
        return [
            MOUNTED.sub(
                root,
                REFERENCE.sub(lambda found: values.get(found[1], found[0]), parameter),
            )
            for parameter in parameters
        ]


def _libraries(run: Run, task: dict[str, Any]) -> Iterator[str]:
    """Yield wheels and requirements in the order in which they are given."""
    for library in task.get("libraries") or []:
        yield library["whl"] if "whl" in library else library["pypi"]["package"]
    for environment in run.settings.get("environments") or []:
        if environment["environment_key"] == task.get("environment_key"):
            yield from environment["spec"].get("dependencies") or []


def _required(wheel: Path) -> list[str]:
    try:
        with zipfile.ZipFile(wheel) as archive:
            (name,) = [
                name for name in archive.namelist() if name.endswith("info/METADATA")
            ]
            about = HeaderParser().parsestr(archive.read(name).decode())
    except (zipfile.BadZipFile, ValueError) as error:
        raise CannotInstall(f"{wheel.name} is no wheel: {error}") from error
    return about.get_all("Requires-Dist") or []


def _must_be_there(text: str) -> None:
    """Refuse what this interpreter has not: nothing is fetched from an index."""
    try:
        requirement = Requirement(text)
        if requirement.marker and not requirement.marker.evaluate({"extra": ""}):
            return
        version = metadata.version(requirement.name)
    except InvalidRequirement as error:
        raise CannotInstall(f"Invalid requirement: {text!r}") from error
    except metadata.PackageNotFoundError as error:
        message = f"No matching distribution found for {text}"
        raise CannotInstall(message) from error
    if not requirement.specifier.contains(version, prereleases=True):
        raise CannotInstall(f"No matching distribution found for {text}")


def _call(
    run: Run, home: Path, environment: dict[str, str], arguments: list[str]
) -> Outcome:
    """Call the entry point in a process group, which does not outlive the task."""
    driver, error_file, log = home / "driver", home / "error.json", home / "log"
    driver.mkdir(mode=0o555)
    with log.open("wb") as output:
        process = subprocess.Popen(
            # The folder of the script is not on the path (-P).
            (sys.executable, "-P", str(ENTRY), str(error_file), *arguments),
            cwd=driver,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    while process.poll() is None and not run.stopped.wait(0.02):
        pass
    _kill_group(process)
    status = process.wait()
    logs = log.read_bytes()
    if status == 0:
        return Outcome(logs)
    if not error_file.exists():
        error = f"The Python process exited with the status {status}."
        return Outcome(logs, error, "", TASK_FAILED)
    told = json.loads(error_file.read_text(encoding="utf-8"))
    return Outcome(logs, told["error"], told["trace"], TASK_FAILED)


def _kill_group(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):  # it ended, and has left nobody behind
        os.killpg(process.pid, signal.SIGKILL)
