"""The commands ``llmeval cache ...``."""

from __future__ import annotations

import argparse
import time
from collections.abc import Sequence
from pathlib import Path

from pytest_llmeval.cli.console import Commands
from pytest_llmeval.cli.console import add_directory
from pytest_llmeval.cli.console import add_group
from pytest_llmeval.cli.console import age_given
from pytest_llmeval.cli.console import agrees
from pytest_llmeval.cli.console import say
from pytest_llmeval.text import age


def add(commands: Commands) -> None:
    """Add the commands that look after the predictions store."""
    cache_commands = add_group(commands, "cache", "look after the stored predictions")

    info = cache_commands.add_parser(
        "info",
        help="say what is stored, and how old it is",
        description="Say how many predictions are stored, how old they are, and how "
        "many requests are under way.",
        epilog="example: llmeval cache info",
    )
    info.set_defaults(run=_info)

    clear = cache_commands.add_parser(
        "clear",
        help="delete stored predictions",
        description="Delete stored predictions. The model is asked for them again when "
        "they are next needed.",
        epilog="example: llmeval cache clear --older-than 30d",
    )
    clear.add_argument(
        "--older-than",
        type=age_given,
        metavar="AGE",
        help="only those older than this: 30d, 12h or 90min",
    )
    clear.add_argument("--yes", action="store_true", help="do not ask first")
    clear.set_defaults(run=_clear)

    _add_transfer(cache_commands)
    for command in cache_commands.choices.values():
        add_directory(
            command,
            "folder of the predictions store (default: .llmeval in this folder)",
        )


def _add_transfer(commands: Commands) -> None:
    for name, run, text, description in (
        (
            "export",
            _export,
            "write all stored predictions to a file",
            "Write all stored predictions to a file of JSON lines, compressed when its "
            "name ends in .gz. Where they are imported, --llmeval-cache only replays "
            "them.",
        ),
        (
            "import",
            _import,
            "add the stored predictions of a file",
            "Add the predictions of an exported file: all, or none when a line is bad. "
            "Of two predictions of one request the newer stays.",
        ),
    ):
        command = commands.add_parser(
            name,
            help=text,
            description=description,
            epilog=f"example: llmeval cache {name} answers.jsonl.gz",
        )
        command.add_argument(
            "file", type=Path, metavar="FILE", help="JSON lines, or gzip of them"
        )
        command.set_defaults(run=run)


def _info(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.cache import describe

    path = _store_path(options)
    contents = describe(path)
    say(f"store        {path.resolve()}")
    say(
        f"size         {contents.size_bytes / 1e6:.1f} MB "
        "(limit: ini llmeval_cache_size, 1024 MB by default)"
    )
    say(f"holds        {_count(contents.predictions, 'prediction')}")
    if contents.oldest_at is not None and contents.newest_at is not None:
        now = time.time()
        oldest, newest = age(now - contents.oldest_at), age(now - contents.newest_at)
        say(f"stored       {oldest} ago (oldest) to {newest} ago (newest)")
    say(f"under way    {_count(contents.under_way, 'request')}")
    return 0


def _clear(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.cache import clear
    from pytest_llmeval.cache import describe

    path, age_s = _store_path(options), options.older_than
    before = describe(path).predictions
    which = "" if age_s is None else f" older than {age(age_s)}"
    if not (options.yes or agrees(f"delete predictions{which} of {path}?")):
        say("nothing was deleted")
        return 1
    deleted = clear(path, older_than_s=age_s)
    size_mb = describe(path).size_bytes / 1e6
    say(f"deleted {deleted:,} of {_count(before, 'prediction')}")
    say(f"{path} takes {size_mb:.1f} MB")
    return 0


def _export(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.cache import export_to

    count = export_to(options.file, _store_path(options))
    say(f"exported {_count(count, 'prediction')} to {options.file}")
    return 0


def _import(options: argparse.Namespace, rest: Sequence[str]) -> int:
    from pytest_llmeval.cache import import_from

    path = _store_path(options)
    done = import_from(options.file, path)
    say(f"imported {_count(done.added, 'prediction')} into {path}")
    if done.known:
        say(f"{_count(done.known, 'prediction')} stood there already")
    if done.secret:
        say(
            f"{_count(done.secret, 'prediction')} left out: a secret stands in the text"
        )
    return 0


def _count(number: int, thing: str) -> str:
    return f"{number:,} {thing}{'' if number == 1 else 's'}"


def _store_path(options: argparse.Namespace) -> Path:
    return Path(options.dir) / "predictions.db"
