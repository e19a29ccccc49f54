"""The commands ``llmeval databricks ...``: their arguments."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_group
from pytest_llmeval.cli.databricks import pack
from pytest_llmeval.cli.databricks import run
from pytest_llmeval.cli.databricks import schedule
from pytest_llmeval.cli.databricks.arguments import add_token
from pytest_llmeval.cli.databricks.arguments import add_work


STATUSES = (
    "Exit status: pytest's own; 13 when the run ended without a result, or was not "
    "started; 130 when it was interrupted; 1 or 2 for what was wrong before it began."
)


def add(commands: Commands) -> None:
    """Add the commands that run a suite as a Databricks job."""
    group = add_group(
        commands, "databricks", "run a suite as a Databricks job, now or on a schedule"
    )
    _add_run(group)
    _add_wait(group)
    _add_schedule(group)
    _add_pack(group)


def _add_run(group: Commands) -> None:
    command = group.add_parser(
        "run",
        help="run a suite as a job, and bring its results back",
        description="Upload this package and the project as git tracks it, run pytest "
        "there with the arguments after --, show its progress, and bring junit, "
        "reports and run directory back. Ctrl-C cancels the run. A lost answer or a "
        f"repeated CI step starts no second run. {STATUSES}",
        epilog="example: llmeval databricks run evals/ --volume /Volumes/main/qa/evals "
        "-- -n 4",
        usage="llmeval databricks run [PATH ...] [options] [-- PYTEST ARGUMENT ...]",
    )
    add_work(command)
    add_token(command)
    command.add_argument(
        "--name",
        metavar="NAME",
        help="name of the run in the workspace (default: llmeval, with the project's "
        "folder)",
    )
    command.add_argument(
        "--detach",
        action="store_true",
        help="start the run, say its number, and do not wait (default: wait)",
    )
    command.set_defaults(run=run.run)


def _add_wait(group: Commands) -> None:
    wait = group.add_parser(
        "wait",
        help="wait for a run that was started, and bring its results back",
        description="Show the progress of a run of a suite until it ends, and bring "
        "its results back. Ctrl-C leaves the run alone. "
        f"{STATUSES}",
        epilog="example: llmeval databricks wait 4711",
    )
    wait.add_argument("run_id", type=int, metavar="RUN", help="number of the run")
    wait.set_defaults(run=run.wait)


def _add_schedule(group: Commands) -> None:
    commands = group.add_parser(
        "schedule",
        help="run a suite as a job on a schedule",
        description="Keep one job for each schedule's name, found by that name and a "
        "tag.",
        epilog="help of a command: llmeval databricks schedule COMMAND --help",
    ).add_subparsers(
        dest="schedule_command", required=True, title="commands", metavar="COMMAND"
    )
    _add_set(commands)
    shown = commands.add_parser(
        "list",
        help="list the schedules, with the end of their last run",
        description="List the schedules of the workspace that llmeval has made.",
        epilog="example: llmeval databricks schedule list",
    )
    shown.set_defaults(run=schedule.show_all)
    for name, text, action in (
        ("pause", "let a schedule rest", schedule.pause),
        ("resume", "let a schedule go on", schedule.pause),
        ("delete", "delete a schedule; its results stay", schedule.delete),
        ("run", "run a schedule's job now, and bring its results", schedule.run_now),
    ):
        command = commands.add_parser(
            name,
            help=text,
            description=f"{text[0].upper()}{text[1:]}.",
            epilog=f"example: llmeval databricks schedule {name} nightly",
        )
        command.add_argument("name", metavar="NAME", help="name of the schedule")
        if name == "run":
            add_token(command)
        command.set_defaults(run=action)


def _add_set(commands: Commands) -> None:
    command = commands.add_parser(
        "set",
        help="create a schedule, or change the one of that name",
        description="Upload this package and the project as git tracks it now, and "
        "create the job of that name or change it; the same command again changes "
        "nothing. A schedule that is paused stays paused. With --deploy a run that "
        "passes goes live, by the rules of llmeval deploy.",
        epilog="example: llmeval databricks schedule set nightly evals/ --cron "
        "'0 0 6 * * ?' --timezone Europe/Berlin -- -n 4",
        usage="llmeval databricks schedule set NAME [PATH ...] [options] -- ...",
    )
    command.add_argument("name", metavar="NAME", help="name of the schedule")
    command.add_argument(
        "--cron",
        required=True,
        metavar="CRON",
        help="when it runs, as a Quartz expression with seconds first: '0 0 6 * * ?'",
    )
    command.add_argument(
        "--timezone",
        required=True,
        metavar="ZONE",
        help="the zone of these times, such as Europe/Berlin or UTC",
    )
    _add_notifications(command)
    command.add_argument(
        "--deploy",
        metavar="TARGET",
        help="let what passes go live there, as llmeval deploy takes it; a challenger "
        "is promoted (default: nothing goes live)",
    )
    command.add_argument(
        "--rollback",
        action="store_true",
        help="with --deploy: where a gate of the live version or of the challenger "
        "fails, take it back (default: leave it)",
    )
    add_work(command)
    command.set_defaults(run=schedule.set_schedule)


def _add_notifications(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--email",
        action="append",
        default=[],
        metavar="ADDRESS",
        help="tell this address of a run; several times (default: nobody)",
    )
    command.add_argument(
        "--webhook",
        action="append",
        default=[],
        metavar="ID",
        help="tell this notification destination of the workspace; several times "
        "(default: none)",
    )
    command.add_argument(
        "--notify-on",
        action="append",
        default=[],
        choices=("failure", "success", "start"),
        help="tell of a failure, success or start; several times (default: failure)",
    )


def _add_pack(group: Commands) -> None:
    command = group.add_parser(
        "pack",
        help="write the wheel of this package, for a bundle",
        description="Write a wheel of this package as it is installed here, and beside "
        "the project's ini file .llmeval-source.json: commit, branch and state of the "
        "checkout, which a job cannot ask git for. A bundle deploys both.",
        epilog="example: llmeval databricks pack dist",
    )
    command.add_argument(
        "folder",
        nargs="?",
        type=Path,
        default=Path("dist"),
        metavar="FOLDER",
        help="for the wheel (default: dist)",
    )
    command.set_defaults(run=pack.run)
