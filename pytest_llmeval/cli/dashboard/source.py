"""What the commands for Tableau and Power BI have in common: source and file."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import say
from pytest_llmeval.cli.console import write_file
from pytest_llmeval.errors import ConfigurationError


if TYPE_CHECKING:
    from pytest_llmeval.history.bi.sources import Source


HISTORY = ".llmeval/history"


def add_source(command: argparse.ArgumentParser, ending: str) -> None:
    """Add where the tables are, and the file."""
    command.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=f"the {ending} file"
    )
    command.add_argument(
        "--history",
        default=argparse.SUPPRESS,  # keeps one that stands before the command's name
        metavar="PLACE",
        help="where llmeval export has written to: databricks://HOST/HTTP-PATH of a "
        "SQL warehouse, postgresql://HOST:PORT/DATABASE, or a folder of Parquet files "
        f"(default: {HISTORY})",
    )
    command.add_argument(
        "--catalog", metavar="CATALOG", help="of Databricks (default: none)"
    )
    command.add_argument(
        "--schema",
        metavar="SCHEMA",
        help="of Databricks or PostgreSQL (default: public in PostgreSQL)",
    )


def write_source(
    options: argparse.Namespace, ending: str, text: Callable[[Source], str]
) -> int:
    """Write the file for the source that was asked for.

    Args:
        options: Of `add_source`.
        ending: Of the file; by it the BI tool knows its own.
        text: Returns what stands in the file.

    Raises:
        ConfigurationError: the source or the file cannot be.
    """
    from pytest_llmeval.history.bi.sources import find_source

    if options.out.suffix.lower() != ending:
        raise ConfigurationError(
            f"--out {options.out} has to end with {ending}, or the tool does not open "
            "it"
        )
    source = find_source(options.history or HISTORY, options.catalog, options.schema)
    write_file(options.out, text(source))
    say(f"wrote {options.out}")
    return 0
