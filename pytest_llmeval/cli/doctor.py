"""The command ``llmeval doctor``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import say


if TYPE_CHECKING:
    from pytest_llmeval.doctor import Diagnosis


def add(commands: Commands) -> None:
    """Add the command that looks at a project and its surroundings."""
    doctor = commands.add_parser(
        "doctor",
        help="say what is configured, from where, and what does not work",
        description="Say what is configured and from where, and whether model, store, "
        "MLflow, Spark and Databricks are there. Further arguments are read as pytest "
        "would read them. Nothing is written, no model is asked, and no key is shown. "
        "Exit with 1 when there is a problem.",
        usage="llmeval doctor [-h] [--json] [PYTEST ARGUMENT ...]",
        epilog="example: llmeval doctor evals/ --llmeval-model gguf:smollm2",
    )
    doctor.add_argument("--json", action="store_true", help="print JSON for machines")
    doctor.set_defaults(run=_run)


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.doctor import examine

    diagnosis = examine(rest)
    lines = [_as_json(diagnosis)] if options.json else _as_text(diagnosis)
    for line in lines:
        say(line)
    return 1 if diagnosis.status == "problem" else 0


def _as_json(diagnosis: Diagnosis) -> str:
    document = {
        "status": diagnosis.status,
        "rootdir": diagnosis.rootdir,
        "inifile": diagnosis.inifile,
        "settings": [line._asdict() for line in diagnosis.settings],
        "findings": [finding._asdict() for finding in diagnosis.findings],
    }
    return json.dumps(document, indent=2)


def _as_text(diagnosis: Diagnosis) -> Iterator[str]:
    from pytest_llmeval.text import one_line

    yield f"rootdir  {one_line(diagnosis.rootdir)}"
    yield f"inifile  {one_line(diagnosis.inifile or 'none')}"
    yield ""
    names = max((len(line.name) for line in diagnosis.settings), default=0)
    values = max((len(line.value) for line in diagnosis.settings), default=0)
    for name, value, source in diagnosis.settings:
        yield f"ok       {name:<{names}}  {value:<{values}}  {source}"
    if diagnosis.settings:
        yield ""
    for status, subject, text, next_step in diagnosis.findings:
        yield f"{status:<7}  {subject:<10}  {text}"
        if next_step:
            yield f"{'':<7}  {'':<10}  next: {next_step}"
    yield ""
    yield _sum(diagnosis)


def _sum(diagnosis: Diagnosis) -> str:
    found = [finding.status for finding in diagnosis.findings]
    counts = [(found.count("problem"), "problem"), (found.count("note"), "note")]
    return ", ".join(f"{n} {word}{'' if n == 1 else 's'}" for n, word in counts)
