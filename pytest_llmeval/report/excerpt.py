"""The few rows of a run to look at first, each evaluation's file read once."""

from __future__ import annotations

import heapq
from collections import Counter
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from pytest_llmeval.records import canonical
from pytest_llmeval.repeats import PassRate
from pytest_llmeval.report.run import ReportedRun
from pytest_llmeval.results import number
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


MOST_ROWS = 5
MOST_LISTS = 50
"""Gates that rows are shown of, and evaluations whose rows in error are."""
LONGEST_TEXT = 500
"""Characters of a text of a row; what escaping adds comes on top."""


class ShownRow(NamedTuple):
    """A row, or what a change made of it."""

    title: str
    note: str
    """Its score, its change, or its errors."""
    texts: Mapping[str, str]
    """What stands in it, by what it is: input, expected, got …"""


class ErrorRows(NamedTuple):
    """The rows of an evaluation that have errors."""

    kinds: Mapping[str, int]
    """How many errors there are of each kind."""
    rows: list[ShownRow]
    """The first few."""


class Excerpt(NamedTuple):
    """The rows to look at first."""

    worst: Mapping[int, list[ShownRow]]
    """Of each gate that was missed, by its position in the verdict; worst first."""
    errors: Mapping[int, ErrorRows]
    """By the number of the evaluation."""


def read_excerpt(run: ReportedRun) -> Excerpt:
    """Read the rows to look at first; texts are cut and harmless.

    Takes one pass over the rows of each evaluation that has such rows, and memory for
    these rows only.
    """
    worst: dict[int, list[ShownRow]] = {}
    errors: dict[int, ErrorRows] = {}
    for evaluation in run.verdict["evaluations"]:
        ranked = {
            at: _WorstRows(run, run.verdict["gates"][at], evaluation)
            for at in missed_gates(run.verdict)[:MOST_LISTS]
            if _rests_on(run.verdict, at, evaluation)
        }
        has_errors = any(value["errors"] for value in evaluation["metrics"].values())
        if ranked or (has_errors and len(errors) < MOST_LISTS):
            failed = _read(run, evaluation, list(ranked.values()))
            errors |= {evaluation["number"]: failed} if has_errors else {}
            worst |= {at: rows.in_order() for at, rows in ranked.items()}
    return Excerpt(worst, errors)


def missed_gates(verdict: Mapping[str, Any]) -> list[int]:
    """Return the positions of the gates that did not pass."""
    gates = enumerate(verdict["gates"])
    return [at for at, gate in gates if gate["decision"] != "pass"]


def _rests_on(
    verdict: Mapping[str, Any], at: int, evaluation: Mapping[str, Any]
) -> bool:
    """Return whether the scores of an evaluation made a gate miss its bar."""
    gate = verdict["gates"][at]
    if gate["decision"] == "error" or "compared" in gate:
        return False
    return find_evaluation(verdict, gate) is evaluation


def changed_rows(compared: Mapping[str, Any]) -> list[ShownRow]:
    """Return the rows that a change made worse, the worst first."""
    return [
        ShownRow(
            title=flip["id"],
            note=f"change {flip['change']:+.3g}",
            texts={name: flip[name] for name in ("input", "before", "after")},
        )
        for flip in compared["flips"]
        if flip["change"] < 0
    ]


def find_evaluation(
    verdict: Mapping[str, Any], gate: Mapping[str, Any]
) -> Mapping[str, Any] | None:
    """Return the evaluation that a gate was decided on, the last one if several fit."""
    identity, metric = ("test", "dataset_digest", "request_digest"), metric_of(gate)
    fitting = (
        evaluation
        for evaluation in reversed(verdict["evaluations"])
        if metric in evaluation["metrics"]
        and all(evaluation[name] == gate[name] for name in identity)
    )
    return next(fitting, None)


def metric_of(gate: Mapping[str, Any]) -> str:
    """Return the metric whose scores a gate rests on."""
    name: str = gate["metric"]
    rate = PassRate.of(name)
    return rate.metric if rate else name


class _WorstRows:
    """The rows with the worst scores so far, by a gate's metric and direction.

    Args:
        run: Says what of a row may be shown.
        gate: Its entry in the verdict.
        evaluation: Likewise.
    """

    def __init__(
        self, run: ReportedRun, gate: Mapping[str, Any], evaluation: Mapping[str, Any]
    ) -> None:
        self._run, self._evaluation = run, evaluation
        self._metric = metric_of(gate)
        where = gate.get("where", {}).items()
        self._where = [(column, canonical(wanted)) for column, wanted in where]
        definition = evaluation["definitions"][self._metric]
        self._sign = 1 if _less_is_better(gate, definition) else -1
        bounds = definition["range"] or gate.get("bounds")
        self._best = None if bounds is None else bounds[self._sign < 0]
        self._heap: list[tuple[float, int, ShownRow]] = []

    def offer(self, at: int, row: Mapping[str, Any]) -> None:
        """Take a row in when it is one of the worst; one with the best score is not."""
        score = row["scores"].get(self._metric)
        if score is None or score == self._best or not self._selects(row):
            return
        rank = (self._sign * score, -at)
        if len(self._heap) == MOST_ROWS and rank < self._heap[0][:2]:
            return
        row = self._run.shown(row, self._evaluation)
        heapq.heappush(self._heap, (*rank, _show(row, f"score {number(score)}")))
        if len(self._heap) > MOST_ROWS:
            heapq.heappop(self._heap)

    def _selects(self, row: Mapping[str, Any]) -> bool:
        # Metadata leaves out a column whose text stands in the row already.
        values = {**row, **row["metadata"]}
        return all(
            canonical(values.get(column)) == wanted for column, wanted in self._where
        )

    def in_order(self) -> list[ShownRow]:
        """Return the rows, the worst first."""
        return [row for _, _, row in sorted(self._heap, reverse=True)]


def _less_is_better(gate: Mapping[str, Any], definition: Mapping[str, Any]) -> bool:
    if gate["op"] in ("==", "!="):
        return not definition["higher_is_better"]
    return gate["op"] in ("<=", "<")


def _read(
    run: ReportedRun, evaluation: Mapping[str, Any], ranked: list[_WorstRows]
) -> ErrorRows:
    """Read an evaluation's rows once, for the gates on it and for its errors."""
    kinds: Counter[str] = Counter()
    failed: list[ShownRow] = []
    for at, row in enumerate(run.rows(evaluation)):
        for rows in ranked:
            rows.offer(at, row)
        kinds.update(error["kind"] for error in row["errors"])
        if row["errors"] and len(failed) < MOST_ROWS:
            shown = run.shown(row, evaluation)
            said = (f"{error['kind']}: {error['message']}" for error in shown["errors"])
            failed.append(_show(shown, one_line("; ".join(said), LONGEST_TEXT)))
    table = evaluation.get("table")  # whose rows are not all at hand
    return ErrorRows(Counter(table["kinds"]) if table else kinds, failed)


def _show(row: Mapping[str, Any], note: str) -> ShownRow:
    answer = f", answer {row['repeat'] + 1}" if "repeat" in row else ""
    texts = {
        "input": row["input"],
        "expected": " | ".join(row["references"]) or None,
        "got": row["prediction"],
    }
    return ShownRow(
        title=f"{one_line(row['id'], 80)}{answer}",
        note=note,
        texts={
            name: safe(text, LONGEST_TEXT)
            for name, text in texts.items()
            if text is not None
        },
    )
