"""The commands ``llmeval gates ...``."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_group


def add(commands: Commands) -> None:
    """Add the commands that write and compare the gate manifest."""
    gate_commands = add_group(commands, "gates", "write or compare the gate manifest")
    for name, text in (
        ("update", "run the suite and write its gates to the manifest"),
        ("diff", "run the suite and show how its gates differ from the manifest"),
    ):
        command = gate_commands.add_parser(
            name,
            help=text,
            description=f"{text.capitalize()}. Gates are recorded and do not fail; "
            "stored predictions are used where there are some. Further arguments go "
            "to pytest; without any, evals/ is run.",
            usage=f"llmeval gates {name} [-h] [PYTEST ARGUMENT ...]",
            epilog=f"example: llmeval gates {name} evals/ --llmeval-model gguf:smollm2",
        )
        command.set_defaults(run=_run)


def _run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += ["--llmeval-gates", options.gates_command]
    return subprocess.run([*command, *(rest or ["evals"])], check=False).returncode  # noqa: S603  # the user's own arguments
