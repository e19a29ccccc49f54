"""Which languages and writing systems the inputs are in."""

from __future__ import annotations

import heapq
import unicodedata
from collections import Counter
from collections.abc import Callable
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from pytest_llmeval.data_check.words import CheckedRow
from pytest_llmeval.data_check.words import hash_of
from pytest_llmeval.errors import MissingDependency
from pytest_llmeval.errors import optional


MOST_INPUTS = 5_000
MOST_CHARACTERS = 2_000
"""Of each input; a language is known from less."""
NO_LETTERS = "no letters"
SCRIPT_NAMES = {"CJK": "Han"}
WIDTHS = ("FULLWIDTH", "HALFWIDTH")


class LanguageProfile(NamedTuple):
    """Languages and writing systems, the most frequent first."""

    inputs: int
    """How many were looked at: those whose ids have the smallest hashes."""
    languages: Sequence[tuple[str, int]]
    """ISO 639-1 codes, and inputs; empty without the package that tells them."""
    scripts: Sequence[tuple[str, int]]
    """Writing systems, and letters."""
    missing: str
    """How to install that package where it is not."""


class Languages:
    """Looks at the language of some inputs, always the same ones.

    Args:
        ids: Of all rows.
    """

    def __init__(self, ids: Sequence[str]) -> None:
        self._chosen: set[int] | None = None
        if len(ids) > MOST_INPUTS:
            by_hash = heapq.nsmallest(
                MOST_INPUTS, range(len(ids)), key=lambda at: (hash_of(ids[at]), at)
            )
            self._chosen = set(by_hash)
        self._inputs = 0
        self._languages: Counter[str] = Counter()
        self._scripts: Counter[str] = Counter()
        self._classify, self._missing = _classifier()

    def add(self, row: CheckedRow) -> None:
        """Look at a row, when it is one of the chosen."""
        if self._chosen is not None and row.at not in self._chosen:
            return
        self._inputs += 1
        text = row.example.input[:MOST_CHARACTERS]
        scripts = Counter(script_of(char) for char in text if char.isalpha())
        self._scripts.update(scripts)
        if self._classify is not None:
            self._languages[self._classify(text) if scripts else NO_LETTERS] += 1

    def profile(self) -> LanguageProfile:
        """Return what was found."""
        return LanguageProfile(
            self._inputs,
            _most_frequent(self._languages),
            _most_frequent(self._scripts),
            self._missing,
        )


def _most_frequent(counter: Counter[str]) -> list[tuple[str, int]]:
    return sorted(counter.items(), key=lambda item: (-item[1], item[0]))


def _classifier() -> tuple[Callable[[str], str] | None, str]:
    try:
        package = optional("py3langid")
    except MissingDependency as error:
        return None, str(error)
    return lambda text: str(package.classify(text)[0]), ""


@lru_cache(2**14)
def script_of(letter: str) -> str:
    """Return the writing system of a letter, by its Unicode name."""
    words = unicodedata.name(letter, "OTHER").split()
    word = words[1] if words[0] in WIDTHS and len(words) > 1 else words[0]
    return SCRIPT_NAMES.get(word, word.capitalize())
