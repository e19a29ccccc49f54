"""The commands ``llmeval deploy ...``: their arguments; `act` carries them out."""

from __future__ import annotations

import argparse
from pathlib import Path

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_group
from pytest_llmeval.cli.deploy import act
from pytest_llmeval.cli.deploy.act import CHALLENGER_TRAFFIC


STATUSES = (
    "Exit status: 0 done or nothing to do, 10 refused, 11 failed and everything as "
    "before, 12 failed and not as before, 1 or 2 for what was wrong before it began."
)
BOTH = "serving:docs-qa,registry:docs-qa@champion"


def add(commands: Commands) -> None:
    """Add the commands that bring a verdict to what is live."""
    group = add_group(
        commands, "deploy", "bring what passed to what is live, and back again"
    )
    _add_plan(group)
    _add_apply(group)
    _add_promote(group)
    _add_rollback(group)
    _add_status(group)


def _add_plan(group: Commands) -> None:
    plan = group.add_parser(
        "plan",
        help="say what apply would do",
        description="Compare a verdict with what is live, and say what apply would "
        f"change. Nothing is written. {STATUSES}",
        epilog="example: llmeval deploy plan --target registry:docs-qa@champion",
    )
    _add_challenger(plan)
    _add_verdict(plan)
    _add_shared(plan, act.plan)


def _add_apply(group: Commands) -> None:
    apply = group.add_parser(
        "apply",
        help="deploy what a verdict speaks for",
        description="Show the plan, ask, and carry out exactly that plan: endpoints "
        "first, aliases last, each read back; when a part fails, what was live before "
        f"comes back. {STATUSES}",
        epilog=f"example: llmeval deploy apply --verdict verdict.json --target {BOTH}",
    )
    _add_challenger(apply)
    _add_verdict(apply)
    _add_consent(apply)
    _add_shared(apply, act.apply)


def _add_promote(group: Commands) -> None:
    promote = group.add_parser(
        "promote",
        help="give the challenger all the traffic",
        description="Like apply, for a verdict on the challenger as it is served: "
        "evaluate endpoints:/ENDPOINT@challenger. It gets all the traffic, and aliases "
        f"move to it. {STATUSES}",
        epilog=f"example: llmeval deploy promote --target {BOTH}",
    )
    _add_verdict(promote)
    _add_consent(promote)
    _add_shared(promote, act.apply)


def _add_rollback(group: Commands) -> None:
    rollback = group.add_parser(
        "rollback",
        help="return to what was live before",
        description="Take a challenger away, or return to the version before the one "
        "that is live, as the targets themselves tell it. After a deployment that "
        f"broke off, bring back what it found. {STATUSES}",
        epilog="example: llmeval deploy rollback --target registry:docs-qa@champion",
    )
    only = rollback.add_mutually_exclusive_group()
    only.add_argument(
        "--verdict",
        type=Path,
        metavar="FILE",
        help="roll back only what this verdict has deployed (default: whatever is "
        "live)",
    )
    only.add_argument(
        "--failed",
        type=Path,
        metavar="FILE",
        help="roll back only the version that has failed a gate in this verdict, where "
        "it is the live one or the challenger (default: whatever is live)",
    )
    _add_consent(rollback)
    _add_shared(rollback, act.rollback)


def _add_status(group: Commands) -> None:
    status = group.add_parser(
        "status",
        help="say what is live, and what was deployed last",
        description="Ask the targets what is live and why, and show the last attempts "
        "of this project. Nothing is written.",
        epilog="example: llmeval deploy status --target registry:docs-qa@champion",
    )
    _add_shared(status, act.status)


def _add_challenger(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--challenger",
        action="store_true",
        help="beside the version that is live, at a share of the traffic of its "
        "serving endpoint (default: instead of it)",
    )
    command.add_argument(
        "--traffic",
        type=_percent,
        metavar="PERCENT",
        help="a challenger's share of the requests, from 1 to 49 "
        f"(default: {CHALLENGER_TRAFFIC})",
    )


def _percent(text: str) -> int:
    if not text.isdigit() or not 1 <= int(text) <= 49:
        raise argparse.ArgumentTypeError(
            f"{text!r} is not a whole number from 1 to 49; without --challenger a "
            "version gets all the traffic"
        )
    return int(text)


def _add_verdict(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--verdict",
        type=Path,
        metavar="FILE",
        help="the verdict.json of a run (default: of the newest run)",
    )


def _add_consent(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--yes",
        action="store_true",
        help="do not ask; CI systems are never asked (default: ask)",
    )


def _add_shared(command: argparse.ArgumentParser, action: act.Action) -> None:
    command.add_argument(
        "--target",
        required=True,
        metavar="TARGET",
        help="registry:NAME@ALIAS, serving:ENDPOINT or local:PORT; several with commas "
        "between",
    )
    command.add_argument(
        "--dir", metavar="DIR", help="folder of the runs (default: llmeval_dir)"
    )
    command.add_argument(
        "--tracking",
        metavar="URI",
        help="MLflow tracking URI (default: llmeval_tracking)",
    )
    command.add_argument(
        "--json", action="store_true", help="print JSON for machines (default: text)"
    )
    command.set_defaults(run=act.run, action=action)
