"""What a worker process tells the controller: with a test's reports, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmeval.records import Decision
from pytest_llmeval.records import to_builtins


class Outbox:
    """Keeps what is new until it is taken; small, because rows go by files."""

    def __init__(self) -> None:
        self._news: dict[str, list[Any]] = {}

    def add_decision(self, decision: Decision) -> None:
        """Tell of a gate that was decided."""
        self._add("decisions", to_builtins(decision))

    def add_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        """Tell of an evaluation whose rows are in the worker's file."""
        self._add("evaluations", evaluation)

    def add_error(self, test: str | None, reason: str, message: str) -> None:
        """Tell of an evaluation that could not be made."""
        self._add("errors", [test, reason, message])

    def say(self, status: str, line: str) -> None:
        """Tell the user something."""
        self._add("lines", [status, line])

    def _add(self, name: str, item: Any) -> None:
        self._news.setdefault(name, []).append(item)

    def take(self) -> dict[str, list[Any]]:
        """Return what is new, as builtins, and forget it."""
        news, self._news = self._news, {}
        return news
