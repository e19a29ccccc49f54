"""A project as pytest sees it: pytest itself is asked, in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

from pytest_llmeval.config import Settings
from pytest_llmeval.config import build_settings
from pytest_llmeval.doctor.findings import Finding
from pytest_llmeval.doctor.findings import SettingLine
from pytest_llmeval.doctor.probe import MARK
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.options import OPTIONS
from pytest_llmeval.text import one_line


LIMIT_S = 30.0
"""For pytest to start, import the suite's conftest files, and load the model."""
LONGEST_TEXT = 2_000
ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "3",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Project:
    """What pytest says of a project."""

    rootdir: str
    inifile: str | None = None
    settings: Settings | None = None
    """None when they cannot be read; `problem` says why."""
    origins: Mapping[str, str] = field(default_factory=dict)
    """Where each option and ini value that is given stands."""
    problem: Finding | None = None
    model: Mapping[str, str] = field(default_factory=dict)
    """What loading the model came to: ``ref`` or ``error``; empty when it did not."""


def read_project(arguments: Sequence[str]) -> Project:
    """Start pytest with these arguments, and have it say what it reads."""
    command = [sys.executable, "-m", "pytest", "-p", "pytest_llmeval.doctor.probe"]
    try:
        done = subprocess.run(  # noqa: S603  # the user's own arguments
            [*command, *arguments],
            env={**ENVIRONMENT, **os.environ},
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=LIMIT_S,
            check=False,
        )
        output, errors = done.stdout, done.stderr
    except subprocess.TimeoutExpired as stopped:
        output = stopped.stdout or b""
        errors = b"pytest did not read its configuration within %d s" % LIMIT_S
    told: dict[str, Any] = {}
    for line in output.decode("utf-8", "replace").splitlines():
        if line.startswith(MARK):
            told |= json.loads(line.removeprefix(MARK))
    if "rootdir" not in told:
        return Project(rootdir=str(Path.cwd()), problem=_unreadable(errors))
    return _build_project(told)


def _unreadable(errors: bytes) -> Finding:
    lines = errors.decode("utf-8", "replace").strip().splitlines()
    said = " ".join(line for line in lines if not line.startswith("usage:"))
    shown = one_line(said, LONGEST_TEXT) or "it said nothing"
    return Finding(
        "problem",
        "settings",
        f"pytest cannot read the project: {shown}",
        "see the same error with: pytest --collect-only",
    )


def _build_project(told: Mapping[str, Any]) -> Project:
    rootdir, inifile = told["rootdir"], told["inifile"]
    try:
        if told["error"] is not None:
            raise ConfigurationError(told["error"])
        settings = build_settings(Path(rootdir), told["given"])
    except ConfigurationError as error:
        text, origins = one_line(error, LONGEST_TEXT), told.get("origins", {})
        place = origins.get(text.partition(" ")[0], inifile)
        problem = Finding("problem", "settings", text, f"correct it: {one_line(place)}")
        return Project(rootdir=rootdir, inifile=inifile, problem=problem)
    return Project(
        rootdir=rootdir,
        inifile=inifile,
        settings=settings,
        origins=told["origins"],
        model=told.get("model", {}),
    )


def setting_lines(project: Project) -> tuple[SettingLine, ...]:
    """Return every setting with its value and where it comes from."""
    if project.settings is None:
        return ()
    return tuple(_setting_lines(project, project.settings))


def _setting_lines(project: Project, settings: Settings) -> Iterator[SettingLine]:
    for option in OPTIONS:
        value = getattr(settings, option.field)
        source = settings.sources.get(option.field)
        origin = "default" if source is None else project.origins[source]
        uri = os.environ.get("MLFLOW_TRACKING_URI")
        if option.field == "tracking" and value == "auto" and uri:
            value, origin = uri, "MLFLOW_TRACKING_URI in the environment"
        yield SettingLine(option.name, _shown(value), origin)


def _shown(value: object) -> str:
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, Mapping):
        return one_line(", ".join(value)) or "none"
    if isinstance(value, float):
        return f"{value:g}"
    return "none" if value in (None, "") else one_line(value)
