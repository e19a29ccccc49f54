"""How long the texts of a dataset are."""

from __future__ import annotations

import math
from array import array
from bisect import bisect_left
from collections.abc import Iterator
from collections.abc import Sequence
from itertools import pairwise
from statistics import median
from typing import NamedTuple

from pytest_llmeval.data_check.words import CheckedRow
from pytest_llmeval.data_check.words import words_of


WIDTHS = [step * 10**power for power in range(12) for step in (1, 2, 5)]
MOST_CLASSES = 10


class Length(NamedTuple):
    """How long the texts of one field are, in one unit."""

    field: str
    """``input``, ``references`` or ``context``."""
    unit: str
    """``characters`` or ``words``."""
    texts: int
    least: int
    median: float
    p95: int
    """The least length that 95 % of the texts do not exceed."""
    most: int
    histogram: Sequence[tuple[int, int, int]]
    """Classes of lengths: from, to, and how many texts; equally wide but for the last,
    which goes to the most."""


class Lengths:
    """Measures each input, reference and context."""

    def __init__(self) -> None:
        fields, units = ("input", "references", "context"), ("characters", "words")
        self._lengths = {
            (field, unit): array("Q") for field in fields for unit in units
        }

    def add(self, row: CheckedRow) -> None:
        """Keep the lengths of a row."""
        self._measure("input", row.example.input, row.words)
        for text, words in zip(
            row.example.references, row.reference_words, strict=True
        ):
            self._measure("references", text, words)
        if row.example.context is not None:
            context = row.example.context
            self._measure("context", context, words_of(context))

    def _measure(self, field: str, text: str, words: Sequence[str]) -> None:
        self._lengths[field, "characters"].append(len(text))
        self._lengths[field, "words"].append(len(words))

    def profile(self) -> Iterator[Length]:
        """Return the fields that have texts, in both units."""
        for (field, unit), lengths in self._lengths.items():
            if lengths:
                ordered = sorted(lengths)
                p95 = ordered[math.ceil(0.95 * len(ordered)) - 1]
                yield Length(
                    field,
                    unit,
                    len(ordered),
                    ordered[0],
                    float(median(ordered)),
                    p95,
                    ordered[-1],
                    _histogram(ordered, p95),
                )


def _histogram(ordered: Sequence[int], p95: int) -> list[tuple[int, int, int]]:
    """Count in classes with round bounds, so many that they reach to the p95."""
    least, most = ordered[0], ordered[-1]
    width = next(
        width for width in WIDTHS if p95 // width - least // width < MOST_CLASSES
    )
    bounds = list(range(least // width * width, p95 + 1, width))
    places = [bisect_left(ordered, bound) for bound in bounds]
    ends = [bound - 1 for bound in bounds[1:]]
    last = bounds[-1] + width - 1
    if most > last:
        places.append(bisect_left(ordered, last + 1))
        bounds.append(last + 1)
        ends.append(last)
    ends.append(max(most, last))
    counts = [end - start for start, end in pairwise([*places, len(ordered)])]
    return list(zip(bounds, ends, counts, strict=True))
