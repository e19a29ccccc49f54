"""The workflows of this repository, and those that its templates become."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml


ROOT = Path(__file__).parents[2]
OURS = sorted((ROOT / ".github/workflows").glob("*.yml"))
TEMPLATES = ROOT / "pytest_llmeval/scaffold/templates/github"
EVALS = ".github/workflows/evals.yml"
COMMENT = ".github/workflows/comment.yml"
# What this repository's own files are, of which the templates have the names.
VALUES = {
    "BRANCH": "main",
    "EMBEDDED": "smollm2",
    "INSTALL": '".[local]"',
    "SUITE": "evals",
}


@dataclass(frozen=True)
class Workflow:
    """A workflow's file; or that of an action, which has steps and no jobs."""

    name: str
    text: str

    @cached_property
    def document(self) -> dict[str, Any]:
        # All scalars are text: to YAML `on` is true, and 3.10 is 3.1.
        document: dict[str, Any] = yaml.load(self.text, yaml.BaseLoader)
        return document

    @property
    def triggers(self) -> set[str]:
        on = self.document["on"]
        return {on} if isinstance(on, str) else set(on)

    @property
    def jobs(self) -> dict[str, Any]:
        jobs: dict[str, Any] = self.document.get("jobs") or {
            "action": self.document["runs"]
        }
        return jobs

    def steps(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """Yield the name of the job and the step, for each step."""
        for name, job in self.jobs.items():
            for step in job.get("steps", ()):
                yield name, step

    def step(self, name: str) -> dict[str, Any]:
        return next(step for _, step in self.steps() if step.get("name") == name)


def read(path: Path) -> Workflow:
    return Workflow(path.name, path.read_text(encoding="utf-8"))


def render(path: Path, **values: str) -> str:
    text = path.read_text(encoding="utf-8")
    for name, value in {**VALUES, **values}.items():
        text = text.replace(f"@@{name}@@", value)
    return text


def generated(name: str, **values: str) -> Workflow:
    """Return a workflow as another repository has it."""
    path = TEMPLATES / ".github/workflows" / name
    return Workflow(name, render(path, **{**FOREIGN, **values}))


FOREIGN = {
    "BRANCH": "trunk",
    "EMBEDDED": "",
    "INSTALL": "-r evals/requirements.txt",
}
ALL = [
    *map(read, OURS),
    *(generated(path.name) for path in sorted(TEMPLATES.rglob("*.yml"))),
]
ACTION = read(ROOT / "action.yml")
