"""Places where history tables lie: what an export needs of them, and which is meant."""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Protocol

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.history.schema import SCHEMA_VERSION
from pytest_llmeval.history.schema import Table


if TYPE_CHECKING:
    import pluggy
    import pyarrow

    from pytest_llmeval.config import Settings


class HistoryPlace(Protocol):
    """Where the history tables lie. Safe for several processes at once."""

    name: str
    """For people; holds no secret."""

    def read(self, table: str, columns: Sequence[str]) -> pyarrow.Table:
        """Return columns of a table."""

    def replace(self, tables: Mapping[str, pyarrow.Table]) -> None:
        """Put records in the place of those of the same runs and deployments.

        A run stands in ``runs`` once everything else of it is there, so what a killed
        process has begun is seen as not exported, and done again.

        Args:
            tables: Whole tables of the schema, by name; without ``rows``, those that
                are there stay, and without ``runs`` there are only ``deployments``.
        """

    def note(self, name: str) -> str | None:
        """Return what an earlier export has noted."""

    def keep_note(self, name: str, text: str) -> None:
        """Note something for the next export."""

    def finish(self) -> None:
        """Bring the view ``metrics_wide`` up to date."""


def open_place(text: str, hook: pluggy.HookRelay, settings: Settings) -> HistoryPlace:
    """Open the place that a text names, and make it where it is not there yet.

    Args:
        text: A folder, ``csv:FOLDER``, a URL of SQLAlchemy, ``CATALOG.SCHEMA`` or
            ``delta:/path``.
        hook: Is asked first.
        settings: For the folder that relative paths start from, and for Spark.

    Raises:
        ConfigurationError: it cannot be used.
    """
    place: HistoryPlace | None
    place = hook.pytest_llmeval_history_place(place=text, settings=settings)
    if place is not None:
        return place
    if re.match(r"\w[\w+]*://", text):
        from pytest_llmeval.history.sql import SqlPlace

        return SqlPlace(text, settings.rootdir)
    if text.startswith("csv:"):
        from pytest_llmeval.history.csv_files import CsvPlace

        return CsvPlace(settings.rootdir / Path(text.removeprefix("csv:")).expanduser())
    from pytest_llmeval.history.parquet import ParquetPlace

    return ParquetPlace(settings.rootdir / Path(text).expanduser())


def in_order(tables: Iterable[str]) -> list[Table]:
    """Return the tables in the order in which they are written: ``runs`` last."""
    return [BY_NAME[name] for name in sorted(tables, key=lambda name: name == "runs")]


def owners_of(table: Table, tables: Mapping[str, pyarrow.Table]) -> pyarrow.Table:
    """Return whose records of a table are replaced: first their ids, then ``day``.

    Deployments are replaced one by one, all other records with their run.
    """
    whose = tables["deployments" if table.name == "deployments" else "runs"]
    return whose.select([table.names[0], "day"])


def check_version(found: object, name: str) -> None:
    """Refuse a place that another version of the schema has written.

    Raises:
        ConfigurationError: it is another one.
    """
    if found == SCHEMA_VERSION:
        return
    is_newer = isinstance(found, int) and found > SCHEMA_VERSION
    hint = "update pytest-llmeval-gate" if is_newer else "export into an empty place"
    raise ConfigurationError(
        f"the history in {name} has schema {found!r:.20}, and this version writes "
        f"schema {SCHEMA_VERSION}; {hint}, or name another place with --to"
    )
