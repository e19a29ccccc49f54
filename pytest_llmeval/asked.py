"""The rows of an evaluation that asks no further than its gates need.

Rows are asked in an order that is as good as random and the same in every run on the
same data, so that a gate may stop in it, and a run that was cut off goes on in it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Sequence
from hashlib import blake2b

from pytest_llmeval.errors import EarlyStopped
from pytest_llmeval.lazy import LazyRows
from pytest_llmeval.records import Row
from pytest_llmeval.results import Columns
from pytest_llmeval.rows import RowLog


Enough = Callable[[Sequence[Row]], bool]
"""Takes the rows of the next example, and says whether it was the last that counts."""


def shuffled(ids: Sequence[str], seed: str) -> list[int]:
    """Return the positions of ids in the order that a seed gives them.

    They are sorted by a hash of seed and id, so the order is the same everywhere, and
    that of the data does not matter.
    """

    def place(at: int) -> bytes:
        text = f"{seed} {ids[at]}".encode("utf-8", "surrogatepass")
        return blake2b(text, digest_size=16).digest()

    return sorted(range(len(ids)), key=place)


class AskedRows(LazyRows):
    """Rows of a log that fills as its gates ask, in the order of asking.

    A reader who comes before the first gate finds every row.

    Args:
        log: Takes the rows.
        order: Positions of the examples, in the order of asking.
        seed: What the order follows from.
        fill: Asks for examples at positions, in their order, until its second argument
            says that there are enough; this is called after each row.
        finish: Called once, when no row will be asked any more; not when the asking was
            cut off, because the next run goes on then.
    """

    def __init__(
        self,
        log: RowLog,
        order: Sequence[int],
        seed: str,
        *,
        fill: Callable[[Sequence[int], Callable[[], bool]], None],
        finish: Callable[[], None],
    ) -> None:
        self.seed, self.begun = seed, False
        self._log, self._order = log, order
        self._fill, self._finish = fill, finish
        self._whole, self._closed, self._cut_off = 0, False, False
        self._asking = threading.Lock()
        self._known: tuple[int, list[int], Columns] | None = None

    def start(self) -> None:
        """Ask for the first example, so that a model that cannot be asked says so."""
        self._fill(self._order[:1], lambda: False)

    def begin(self) -> None:
        """Note that a gate has come; see `RowSource`."""
        self.begun = True

    def ask(self, enough: Enough | None = None) -> None:
        """Ask for rows in their order; see `RowSource`."""
        self.begin()
        self._ask(enough or (lambda rows: False))

    def close(self) -> None:
        """Ask no more; see `RowSource`."""
        self.begin()
        self._closed = True
        if not self._cut_off:
            self._finish()

    def _ask(self, enough: Enough) -> None:
        shown = 0

        def is_enough() -> bool:
            nonlocal shown
            while shown < self._count_whole():
                shown += 1
                if enough(self._rows_of(self._order[shown - 1])):
                    return True
            return False

        with self._asking:
            if is_enough() or shown == len(self._order):
                return
            if self._closed:
                raise EarlyStopped(
                    f"only {shown} of {len(self._order)} examples were asked: their "
                    "evaluation stopped with the test that called evaluate(); gate on "
                    "its results in that test"
                )
            left = [one for one in self._order[shown:] if not self._has(one)]
            self._cut_off = True
            self._fill(left, is_enough)
            self._cut_off = False

    def _count_whole(self) -> int:
        """Return how many examples are there before the first one that is not."""
        while self._whole < len(self._order) and self._has(self._order[self._whole]):
            self._whole += 1
        return self._whole

    def _has(self, example: int) -> bool:
        return all(map(self._log.has, self._positions(example)))

    def _positions(self, example: int) -> range:
        repeats = self._log.columns.repeats
        return range(example * repeats, (example + 1) * repeats)

    def _rows_of(self, example: int) -> list[Row]:
        return [self._log[position] for position in self._positions(example)]

    def _read(self) -> tuple[list[int], Columns]:
        """Return positions and columns of the rows that are there."""
        if not self.begun:
            self.ask()
        if self._known is None or self._known[0] != self._log.done:
            done = self._log.done
            examples = [example for example in self._order if self._has(example)]
            positions = [at for one in examples for at in self._positions(one)]
            self._known = (done, positions, self._log.columns.take(examples))
        return self._known[1:]

    @property
    def columns(self) -> Columns:
        """Scores and numbers of the rows that are there."""
        return self._read()[1]

    def lines(self) -> Iterator[bytes]:
        """Yield each row that is there as a line of JSON."""
        return map(self._log.line, self._read()[0])

    def __len__(self) -> int:
        return len(self._read()[0])

    def row(self, at: int) -> Row:
        """Read the row at a position in the order of asking."""
        return self._log.row(self._read()[0][at])
