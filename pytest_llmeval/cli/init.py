"""The command ``llmeval init``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import say


def add(commands: Commands) -> None:
    """Add the command that writes a first suite."""
    init = commands.add_parser(
        "init",
        help="write a first suite with ten rows, and say what comes next",
        description="Write evals/ with a first suite, and a pytest.ini where there is "
        "no pytest configuration. Files that are there stay as they are.",
        epilog="example: llmeval init",
    )
    init.add_argument(
        "folder",
        nargs="?",
        default=".",
        type=Path,
        metavar="FOLDER",
        help="the project (default: this folder)",
    )
    init.set_defaults(run=_run)


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.backends.llamacpp import find_known
    from pytest_llmeval.scaffold import next_step
    from pytest_llmeval.scaffold import write_project

    write_project(options.folder, say)
    say(next_step(find_known("smollm2")))
    return 0
