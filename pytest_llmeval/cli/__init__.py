"""The console script ``llmeval``; each command has a module of its name."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence

from pytest_llmeval.cli import baseline
from pytest_llmeval.cli import cache
from pytest_llmeval.cli import data
from pytest_llmeval.cli import deploy
from pytest_llmeval.cli import doctor
from pytest_llmeval.cli import gates
from pytest_llmeval.cli import init
from pytest_llmeval.cli import model
from pytest_llmeval.cli import plan_size
from pytest_llmeval.cli import report
from pytest_llmeval.cli import sync
from pytest_llmeval.cli.console import say
from pytest_llmeval.errors import LLMEvalError


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 1 for what went wrong and 2 for wrong usage."""
    options, rest = _parser().parse_known_args(arguments)
    if rest and options.command not in ("gates", "doctor"):
        _parser().error(f"unrecognized arguments: {' '.join(rest)}")
    try:
        status: int = options.run(options, rest)
    except LLMEvalError as error:
        say(f"llmeval: {error}", sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="llmeval",
        description="Evaluations of language models as pytest tests. "
        "Run them with: pytest evals/",
        epilog="help of a command: llmeval COMMAND --help; of a run: pytest --help",
    )
    parser.add_argument(
        "-V",
        "--version",
        action="version",
        version=f"%(prog)s {importlib.metadata.version('pytest-llmeval-gate')}",
    )
    commands = parser.add_subparsers(
        dest="command", required=True, title="commands", metavar="COMMAND"
    )
    # As --help lists them: in the order in which they come to be needed.
    for command in (
        init,
        model,
        doctor,
        data,
        plan_size,
        gates,
        report,
        deploy,
        cache,
        baseline,
        sync,
    ):
        command.add(commands)
    return parser
