"""A history in a folder of Parquet files, asked by DuckDB."""

from __future__ import annotations

import hashlib
import os
import re
import threading
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_llmeval.dashboard.source import Record
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import optional
from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.history.schema import TABLES
from pytest_llmeval.history.schema import Kind
from pytest_llmeval.history.schema import Table
from pytest_llmeval.text import one_line


TYPES: dict[Kind, str] = {
    "text": "varchar",
    "json": "varchar",
    "integer": "bigint",
    "real": "double",
    "boolean": "boolean",
    "time": "timestamptz",
    "day": "date",
}
PARTITION = "day"
ROWS = BY_NAME["rows"]
IN_MEMORY = tuple(table for table in TABLES if table is not ROWS)
"""All but the rows: of those, one run's are asked for at a time."""

ORDER = {"metrics": "metric, slice_by, slice_value, started_at"}
"""Lets DuckDB skip most of the metrics when it is asked for one."""

State = tuple[int, int]
"""Of a file: when it was changed, and its size."""


class ParquetHistory:
    """The tables of a folder, in memory but for the rows.

    A million metrics take 400 MB and two seconds; then a query takes a tenth of one.
    Files that change are taken in anew.

    Raises:
        ConfigurationError: the folder holds no history.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "runs").is_dir():
            raise ConfigurationError(
                f"there is no history in {folder}: it has no folder runs; write it "
                "with: llmeval export, or name its place with --history"
            )
        self._folder = folder.resolve()
        self._files: dict[Path, State] = {}
        self._lock = threading.Lock()
        self._error: type[Exception] = optional("duckdb").Error
        self._connection = optional("duckdb").connect()
        for statement in _prepared(self._folder):
            self._connection.execute(statement)

    def ask(self, sql: str, **values: object) -> list[Record]:
        """Return what a query finds."""
        cursor = self._connection.cursor()
        try:
            cursor.execute(re.sub(r":(\w+)", r"$\1", sql), values or None)
            names = [column[0] for column in cursor.description]
            return [dict(zip(names, row, strict=True)) for row in cursor.fetchall()]
        except self._error as error:
            raise self._unreadable(error) from None
        finally:
            cursor.close()

    def refresh(self) -> str:
        """Take in the files that are new or have changed, and drop those that went."""
        with self._lock:
            found = dict(self._find())
            if found != self._files:
                self._take(found)
                self._files = found
            return hashlib.sha256(repr(sorted(found.items())).encode()).hexdigest()

    def _find(self) -> Iterable[tuple[Path, State]]:
        for table in TABLES:
            for folder, _, names in os.walk(self._folder / table.name):
                for name in filter(_is_whole, names):
                    path = Path(folder, name)
                    if path in self._files or self._holds(path):
                        file = path.stat()
                        yield path, (file.st_mtime_ns, file.st_size)

    def _holds(self, path: Path) -> bool:
        """Return whether a file lies in the folder, and not where a link leads to."""
        return path.resolve().is_relative_to(self._folder)

    def _take(self, found: dict[Path, State]) -> None:
        gone = [str(path) for path, _ in self._files.items() - found.items()]
        new = [path for path, _ in found.items() - self._files.items()]
        cursor = self._connection.cursor()
        try:
            cursor.execute("begin")
            for table in IN_MEMORY:
                cursor.execute(
                    f"delete from {table.name} where list_contains($gone, file)",  # noqa: S608  # names of ours
                    {"gone": gone},
                )
                if part := self._of(table, new):
                    cursor.execute(_insertion(table), {"files": part})
            cursor.execute(_rows_view(self._of(ROWS, found)))
            cursor.execute("commit")
        except self._error as error:
            cursor.execute("rollback")
            raise self._unreadable(error) from None
        finally:
            cursor.close()

    def _of(self, table: Table, paths: Iterable[Path]) -> list[str]:
        folder = self._folder / table.name
        return [str(p) for p in paths if p.is_relative_to(folder)]

    def _unreadable(self, error: Exception) -> ConfigurationError:
        return ConfigurationError(
            f"cannot read the history in {self._folder}: {one_line(error, 300)}; write "
            "it again with: llmeval export"
        )


def _is_whole(name: str) -> bool:
    """Return whether a name is that of a table's file, which no one is writing."""
    return name.endswith(".parquet") and not name.startswith(".")


def _prepared(folder: Path) -> Iterable[str]:
    """Yield what makes empty tables, and lets nothing outside the folder be read."""
    yield "set TimeZone = 'UTC'"
    yield f"set allowed_directories = [{_literal(f'{folder}/')}]"
    yield "set enable_external_access = false"
    yield "set lock_configuration = true"
    for table in IN_MEMORY:
        columns = ", ".join(f"{c.name} {TYPES[c.kind]}" for c in table.columns)
        yield f"create table {table.name} ({columns}, file varchar)"
    yield _rows_view([])


def _insertion(table: Table) -> str:
    names = ", ".join(name for name in table.names if name != PARTITION)
    return (
        f"insert into {table.name} by name select {names}, filename as file "  # noqa: S608  # names of ours
        "from read_parquet($files, filename = true, hive_partitioning = false) "
        f"order by {ORDER.get(table.name, table.names[0])}"
    )


def _rows_view(files: list[str]) -> str:
    columns = [c for c in ROWS.columns if c.name != PARTITION]
    if files:
        listed = ", ".join(map(_literal, files))
        names = ", ".join(column.name for column in columns)
        source = f"{names} from read_parquet([{listed}], hive_partitioning = false)"
    else:
        nothing = (f"cast(null as {TYPES[c.kind]}) as {c.name}" for c in columns)
        source = f"{', '.join(nothing)} where false"
    return f"create or replace view {ROWS.name} as select {source}"


def _literal(text: Any) -> str:
    return "'" + str(text).replace("'", "''") + "'"
