"""From decisions to the properties of a test in junit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import cache
from typing import Any

from pytest_llmeval.records import Decision
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


def junit_properties(decision: Decision) -> list[tuple[str, Any]]:
    """Return properties of builtins for the test's report and junit entry."""
    subject = str(replace(decision.gate, where=None)).replace(" ", "_")
    prefix = f"llmeval.{one_line(subject, 60)}"
    entry = decision.to_dict()
    fields = ("value", "lower", "upper", "n", "errors", "threshold", "decision")
    return [
        (f"{prefix}.{field}", _builtin(entry[field]))
        for field in fields
        if entry[field] is not None
    ]


def _builtin(value: object) -> object:
    return value if isinstance(value, (int, float)) else safe(value)


def score_properties(scores: Mapping[str, float]) -> list[tuple[str, Any]]:
    """Return the properties of a single row's scores."""
    return [(_value_of(name), score) for name, score in scores.items()]


@cache
def _value_of(metric: str) -> str:
    return f"llmeval.{one_line(metric, 60)}.value"
