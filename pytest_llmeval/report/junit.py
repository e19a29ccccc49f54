"""From what a test evaluated to the properties of its report, which junit shows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from functools import lru_cache
from typing import Any
from weakref import ref

from pytest_llmeval.records import Decision
from pytest_llmeval.records import MetricValue
from pytest_llmeval.results import EvalResults
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


FIELDS = ("value", "lower", "upper", "n", "errors", "threshold", "decision")
MOST_NAMES = 100


@dataclass(kw_only=True, slots=True, eq=False)
class EvaluatedTest:
    """What a test has evaluated and decided until now."""

    results: list[ref[EvalResults]] = field(default_factory=list)
    """Those that the test still holds: they may be large."""
    values: list[MetricValue] = field(default_factory=list)
    scores: Mapping[str, float] = field(default_factory=dict)
    """Of a case, which is one row."""
    decisions: list[Decision] = field(default_factory=list)


def junit_properties(test: EvaluatedTest, run_id: str | None) -> list[tuple[str, Any]]:
    """Return properties of builtins for the test's report and junit entry.

    A name that comes again, as with two evaluations or the slices of one, gets a suffix
    ``#2``, ``#3``; a metric that a gate has shown is not shown again.

    Args:
        test: What it evaluated.
        run_id: Names the run; None where nothing is kept of it.
    """
    named = list(_named(test))
    times: Counter[str] = Counter()
    properties: list[tuple[str, Any]] = []
    for name, entries in named[:MOST_NAMES]:
        times[name] += 1
        suffix = f"#{times[name]}" if times[name] > 1 else ""
        properties += [
            (f"llmeval.{name}{suffix}.{key}", value) for key, value in entries
        ]
    if len(named) > MOST_NAMES:
        properties.append(("llmeval.left_out", len(named) - MOST_NAMES))
    if run_id is not None:
        properties.append(("llmeval.run_id", run_id))
    return properties


def _named(test: EvaluatedTest) -> Iterator[tuple[str, list[tuple[str, Any]]]]:
    gated = set()
    for decision in test.decisions:
        name = _name(str(replace(decision.gate, where=None)))
        gated.add(name)
        yield name, _entries(decision.to_dict())
    for value in test.values:
        name = _name(value.name)
        if name not in gated:
            yield name, _entries(asdict(value))
    for metric, score in test.scores.items():
        yield _name(metric), [("value", score)]


def _entries(numbers: Mapping[str, Any]) -> list[tuple[str, Any]]:
    return [
        (field, _builtin(numbers[field]))
        for field in FIELDS
        if numbers.get(field) is not None
    ]


@lru_cache(1_000)
def _name(subject: str) -> str:
    return one_line(subject.replace(" ", "_"), 60)


def _builtin(value: object) -> object:
    return value if isinstance(value, (int, float)) else safe(value)
