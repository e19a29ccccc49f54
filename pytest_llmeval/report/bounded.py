"""Keeps what pytest quotes of a test that evaluated to a size that reports can bear.

A model's answer may have megabytes, and asserts and prints of the suite quote it.
"""

from __future__ import annotations

from typing import Any

from pytest_llmeval.text import cut


LONGEST_TEXT = 50_000
"""Characters of a captured output, or of one entry of a traceback."""


def bound(report: Any) -> None:
    """Cut the long texts of a report of pytest's, and escape lone surrogates.

    xdist loses a report with a lone surrogate in it, and with it the failure.
    """
    report.sections = [(title, _bounded(text)) for title, text in report.sections]
    failure = report.longrepr
    if isinstance(failure, str):
        report.longrepr = _bounded(failure)
    elif isinstance(failure, tuple):  # of a skip: path, line, reason
        report.longrepr = (*failure[:2], _bounded(failure[2]))
    for traceback, crash, _ in getattr(failure, "chain", ()):
        if crash is not None:
            crash.message = _bounded(crash.message)
        for entry in traceback.reprentries:
            entry.lines = _bounded("\n".join(entry.lines)).split("\n")


def _bounded(text: str) -> str:
    return cut(text, LONGEST_TEXT).encode("utf-8", "backslashreplace").decode()
