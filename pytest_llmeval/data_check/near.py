"""Inputs that are nearly the same: an exact search for similar sets of shingles.

A shingle is a run of five words; a shorter input is one shingle. The search is PPJoin
(Xiao et al., "Efficient Similarity Joins for Near Duplicate Detection", WWW 2008):
sets whose Jaccard similarity reaches a threshold share one of their few rarest
shingles, and the places of that one bound what they can share.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterator
from collections.abc import Sequence
from fractions import Fraction
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from pytest_llmeval.data_check.findings import MOST_PAIRS_LISTED
from pytest_llmeval.data_check.findings import MOST_SHOWN
from pytest_llmeval.data_check.findings import Finding
from pytest_llmeval.data_check.words import CheckedRow
from pytest_llmeval.data_check.words import sequence_hashes
from pytest_llmeval.text import counted
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    import numpy as np


SHINGLE_WORDS = 5
MOST_PAIRS = 1_000_000
"""Where the search stops: data written from one template has n² pairs."""
BUCKETS = 2**22
PLACE_BITS = 32


class Pair(NamedTuple):
    """Two sets, by the order in which they were added, the earlier one first."""

    first: int
    second: int
    similarity: float


class ShingleSets:
    """Sets of hashes, and the search for pairs of them that are similar."""

    def __init__(self) -> None:
        self._flat, self._ends = array("q"), array("Q", [0])

    def add(self, shingles: set[int]) -> None:
        """Add a set, which is kept in eight bytes for each of its members."""
        self._flat.extend(shingles)
        self._ends.append(len(self._flat))

    def similar(self, threshold: Fraction) -> Iterator[Pair]:
        """Yield each pair with at least this Jaccard similarity, above 0, once."""
        import numpy as np

        flat = np.frombuffer(self._flat, dtype=np.int64)
        ends = np.frombuffer(self._ends, dtype=np.uint64).astype(np.int64)
        sizes = np.diff(ends)
        by_size = np.argsort(sizes, kind="stable")
        index = _Index(threshold, sizes[by_size].tolist())
        # Shingles in one bucket only look more frequent: any order finds all pairs.
        frequency = np.bincount(flat & (BUCKETS - 1), minlength=1)
        for place, at in enumerate(by_size.tolist()):
            own = flat[ends[at] : ends[at + 1]]
            ordered = _rarest_first(own, frequency)
            members = set(own.tolist())
            for other in index.candidates(place, ordered):
                its = int(by_size[other])
                shared = len(
                    members.intersection(flat[ends[its] : ends[its + 1]].tolist())
                )
                united = len(members) + int(sizes[its]) - shared
                if shared >= threshold * united:
                    yield Pair(min(at, its), max(at, its), shared / united)
            index.add(place, ordered)


def _rarest_first(
    shingles: np.ndarray[Any, Any], frequency: np.ndarray[Any, Any]
) -> list[int | None]:
    """Order shingles from rare to frequent; None for one that no other set has."""
    import numpy as np

    known = frequency[shingles & (BUCKETS - 1)]
    order = np.lexsort((shingles, known))
    alone = int(np.count_nonzero(known == 1))
    rest: list[int | None] = shingles[order[alone:]].tolist()
    return [None] * alone + rest


class _Index:
    """Places of sets by their rarest shingles, smaller sets before larger ones."""

    def __init__(self, threshold: Fraction, sizes: Sequence[int]) -> None:
        self._up, self._down = threshold.numerator, threshold.denominator
        self._sizes = sizes
        self._places: dict[int, list[int]] = {}

    def add(self, place: int, ordered: Sequence[int | None]) -> None:
        """Enter a set; later ones are at least as large, so that few shingles do."""
        size = len(ordered)
        kept = size - _ceil(2 * self._up * size, self._up + self._down) + 1
        for rank, shingle in enumerate(ordered[:kept]):
            if shingle is not None:
                entry = place << PLACE_BITS | rank
                self._places.setdefault(shingle, []).append(entry)

    def candidates(self, place: int, ordered: Sequence[int | None]) -> Iterator[int]:
        """Yield the places of sets that may be similar, each once."""
        size = len(ordered)
        least = _ceil(self._up * size, self._down)
        start = bisect_left(self._sizes, least, 0, place) << PLACE_BITS
        seen: set[int] = set()
        for rank, shingle in enumerate(ordered[: size - least + 1]):
            entries = self._places.get(shingle, ()) if shingle is not None else ()
            for entry in entries[bisect_left(entries, start) :]:
                other = entry >> PLACE_BITS
                if other in seen:
                    continue
                seen.add(other)
                its_size = self._sizes[other]
                its_rank = entry & (1 << PLACE_BITS) - 1
                needed = _ceil(self._up * (size + its_size), self._up + self._down)
                if min(size - rank, its_size - its_rank) >= needed:
                    yield other


def _ceil(number: int, divisor: int) -> int:
    return -(-number // divisor)


class NearCopies:
    """Finds inputs that share most of their shingles.

    Compares rows with the same context, or all where there is none, and of rows with
    the same input the first.
    """

    def __init__(self, threshold: float) -> None:
        self._threshold = Fraction(str(threshold))
        self._sets, self._at = ShingleSets(), array("Q")
        self._seen: set[int] = set()

    def add(self, row: CheckedRow) -> None:
        """Keep a row's shingles, unless its input came before."""
        key = hash((row.input_key, row.context_key))
        if row.input_key and key not in self._seen:
            self._seen.add(key)
            self._sets.add(shingles_of(row))
            self._at.append(row.at)

    def findings(self, ids: Sequence[str]) -> Iterator[Finding]:
        """Search, and say how many pairs there are."""
        pairs: list[Pair] = []
        for pair in self._sets.similar(self._threshold):
            pairs.append(pair)
            if len(pairs) == MOST_PAIRS:
                break
        at = f"a Jaccard similarity of {float(self._threshold):g} or more"
        if not pairs:
            yield Finding("ok", "near", f"no two inputs have {at}")
            return
        pairs.sort()
        rows = len({at for pair in pairs for at in pair[:2]})
        more = "at least " if len(pairs) == MOST_PAIRS else ""
        listed = [
            (ids[self._at[first]], ids[self._at[second]], round(similarity, 4))
            for first, second, similarity in pairs[:MOST_PAIRS_LISTED]
        ]
        yield Finding(
            "problem",
            "near",
            f"{more}{counted(len(pairs), 'pair')} of inputs, of {rows:,} rows, "
            f"{'has' if len(pairs) == 1 else 'have'} {at}",
            "keep one row of each pair, or give them one value in a column that gates "
            "name as cluster=",
            len(pairs),
            [
                f"{one_line(first, 60)} ~ {one_line(second, 60)}  {similarity:.2f}"
                for first, second, similarity in listed[:MOST_SHOWN]
            ],
            [
                {"ids": [first, second], "similarity": similarity}
                for first, second, similarity in listed
            ],
        )


def shingles_of(row: CheckedRow) -> set[int]:
    """Return the hashes of an input's runs of words, apart for each context."""
    length = min(SHINGLE_WORDS, len(row.words))
    shingles = sequence_hashes(row.words, length)
    if row.context_key:
        return {hash((shingle, row.context_key)) for shingle in shingles}
    return set(shingles)
