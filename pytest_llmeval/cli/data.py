"""The commands ``llmeval data ...``."""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_group
from pytest_llmeval.cli.console import say
from pytest_llmeval.cli.console import write_file
from pytest_llmeval.sources import spark_kind


if TYPE_CHECKING:
    from pytest_llmeval.records import Dataset


SPARK_SAMPLE = 100_000
"""Rows of a table that are looked at, unless more are asked for."""


def add(commands: Commands) -> None:
    """Add the commands that look at data."""
    data_commands = add_group(commands, "data", "look at data before a model is asked")
    check = data_commands.add_parser(
        "check",
        help="find copies, contradictions, gaps and leaks",
        description="Say how long the texts of a dataset are and in which languages, "
        "and find copies, near copies, contradictions, gaps, and rows that stand in "
        "training data. Exit with 1 when there is a problem.",
        epilog="example: llmeval data check test.jsonl --train train.jsonl",
    )
    check.add_argument(
        "data",
        metavar="DATA",
        help="csv, tsv, json, jsonl or parquet file, or what Spark reads: the name of "
        "a table, a query, delta:/path, a path in cloud storage",
    )
    check.add_argument(
        "--train", metavar="DATA", help="training data that may hold rows of it"
    )
    for option, text in (
        ("--columns", "names of columns, as in input=q references=answer"),
        ("--train-columns", "the same for --train (default: as --columns)"),
    ):
        check.add_argument(
            option, nargs="+", type=_column, metavar="FIELD=COLUMN", help=text
        )
    check.add_argument(
        "--near",
        type=_similarity,
        default=0.8,
        metavar="J",
        help="Jaccard similarity of two inputs that are near copies (default: 0.8)",
    )
    check.add_argument(
        "--ngram",
        type=_length,
        default=8,
        metavar="N",
        help="words in a row that count as shared with --train (default: 8)",
    )
    check.add_argument(
        "--sample",
        type=_length,
        metavar="N",
        help=f"rows of DATA to look at, by a hash of their ids (default: all of a "
        f"file, {SPARK_SAMPLE:,} of what Spark reads)",
    )
    check.add_argument(
        "--spark",
        metavar="ADDRESS",
        help="the Spark to use, as in pytest --llmeval-spark (default: the first that "
        "is there)",
    )
    check.add_argument(
        "--json", type=Path, metavar="FILE", help="write all findings into this file"
    )
    check.set_defaults(run=_check)


def _check(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.data_check import check_data
    from pytest_llmeval.data_check.describe import describe
    from pytest_llmeval.data_check.describe import to_json

    sample = options.sample or (SPARK_SAMPLE if spark_kind(options.data) else None)
    data = _read(options.data, options.columns, options.spark, sample)
    if sample is not None and len(data.ids) == sample:
        say(f"a sample of {sample:,} rows; for more: --sample N\n")
    train = None
    if options.train is not None:
        columns = options.train_columns or options.columns
        train = _read(options.train, columns, options.spark, None)
    report = check_data(data, train, near=options.near, length=options.ngram)
    if options.json is not None:
        write_file(options.json, to_json(report))
    for line in describe(report):
        say(line)
    if options.json is not None:
        say(f"wrote {options.json}")
    elif any(finding.items for finding in report.findings):
        say("for the ids of all these rows: --json FILE")
    return 1 if report.status == "problem" else 0


def _read(
    data: str,
    columns: Sequence[tuple[str, str]] | None,
    spark: str | None,
    sample: int | None,
) -> Dataset:
    from pytest_llmeval.config import Settings
    from pytest_llmeval.datasets import load_dataset
    from pytest_llmeval.hooks import headless_manager
    from pytest_llmeval.records import DatasetRef

    names: dict[str, list[str]] = {}
    for field, column in columns or ():
        names.setdefault(field, []).append(column)
    ref = DatasetRef(source=data, columns=names or None, sample=sample)
    return load_dataset(ref, headless_manager().hook, Settings(spark=spark))


def _column(text: str) -> tuple[str, str]:
    field, separator, column = text.partition("=")
    if not (field and separator and column):
        raise argparse.ArgumentTypeError(f"{text!r} is not FIELD=COLUMN: input=q")
    return field, column


def _similarity(text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        number = 0.0
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0 and at most 1")
    return number


def _length(text: str) -> int:
    if not (text.isdecimal() and (number := int(text[:9])) > 0):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of words")
    return number
