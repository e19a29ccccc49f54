"""Rows that are read when they are asked for."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import overload

from pytest_llmeval.records import Row


class LazyRows(Sequence[Row]):
    """A sequence that gets single rows, slices and all rows from one method."""

    @abstractmethod
    def row(self, at: int) -> Row:
        """Read the row at a position from 0 on."""

    @overload
    def __getitem__(self, at: int) -> Row: ...

    @overload
    def __getitem__(self, at: slice) -> list[Row]: ...

    def __getitem__(self, at: int | slice) -> Row | list[Row]:
        if isinstance(at, slice):
            return [self.row(one) for one in range(*at.indices(len(self)))]
        return self.row(range(len(self))[at])
