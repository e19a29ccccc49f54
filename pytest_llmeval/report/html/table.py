"""The rows as data for the page's table: JSON that no parser of HTML can leave.

What a row says is only ever data: the page's script puts it in place as text.
"""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from pytest_llmeval.baselines import StoredRows
from pytest_llmeval.records import Row
from pytest_llmeval.report.html.figures import Slice
from pytest_llmeval.text import FIELD_LIMIT
from pytest_llmeval.text import redactor
from pytest_llmeval.text import safe


MOST_ROWS = 20_000
MOST_BYTES = 16_000_000
"""Of all rows' texts: a page of this size still opens quickly."""
LIMITS = (FIELD_LIMIT, 1_000, 500, 250, 100)
"""Characters of one text; the first with which all of them are few enough."""
NUMBERS = ("latency_ms", "queue_ms", "attempts", "stored_at")
REPLY_NUMBERS = ("prompt_tokens", "output_tokens", "cost_usd")
# The first three could end the script element or begin one; the others are line ends in
# JavaScript.
_ESCAPES = {ord(char): f"\\u{ord(char):04x}" for char in "<>&\u2028\u2029"}


class Part(NamedTuple):
    """The rows of one evaluation."""

    evaluation: Mapping[str, Any]
    """Its entry in the verdict."""
    rows: StoredRows
    slices: Mapping[str, Sequence[Slice]]
    """By column."""
    before: StoredRows | None
    """The baseline's rows."""

    @property
    def metrics(self) -> list[str]:
        """The metrics that rows have a score for."""
        scores = self.rows.columns.scores
        return [name for name, all_ in scores.items() if not all(map(math.isnan, all_))]


class Table(NamedTuple):
    """The data of the table, and what was left out of it."""

    json: str
    """Safe inside a script element."""
    rows: int
    limit: int
    """Characters that a text was cut to."""


def make_table(parts: Sequence[Part]) -> Table:
    """Return the rows of all evaluations, of bounded number and size.

    Where there are too many, those in error stay first, and then those with the worst
    scores of the evaluation's first metric.
    """
    chosen = [_choose(part, MOST_ROWS // len(parts)) for part in parts]
    for limit in LIMITS:
        texts = _Texts(limit)
        rows = list(_within(texts, parts, chosen))
        if texts.size_bytes <= MOST_BYTES:
            break
    head = [_head(part, texts) for part in parts]
    return Table(_embedded({"evaluations": head, "rows": rows}), len(rows), limit)


class _Texts:
    """Makes texts safe and counts what they take in the page.

    Args:
        limit: Characters of one text.
    """

    def __init__(self, limit: int) -> None:
        self.limit, self.size_bytes = limit, 0
        self._redact = redactor()

    def __call__(self, text: object) -> str:
        shown = safe(text, self.limit, self._redact)
        self.size_bytes += len(_embedded(shown).encode())
        return shown


def _within(
    texts: _Texts, parts: Sequence[Part], chosen: Sequence[Sequence[int]]
) -> Iterator[dict[str, Any]]:
    """Yield rows until their texts are too many; the shortest limit ends with all."""
    for number, (part, positions) in enumerate(zip(parts, chosen, strict=True)):
        table = _PartTable(number, part, texts)
        for position in positions:
            if texts.size_bytes > MOST_BYTES and texts.limit != LIMITS[-1]:
                return
            yield table.entry(position)


def _choose(part: Part, most: int) -> Sequence[int]:
    """Return the positions of the rows to show, in their order."""
    columns, everything = part.rows.columns, range(len(part.rows))
    if len(everything) <= most or not part.metrics:
        return everything[:most]
    metric = part.metrics[0]
    scores = columns.scores[metric]
    sign = 1 if part.evaluation["definitions"][metric]["higher_is_better"] else -1

    def rank(position: int) -> tuple[bool, float]:
        return position not in columns.failed, sign * scores[position]

    return sorted(heapq.nsmallest(most, everything, key=rank))


def _head(part: Part, texts: _Texts) -> dict[str, Any]:
    evaluation = part.evaluation
    return {
        "number": evaluation["number"],
        "name": texts(evaluation["name"]),
        "metrics": [
            {
                "name": texts(name),
                "higher": evaluation["definitions"][name]["higher_is_better"],
            }
            for name in part.metrics
        ],
        "columns": [
            {"name": texts(column), "values": [texts(one.value) for one in slices]}
            for column, slices in part.slices.items()
        ],
        "compared": part.before is not None,
    }


class _PartTable:
    """Makes the entries of one evaluation's rows."""

    def __init__(self, number: int, part: Part, texts: _Texts) -> None:
        self._number, self._part, self._texts = number, part, texts
        self._repeats = part.evaluation["repeats"]
        self._columns = [_places(slices) for slices in part.slices.values()]
        before = part.before
        ids = before.columns.ids if before is not None else ()
        self._before = {row_id: at * self._repeats for at, row_id in enumerate(ids)}

    def entry(self, position: int) -> dict[str, Any]:
        """Return the row at a position, without what it lacks."""
        row = self._part.rows[position]
        entry = {
            "evaluation": self._number,
            "scores": self._scores(row),
            **self._shown(row),
            **_numbers(row),
            "slices": [
                places.get(position // self._repeats) for places in self._columns
            ],
            "before": self._row_before(row),
        }
        return {name: value for name, value in entry.items() if value is not None}

    def _shown(self, row: Row) -> dict[str, Any]:
        example, reply, texts = row.example, row.prediction.reply, self._texts
        errors = (
            f"{error.kind} after {error.attempts} attempts: {error.message}"
            for error in row.errors
        )
        columns = (f"{name}: {value}" for name, value in example.metadata.items())
        found = {
            "input": example.input,
            "expected": " | ".join(example.references),
            "context": example.context,
            "columns": "\n".join(columns),
            "errors": "\n".join(errors),
        }
        shown = {name: texts(text) for name, text in found.items() if text}
        shown["id"] = texts(example.id)
        if self._repeats > 1:
            shown["id"] += f" (repeat {row.repeat + 1})"
        return shown | ({"output": texts(reply.text)} if reply else {})

    def _scores(self, row: Row) -> list[float | None]:
        return [row.scores.get(name) for name in self._part.metrics]

    def _row_before(self, row: Row) -> dict[str, Any] | None:
        first = self._before.get(row.example.id)
        if first is None or self._part.before is None:
            return None
        before = self._part.before[first + row.repeat]
        return {
            "output": self._texts(before.prediction.text),
            "scores": self._scores(before),
        }


def _places(slices: Sequence[Slice]) -> dict[int, int]:
    """Return which of a column's values each example has."""
    return {at: number for number, one in enumerate(slices) for at in one.examples}


def _numbers(row: Row) -> dict[str, float | None]:
    prediction, reply = row.prediction, row.prediction.reply
    found = {name: getattr(prediction, name) for name in NUMBERS}
    return found | {name: getattr(reply, name, None) for name in REPLY_NUMBERS}


def _embedded(data: object) -> str:
    """Return JSON that a script element can hold, as one that is never run."""
    text = json.dumps(data, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return text.translate(_ESCAPES)
