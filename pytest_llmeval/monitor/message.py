"""What an alarm says. Names in it come from data, so Slack must not obey them."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from typing import TYPE_CHECKING

from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from pytest_llmeval.monitor.states import Change


MOST_LINES = 20
LONGEST_NAME = 160
LONGEST_LINE = 400
WORDS = {"ok": "OK", "warning": "WARNING", "alarm": "ALARM", "no_data": "NO DATA"}
ORDER = ("alarm", "no_data", "warning", "ok")


def write_message(model: str, changes: Sequence[Change], now: datetime.datetime) -> str:
    """Return a message about changes, the worst first."""
    ordered = sorted(changes, key=lambda change: ORDER.index(change.finding.state))
    lines = [_line(change) for change in ordered[:MOST_LINES]]
    if len(ordered) > MOST_LINES:
        lines.append(f"and {len(ordered) - MOST_LINES} more: llmeval monitor --check")
    at = now.isoformat(" ", "minutes")
    return "\n".join([f"{escape(one_line(model, LONGEST_NAME))} at {at}", *lines])


def _line(change: Change) -> str:
    finding, word = change.finding, WORDS[change.finding.state]
    if change.before == finding.state:
        word = f"still {word}"
    elif finding.state == "ok":
        word = f"{word} again after {WORDS[change.before]}"
    name = escape(one_line(finding.series, LONGEST_NAME))
    return f"{word}: {name}: {escape(one_line(finding.message, LONGEST_LINE))}"


def escape(text: str) -> str:
    """Return a text that is neither a link, a mention nor a channel in Slack."""
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
