"""History tables as Parquet files: ``DIR/metrics/day=2026-11-30/part.parquet``.

A day is one file for each table. Whoever adds to a day writes the file anew and puts it
in place in one step, so that readers see whole files, and few of them.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.history.arrow import arrow_schema
from pytest_llmeval.history.folder import Folder
from pytest_llmeval.history.places import in_order
from pytest_llmeval.history.places import owners_of
from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.history.schema import TABLES
from pytest_llmeval.history.schema import Table
from pytest_llmeval.history.wide import wide_query
from pytest_llmeval.store import replace_file


if TYPE_CHECKING:
    import pyarrow


EMPTY = "day=1970-01-01/empty.parquet"
"""Holds no row; readers of a table that has none find its columns there."""
VIEWS = "views.sql"


class ParquetPlace:
    """A folder of Parquet files.

    Args:
        path: Of the folder.

    Raises:
        ConfigurationError: it cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._folder = Folder(path, "parquet")
        with self._folder.writing():
            for table in TABLES:
                empty = path / table.name / EMPTY
                if not empty.exists():
                    _put(arrow_schema(table).empty_table(), empty)

    def read(self, table: str, columns: Sequence[str]) -> pyarrow.Table:
        """Return columns of a table."""
        return self._dataset(table).to_table(columns=list(columns))

    def replace(self, tables: Mapping[str, pyarrow.Table]) -> None:
        """Write the days anew that the records are of; ``runs`` last."""
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
        """Write the views for DuckDB, where the metrics are others than before."""
        import pyarrow.compute as pc

        names = pc.unique(self.read("metrics", ["metric"]).column("metric"))
        text = _views(names.to_pylist())
        path = self._folder.path / VIEWS
        with self._folder.writing():
            if not path.exists() or path.read_text(encoding="utf-8") != text:
                replace_file(path, text)

    def _dataset(self, table: str) -> Any:
        import pyarrow.dataset

        schema = arrow_schema(BY_NAME[table])
        day = schema.field("day")
        return pyarrow.dataset.dataset(
            self._folder.path / table,
            schema=schema,
            format="parquet",
            partitioning=pyarrow.dataset.partitioning(
                pyarrow.schema([day]), flavor="hive"
            ),
        )

    def _replace(
        self, table: Table, records: pyarrow.Table, owners: pyarrow.Table
    ) -> None:
        import pyarrow
        import pyarrow.compute as pc

        for day in pc.unique(owners.column("day")).to_pylist():
            path = self._folder.path / table.name / f"day={day}" / "part.parquet"
            new = records.filter(pc.equal(records.column("day"), pyarrow.scalar(day)))
            old = _of_day(path, table, day)
            others = _without(old, owners.column(0))
            whole = pyarrow.concat_tables([others, new]).sort_by(
                [(name, "ascending") for name in table.keys]
            )
            if not whole.equals(old):
                _put(whole, path)


def _of_day(path: Path, table: Table, day: datetime.date) -> pyarrow.Table:
    import pyarrow
    import pyarrow.parquet

    schema = arrow_schema(table)
    if not path.exists():
        return schema.empty_table()
    # With `partitioning` off, because the folder's name would be read as a column.
    stored = pyarrow.parquet.read_table(path, partitioning=None)
    days = pyarrow.array([day] * stored.num_rows, schema.field("day").type)
    return stored.append_column("day", days).select(schema.names).cast(schema)


def _without(old: pyarrow.Table, owners: pyarrow.ChunkedArray) -> pyarrow.Table:
    """Return the records of other runs, or of other deployments."""
    import pyarrow.compute as pc

    values = owners.combine_chunks()
    return old.filter(pc.invert(pc.is_in(old.column(0), value_set=values)))


def _put(records: pyarrow.Table, path: Path) -> None:
    """Write a file in one step; a reader does not look at names with a leading dot."""
    import pyarrow.parquet

    path.parent.mkdir(parents=True, exist_ok=True)
    scratch = path.with_name(f".{path.name}")
    pyarrow.parquet.write_table(
        records.drop_columns("day"), scratch, compression="zstd"
    )
    scratch.replace(path)


def _views(metrics: Iterable[str]) -> str:
    options = "hive_partitioning = true, hive_types = {'day': DATE}"
    views = [
        f"CREATE OR REPLACE VIEW {table.name} AS\n"
        f"FROM read_parquet('{table.name}/*/*.parquet', {options});\n"
        for table in TABLES
    ]
    return (
        "-- Read the history in DuckDB: cd into this folder, then duckdb -init "
        f"{VIEWS}\n"
        + "".join(views)
        + f"CREATE OR REPLACE VIEW metrics_wide AS\n{wide_query(metrics)};\n"
    )
