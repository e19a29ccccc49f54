"""The console script ``llmeval``; each command has a module of its name."""

from __future__ import annotations

import argparse
import importlib.metadata
import sys
from collections.abc import Sequence

from pytest_llmeval.cli import baseline
from pytest_llmeval.cli import cache
from pytest_llmeval.cli import dashboard
from pytest_llmeval.cli import data
from pytest_llmeval.cli import databricks
from pytest_llmeval.cli import deploy
from pytest_llmeval.cli import doctor
from pytest_llmeval.cli import export
from pytest_llmeval.cli import gates
from pytest_llmeval.cli import gc
from pytest_llmeval.cli import init
from pytest_llmeval.cli import model
from pytest_llmeval.cli import monitor
from pytest_llmeval.cli import plan_size
from pytest_llmeval.cli import report
from pytest_llmeval.cli import sync
from pytest_llmeval.cli.console import say
from pytest_llmeval.errors import LLMEvalError


INTERRUPTED_STATUS = 130
FOR_PYTEST = ("gates", "doctor")
"""Commands that give what they do not know to pytest."""
AFTER = ("databricks", "monitor")
"""Commands that give pytest what stands after ``--``."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command; return 0, or 1 for what went wrong and 2 for wrong usage.

    After Ctrl-C it is 130, as in a shell.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    at = given.index("--") if "--" in given else len(given)
    options, rest = _parser().parse_known_args(given[:at])
    after = given[at + 1 :]
    if "paths" in options and not any(one.startswith("-") for one in rest):
        options.paths += rest  # argparse leaves those that follow an option
        rest = []
    if rest and options.command not in FOR_PYTEST:
        hint = (
            "" if options.command not in AFTER else "; those of pytest stand after --"
        )
        _parser().error(f"unrecognized arguments: {' '.join(rest)}{hint}")
    if after and options.command not in (*FOR_PYTEST, *AFTER):
        _parser().error(f"nothing is taken after --: {' '.join(after)}")
    try:
        status: int = options.run(options, [*rest, *after])
    except LLMEvalError as error:
        say(f"llmeval: {error}", sys.stderr)
        return 1
    except KeyboardInterrupt:
        say("llmeval: interrupted", sys.stderr)
        return INTERRUPTED_STATUS
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
        dashboard,
        deploy,
        cache,
        gc,
        baseline,
        sync,
        export,
        databricks,
        monitor,
    ):
        command.add(commands)
    return parser
