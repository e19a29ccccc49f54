"""The command ``llmeval report``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_directory
from pytest_llmeval.cli.console import say


def add(commands: Commands) -> None:
    """Add the command that writes the reports of a run."""
    report = commands.add_parser(
        "report",
        help="write a run as one HTML page, or as Markdown",
        description="Write a run as one HTML page: verdict, gates, distributions, "
        "slices, latency and cost, and its rows, beside a baseline where there is one; "
        "or as Markdown for a comment on a pull request.",
        epilog="example: llmeval report last --html report.html",
    )
    report.add_argument(
        "run_id", metavar="RUN", help="id of a run, its folder, or last"
    )
    report.add_argument(
        "--html",
        type=Path,
        metavar="FILE",
        help="file for the page (default, without --markdown: report.html in the run's "
        "folder)",
    )
    report.add_argument(
        "--markdown", type=Path, metavar="FILE", help="file for the Markdown"
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
    from pytest_llmeval.report.publish import write_comment
    from pytest_llmeval.report.run import read_run

    run = read_run(options.dir, options.run_id, options.baseline)
    if options.markdown is not None:
        files = run.directory
        places = {"verdict file": str(files.verdict), "rows": str(files.results)}
        write_comment(run, places, options.markdown)
        say(f"wrote {options.markdown}")
    if options.html is not None or options.markdown is None:
        path = options.html or run.directory.path / "report.html"
        write_page(run, path)
        say(f"wrote {path}")
    return 0
