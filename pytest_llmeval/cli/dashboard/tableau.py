"""``llmeval dashboard tableau``: a data source file over the exported tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.dashboard.source import add_source
from pytest_llmeval.cli.dashboard.source import write_source


def add(commands: Commands) -> None:
    """Add the command that writes a file for Tableau."""
    command = commands.add_parser(
        "tableau",
        help="write a data source file for Tableau",
        description="Write a .tds file that Tableau opens: it names the source of the "
        "exported tables, how they belong together, and for each field a name, a type, "
        "an aggregation and a description. It holds no user and no password; Tableau "
        "asks for them.",
        epilog="example: llmeval dashboard tableau --out evals.tds --history "
        "postgresql://db.example.org/evals",
    )
    add_source(command, ".tds")
    command.set_defaults(run=run)


def run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Write the file."""
    from pytest_llmeval.history.bi.tableau import tableau_source

    return write_source(options, ".tds", tableau_source)
