"""The command ``llmeval plan-size``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import say
from pytest_llmeval.cli.console import write_file
from pytest_llmeval.errors import ConfigurationError


def add(commands: Commands) -> None:
    """Add the command that says how many rows a gate needs."""
    plan = commands.add_parser(
        "plan-size",
        help="say how many rows a gate needs",
        description="Say how many rows a gate on right-or-wrong scores needs, by its "
        "exact power: how likely it passes when the model is as good as expected.",
        epilog="example: llmeval plan-size --threshold 0.9 --expect 0.95",
    )
    gate = plan.add_mutually_exclusive_group(required=True)
    gate.add_argument(
        "--threshold", type=float, metavar="T", help="of a gate >= T, as in .9"
    )
    gate.add_argument(
        "--max-drop",
        type=float,
        metavar="DROP",
        help="of a gate against a baseline on the same rows, as in .02",
    )
    for name, default, metavar, text in (
        (
            "--expect",
            None,
            "VALUE",
            "true value that you expect: with --threshold the share of right answers, "
            "with --max-drop the mean difference (default there: 0)",
        ),
        (
            "--discordant",
            None,
            "SHARE",
            "with --max-drop: share of rows on which one model is right and the other "
            "wrong",
        ),
        ("--confidence", 0.95, "C", "of the gate (default: 0.95)"),
        ("--power", 0.8, "P", "wanted probability to pass (default: 0.8)"),
    ):
        plan.add_argument(name, type=float, default=default, metavar=metavar, help=text)
    plan.add_argument(
        "--svg", type=Path, metavar="FILE", help="draw the power curve into this file"
    )
    plan.set_defaults(run=_run)


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval import sizing

    common = options.confidence, options.power
    if options.threshold is None:
        drop, expect = options.max_drop, options.expect or 0.0
        discordant = _needed(options, "discordant", "--max-drop")
        plan = sizing.plan_paired(drop, expect, discordant, *common)
    else:
        expect = _needed(options, "expect", "--threshold")
        plan = sizing.plan_size(options.threshold, expect, *common)
    for line in sizing.describe(plan):
        say(line)
    if options.svg is not None:
        write_file(options.svg, sizing.draw(plan))
        say(f"\npower curve  {options.svg}")
    return 0


def _needed(options: argparse.Namespace, name: str, given: str) -> float:
    value: float | None = getattr(options, name)
    if value is None:
        raise ConfigurationError(
            f"{given} needs --{name} too; see: llmeval plan-size --help"
        )
    return value
