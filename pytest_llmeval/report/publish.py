"""Writes the reports of a run where they are read: files, and the job summary."""

from __future__ import annotations

import os
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.text import safe


if TYPE_CHECKING:
    from pytest_llmeval.report.run import ReportedRun


LONGEST_COMMENT = 65_536
"""Characters that GitHub takes for a comment."""
LARGEST_SUMMARY = 1024 * 1024
"""Bytes that GitHub takes for the job summary of a step."""
SUMMARY_VARIABLE = "GITHUB_STEP_SUMMARY"


def publish_markdown(
    run_id: str,
    settings: Settings,
    places: Mapping[str, str],
    say: Callable[[str, str], None],
) -> bool:
    """Write the report that was asked for, and the job summary in GitHub Actions.

    Args:
        run_id: Names the finished run.
        settings: Its settings.
        places: Where its parts are, by what they are, for people.
        say: Takes the status and the text of a line for the user.

    Returns:
        Whether the report is there, if one was asked for; a job summary that cannot be
        written is only said.
    """

    def is_written(write: Callable[..., None], path: Path) -> bool:
        from pytest_llmeval.report.run import read_run

        try:
            write(read_run(settings.home, run_id), places, path)
        except LLMEvalError as error:
            say("fail", f"no Markdown report: {safe(error, 500)}")
            return False
        return True

    if summary := os.environ.get(SUMMARY_VARIABLE):
        is_written(_append_summary, Path(summary))
    if settings.markdown is None:
        return True
    if not is_written(write_comment, settings.rootdir / settings.markdown):
        return False
    say("", f"Markdown report: {safe(settings.markdown, 500)}")
    return True


def publish_html(
    run_id: str, settings: Settings, say: Callable[[str, str], None]
) -> bool:
    """Write the page that was asked for; return whether it is there, if one was.

    Args are those of `publish_markdown`.
    """
    if settings.html is None:
        return True
    from pytest_llmeval.report.html import write_page
    from pytest_llmeval.report.run import read_run

    try:
        write_page(read_run(settings.home, run_id), settings.rootdir / settings.html)
    except LLMEvalError as error:
        say("fail", f"no HTML report: {safe(error, 500)}")
        return False
    say("", f"HTML report: {safe(settings.html, 500)}")
    return True


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(f"cannot write {path}: {error}") from None


def write_comment(run: ReportedRun, places: Mapping[str, str], path: Path) -> None:
    """Write a run as Markdown that a comment has room for.

    Args:
        run: What is shown.
        places: Where its parts are, by what they are, for people.
        path: The file; its folder is made.

    Raises:
        ConfigurationError: the file cannot be written, or the run's rows not read.
    """
    from pytest_llmeval.report.markdown import markdown_report

    text = markdown_report(run, places, LONGEST_COMMENT)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(_fitting(text, path), encoding="utf-8")


def _append_summary(run: ReportedRun, places: Mapping[str, str], path: Path) -> None:
    from pytest_llmeval.report.markdown import markdown_report

    with _naming(path), path.open("ab") as file:
        before = "\n\n" if file.tell() else ""
        room = LARGEST_SUMMARY - file.tell() - len(before)
        text = markdown_report(run, places, room, lambda text: len(text.encode()))
        file.write(f"{before}{_fitting(text, path)}".encode())


def _fitting(text: str | None, path: Path) -> str:
    if text is None:
        raise ConfigurationError(
            f"{path} has no room for it: GitHub takes {LARGEST_SUMMARY:,} bytes of a "
            f"job summary, and {LONGEST_COMMENT:,} characters of a comment"
        )
    return text
