"""The page's questions, and answers in which every text is harmless."""

from __future__ import annotations

import datetime
import json
import math
from collections.abc import Callable
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from pytest_llmeval.dashboard import drill
from pytest_llmeval.dashboard import queries
from pytest_llmeval.dashboard.choice import Choice
from pytest_llmeval.dashboard.choice import read_choice
from pytest_llmeval.dashboard.source import History
from pytest_llmeval.dashboard.source import Record
from pytest_llmeval.text import redactor
from pytest_llmeval.text import safe


IDENTITIES = (
    "key",
    "gated",
    "metrics",
    "slices",
    "metric",
    "slice_by",
    "slice_value",
    "suite",
)
"""What the page asks by again, so that it must come as it is; JSON escapes it."""

TIMES = ("started_at", "finished_at", "began_at", "ended_at", "first", "last")
"""SQLite gives them as texts, in UTC."""


class Answers:
    """Answers by name, as JSON.

    Args:
        history: The tables.
        home: The folder of the runs, which has the rows of those that are there.
    """

    def __init__(self, history: History, home: Path) -> None:
        self._history = history
        self._answers: dict[str, Callable[[History, Choice], Record]] = {
            "lists": queries.lists,
            "trend": queries.trend,
            "heat": queries.heat,
            "calls": queries.calls,
            "slices": queries.slices,
            "run": drill.run,
            "worst": partial(drill.worst, home=home),
            "compare": partial(drill.compare, home=home),
        }

    @property
    def names(self) -> list[str]:
        """The names of all answers."""
        return list(self._answers)

    def version(self) -> str:
        """Return a word that changes when new answers are to be had."""
        return self._history.refresh()

    def answer(self, name: str, given: Mapping[str, str]) -> Any:
        """Return an answer as builtins that JSON takes.

        Args:
            name: One of `names`.
            given: The choice, as `read_choice` takes it.

        Raises:
            ConfigurationError: the choice is none, or the history cannot be read.
        """
        found = self._answers[name](self._history, read_choice(given))
        return _plain(found, redactor())


def to_json(answer: Any) -> str:
    """Return an answer as JSON that may stand in a script element."""
    text = json.dumps(answer, allow_nan=False, separators=(",", ":"))
    return text.replace("<", "\\u003c")


def _plain(value: Any, redact: Callable[[str], str], name: str = "") -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(one, redact, str(key)) for key, one in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(one, redact, name) for one in value]
    if isinstance(value, str) and name in TIMES:
        value = datetime.datetime.fromisoformat(value)
    if isinstance(value, str):
        return value if name in IDENTITIES else safe(value, redact=redact)
    if isinstance(value, datetime.datetime):
        moment = value if value.tzinfo else value.replace(tzinfo=datetime.UTC)
        return moment.timestamp()
    if isinstance(value, datetime.date):
        return value.isoformat()
    if value is None or isinstance(value, (int, bool)):
        return value
    return float(value) if math.isfinite(value) else None
