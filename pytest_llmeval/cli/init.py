"""The command ``llmeval init``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import say


PIPELINES = {
    "github": "workflows for GitHub Actions: evaluate, comment, deploy",
    "jenkins": "a Jenkinsfile: evaluate, and deploy once somebody agrees",
    "databricks": "a databricks.yml: a bundle with a job on a schedule",
}


def add(commands: Commands) -> None:
    """Add the command that writes a first suite and its pipelines."""
    init = commands.add_parser(
        "init",
        help="write a first suite with ten rows, and pipelines for it",
        description="Write evals/ with a first suite and its gate manifest, and a "
        "pytest.ini where pytest is not configured. Files that are there stay as they "
        "are; how they differ is shown.",
        epilog="example: llmeval init --github",
    )
    init.add_argument(
        "folder",
        nargs="?",
        default=".",
        type=Path,
        metavar="FOLDER",
        help="the project (default: this folder)",
    )
    for name, text in PIPELINES.items():
        init.add_argument(
            f"--{name}",
            dest="pipelines",
            action="append_const",
            const=name,
            default=[],
            help=f"also write {text}",
        )
    init.set_defaults(run=_run)


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.backends.llamacpp import find_known
    from pytest_llmeval.scaffold import next_step
    from pytest_llmeval.scaffold import write_project

    seen = write_project(options.folder, options.pipelines, say)
    say(next_step(seen, find_known("smollm2")))
    return 0
