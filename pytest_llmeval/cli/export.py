"""The command ``llmeval export``."""

from __future__ import annotations

import argparse
import warnings
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_directory
from pytest_llmeval.cli.console import say
from pytest_llmeval.text import counted
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from pytest_llmeval.history.export import Exported


NAMED = 3
"""Runs that are left out are named up to so many."""


def add(commands: Commands) -> None:
    """Add the command that writes the history tables."""
    export = commands.add_parser(
        "export",
        help="write the history of all runs as tables for BI tools",
        description="Write the runs as tables of runs, evaluations, metrics, gates and "
        "deployments: each once, and again when something of it changed.",
        epilog="example: llmeval export --to sqlite:///history.db",
    )
    export.add_argument(
        "--to",
        metavar="PLACE",
        help="folder for Parquet files, csv:FOLDER, URL of a database such as "
        "sqlite:///FILE or postgresql://USER@HOST/DB, CATALOG.SCHEMA or delta:/PATH in "
        "Spark (default: history in the folder of --dir)",
    )
    export.add_argument(
        "--from-mlflow",
        nargs="?",
        const="auto",
        metavar="URI",
        help="take the runs of this MLflow, or of that in MLFLOW_TRACKING_URI when no "
        "URI is given (default: the runs in --dir)",
    )
    export.add_argument(
        "--rows",
        action="store_true",
        help="write also each answer with its scores (default: off)",
    )
    export.add_argument(
        "--again",
        action="store_true",
        help="write also the runs that stand there unchanged (default: off)",
    )
    export.add_argument(
        "--spark",
        metavar="ADDRESS",
        help="the Spark to use, as in pytest --llmeval-spark (default: the first that "
        "is there)",
    )
    add_directory(export, "folder of the runs (default: .llmeval)")
    export.set_defaults(run=_run)


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.config import Settings
    from pytest_llmeval.history.places import open_place
    from pytest_llmeval.history.runs import run_ids
    from pytest_llmeval.history.sources import export_mlflow
    from pytest_llmeval.history.sources import export_runs
    from pytest_llmeval.hooks import headless_manager

    uri = options.from_mlflow
    settings = Settings(
        directory=str(options.dir), tracking=uri or "off", spark=options.spark
    )
    hook, with_rows = headless_manager().hook, options.rows
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own, and Spark's
        if uri is None:
            run_ids(settings.home)  # before a place is made for nothing
        to = options.to or str(options.dir / "history")
        place = open_place(to, hook, settings)
        if uri is None:
            done = export_runs(
                settings.home, place, with_rows=with_rows, again=options.again
            )
        else:
            done = export_mlflow(
                hook, settings, place, with_rows=with_rows, again=options.again
            )
    _show(done, place.name)
    return 0


def _show(done: Exported, name: str) -> None:
    wrote, number = done.new + done.changed, counted(done.new + done.changed, "run")
    details = f" ({done.new} new, {done.changed} changed)" if wrote else ""
    say(f"wrote {number}{details} to {one_line(name)}")
    if done.same:
        say(f"{counted(done.same, 'run')} stood there already")
    reasons = Counter(left.why for left in done.left_out)
    for why, count in reasons.most_common(NAMED):
        first = next(left.run_id for left in done.left_out if left.why == why)
        more = f" and {count - 1} more" if count > 1 else ""
        say(f"left out {one_line(first)}{more}: {one_line(why, 300)}")
    if len(reasons) > NAMED:
        say(f"left out {counted(len(done.left_out), 'run')} in all")
