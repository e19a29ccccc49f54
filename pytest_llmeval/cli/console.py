"""What the commands share: their output, and the arguments they have in common."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TextIO
from typing import TypeAlias

from pytest_llmeval.amounts import read_age
from pytest_llmeval.amounts import read_size
from pytest_llmeval.errors import ConfigurationError


Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


def add_directory(command: argparse.ArgumentParser, text: str) -> None:
    """Add ``--dir``, by default ``.llmeval``; the text says what the folder holds."""
    command.add_argument(
        "--dir", type=Path, default=Path(".llmeval"), metavar="DIR", help=text
    )


def add_group(commands: Commands, name: str, text: str) -> Commands:
    """Add a command that has commands of its own; the text says what they are for."""
    group = commands.add_parser(
        name,
        help=text,
        description=f"{text[0].upper()}{text[1:]}.",
        epilog=f"help of a command: llmeval {name} COMMAND --help",
    )
    return group.add_subparsers(
        dest=f"{name}_command", required=True, title="commands", metavar="COMMAND"
    )


def write_file(file: Path, text: str) -> None:
    """Write a file that the user has named.

    Raises:
        ConfigurationError: it cannot be written.
    """
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"cannot write {file}: {error.strerror}") from None


def agrees(question: str) -> bool:
    """Ask the user.

    Raises:
        ConfigurationError: nobody is there.
    """
    if not sys.stdin.isatty():
        raise ConfigurationError(f"{question} Nobody is here to ask: say --yes")
    return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")


def age_given(text: str) -> float:
    """Return the seconds of an age on the command line."""
    try:
        return read_age(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def size_given(text: str) -> int:
    """Return the bytes of a size on the command line."""
    try:
        return read_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def say(line: str, stream: TextIO | None = None) -> None:
    """Print a line to the stream, or to standard output as it is at the call.

    It is seen at once, in the log of a CI job too.
    """
    print(line, file=stream or sys.stdout, flush=True)
