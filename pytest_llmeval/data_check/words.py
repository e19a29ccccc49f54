"""Words of a text, and hashes of them that are the same in every process.

A check keeps hashes of 64 bits in place of texts: among a million different ones two
are equal with a probability of three in a hundred million.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import NamedTuple

from pytest_llmeval.records import Example


ENDS = ".,;:!?…\"'`«»“”„‘’()[]{}¿¡。、，！？：；「」『』（）"
"""What is taken off the ends of a word; inside it stays, as in 3/4 or it's."""
UNSPACED = re.compile(
    "([\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf"
    "\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff])"
)
"""Characters of scripts without spaces: Thai, Lao, Burmese, Khmer, Kana, Han."""
KEPT_WORDS = 2**16


class CheckedRow(NamedTuple):
    """An example, and what several checks need of it."""

    at: int
    """Its position in the data."""
    example: Example
    words: Sequence[str]
    """Of the input."""
    reference_words: Sequence[Sequence[str]]
    """Of each reference."""
    input_key: int
    """Equal for inputs that differ in case and white space only; 0 for a blank one."""
    context_key: int
    """The same of the context; 0 where there is none."""


def prepare(at: int, example: Example) -> CheckedRow:
    """Take an example apart, once for all checks."""
    return CheckedRow(
        at=at,
        example=example,
        words=words_of(example.input),
        reference_words=[words_of(text) for text in example.references],
        input_key=key_of(example.input),
        context_key=key_of(example.context or ""),
    )


def key_of(text: str) -> int:
    """Hash a text without regard to case, white space and Unicode composition."""
    normal = " ".join(_folded(text).split())
    return hash_of(normal) if normal else 0


def words_of(text: str) -> list[str]:
    """Return the words of a text, in lower case and without the marks around them.

    In scripts without spaces each character is a word.
    """
    folded = _folded(text)
    if not folded.isascii():
        folded = UNSPACED.sub(r" \1 ", folded)
    found = folded.split()
    return [bare for word in found if (bare := word.strip(ENDS))] or found


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text.casefold())


def hash_of(text: str) -> int:
    """Return a hash of 64 bits, signed."""
    digest = blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True)


_word_hash = lru_cache(KEPT_WORDS)(hash_of)


def sequence_hashes(words: Sequence[str], length: int) -> list[int]:
    """Return the hash of each run of so many words, in order; none where too few are.

    Python's own hash of a tuple of numbers is quick, and needs no PYTHONHASHSEED.
    """
    if len(words) < length:
        return []
    hashes = list(map(_word_hash, words))
    return list(map(hash, zip(*(hashes[at:] for at in range(length)), strict=False)))
