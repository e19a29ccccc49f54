"""History tables in Delta: as tables of a schema in a catalog, or as folders."""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.backends.spark.session import open_session
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.history.arrow import arrow_schema
from pytest_llmeval.history.arrow import to_arrow
from pytest_llmeval.history.places import check_version
from pytest_llmeval.history.places import in_order
from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.history.schema import SCHEMA_VERSION
from pytest_llmeval.history.schema import TABLES
from pytest_llmeval.history.schema import Column
from pytest_llmeval.history.schema import Table
from pytest_llmeval.history.wide import wide_query
from pytest_llmeval.text import one_line
from pytest_llmeval.text import redact


if TYPE_CHECKING:
    import pyarrow
    from pyspark.sql import DataFrame

    from pytest_llmeval.config import Settings


NOTES = Table(
    "llmeval_history",
    "What an export has noted for the next one.",
    (
        Column("name", "text", "Name of the note.", is_key=True),
        Column("text", "text", "The note."),
        Column("day", "day", "The partition."),
    ),
)
SCHEMA_NOTE, METRICS_NOTE = "schema", "metrics"
TRIES = 5
WAIT_S = 2.0


class SparkPlace:
    """A schema of a catalog, or a folder of Delta tables.

    Records are merged, so that two exports at once make no row twice: one of them finds
    that the table has changed, and tries again.

    Args:
        text: ``CATALOG.SCHEMA`` or ``delta:/path``.
        settings: Name the Spark to use.

    Raises:
        ConfigurationError: Spark cannot use it.
    """

    def __init__(self, text: str, settings: Settings) -> None:
        self.name = text
        self._path = text.removeprefix("delta:").rstrip("/") if ":" in text else None
        self._spark = open_session(settings).spark
        self._open()

    def read(self, table: str, columns: Sequence[str]) -> pyarrow.Table:
        """Return columns of a table."""
        import pyarrow

        fields = [arrow_schema(BY_NAME[table]).field(name) for name in columns]
        found = self._do(self._frame(BY_NAME[table]).select(*columns).toArrow)
        # Collected as rows, moments would be of the local time zone.
        return found.cast(pyarrow.schema(fields))

    def replace(self, tables: Mapping[str, pyarrow.Table]) -> None:
        """Merge the records, table by table; ``runs`` last."""
        for table in in_order(tables):
            if tables[table.name].num_rows:
                self._merge(table, tables[table.name])

    def note(self, name: str) -> str | None:
        """Return what an earlier export has noted."""
        rows = self._do(self._frame(NOTES).collect)
        return next((row["text"] for row in rows if row["name"] == name), None)

    def keep_note(self, name: str, text: str) -> None:
        """Note something for the next export."""
        self._merge(NOTES, to_arrow(NOTES, [{"name": name, "text": text}]))

    def finish(self) -> None:
        """Make the view anew, where the metrics are others than before."""
        if self._path is not None:
            return  # a folder has no views
        frame = self._frame(BY_NAME["metrics"]).select("metric").distinct()
        names = [row["metric"] for row in self._do(frame.collect)]
        query = wide_query(names, quote=_literal, place=f"{self.name}.")
        if query != self.note(METRICS_NOTE):
            view = f"CREATE OR REPLACE VIEW {self.name}.metrics_wide AS {query}"
            self._do(lambda: self._spark.sql(view).collect())
            self.keep_note(METRICS_NOTE, query)

    def _open(self) -> None:
        if self._path is None:
            create = f"CREATE SCHEMA IF NOT EXISTS {self.name}"
            self._do(lambda: self._spark.sql(create).collect())
        if not self._exists(NOTES):
            foreign = [table.name for table in TABLES if self._exists(table)]
            if foreign:
                raise ConfigurationError(
                    f"{self.name} has a table {foreign[0]!r} that is not ours; name "
                    "another schema with --to"
                )
            self._create(NOTES)
        found = self.note(SCHEMA_NOTE)
        if found is not None:
            check_version(int(found) if found.isdecimal() else found, self.name)
        for table in TABLES:
            if not self._exists(table):
                self._create(table)
        if found is None:
            self.keep_note(SCHEMA_NOTE, str(SCHEMA_VERSION))

    def _reference(self, table: Table) -> str:
        if self._path is None:
            return f"{self.name}.{table.name}"
        return f"delta.`{self._path}/{table.name}`"

    def _frame(self, table: Table) -> DataFrame:
        if self._path is None:
            return self._spark.table(self._reference(table))
        return self._spark.read.format("delta").load(f"{self._path}/{table.name}")

    def _exists(self, table: Table) -> bool:
        if self._path is None:
            return bool(
                self._do(
                    lambda: self._spark.catalog.tableExists(self._reference(table))
                )
            )
        try:
            self._frame(table).limit(0).collect()
        except Exception:  # noqa: BLE001  # Spark's, of whatever kind; writing will say
            return False
        return True

    def _create(self, table: Table) -> None:
        frame = self._spark.createDataFrame([], _definition(table))
        writer = frame.write.format("delta").mode("ignore").partitionBy("day")
        if self._path is None:
            self._do(lambda: writer.saveAsTable(self._reference(table)))
        else:
            self._do(lambda: writer.save(f"{self._path}/{table.name}"))

    def _merge(self, table: Table, records: pyarrow.Table) -> None:
        view = f"llmeval_{uuid.uuid4().hex}"
        self._spark.createDataFrame(records).createOrReplaceTempView(view)
        same = [f"t.{name} = s.{name}" for name in table.keys]
        # The partition too, so that other days are not read.
        days = ["t.day = s.day"] if table is not NOTES else []
        merge = (
            f"MERGE INTO {self._reference(table)} AS t USING {view} AS s "
            f"ON {' AND '.join([*days, *same])} "
            "WHEN MATCHED THEN UPDATE SET * WHEN NOT MATCHED THEN INSERT *"
        )
        try:
            self._do(lambda: self._spark.sql(merge).collect())
        finally:
            self._spark.catalog.dropTempView(view)

    def _do(self, action: Any) -> Any:
        """Do it, again where another export was faster; say where an error was."""
        for left in reversed(range(TRIES)):
            try:
                return action()
            except Exception as error:  # noqa: BLE001  # Spark's, of whatever kind
                if left and "concurrent" in str(error).lower():
                    time.sleep(WAIT_S)
                    continue
                raise ConfigurationError(
                    f"Spark cannot use the history in {one_line(self.name)}: "
                    f"{type(error).__name__}: {one_line(redact(str(error)), 500)}; "
                    "check the name, and what this session may do"
                ) from None
        return None


def _definition(table: Table) -> str:
    """Return the columns of a table, with comments, as Spark writes them."""
    types = {
        "text": "string",
        "json": "string",
        "integer": "bigint",
        "real": "double",
        "boolean": "boolean",
        "time": "timestamp",
        "day": "date",
    }
    return ", ".join(
        f"`{column.name}` {types[column.kind]} COMMENT {_literal(column.described)}"
        for column in table.columns
    )


def _literal(text: str) -> str:
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'") + "'"
