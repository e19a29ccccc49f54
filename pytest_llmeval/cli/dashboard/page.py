"""``llmeval dashboard`` by itself: the local page, or the same in one file."""

from __future__ import annotations

import argparse
import webbrowser
from collections.abc import Sequence
from pathlib import Path
from threading import Thread
from typing import TYPE_CHECKING

from pytest_llmeval.cli.console import add_directory
from pytest_llmeval.cli.console import say
from pytest_llmeval.cli.console import write_file


if TYPE_CHECKING:
    from pytest_llmeval.dashboard.answers import Answers


def add_arguments(command: argparse.ArgumentParser) -> None:
    """Add what chooses the history, the address and the file."""
    command.add_argument(
        "--history",
        metavar="DIR|URL",
        help="where llmeval export has written to: a folder of Parquet files, or the "
        "SQLAlchemy URL of a database (default: history in the folder of the runs)",
    )
    command.add_argument(
        "--port",
        type=int,
        default=0,
        metavar="N",
        help="port on 127.0.0.1 (default: one that is free)",
    )
    command.add_argument(
        "--no-open",
        action="store_true",
        help="print the address and open no browser (default: open it)",
    )
    command.add_argument(
        "--build",
        type=Path,
        metavar="FILE",
        help="write the page as one file that needs no server (default: serve it)",
    )
    add_directory(command, "folder of the runs (default: .llmeval)")


def run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Serve the page until Ctrl-C, or write it to a file."""
    from pytest_llmeval.dashboard.answers import Answers
    from pytest_llmeval.dashboard.source import open_history

    history = open_history(options.history or str(options.dir / "history"))
    answers = Answers(history, options.dir)
    if options.build is not None:
        _build(answers, options.build)
    else:
        _serve(answers, options.port, opens=not options.no_open)
    return 0


def _serve(answers: Answers, port: int, *, opens: bool) -> None:
    from pytest_llmeval.dashboard.server import Server

    with Server(answers, port) as server:
        say(f"dashboard: {server.url} (Ctrl-C ends it)")
        if opens:
            # A browser for terminals returns when its reader leaves.
            Thread(target=webbrowser.open, args=[server.url], daemon=True).start()
        try:
            server.serve_forever()
        except KeyboardInterrupt:
            say("ended")


def _build(answers: Answers, file: Path) -> None:
    from pytest_llmeval.dashboard.build import build_page

    built = build_page(answers)
    write_file(file, built.text)
    say(f"wrote {file}: {built.note}")
