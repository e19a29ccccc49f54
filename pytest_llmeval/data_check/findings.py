"""What the checks of a dataset hand over."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Sequence
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import Protocol

from pytest_llmeval.data_check.words import CheckedRow


Status = Literal["ok", "note", "problem"]
MOST_SHOWN = 5
"""Rows, groups or pairs that are shown of a finding."""
MOST_PAIRS_LISTED = 1_000


class Finding(NamedTuple):
    """One thing that was looked at."""

    status: Status
    """A note is worth knowing; a problem makes the exit status 1."""
    subject: str
    """One word for what was looked at: ``duplicates``, ``leaks`` …"""
    text: str
    """What is there, or what is wrong."""
    next: str = ""
    """What to do about it; empty when there is nothing to do."""
    affected: int = 0
    """How many rows, groups or pairs it is about."""
    shown: Sequence[str] = ()
    """The first few of them, one line each; harmless whatever the data holds."""
    items: Sequence[Any] = ()
    """Ids of rows, lists of ids, or mappings: for machines, as the data has them."""


class Check(Protocol):
    """Looks at each row once, and says at the end what it found."""

    def add(self, row: CheckedRow) -> None:
        """Take the next row; keeps hashes and numbers of it, no text."""

    def findings(self, ids: Sequence[str]) -> Iterator[Finding]:
        """Say what was found; the ids are those of the rows, by position."""


def percent(part: int, whole: int) -> str:
    """Return a share as ``1.25 %``."""
    return f"{100 * part / whole:.3g} %"
