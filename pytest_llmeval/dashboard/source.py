"""The history tables as the page asks them: Parquet files by DuckDB, or a database."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from typing import Protocol


Record = dict[str, Any]


class History(Protocol):
    """The tables of a history, for reading."""

    def ask(self, sql: str, **values: object) -> list[Record]:
        """Return what a query finds; its values stand in it as ``:name``."""

    def refresh(self) -> str:
        """Take in what is new, and return a word that changes with the tables."""


def open_history(place: str) -> History:
    """Return the history of a folder of Parquet files, or of a database's URL.

    Raises:
        ConfigurationError: there is none, or it cannot be read.
    """
    from pytest_llmeval.dashboard.database import DatabaseHistory
    from pytest_llmeval.dashboard.parquet import ParquetHistory

    history: History = (
        DatabaseHistory(place) if "://" in place else ParquetHistory(Path(place))
    )
    history.refresh()
    return history
