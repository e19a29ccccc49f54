"""The history tables as Arrow has them: what all places are written from."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.history.schema import Table


if TYPE_CHECKING:
    import pyarrow


def arrow_schema(table: Table) -> pyarrow.Schema:
    """Return the Arrow schema of a table."""
    import pyarrow

    types = {
        "text": pyarrow.string(),
        "json": pyarrow.string(),
        "integer": pyarrow.int64(),
        "real": pyarrow.float64(),
        "boolean": pyarrow.bool_(),
        "time": pyarrow.timestamp("us", tz="UTC"),
        "day": pyarrow.date32(),
    }
    return pyarrow.schema(
        [
            pyarrow.field(column.name, types[column.kind], nullable=not column.is_key)
            for column in table.columns
        ]
    )


def to_arrow(table: Table, records: Iterable[Mapping[str, Any]]) -> pyarrow.Table:
    """Return records of a table, with all its columns, in order."""
    import pyarrow

    return pyarrow.Table.from_pylist(list(records), schema=arrow_schema(table))
