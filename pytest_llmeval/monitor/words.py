"""The word list for answers that insult: a smoke detector, no judgement of meaning."""

from __future__ import annotations

import functools
import hashlib
import re
from pathlib import Path


WORD = re.compile(r"[^\W\d_]+")
SHOWN = 16
"""Hexadecimal digits of the SHA-256 that stand in the list."""


def has_listed_word(text: str) -> bool:
    """Return whether a word of a text stands in the list."""
    listed = _listed()
    return any(_hash(word) in listed for word in WORD.findall(text.lower()))


@functools.cache
def _listed() -> frozenset[str]:
    lines = Path(__file__).with_name("words.txt").read_text("utf-8").splitlines()
    return frozenset(line for line in lines if not line.startswith("#"))


@functools.lru_cache(2**14)
def _hash(word: str) -> str:
    data = word.encode("utf-8", "surrogatepass")
    return hashlib.sha256(data).hexdigest()[:SHOWN]
