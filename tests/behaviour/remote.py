"""Suites that are sent to a workspace, and jobs that leave what a test says."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tarfile
import xml.etree.ElementTree as ET
from collections.abc import Callable
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.databricks.runs import Run
from tests.databricks.runs import TaskRun
from tests.databricks.storage import VOLUME
from tests.databricks.workspace import Workspace

from .conftest import Suite


RUN_ID = "20260102-030405-abcdef"
SENT = ("databricks", "run", "--volume", VOLUME)


def send(suite: Suite, *arguments: str) -> pytest.RunResult:
    """Run the suite as a job, by the command in a process of its own."""
    return suite.llmeval(*SENT, *arguments)


def start(
    suite: Suite, *arguments: str, before: tuple[str, ...] = ()
) -> subprocess.Popen[str]:
    """Start the command, whose lines are to be read from its output.

    Args:
        suite: Where it runs.
        arguments: Of the command.
        before: A command that starts it.
    """
    return subprocess.Popen(
        (*before, str(Path(sys.executable).with_name("llmeval")), *arguments),
        cwd=suite.path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def head(suite: Suite) -> str:
    """Return the commit that is checked out."""
    command = ("git", "rev-parse", "HEAD")
    return subprocess.check_output(command, cwd=suite.path, text=True).strip()


def outcomes(junit: Path) -> set[tuple[str, ...]]:
    """Return what a junit file says of each test, but for times and the run's id."""
    found = set()
    for case in ET.parse(junit).getroot().iter("testcase"):
        ends = sorted(child.tag for child in case if child.tag != "properties")
        properties = sorted(
            f"{one.get('name')}={one.get('value')}"
            for one in case.iter("property")
            if one.get("name") != "llmeval.run_id"
        )
        name = f"{case.get('classname')}::{case.get('name')}"
        found.add((name, *ends, *properties))
    return found


PASSING = ("started_at", "finished_at", "run_id", "digest", "duration_s", "usage")


def lasting(verdict: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a verdict does not tell one machine or moment from another."""
    kept = {key: value for key, value in verdict.items() if key not in PASSING}
    kept["evaluations"] = [
        {
            key: value
            for key, value in one.items()
            if key not in (*PASSING, "rows_digest", "rows_span")  # with latencies
        }
        for one in verdict["evaluations"]
    ]
    kept["manifest"] = kept["manifest"]["digest"]
    kept["versions"] = sorted(kept["versions"])
    return kept


def leave(
    workspace: Workspace,
    result: object,
    *,
    members: Mapping[str, bytes | tarfile.TarInfo] | None = None,
    log: bytes = b"",
) -> Callable[[Run, TaskRun], None]:
    """Return the work of a job that leaves a result, and raises where that is red.

    Args:
        workspace: Where it runs.
        result: For ``result.json``; bytes as they are.
        members: Of the archive; by default a run with an empty verdict.
        log: What it has printed.
    """
    if members is None:
        members = {"run/verdict.json": b"{}"}

    def work(run: Run, task: TaskRun) -> None:
        given = task.task["python_wheel_task"]["parameters"]
        out = given[given.index("--out") + 1].replace("{{job.run_id}}", f"{run.run_id}")
        folder = workspace.storage.local(out)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "pytest.log").write_bytes(log)
        (folder / "results.tar.gz").write_bytes(packed(members))
        text = result if isinstance(result, bytes) else json.dumps(result).encode()
        (folder / "result.json").write_bytes(text)
        if not isinstance(result, dict) or result.get("exit_status"):
            raise RuntimeError("the suite is red")

    return work


def packed(members: Mapping[str, bytes | tarfile.TarInfo]) -> bytes:
    """Return an archive of files, or of members of any kind."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, given in members.items():
            if isinstance(given, tarfile.TarInfo):
                archive.addfile(given)
                continue
            member = tarfile.TarInfo(name)
            member.size = len(given)
            archive.addfile(member, io.BytesIO(given))
    return content.getvalue()


def everything_kept(workspace: Workspace) -> bytes:
    """Return all that somebody finds who may see the jobs and the volume."""
    root = workspace.storage.folder
    kept = [path.read_bytes() for path in root.rglob("*") if path.is_file()]
    for path in root.rglob("*.tar.gz"):
        with tarfile.open(path) as archive:
            files = filter(None, map(archive.extractfile, archive))
            kept += [file.read() for file in files]
    told = [repr(run.settings) for run in workspace.jobs.started]
    logs = [
        task.outcome.logs
        for run in workspace.jobs.started
        for task in run.tasks
        if task.outcome is not None
    ]
    return b"\n".join([*kept, *map(os.fsencode, told), *logs])
