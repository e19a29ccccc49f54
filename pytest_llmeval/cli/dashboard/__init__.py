"""The command ``llmeval dashboard``, and those that make dashboards elsewhere."""

from __future__ import annotations

from types import ModuleType

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.dashboard import databricks
from pytest_llmeval.cli.dashboard import page
from pytest_llmeval.cli.dashboard import powerbi
from pytest_llmeval.cli.dashboard import tableau


ELSEWHERE: tuple[ModuleType, ...] = (databricks, tableau, powerbi)
"""The modules of the commands ``llmeval dashboard NAME``, in the order of the help."""


def add(commands: Commands) -> None:
    """Add the command that shows the history of all runs."""
    dashboard = commands.add_parser(
        "dashboard",
        help="show the history of all runs as a page in the browser",
        description="Show the history of all runs: each metric over time with its "
        "interval and threshold, gates, slices, latency, cost, deployments, and the "
        "rows of two runs side by side. The page is served to this machine alone, "
        "reads and never writes, and follows new runs; Ctrl-C ends it.",
        epilog="example: llmeval dashboard --history .llmeval/history",
    )
    page.add_arguments(dashboard)
    dashboard.set_defaults(run=page.run)
    if ELSEWHERE:
        group = dashboard.add_subparsers(
            dest="dashboard_command", title="commands", metavar="COMMAND"
        )
        for command in ELSEWHERE:
            command.add(group)
