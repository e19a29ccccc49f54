"""``llmeval dashboard databricks``: an AI/BI dashboard over the exported tables."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import say
from pytest_llmeval.text import safe


FOLDER = "/Workspace/Shared"
NAME = "LLM evaluations"
ANSWER_S = 60.0


def add(commands: Commands) -> None:
    """Add the command that puts a dashboard into a workspace."""
    command = commands.add_parser(
        "databricks",
        help="publish an AI/BI dashboard in a Databricks workspace",
        description="Create the dashboard at a path of the workspace, or change the "
        "one that is there, and publish it; the same command again changes nothing. It "
        "reads the tables that llmeval export has written to a catalog and schema, "
        "with the rights of whoever looks at it. What somebody has edited in the "
        "workspace is kept, and the command fails, unless --overwrite is given.",
        epilog="example: llmeval dashboard databricks --catalog main --schema evals "
        "--warehouse 0123456789abcdef",
    )
    for name, text in (
        ("catalog", "catalog of the exported tables, such as main"),
        ("schema", "their schema, such as evals"),
    ):
        command.add_argument(
            f"--{name}", required=True, metavar=name.upper(), help=text
        )
    command.add_argument(
        "--warehouse",
        required=True,
        metavar="ID",
        help="SQL warehouse that runs the queries; its id stands in the address of "
        "its page",
    )
    command.add_argument(
        "--name",
        default=NAME,
        metavar="NAME",
        help=f"name of the dashboard (default: {NAME})",
    )
    command.add_argument(
        "--folder",
        default=FOLDER,
        metavar="PATH",
        help="folder of the workspace that it lies in; it is made where it is not "
        f"there (default: {FOLDER})",
    )
    command.add_argument(
        "--overwrite",
        action="store_true",
        help="replace what somebody has edited (default: refuse)",
    )
    command.set_defaults(run=run)


def run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Create or change the dashboard, and publish it."""
    from pytest_llmeval.backends.databricks.dashboards.content import dashboard_content
    from pytest_llmeval.backends.databricks.dashboards.publishing import Dashboards
    from pytest_llmeval.backends.databricks.dashboards.publishing import Wanted
    from pytest_llmeval.backends.databricks.dashboards.publishing import check_folder
    from pytest_llmeval.backends.databricks.dashboards.publishing import check_name
    from pytest_llmeval.backends.databricks.workspace import open_client

    wanted = Wanted(
        folder=check_folder(options.folder),
        name=check_name(options.name),
        content=dashboard_content(options.catalog, options.schema),
        warehouse=options.warehouse,
    )
    client = open_client(ANSWER_S)
    put = Dashboards(client).put(wanted, overwrite=options.overwrite)
    what = ", ".join(put.changed) or "unchanged"
    say(safe(f"dashboard {options.name}: {what}", 500))
    host = str(client.config.host).rstrip("/")
    say(f"{host}/dashboardsv3/{put.dashboard_id}/published")
    return 0
