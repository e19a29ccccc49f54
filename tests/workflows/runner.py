"""A small runner: the shell steps of a workflow as written, run as GitHub runs them.

Each job has a workspace and files of its own. The actions that only bring files from
one place to another are done here; of pip, which would download, nothing is run.
"""

from __future__ import annotations

import glob
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from .documents import Workflow
from .expressions import fill
from .expressions import holds


BASH = ("bash", "--noprofile", "--norc", "-eo", "pipefail")
PYTHON = f"""\
#!/bin/sh
if [ "$1 $2" = "-m pip" ]; then
    echo "pip: $*" >> "$RUNNER_TEMP/pip.log"
    exit
fi
exec {sys.executable} "$@"
"""


@dataclass
class Job:
    """A job that has run, or was skipped."""

    workspace: Path
    temp: Path
    contexts: dict[str, Any]
    result: str = "skipped"
    log: str = ""
    outputs: dict[str, str] = field(default_factory=dict)

    @property
    def summary(self) -> str:
        path = self.temp / "summary"
        return path.read_text(encoding="utf-8") if path.exists() else ""


@dataclass
class GitHub:
    """One event in one repository, and what its workflow runs leave behind."""

    folder: Path
    repository: Path
    """The checkout whose commit is evaluated."""
    event: Mapping[str, Any]
    """The context `github`, without what every run has."""
    vars: Mapping[str, str] = field(default_factory=dict)
    secrets: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    """The secrets of each environment."""
    artifacts: dict[str, Path] = field(default_factory=dict)

    def run(self, workflow: Workflow) -> dict[str, Job]:
        """Run the jobs, in the order of the file, which is that of their needs."""
        assert self.event["event_name"] in workflow.triggers
        done: dict[str, Job] = {}
        for name, job in workflow.jobs.items():
            done[name] = self._run_job(name, job, workflow, done)
        return done

    def _run_job(
        self,
        name: str,
        job: Mapping[str, Any],
        workflow: Workflow,
        done: dict[str, Job],
    ) -> Job:
        needs = job.get("needs", [])
        needed = [needs] if isinstance(needs, str) else needs
        job_folder = self.folder / f"{workflow.name}-{name}"
        running = Job(job_folder / "workspace", job_folder / "temp", {})
        running.contexts = {
            "github": dict(self.event),
            "vars": self.vars,
            "secrets": self.secrets.get(job.get("environment", ""), {}),
            "needs": {one: {"outputs": done[one].outputs} for one in needed},
            "runner": {"temp": str(running.temp)},
            "steps": {},
            "env": {},
            "always()": True,
            "success()": all(done[one].result == "success" for one in needed),
        }
        if not holds(job.get("if"), running.contexts):
            return running
        running.workspace.mkdir(parents=True)
        running.temp.mkdir()
        for variables in (workflow.document.get("env", {}), job.get("env", {})):
            running.contexts["env"].update(_filled(variables, running.contexts))
        self.run_steps(running, job["steps"])
        running.outputs = _filled(job.get("outputs", {}), running.contexts)
        return running

    def run_steps(self, job: Job, steps: list[dict[str, Any]]) -> None:
        contexts = job.contexts
        for step in steps:
            if not holds(step.get("if"), contexts):
                continue
            failed = not self._run_step(job, step)
            if failed and step.get("continue-on-error") != "true":
                contexts["success()"] = False
        job.result = "success" if contexts["success()"] else "failure"

    def _run_step(self, job: Job, step: dict[str, Any]) -> bool:
        if "run" in step:
            return self._run_script(job, step)
        given = _filled(step.get("with", {}), job.contexts)
        action = step["uses"].partition("@")[0]
        if action == "actions/checkout":
            return self._check_out(job)
        if action == "actions/upload-artifact":
            return self._upload(job, given)
        if action == "actions/download-artifact":
            return self._download(job, given)
        assert action == "actions/setup-python"
        return True

    def _check_out(self, job: Job) -> bool:
        command = ("git", "clone", "--quiet", str(self.repository), str(job.workspace))
        return subprocess.run(command, check=True).returncode == 0

    def _upload(self, job: Job, given: Mapping[str, str]) -> bool:
        """Keep files where they lie below the folder that all of the paths share."""
        patterns = [
            str(job.workspace / line) for line in given["path"].split("\n") if line
        ]
        root = Path(os.path.commonpath([str(Path(one).parent) for one in patterns]))
        kept = self.folder / "artifacts" / given["name"]
        for path in (Path(one) for one in _files(patterns)):
            place = path.relative_to(root)
            hidden = any(part.startswith(".") for part in place.parts)
            if hidden and given.get("include-hidden-files") != "true":
                continue
            (kept / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, kept / place)
        if kept.exists():
            self.artifacts[given["name"]] = kept
        return True

    def _download(self, job: Job, given: Mapping[str, str]) -> bool:
        artifact = self.artifacts.get(given["name"])
        if artifact is None:
            return False
        place = job.workspace / given.get("path", ".")
        shutil.copytree(artifact, place, dirs_exist_ok=True, symlinks=True)
        return True

    def _run_script(self, job: Job, step: dict[str, Any]) -> bool:
        output = job.temp / "output"
        output.write_text("")
        script = job.temp / "script.sh"
        script.write_text(step["run"], encoding="utf-8")
        done = subprocess.run(
            (*BASH, str(script)),
            cwd=job.workspace,
            env=self._environment(job, step),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        print(done.stdout)  # shown when the test fails
        job.log += done.stdout
        if "id" in step:
            lines = output.read_text(encoding="utf-8").splitlines()
            outputs = dict(line.split("=", 1) for line in lines)
            job.contexts["steps"][step["id"]] = {"outputs": outputs}
        return done.returncode == 0

    def _environment(self, job: Job, step: Mapping[str, Any]) -> dict[str, str]:
        tools = job.temp / "tools"
        if not tools.exists():
            tools.mkdir()
            (tools / "python").write_text(PYTHON)
            (tools / "python").chmod(0o755)
        path = (str(tools), str(Path(sys.executable).parent), os.environ["PATH"])
        return {
            **os.environ,
            **{
                f"GITHUB_{name.upper()}": value
                for name, value in self.event.items()
                if isinstance(value, str)
            },
            "CI": "true",
            "GITHUB_ACTIONS": "true",
            "GITHUB_OUTPUT": str(job.temp / "output"),
            "GITHUB_STEP_SUMMARY": str(job.temp / "summary"),
            "RUNNER_TEMP": str(job.temp),
            "PATH": os.pathsep.join(path),
            **job.contexts["env"],
            **_filled(step.get("env", {}), job.contexts),
        }


def _filled(values: Mapping[str, str], contexts: Mapping[str, Any]) -> dict[str, str]:
    return {name: fill(value, contexts) for name, value in values.items()}


def _files(patterns: list[str]) -> list[str]:
    found = [path for one in patterns for path in glob.glob(one)]  # noqa: PTH207
    files = [path for path in found if Path(path).is_file()]
    for folder in (path for path in found if Path(path).is_dir()):
        files += [str(path) for path in Path(folder).rglob("*") if path.is_file()]
    return files
