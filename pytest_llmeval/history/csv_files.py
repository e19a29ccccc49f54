"""History tables as CSV files, for spreadsheets: no cell is a formula."""

from __future__ import annotations

import csv
import datetime
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.history.arrow import to_arrow
from pytest_llmeval.history.folder import Folder
from pytest_llmeval.history.places import in_order
from pytest_llmeval.history.places import owners_of
from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.history.schema import TABLES
from pytest_llmeval.history.schema import Column
from pytest_llmeval.history.schema import Kind
from pytest_llmeval.history.schema import Table


if TYPE_CHECKING:
    import pyarrow


FORMULA = ("=", "+", "-", "@", "\t", "\r")
"""What a spreadsheet takes for the beginning of a formula."""
LONGEST_CELL = 2**31 - 1
"""Python's own limit is less than what a row may hold."""


class CsvPlace:
    """A folder with one CSV file for each table, written anew with each export.

    Args:
        path: Of the folder.

    Raises:
        ConfigurationError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.name = f"csv:{path}"
        self._folder = Folder(path, "csv")
        with self._folder.writing():
            for table in TABLES:
                if not self._path(table).exists():
                    self._write(table, iter(()))

    def read(self, table: str, columns: Sequence[str]) -> pyarrow.Table:
        """Return columns of a table."""
        definition = BY_NAME[table]
        by_name = {column.name: column for column in definition.columns}
        wanted = [by_name[name] for name in dict.fromkeys((*columns, *definition.keys))]
        records = [
            {column.name: _value(row[column.name], column) for column in wanted}
            for row in self._rows(definition)
        ]
        return to_arrow(definition, records).select(list(columns))

    def replace(self, tables: Mapping[str, pyarrow.Table]) -> None:
        """Write the files anew; ``runs`` last."""
        with self._folder.writing():
            for table in in_order(tables):
                self._replace(table, tables[table.name], owners_of(table, tables))

    def note(self, name: str) -> str | None:
        """Return what an earlier export has noted."""
        return self._folder.note(name)

    def keep_note(self, name: str, text: str) -> None:
        """Note something for the next export."""
        self._folder.keep_note(name, text)

    def finish(self) -> None:
        """Do nothing: files of text have no views."""

    def _path(self, table: Table) -> Path:
        return self._folder.path / f"{table.name}.csv"

    def _rows(self, table: Table) -> Iterator[dict[str, str]]:
        csv.field_size_limit(LONGEST_CELL)
        with self._path(table).open(encoding="utf-8", newline="") as file:
            yield from csv.DictReader(file)

    def _replace(
        self, table: Table, records: pyarrow.Table, owners: pyarrow.Table
    ) -> None:
        owner = table.names[0]
        gone = {_cell(text, "text") for text in owners.column(0).to_pylist()}
        new = (
            [_cell(record[column.name], column.kind) for column in table.columns]
            for record in records.to_pylist()
        )
        kept = (
            list(row.values()) for row in self._rows(table) if row[owner] not in gone
        )
        self._write(table, chain(kept, new))

    def _write(self, table: Table, rows: Iterator[Sequence[str]]) -> None:
        path = self._path(table)
        scratch = path.with_name(f".{path.name}")
        with scratch.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file)
            writer.writerow(table.names)
            writer.writerows(rows)
        scratch.replace(path)


def _cell(value: Any, kind: Kind) -> str:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, datetime.datetime):
        return value.astimezone(datetime.UTC).isoformat().replace("+00:00", "Z")
    text = str(value)
    is_text = kind in ("text", "json")
    return f"'{text}" if is_text and text.startswith(FORMULA) else text


def _value(cell: str, column: Column) -> Any:
    kind = column.kind
    if cell == "":  # a CSV file knows no difference to no value
        return "" if column.is_key else None
    if kind in ("text", "json"):
        return cell[cell.startswith("'") and cell[1:].startswith(FORMULA) :]
    if kind == "boolean":
        return cell == "true"
    if kind == "time":
        return datetime.datetime.fromisoformat(cell)
    if kind == "day":
        return datetime.date.fromisoformat(cell)
    return int(cell) if kind == "integer" else float(cell)
