"""A place where versions go live, kept in a file: a deployment target of a user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.hooks import hookimpl
from pytest_llmeval.records import Plan
from pytest_llmeval.records import State


class FileTarget:
    """``file:PATH``: its content is the version that is live; `faults` fail its writes.

    A fault is ``refuse`` (nothing is written), ``ignore`` (nothing either, and it does
    not say so), ``lose`` (it is written, and the answer is lost) or ``never`` (it is
    written and stays busy).
    """

    def __init__(self, path: Path, order: int = 0) -> None:
        self.name, self.place, self.order = f"file:{path}", str(path), order
        self.path = path
        self.faults: list[str] = []
        self.writes: list[str | None] = []
        self.busy = self.unreadable = False
        self.on_note: Callable[[str], object] = lambda line: None

    @property
    def version(self) -> str | None:
        return self.path.read_text() if self.path.exists() else None

    def read(self) -> State:
        if self.unreadable:
            raise OSError("it cannot be read")
        version = self.version
        text = "nothing" if version is None else f"version {version}"
        return State(live={"version": version}, text=text, busy=self.busy)

    def plan(self, verdict: Any, move: Any, state: State) -> Plan:
        version = None if verdict is None else verdict["model"]["version"]
        is_same = state.live["version"] == version
        return Plan(
            target=self.name,
            before=state.live,
            after={"version": version},
            changes=() if is_same else (f"write {version}",),
            summary=f"{self.path.name}: {state.text} -> version {version}",
        )

    def write(self, before: Any, after: Any, tags: Any, note: Any) -> None:
        if {"version": self.version} not in (before, after):
            raise DeploymentRefused("SUPERSEDED", f"{self.name} has {self.version}")
        note(line := f"write {after['version']}")
        self.on_note(line)
        fault = self.faults.pop(0) if self.faults else ""
        if fault == "refuse":
            raise OSError("it refuses")
        if fault == "ignore":
            return
        self.writes.append(after["version"])
        if after["version"] is None:
            self.path.unlink(missing_ok=True)
        else:
            self.path.write_text(after["version"])
        if fault == "lose":
            raise TimeoutError("no answer")
        self.busy = fault == "never"


class Targets:
    """A plugin that gives the targets it was given, by their names."""

    def __init__(self, *targets: FileTarget) -> None:
        self._targets = {target.name: target for target in targets}

    @hookimpl
    def pytest_llmeval_deploy_target(self, target: str) -> FileTarget | None:
        return self._targets.get(target)


MANIFEST = "schema = 1\n"
MANIFEST_DIGEST = "sha256:" + hashlib.sha256(MANIFEST.encode()).hexdigest()


def write_manifest(rootdir: Path) -> None:
    """Write the manifest that verdicts here were judged by."""
    (rootdir / "evals").mkdir(exist_ok=True)
    (rootdir / "evals/gates.toml").write_text(MANIFEST)


def passing_verdict(**changes: Any) -> dict[str, Any]:
    """Return what a run of one gate on 40 rows of m/2 leaves, at commit c1."""
    gate = {
        "test": "evals/test_qa.py::test_quality",
        "metric": "exact_match",
        "op": ">=",
        "threshold": 0.9,
        "confidence": 0.95,
        "decision": "pass",
        "reason": "OK",
        "rows": 40,
        "baseline": None,
        "dataset_digest": "sha256:d",
        "request_digest": "sha256:r",
    }
    model = {"scheme": "models", "name": "m", "version": "2", "digest": "sha256:0"}
    verdict = {
        "schema": 1,
        "run_id": "run-1",
        "status": "pass",
        "reason": "OK",
        "detail": "every gate passed",
        "gates": [gate],
        "evaluations": [],
        "model": {
            **model,
            "pinned": True,
            "requested": "models:/m/2",
            "requests": ["models:/m/2"],
            "aliases": {},
        },
        "manifest": {"path": "evals/gates.toml", "digest": MANIFEST_DIGEST},
        "commit": "c1",
        "dirty": False,
        "started_at": 0.0,
        "mlflow_run_id": None,
        **changes,
    }
    return json.loads(json.dumps(verdict))
