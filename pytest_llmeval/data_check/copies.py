"""Rows with the same input: copies of each other, or contradictions."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from collections.abc import Sequence
from itertools import groupby

from pytest_llmeval.data_check.findings import MOST_SHOWN
from pytest_llmeval.data_check.findings import Finding
from pytest_llmeval.data_check.words import CheckedRow
from pytest_llmeval.data_check.words import key_of
from pytest_llmeval.text import counted
from pytest_llmeval.text import first_few


class Copies:
    """Finds inputs that are the same but for case and white space.

    With a context, the context must be the same too: one question about two passages
    is two questions.
    """

    def __init__(self) -> None:
        self._at, self._keys, self._answers = array("Q"), array("q"), array("q")

    def add(self, row: CheckedRow) -> None:
        """Keep two hashes of a row; a blank input is no copy of another."""
        if row.input_key:
            self._at.append(row.at)
            self._keys.append(hash((row.input_key, row.context_key)))
            self._answers.append(_answers_key(row.example.references))

    def findings(self, ids: Sequence[str]) -> Iterator[Finding]:
        """Tell copies from contradictions."""
        same: list[list[str]] = []
        different: list[list[str]] = []
        for group in self._groups():
            answers = {self._answers[at] for at in group} - {0}
            named = [ids[self._at[at]] for at in group]
            (different if len(answers) > 1 else same).append(named)
        yield _copies(same)
        yield _contradictions(different)

    def _groups(self) -> list[list[int]]:
        """Return the places of rows with one key, the group that begins first first."""
        import numpy as np

        keys = np.frombuffer(self._keys, dtype=np.int64)
        order = np.argsort(keys, kind="stable").tolist()
        grouped = (list(one) for _, one in groupby(order, self._keys.__getitem__))
        return sorted(group for group in grouped if len(group) > 1)


def _answers_key(references: Sequence[str]) -> int:
    """Hash the set of references; 0 without any that says something."""
    keys = {key_of(reference) for reference in references} - {0}
    return hash(tuple(sorted(keys))) if keys else 0


def _copies(groups: list[list[str]]) -> Finding:
    if not groups:
        return Finding("ok", "duplicates", "no row repeats another")
    extra = sum(map(len, groups)) - len(groups)
    return Finding(
        "problem",
        "duplicates",
        f"{counted(extra, 'row')} repeat{'s' if extra == 1 else ''} the input of an "
        f"earlier row, but for case and white space ({counted(len(groups), 'group')})",
        "keep one row of each group: copies count an answer several times, and make "
        "intervals too narrow",
        extra,
        [first_few(group) for group in groups[:MOST_SHOWN]],
        groups,
    )


def _contradictions(groups: list[list[str]]) -> Finding:
    if not groups:
        return Finding("ok", "contradictions", "no input has two sets of references")
    inputs = counted(len(groups), "input")
    return Finding(
        "problem",
        "contradictions",
        f"{inputs} stand{'s' if len(groups) == 1 else ''} in several rows with "
        "different references",
        "decide which references are right, or put all that are into one row",
        len(groups),
        [first_few(group) for group in groups[:MOST_SHOWN]],
        groups,
    )
