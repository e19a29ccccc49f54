"""The command ``llmeval sync``."""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Sequence

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_directory
from pytest_llmeval.cli.console import say


def add(commands: Commands) -> None:
    """Add the command that uploads the runs that wait for it."""
    sync = commands.add_parser(
        "sync",
        help="upload runs to MLflow that wait for it",
        description="Upload to MLflow the runs that wait for it, oldest first, each "
        "exactly once. Exit with 0 when all of them are there.",
        epilog="example: llmeval sync",
    )
    sync.add_argument(
        "runs", nargs="*", metavar="RUN", help="run ids (default: all that wait)"
    )
    add_directory(sync, "folder of the runs (default: .llmeval)")
    sync.add_argument(
        "--tracking",
        metavar="URI",
        help="MLflow tracking URI (default: the one that each run has written down)",
    )
    sync.set_defaults(run=_run)


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.tracking import sync

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        done = sync(options.dir, options.runs, options.tracking, say)
    return 0 if done else 1
