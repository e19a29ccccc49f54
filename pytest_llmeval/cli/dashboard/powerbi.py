"""``llmeval dashboard powerbi``: a data source file over the exported tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.dashboard.source import add_source
from pytest_llmeval.cli.dashboard.source import write_source


def add(commands: Commands) -> None:
    """Add the command that writes a file for Power BI."""
    command = commands.add_parser(
        "powerbi",
        help="write a data source file for Power BI",
        description="Write a .pbids file that Power BI Desktop opens: it names the "
        "source of the exported tables. The format has no room for tables and names "
        "of fields, which are chosen in Power BI. It holds no user and no password; "
        "Power BI asks for them.",
        epilog="example: llmeval dashboard powerbi --out evals.pbids --history "
        "databricks://adb-1.azuredatabricks.net/sql/1.0/warehouses/0123 --catalog main "
        "--schema evals",
    )
    add_source(command, ".pbids")
    command.set_defaults(run=run)


def run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Write the file."""
    from pytest_llmeval.history.bi.powerbi import powerbi_source

    return write_source(options, ".pbids", powerbi_source)
