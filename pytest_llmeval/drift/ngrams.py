"""Whether two sets of texts are from one source: a test on what they are written with.

Each text becomes counts of its character trigrams, hashed into 1,024 buckets; their
square roots are scaled to length 1. The distance of two sets is that of their mean
vectors, which is the maximum mean discrepancy with the linear kernel (Gretton and
others 2012, *A kernel two-sample test*). Its p-value comes from random divisions of all
texts into two sets, so that the level is exact for any number of texts.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from pytest_llmeval.errors import ConfigurationError


if TYPE_CHECKING:
    from numpy.typing import NDArray


BITS = 10
LONGEST = 2_000
"""Characters of a text that count."""
MOST = 10_000
"""Texts of a set that count; of more, so many are chosen at random."""
DIVISIONS = 999
"""Random divisions behind a p-value, which is therefore at least 1 / 1000."""
AT_ONCE = 100
# Odd multipliers as of splitmix64: they spread neighbouring code points over all bits.
SPREAD = (0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0x94D049BB133111EB)


class TextShift(NamedTuple):
    """How far apart two sets of texts are."""

    distance: float
    """Of their mean vectors: 0 for equal ones, at most the root of 2."""
    p_value: float
    """How often a random division of all texts is as far apart."""


def features(texts: Sequence[str]) -> NDArray[Any]:
    """Return one row of hashed trigrams for each text, to compare or to store.

    The same text gives the same row on every machine. From a row a text can be guessed
    at, but not read.
    """
    import numpy as np

    found = np.zeros((len(texts), 2**BITS), dtype=np.float32)
    for row, text in zip(found, texts, strict=True):
        row[:] = np.bincount(_buckets(text), minlength=2**BITS)
    np.sqrt(found, out=found)
    found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found


def _buckets(text: str) -> NDArray[Any]:
    import numpy as np

    # With a blank at each end even an empty text has one trigram.
    padded = f" {text[:LONGEST] or ' '} "
    data = padded.encode("utf-32-le", "surrogatepass")
    codes = np.frombuffer(data, "<u4").astype(np.uint64)
    first, second, third = (np.uint64(factor) for factor in SPREAD)
    mixed = codes[:-2] * first + codes[1:-1] * second + codes[2:] * third
    mixed = (mixed ^ (mixed >> np.uint64(32))) * first
    return np.asarray(mixed >> np.uint64(64 - BITS), dtype=np.int64)


def compare_texts(
    reference: Sequence[str] | NDArray[Any],
    texts: Sequence[str] | NDArray[Any],
    seed: int = 0,
    divisions: int = DIVISIONS,
) -> TextShift:
    """Compare two sets of texts, or of their `features`; the same for the same seed.

    Texts must be independent: of one conversation, take one. Time grows with the number
    of texts, see `LONGEST` and `MOST`, and with that of the divisions. The p-value is
    at least 1 / (1 + divisions).

    Raises:
        ConfigurationError: A set has fewer than two texts.
    """
    import numpy as np

    if min(len(reference), len(texts)) < 2:
        raise ConfigurationError(
            f"{len(reference)} and {len(texts)} texts cannot be compared: two of each "
            "are needed"
        )
    rng = np.random.default_rng(seed)
    old, new = _vectors(reference, rng), _vectors(texts, rng)
    both = np.concatenate([old, new])
    both = both[:, both.any(axis=0)]  # few short texts fill few buckets
    both -= both.mean(axis=0)
    chosen = np.zeros(len(both), dtype=np.float32)
    chosen[: len(old)] = 1
    observed = _distances(chosen[np.newaxis], both, len(old))[0]
    beyond = 0
    for done in range(0, divisions, AT_ONCE):
        some = np.tile(chosen, (min(AT_ONCE, divisions - done), 1))
        rng.permuted(some, axis=1, out=some)
        # Rounding must not make an equal division nearer.
        beyond += int((_distances(some, both, len(old)) >= observed - 1e-6).sum())
    return TextShift(float(observed), (1 + beyond) / (1 + divisions))


def _vectors(given: Sequence[str] | NDArray[Any], rng: Any) -> NDArray[Any]:
    import numpy as np

    chosen = np.arange(len(given))
    if len(given) > MOST:
        chosen = np.sort(rng.choice(len(given), MOST, replace=False))
    if isinstance(given, np.ndarray):
        return given[chosen]
    return features([given[int(at)] for at in chosen])


def _distances(chosen: Any, centred: NDArray[Any], first: int) -> NDArray[Any]:
    """Return how far the mean of the chosen vectors is from that of the others."""
    import numpy as np

    # The sum of all is 0, so that of the others is the opposite.
    sums = chosen @ centred
    factor = 1 / first + 1 / (len(centred) - first)
    return np.asarray(np.linalg.norm(sums, axis=1) * factor)
