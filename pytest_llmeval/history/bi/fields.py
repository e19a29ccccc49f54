"""What people read of the history tables in a BI tool: names, roles and joins."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal
from typing import NamedTuple

from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.history.schema import Column
from pytest_llmeval.history.schema import Table


TABLES = tuple(
    BY_NAME[name] for name in ("runs", "evaluations", "metrics", "gates", "deployments")
)
"""Those that every history has; where a name occurs twice, the first keeps it."""
Aggregation = Literal["Sum", "Avg"]

CAPTIONS = {
    "actor": "Who deployed",
    "n": "Answers counted",
    "op": "Comparison",
    "slice_by": "Slice columns",
    "slice_value": "Slice",
    "text": "Decision in words",
}
WORDS = {"ci": "CI", "id": "ID", "mlflow": "MLflow", "url": "URL"}
UNITS = {"_ms": "ms", "_s": "seconds", "_usd": "US dollars"}
"""By the ends of names."""
AVERAGED = ("of the metric", "share", "ms", "percent")
"""Units of which a sum says nothing."""


class Join(NamedTuple):
    """A table whose rows belong to one row of another."""

    one: str
    many: str
    keys: tuple[str, ...]
    """Of both."""


JOINS = (
    Join("runs", "evaluations", ("run_id",)),
    Join("evaluations", "metrics", ("run_id", "evaluation")),
    Join("runs", "gates", ("run_id",)),
    Join("runs", "deployments", ("run_id",)),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Field:
    """A column of a table as a BI tool shows it."""

    table: Table
    column: Column
    name: str
    """That of the column; with the table's where an earlier table has it."""
    caption: str
    """For people; no other field has it."""
    aggregation: Aggregation | None
    """How it is put together; None for what groups and filters."""
    is_hidden: bool
    """Whether it only joins: another table shows the same."""


def history_fields() -> tuple[Field, ...]:
    """Return the fields of all tables, in order."""
    return tuple(_field(table, column) for table in TABLES for column in table.columns)


def _field(table: Table, column: Column) -> Field:
    first = next(one for one in TABLES if column.name in one.names)
    after = "" if first is table else f" ({table.name})"
    joins = any(one.many == table.name and column.name in one.keys for one in JOINS)
    return Field(
        table=table,
        column=column,
        name=column.name + after,
        caption=_caption(column) + after,
        aggregation=_aggregation(column),
        is_hidden=joins and first is not table,
    )


def _caption(column: Column) -> str:
    if column.name in CAPTIONS:
        return CAPTIONS[column.name]
    end = next((end for end in UNITS if column.name.endswith(end)), "")
    words = column.name.removesuffix(end).split("_")
    text = " ".join(WORDS.get(word, word) for word in words)
    text = text[0].upper() + text[1:]
    return f"{text} ({UNITS[end]})" if end else text


def _aggregation(column: Column) -> Aggregation | None:
    if column.kind not in ("integer", "real") or not column.unit or column.is_key:
        return None
    if column.unit in AVERAGED or column.name == "repeats":
        return "Avg"
    return "Sum"
