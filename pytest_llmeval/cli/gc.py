"""The command ``llmeval gc``."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.amounts import read_age
from pytest_llmeval.amounts import read_size
from pytest_llmeval.amounts import size
from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import age_given
from pytest_llmeval.cli.console import agrees
from pytest_llmeval.cli.console import say
from pytest_llmeval.cli.console import size_given
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from pytest_llmeval.config import Settings
    from pytest_llmeval.retention import Limits
    from pytest_llmeval.retention import Plan


def add(commands: Commands) -> None:
    """Add the command that removes what is too old or too much."""
    gc = commands.add_parser(
        "gc",
        help="remove old runs, rows and stored predictions",
        description="Remove old runs, rows and stored predictions, when you agree to "
        "what is shown. The last run always stays, as do runs that are deployed, "
        "running, baselines of others, or not uploaded yet.",
        epilog="example: llmeval gc --older-than 90d --rows-older-than 30d",
    )
    gc.add_argument(
        "--older-than",
        type=age_given,
        metavar="AGE",
        help="runs, stored predictions and Spark's answers older than this: 90d, 12h "
        "(default: ini llmeval_keep_age)",
    )
    gc.add_argument(
        "--max-size",
        type=size_given,
        metavar="SIZE",
        help="of the whole folder, oldest first until it fits: rows, then runs, then "
        "stored predictions: 5GB, 500MB (default: ini llmeval_keep_size)",
    )
    gc.add_argument(
        "--keep",
        type=_count,
        metavar="N",
        help="keep the newest N runs; without an age and a size remove all others "
        "(default: ini llmeval_keep_runs)",
    )
    gc.add_argument(
        "--rows-older-than",
        type=age_given,
        metavar="AGE",
        help="rows of runs older than this; verdict, gates and metrics stay (default: "
        "ini llmeval_keep_rows_age)",
    )
    gc.add_argument(
        "--dry-run",
        action="store_true",
        help="only say what would be removed (default: off)",
    )
    gc.add_argument(
        "--yes", action="store_true", help="do not ask first (default: off)"
    )
    gc.add_argument(
        "--dir",
        type=Path,
        metavar="DIR",
        help="folder of the runs (default: llmeval_dir)",
    )
    gc.add_argument(
        "--json", action="store_true", help="print JSON for machines (default: text)"
    )
    gc.set_defaults(run=_run)


def _count(text: str) -> int:
    if not text.isdecimal():
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of runs: 20")
    return int(text)


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.project import run_in_project

    arguments = []
    if options.dir is not None:
        arguments = ["--llmeval-dir", str(options.dir.absolute())]
    return run_in_project(arguments, lambda settings, _: _collect(options, settings))


def _collect(options: argparse.Namespace, settings: Settings) -> int:
    from pytest_llmeval.retention import carry_out
    from pytest_llmeval.retention import make_plan

    home, limits, named = settings.home, _limits(options, settings), _named(settings)
    if not home.is_dir():
        raise ConfigurationError(
            f"there is no folder {home}; the first evaluation makes it, and --dir "
            "names another one"
        )
    if options.json and not (options.dry_run or options.yes):
        raise ConfigurationError("--json asks nothing: add --yes, or --dry-run")
    plan = make_plan(home, limits, named)
    if not options.json:
        _show(plan)
    if options.dry_run or not plan.remove:
        return _end(options, plan, home, removed=False)
    question = f"remove {size(plan.freed_bytes)} from {one_line(home)}?"
    if not (options.yes or agrees(question)):
        say("nothing was removed")
        return 1
    return _end(options, carry_out(home, limits, plan, named), home, removed=True)


def _limits(options: argparse.Namespace, settings: Settings) -> Limits:
    """Return the limits of the command line, for those not given there of the ini file.

    Raises:
        ConfigurationError: there are none.
    """
    from pytest_llmeval.retention import Limits

    age, rows_age = settings.keep_age, settings.keep_rows_age
    in_ini = Limits(
        older_than_s=None if age is None else read_age(age),
        max_bytes=None if settings.keep_size is None else read_size(settings.keep_size),
        keep=settings.keep_runs,
        rows_older_than_s=None if rows_age is None else read_age(rows_age),
    )
    limits = Limits(
        older_than_s=_first(options.older_than, in_ini.older_than_s),
        max_bytes=_first(options.max_size, in_ini.max_bytes),
        keep=_first(options.keep, in_ini.keep),
        rows_older_than_s=_first(options.rows_older_than, in_ini.rows_older_than_s),
    )
    if not limits:
        raise ConfigurationError(
            "nothing says what may go: give --older-than, --max-size, --keep or "
            "--rows-older-than, or set llmeval_keep_age, llmeval_keep_size, "
            "llmeval_keep_runs or llmeval_keep_rows_age in the ini file"
        )
    return limits


def _first(given: Any, otherwise: Any) -> Any:
    return otherwise if given is None else given


def _named(settings: Settings) -> list[str]:
    """Return the baselines that the gate manifest names."""
    from pytest_llmeval.verdict import read_manifest

    manifest = read_manifest(settings.manifest_path)
    gates = manifest.gates if manifest is not None else ()
    return [str(gate["baseline"]) for gate in gates if "baseline" in gate]


def _show(plan: Plan) -> None:
    for one in plan.remove:
        name, why = one_line(one.name, 60), one_line(one.why)
        say(f"{one.kind:<12} {name:<24} {size(one.size_bytes):>9}  {why}")
    for run_id, why in plan.kept.items():
        say(f"{'stays':<12} {one_line(run_id, 60):<24} {'':>9}  {one_line(why)}")


def _end(options: argparse.Namespace, plan: Plan, home: Path, *, removed: bool) -> int:
    if options.json:
        say(json.dumps(_document(plan, home, removed=removed), indent=2))
        return 0
    did = "removed" if removed else "to remove:"
    shown = f"{did} {size(plan.freed_bytes)} of {size(plan.total_bytes)}"
    if not plan.remove:
        shown = f"nothing to remove of {size(plan.total_bytes)}"
    say(f"{shown} in {one_line(home)}")
    return 0


def _document(plan: Plan, home: Path, *, removed: bool) -> dict[str, Any]:
    return {
        "folder": str(home),
        "removed": removed,
        "total_bytes": plan.total_bytes,
        "freed_bytes": plan.freed_bytes,
        "remove": [
            {
                "kind": one.kind,
                "name": one.name,
                "size_bytes": one.size_bytes,
                "why": one.why,
            }
            for one in plan.remove
        ],
        "stays": plan.kept,
    }
