"""The order of tests: where they are, and how far ahead of them was looked."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice


class Course:
    """An order of tests that are run one by one, mostly in this order.

    Args:
        order: Positions, in the order of the tests.
    """

    def __init__(self, order: Sequence[int]) -> None:
        self._order = list(dict.fromkeys(order))
        self._places = {position: place for place, position in enumerate(self._order)}
        self._begun: set[int] = set()
        self._now = self._reach = 0

    def move_to(self, position: int) -> None:
        """Note where the tests are, unless the position is not in their order.

        What was looked at ahead counts when this position is no further than that.
        """
        if position in self._places:
            place, self._now = self._now, self._places[position]
            steps = (self._now - place) % len(self._order)
            self._reach = max(self._reach - steps, 0)

    def following(self, position: int, most: int) -> list[int]:
        """Return a position and those of the next tests."""
        place = self._places.get(position)
        return [position] if place is None else self._order[place : place + most]

    def ahead(self, most: int) -> list[int]:
        """Return the next positions to look at; the first ones follow on the last."""
        count = len(self._order)
        coming = (
            self._order[(self._now + step) % count]
            for step in range(self._reach, count)
        )
        return list(islice((at for at in coming if at not in self._begun), most))

    def look_past(self, position: int) -> None:
        """Go on behind this position the next time."""
        self._reach = 1 + (self._places[position] - self._now) % len(self._order)

    def begin(self, position: int) -> None:
        """Note that a position need not be looked at again."""
        self._begun.add(position)
