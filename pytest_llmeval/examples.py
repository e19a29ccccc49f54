"""From a record of the data to an example: column names, row id, content hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmeval.config import nearest
from pytest_llmeval.errors import DataError
from pytest_llmeval.records import Example
from pytest_llmeval.records import canonical
from pytest_llmeval.records import is_missing


COLUMNS: Mapping[str, tuple[str, ...]] = {
    "id": ("id",),
    "input": ("input", "question", "prompt", "query", "instruction"),
    "references": (
        "reference",
        "references",
        "answer",
        "answers",
        "target",
        "expected",
        "expected_output",
        "ground_truth",
    ),
    "context": ("context",),
}
"""The first of these names that the data has is used."""


@dataclass(frozen=True, slots=True)
class ColumnNames:
    """Which columns of the data an example is made of."""

    id: str | None
    input: str
    references: tuple[str, ...]
    context: str | None


def choose_columns(
    first: Mapping[str, Any],
    columns: Mapping[str, str | Sequence[str]] | None,
    name: str,
    where: str,
) -> ColumnNames:
    """Decide from the first row, and the explicit names, which column is which."""
    columns = columns or {}
    for field in columns:
        if field not in COLUMNS:
            raise DataError(
                f"columns= of {name} has no field {field!r}; the fields are: "
                f"{', '.join(COLUMNS)}{nearest(field, list(COLUMNS))}"
            )
    found: dict[str, tuple[str, ...]] = {}
    for field, known in COLUMNS.items():
        if field in columns:
            given = columns[field]
            wanted = (given,) if isinstance(given, str) else tuple(given)
            for column in wanted:
                if column not in first:
                    raise DataError(
                        f"{where}: no column {column!r}, which columns= names for "
                        f"{field!r}; the columns are: {', '.join(map(str, first))}"
                        + nearest(column, list(map(str, first)))
                    )
            found[field] = wanted
        else:
            found[field] = tuple(column for column in known if column in first)[:1]
    if not found["input"]:
        raise DataError(
            f"{where}: no input column; expected one of "
            f"{', '.join(COLUMNS['input'])}, or name it with "
            f'columns={{"input": …}}; the columns are: {", ".join(map(str, first))}'
        )
    one = {field: next(iter(names), None) for field, names in found.items()}
    return ColumnNames(
        one["id"], found["input"][0], found["references"], one["context"]
    )


def row_id_of(
    record: Mapping[str, Any], names: ColumnNames, row_hash: bytes, where: str
) -> str:
    """Return a row's id; without an id column, copies of one row have the same.

    Raises:
        DataError: the id is empty, or no text.
    """
    if names.id is None:
        return row_hash.hex()[:16]
    value = record.get(names.id)
    if is_missing(value) or value == "":
        raise DataError(f"{where}: the id in column {names.id!r} is empty")
    return _text(value, names.id, where)


def copy_id(row_id: str, number: int) -> str:
    """Return the id of a row's copy: the first one, number 1, has the row's own."""
    return row_id if number == 1 else f"{row_id}#{number}"


def sample_place(row_id: str, seed: int) -> int:
    """Return where a sample meets a row, below 2^64; copies of a row share a place."""
    text = f"{seed} {row_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8).digest())


def is_selected(record: Mapping[str, Any], where: Mapping[str, bytes]) -> bool:
    """Return whether a record has these values, in canonical form, in its columns."""
    return all(
        not is_missing(record.get(column)) and canonical(record[column]) == value
        for column, value in where.items()
    )


def to_example(
    row_id: str, record: Mapping[str, Any], names: ColumnNames, where: str
) -> Example:
    """Return a record as an example.

    Raises:
        DataError: it has no input, or one of its columns holds no text.
    """
    if is_missing(record.get(names.input)):
        raise DataError(f"{where}: column {names.input!r} has no text")
    references: list[str] = []
    for column in names.references:
        value: Any = record.get(column)
        if hasattr(value, "tolist"):
            value = value.tolist()
        if is_missing(value):
            continue
        items = value if isinstance(value, (list, tuple)) else [value]
        references += [_text(item, column, where) for item in items]
    context = record.get(names.context) if names.context else None
    return Example(
        id=row_id,
        input=_text(record[names.input], names.input, where),
        references=tuple(references),
        context=None
        if names.context is None or is_missing(context)
        else _text(context, names.context, where),
        metadata=dict(record),
    )


def _text(value: Any, column: str, where: str) -> str:
    if isinstance(value, str):
        return value
    if hasattr(value, "item") and getattr(value, "size", 1) == 1:
        value = value.item()
    if isinstance(value, (int, float)) and not is_missing(value):
        return str(value)
    raise DataError(
        f"{where}: column {column!r} holds {type(value).__name__}, expected text"
    )


def filled_columns(record: Mapping[str, Any]) -> list[str]:
    """Return the columns that have a value."""
    return [column for column in record if not is_missing(record[column])]


def content_hash(record: Mapping[str, Any]) -> bytes:
    """Return SHA-256 of all columns, the same on every engine."""
    return hashlib.sha256(canonical(record)).digest()


def digest_of_sum(total: int) -> str:
    """Return the digest of a dataset from the sum of its rows' hashes."""
    return f"sha256:{total % 2**256:064x}"
