"""Rows that the model may have been trained on: runs of words that training data has.

The measure is that of Brown et al., "Language Models are Few-Shot Learners" (2020,
appendix C), with eight words by default in place of its thirteen.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Sequence
from itertools import chain
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from pytest_llmeval.data_check.findings import MOST_SHOWN
from pytest_llmeval.data_check.findings import Finding
from pytest_llmeval.data_check.findings import percent
from pytest_llmeval.data_check.words import CheckedRow
from pytest_llmeval.data_check.words import prepare
from pytest_llmeval.data_check.words import sequence_hashes
from pytest_llmeval.records import Dataset
from pytest_llmeval.text import counted
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    import numpy as np


COMMON = 10
"""What stands in more rows than this is a prompt's own words, and tells no rows."""
BATCH = 2**17


class _Shared(NamedTuple):
    """What a row has in common with a row of the training data."""

    training_id: str
    words: str


class Overlap:
    """Finds rows whose input and references share words with training data.

    Args:
        train: The training data; it is read once more, and no row of it is kept.
        length: How many words in a row count as shared. A shorter row, and a shorter
            input, counts as a whole.
    """

    def __init__(self, train: Dataset, length: int) -> None:
        self._train, self._length = train, length
        self._hashes, self._owners = array("q"), array("I")
        self._found: set[int] = set()
        self._shown: dict[int, _Shared] = {}
        self._rows = 0

    def add(self, row: CheckedRow) -> None:
        """Keep the hashes of a row's runs of words."""
        self._rows += 1
        hashes = set(self._hashes_of(row))
        self._hashes.extend(hashes)
        self._owners.extend([row.at] * len(hashes))

    def findings(self, ids: Sequence[str]) -> Iterator[Finding]:
        """Read the training data, and say which rows share words with it."""
        table = _Table(self._hashes, self._owners)
        for batch in self._batches():
            self._look_up(batch, table)
        yield self._leaks(ids)
        if table.common:
            sequences = counted(table.common, "run")
            yield Finding(
                "note",
                "leaks",
                f"{sequences} of words in more than {COMMON} rows counted for none, as "
                f"a prompt's own; {counted(self._rows - table.rows, 'row')} hold"
                f"{'s' if self._rows - table.rows == 1 else ''} no other",
            )

    def _batches(self) -> Iterator[list[tuple[CheckedRow, list[int]]]]:
        batch: list[tuple[CheckedRow, list[int]]] = []
        size = 0
        for at, example in enumerate(self._train.examples):
            row = prepare(at, example)
            batch.append((row, self._hashes_of(row)))
            size += len(batch[-1][1])
            if size >= BATCH:
                yield batch
                batch, size = [], 0
        yield batch

    def _look_up(
        self, batch: list[tuple[CheckedRow, list[int]]], table: _Table
    ) -> None:
        starts, total = [], 0
        for _, hashes in batch:
            starts.append(total)
            total += len(hashes)
        for at, owners in table.find(chain.from_iterable(h for _, h in batch)):
            which = bisect_right(starts, at) - 1
            row, place = batch[which][0], at - starts[which]
            for owner in owners:
                if owner not in self._found:
                    self._found.add(owner)
                    self._show(owner, row, place)

    def _show(self, owner: int, row: CheckedRow, place: int) -> None:
        """Keep the words for the first few rows of the data only."""
        if len(self._shown) == MOST_SHOWN:
            last = max(self._shown)
            if owner > last:
                return
            del self._shown[last]
        words = one_line(" ".join(self._words_at(row, place)), 100)
        self._shown[owner] = _Shared(one_line(row.example.id, 60), words)

    def _hashes_of(self, row: CheckedRow) -> list[int]:
        """Hash the runs of words of input and references, or what is shorter."""
        whole = _all_words(row)
        hashes = sequence_hashes(whole, self._length)
        for words in (whole, row.words):
            if 0 < len(words) < self._length:
                (short,) = sequence_hashes(words, len(words))
                hashes.append(hash((short, row.context_key)))
        return hashes

    def _words_at(self, row: CheckedRow, place: int) -> Sequence[str]:
        """Return the words whose hash stands at a place of `_hashes_of`."""
        whole = _all_words(row)
        runs = max(0, len(whole) - self._length + 1)
        if place < runs:
            return whole[place : place + self._length]
        return row.words if runs or place else whole

    def _leaks(self, ids: Sequence[str]) -> Finding:
        train = one_line(self._train.name, 60)
        if not self._found:
            text = f"no row shares {self._length} words in a row with {train}"
            return Finding("ok", "leaks", text)
        found, count = sorted(self._found), len(self._found)
        return Finding(
            "problem",
            "leaks",
            f"{counted(count, 'row')} of {self._rows:,} ({percent(count, self._rows)}) "
            f"share{'s' if count == 1 else ''} {self._length} words in a row, or a "
            f"shorter input, with {train}",
            "take them out of one of both: a model that was trained on them is judged "
            "too well",
            count,
            [
                f"{one_line(ids[at], 60)} ~ {shared.training_id}: {shared.words}"
                for at, shared in sorted(self._shown.items())
            ],
            [ids[at] for at in found],
        )


def _all_words(row: CheckedRow) -> list[str]:
    return [*row.words, *chain.from_iterable(row.reference_words)]


class _Table:
    """Which rows have a hash: sorted arrays, a fifth of what a dict would take."""

    common: int
    """Hashes of too many rows, which are left out."""
    rows: int
    """Rows that have a hash which is not left out."""

    def __init__(self, hashes: array[int], owners: array[int]) -> None:
        import numpy as np

        flat = np.frombuffer(hashes, dtype=np.int64)
        order = np.argsort(flat, kind="stable")
        ordered = flat[order]
        self._owners = np.frombuffer(owners, dtype=np.uint32)[order]
        del order
        is_first = np.append(True, ordered[1:] != ordered[:-1])[: len(ordered)]
        starts = np.flatnonzero(is_first)
        counts = np.diff(np.append(starts, len(ordered)))
        rare = counts <= COMMON
        self._keys: np.ndarray[Any, Any] = ordered[starts[rare]]
        self._starts, self._counts = starts[rare], counts[rare].astype(np.uint8)
        self.common = int(np.count_nonzero(~rare))
        self.rows = len(np.unique(self._owners[np.repeat(rare, counts)]))

    def find(self, hashes: Iterable[int]) -> Iterator[tuple[int, list[int]]]:
        """Yield the place of each hash that a row has, and the rows that have it."""
        import numpy as np

        wanted = np.fromiter(hashes, dtype=np.int64)
        if not len(self._keys):
            return
        near = np.minimum(np.searchsorted(self._keys, wanted), len(self._keys) - 1)
        for place in np.flatnonzero(self._keys[near] == wanted).tolist():
            start = int(self._starts[near[place]])
            count = int(self._counts[near[place]])
            yield place, self._owners[start : start + count].tolist()
