"""What a worker process tells the controller: with a test's reports, and at its end."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmeval.evidence import Evidence
from pytest_llmeval.records import Decision
from pytest_llmeval.records import to_builtins


class Outbox:
    """Keeps what is new until it is taken; small, because rows go by files.

    Args:
        evidence: Where decisions wait, so that those of a void try are dropped there.
    """

    def __init__(self, evidence: Evidence) -> None:
        self._evidence = evidence
        self._evaluations: list[Mapping[str, Any]] = []
        self._lines: list[tuple[str, str]] = []

    def add_decision(self, decision: Decision) -> None:
        """Tell of a gate that was decided."""
        self._evidence.decisions.append(decision)

    def add_evaluation(self, evaluation: Mapping[str, Any]) -> None:
        """Tell of an evaluation whose rows are in the worker's file."""
        self._evaluations.append(evaluation)

    def add_error(self, test: str | None, reason: str, message: str) -> None:
        """Tell of an evaluation that could not be made."""
        self._evidence.evaluation_errors.append((test, reason, message))

    def say(self, status: str, line: str) -> None:
        """Tell the user something."""
        self._lines.append((status, line))

    def take(self) -> dict[str, list[Any]]:
        """Return what is new, as builtins, and forget it."""
        kinds: dict[str, list[Any]] = {
            "decisions": self._evidence.decisions,
            "evaluations": self._evaluations,
            "errors": self._evidence.evaluation_errors,
            "lines": self._lines,
        }
        return {kind: _drain(waiting) for kind, waiting in kinds.items() if waiting}


def _drain(waiting: list[Any]) -> list[Any]:
    taken = []
    while waiting:  # one by one, because a thread of the suite may add to it meanwhile
        taken.append(to_builtins(waiting.pop(0)))
    return taken
