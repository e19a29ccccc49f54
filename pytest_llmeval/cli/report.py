"""The command ``llmeval report``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_directory
from pytest_llmeval.cli.console import say


def add(commands: Commands) -> None:
    """Add the command that writes a run's page."""
    report = commands.add_parser(
        "report",
        help="write a run as one HTML page",
        description="Write a run as one HTML page: verdict, gates, distributions, "
        "slices, latency and cost, and its rows, beside a baseline where there is one.",
        epilog="example: llmeval report last --html report.html",
    )
    report.add_argument(
        "run_id", metavar="RUN", help="id of a run, its folder, or last"
    )
    report.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="the file to write (default: report.html in the run's folder)",
    )
    report.add_argument(
        "--baseline",
        metavar="RUN|DIR",
        help="run to show it beside, or its folder (default: the local run that gates "
        "on a change were measured against)",
    )
    add_directory(report, "folder of the runs (default: .llmeval)")
    report.set_defaults(run=_run)


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.report.html import write_page
    from pytest_llmeval.report.run import read_run

    run = read_run(options.dir, options.run_id, options.baseline)
    path = options.html or run.directory.path / "report.html"
    write_page(run, path)
    say(f"wrote {path}")
    return 0
