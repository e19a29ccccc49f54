"""The page as one file that needs no server: what it holds, and how large it may be."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from pytest_llmeval.dashboard.answers import Answers
from pytest_llmeval.dashboard.answers import to_json
from pytest_llmeval.dashboard.assets import read_assets
from pytest_llmeval.dashboard.assets import render_page
from pytest_llmeval.text import counted


POINTS = 120
"""Of a trend; a page with a server has more, and enlarges parts."""
RUNS = 30
"""Of each evaluation, that open in the page."""
RUNS_WITH_ROWS = 3
MOST_BYTES = 10_000_000
"""Of all answers; what is more is left out, and the page says so."""

Given = dict[str, str]


class BuiltPage(NamedTuple):
    """The file, and what stands in it."""

    text: str
    note: str


def build_page(answers: Answers, most_bytes: int = MOST_BYTES) -> BuiltPage:
    """Return the page with the answers that a reader is likely to ask for.

    Args:
        answers: Of the history.
        most_bytes: Of the answers; the one that goes beyond it is the last.
    """
    held: dict[str, str] = {}
    size = left_out = 0
    for name, given in _questions(answers):
        if size > most_bytes:
            left_out += 1
            continue
        text = to_json(answers.answer(name, {**given, "points": str(POINTS)}))
        size += len(text)
        held[_key(name, given)] = text
    note = f"{counted(len(held), 'answer')} of {time.strftime('%Y-%m-%d %H:%M %Z')}"
    if left_out:
        note += f"; {counted(left_out, 'answer')} would have made it too large"
    parts = ",".join(f"{to_json(key)}:{text}" for key, text in held.items())
    data = f'{{"note":{to_json(note)},"answers":{{{parts}}}}}'
    return BuiltPage(render_page(read_assets(), data), note)


def _key(name: str, given: Mapping[str, str]) -> str:
    """Return what `key` in page.js returns for the same question."""
    flat = [part for key in sorted(given) for part in (key, given[key])]
    return json.dumps([name, *flat], ensure_ascii=False, separators=(",", ":"))


def _questions(answers: Answers) -> Iterator[tuple[str, Given]]:
    """Yield what the page asks, the most needed first."""
    start = answers.answer("lists", {})
    evaluations = [{"evaluation": _pair(e["key"])} for e in start["evaluations"]]
    found = [(chosen, answers.answer("lists", chosen)) for chosen in evaluations]
    yield "lists", {}
    yield "heat", {}
    for chosen, lists in found:
        yield "lists", chosen
        yield "calls", chosen
        for metric in lists["metrics"]:
            yield "trend", {**chosen, "metric": metric, "slice": _pair(["", ""])}
            yield "slices", {**chosen, "metric": metric}
    for chosen, lists in found:
        yield from _runs(chosen, lists)
    for chosen, lists in found:
        for metric in lists["metrics"]:
            for cut in lists["slices"]:
                if any(cut):
                    yield "trend", {**chosen, "metric": metric, "slice": _pair(cut)}


def _runs(chosen: Given, lists: Mapping[str, Any]) -> Iterator[tuple[str, Given]]:
    runs = [one["run_id"] for one in lists["runs"][:RUNS]]
    for run_id in runs:
        yield "run", {"run": run_id}
    for run_id, other in zip(runs[:RUNS_WITH_ROWS], [*runs[1:], ""], strict=False):
        for metric in lists["metrics"]:
            given = {**chosen, "metric": metric, "run": run_id}
            yield "worst", given
            if other:
                yield "compare", {**given, "other": other}


def _pair(parts: list[str]) -> str:
    """Return a pair as JSON.stringify does."""
    return json.dumps(parts, ensure_ascii=False, separators=(",", ":"))
