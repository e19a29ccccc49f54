"""Inputs and references that say nothing, and inputs that say the answer."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmeval.data_check.findings import MOST_SHOWN
from pytest_llmeval.data_check.findings import Finding
from pytest_llmeval.data_check.words import CheckedRow
from pytest_llmeval.text import counted
from pytest_llmeval.text import first_few


class _Problem(NamedTuple):
    subject: str
    what: str
    next: str


BLANK_INPUTS = _Problem(
    "inputs",
    "with an input of nothing but white space",
    "take them out: whatever a model answers to them says nothing",
)
NO_REFERENCE = _Problem(
    "references",
    "without a reference, while others have one",
    "fill them in, or take the rows out: metrics that need a reference fail on them",
)
BLANK_REFERENCES = _Problem(
    "references",
    "with a blank reference beside others",
    "take the blank ones out: an empty answer would be right",
)


class Blanks:
    """Finds rows without an input or a reference.

    Args:
        has_context: Whether the data has a context column; an answer is expected in
            the text then.
    """

    def __init__(self, *, has_context: bool) -> None:
        self._has_context = has_context
        self._rows = 0
        self._inputs: list[int] = []
        self._missing: list[int] = []
        self._blank: list[int] = []
        self._answered: list[int] = []

    def add(self, row: CheckedRow) -> None:
        """Look at one row."""
        self._rows += 1
        if not row.input_key:
            self._inputs.append(row.at)
        blank = [not reference.strip() for reference in row.example.references]
        if all(blank):
            self._missing.append(row.at)
        elif any(blank):
            self._blank.append(row.at)
        if not self._has_context and _holds(row.words, row.reference_words):
            self._answered.append(row.at)

    def findings(self, ids: Sequence[str]) -> Iterator[Finding]:
        """Say which rows they are."""
        if self._inputs:
            yield _finding(BLANK_INPUTS, self._inputs, ids)
        if len(self._missing) == self._rows:
            yield Finding(
                "note",
                "references",
                "no row has a reference",
                "name their column with --columns references=COLUMN, or use metrics "
                "that need none",
            )
        elif self._missing:
            yield _finding(NO_REFERENCE, self._missing, ids)
        if self._blank:
            yield _finding(BLANK_REFERENCES, self._blank, ids)
        if not self._missing and not self._blank:
            yield Finding("ok", "references", "every row has one, and none is blank")
        if self._answered:
            yield self._answers(ids)

    def _answers(self, ids: Sequence[str]) -> Finding:
        named = [ids[at] for at in self._answered]
        count = len(named)
        return Finding(
            "note",
            "answers",
            f"the input of {counted(count, 'row')} holds a reference word for word",
            "see whether these inputs give the answer away",
            count,
            [first_few(named, MOST_SHOWN)],
            named,
        )


def _finding(problem: _Problem, rows: Sequence[int], ids: Sequence[str]) -> Finding:
    named = [ids[at] for at in rows]
    return Finding(
        "problem",
        problem.subject,
        f"{counted(len(rows), 'row')} {problem.what}",
        problem.next,
        len(rows),
        [first_few(named, MOST_SHOWN)],
        named,
    )


def _holds(words: Sequence[str], references: Sequence[Sequence[str]]) -> bool:
    text = f" {' '.join(words)} "
    return any(bool(one) and f" {' '.join(one)} " in text for one in references)
