"""From ``data=`` to examples: column names, row ids and a digest of every byte."""

from __future__ import annotations

import hashlib
import math
from array import array
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pluggy

from pytest_llmeval.config import Settings
from pytest_llmeval.config import nearest
from pytest_llmeval.errors import DataError
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import DatasetRef
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
LEAST_PART = 1_000
MOST_PARTS = 20
"""How `in_order` cuts a dataset."""


def load_dataset(
    data: Any,
    hook: pluggy.HookRelay,
    settings: Settings,
    *,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    folder: Path | None = None,
    limit: int | None = None,
    in_memory: bool = False,
) -> Dataset:
    """Read a dataset into examples.

    Args:
        data: A path, a pandas frame, a list of mappings, or a `DatasetRef`.
        hook: Where the backends that read are registered.
        settings: The run's settings.
        columns: Explicit names, as in `DatasetRef`.
        folder: What a relative path starts from, before the rootdir.
        limit: How many rows to read at most, from the first on.
        in_memory: Keep the examples, instead of reading them anew each time.

    Raises:
        DataError: names file, line and column of what is wrong.
    """
    ref = data if isinstance(data, DatasetRef) else DatasetRef(source=data)
    source = ref.source
    if isinstance(source, (str, Path)) and "://" not in str(source):
        source = _find(Path(source), folder, settings.rootdir)
        name = ref.name or source.name
    else:
        name = ref.name or (source if isinstance(source, str) else "data")
    ref = DatasetRef(source=source, name=name, columns=columns or ref.columns)

    def read() -> Iterable[tuple[str, Mapping[str, Any]]]:
        rows: Iterable[tuple[str, Mapping[str, Any]]] | None
        rows = hook.pytest_llmeval_load_dataset(ref=ref, settings=settings)
        if rows is None:
            raise DataError(
                f"data={ref.source!r:.200} is nothing that can be read; give a path to "
                "a csv, tsv, json, jsonl or parquet file, a pandas frame, a list of "
                "mappings or a DatasetRef"
            )
        return rows if limit is None else islice(rows, limit)

    return _build(name, read, ref.columns, in_memory)


def _find(path: Path, folder: Path | None, rootdir: Path) -> Path:
    tried = [base / path for base in (folder, rootdir) if base is not None]
    for candidate in tried:
        if candidate.is_file():
            return candidate
    raise DataError(
        f"no data file {str(path)!r}; looked for: "
        + ", ".join(str(candidate) for candidate in dict.fromkeys(tried))
    )


def part_of(dataset: Dataset, positions: Sequence[int]) -> Dataset:
    """Return a dataset of some of the examples, in their order, all of them in memory.

    Its digest is that of a file with these rows alone.
    """
    if len(positions) == len(dataset.ids):
        return dataset
    wanted = set(positions)
    examples = [one for at, one in enumerate(dataset.examples) if at in wanted]
    total = sum(int.from_bytes(_hash(example.metadata), "big") for example in examples)
    return replace(
        dataset,
        digest=_digest(total),
        examples=examples,
        ids=[example.id for example in examples],
        filled=Counter(name for one in examples for name in _given(one.metadata)),
        with_references=sum(bool(example.references) for example in examples),
    )


def in_order(dataset: Dataset, order: Sequence[int]) -> Iterator[tuple[int, Example]]:
    """Yield examples with their positions, in the order that these are given in.

    A part of them is in memory at a time. Reads the source for each part, so that it
    is read at most some twenty times.
    """
    size = max(LEAST_PART, math.ceil(len(order) / MOST_PARTS))
    for start in range(0, len(order), size):
        part = order[start : start + size]
        wanted = set(part)
        found = {
            at: example for at, example in enumerate(dataset.examples) if at in wanted
        }
        for at in part:
            yield at, found[at]


Read = Callable[[], Iterable[tuple[str, Mapping[str, Any]]]]
"""Reads the source from its beginning: where a row stands, and its columns."""


class _Examples:
    """The examples of a dataset, read anew each time, and checked to be the same."""

    def __init__(self, name: str, read: Read, mapping: _Mapping) -> None:
        self._name, self._read, self.mapping = name, read, mapping
        self.ids: list[str] = []
        self.checks = array("Q")

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Example]:
        position = -1
        for position, (where, record) in enumerate(self._read()):
            row_hash = _hash(record)
            if position >= len(self) or _check(row_hash) != self.checks[position]:
                raise self._changed(f"{where} is another row now")
            yield _example(self.ids[position], record, self.mapping, where)
        if position + 1 < len(self):
            raise self._changed(f"it has {position + 1} of {len(self)} rows now")

    def _changed(self, what: str) -> DataError:
        return DataError(
            f"{self._name} changed while it was evaluated: {what}; run again when "
            "nothing writes to it",
            "DATASET_CHANGED",
        )


def _check(row_hash: bytes) -> int:
    """Return the part of a row's hash that is kept for each row."""
    return int.from_bytes(row_hash[:8], "big")


def _build(
    name: str,
    read: Read,
    columns: Mapping[str, str | Sequence[str]] | None,
    in_memory: bool,
) -> Dataset:
    """Read all rows once: check them, name them, and digest them."""
    examples: _Examples | None = None
    kept: list[Example] = []
    copies: dict[str, int] = {}
    seen: set[str] = set()
    filled: Counter[str] = Counter()
    total = with_references = 0
    for where, record in read():
        if examples is None:
            examples = _Examples(name, read, _choose(record, columns, name, where))
        mapping = examples.mapping
        row_hash = _hash(record)
        total += int.from_bytes(row_hash, "big")
        row_id = _row_id(record, mapping, where)
        if row_id is None:
            row_id = row_hash.hex()[:16]
            copies[row_id] = copies.get(row_id, 0) + 1
            if copies[row_id] > 1:
                row_id = f"{row_id}#{copies[row_id]}"
        if row_id in seen:
            raise _doubled(row_id, where, read, mapping)
        seen.add(row_id)
        example = _example(row_id, record, mapping, where)
        if in_memory:
            kept.append(example)
        with_references += bool(example.references)
        filled.update(_given(record))
        examples.ids.append(row_id)
        examples.checks.append(_check(row_hash))
    if examples is None:
        raise DataError(f"{name} has no rows; an evaluation needs one", "ZERO_ROWS")
    return Dataset(
        name=name,
        digest=_digest(total),
        examples=kept or examples,
        ids=examples.ids,
        columns=asdict(examples.mapping),
        filled=filled,
        with_references=with_references,
    )


def _given(record: Mapping[str, Any]) -> list[str]:
    return [column for column in record if not is_missing(record[column])]


def _hash(record: Mapping[str, Any]) -> bytes:
    return hashlib.sha256(canonical(record)).digest()


def _digest(total: int) -> str:
    """Return the digest of a dataset from the sum of its rows' hashes."""
    return f"sha256:{total % 2**256:064x}"


def _doubled(row_id: str, where: str, read: Read, mapping: _Mapping) -> DataError:
    """Say where an id occurs first."""
    before = next(
        (place for place, record in read() if _row_id(record, mapping, "") == row_id),
        "an earlier row",
    )
    return DataError(
        f"{where}: id {row_id!r} occurs before, at {before}; ids must be unique "
        "(without an id column, rows are named by their content)",
        "DUPLICATE_ROWS",
    )


@dataclass(frozen=True, slots=True)
class _Mapping:
    id: str | None
    input: str
    references: tuple[str, ...]
    context: str | None


def _choose(
    first: Mapping[str, Any],
    columns: Mapping[str, str | Sequence[str]] | None,
    name: str,
    where: str,
) -> _Mapping:
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
    return _Mapping(one["id"], found["input"][0], found["references"], one["context"])


def _row_id(record: Mapping[str, Any], mapping: _Mapping, where: str) -> str | None:
    if mapping.id is None:
        return None
    value = record.get(mapping.id)
    if is_missing(value) or value == "":
        raise DataError(f"{where}: the id in column {mapping.id!r} is empty")
    return _text(value, mapping.id, where)


def _example(
    row_id: str, record: Mapping[str, Any], mapping: _Mapping, where: str
) -> Example:
    if is_missing(record.get(mapping.input)):
        raise DataError(f"{where}: column {mapping.input!r} has no text")
    references: list[str] = []
    for column in mapping.references:
        value: Any = record.get(column)
        if hasattr(value, "tolist"):
            value = value.tolist()
        if is_missing(value):
            continue
        items = value if isinstance(value, (list, tuple)) else [value]
        references += [_text(item, column, where) for item in items]
    context = record.get(mapping.context) if mapping.context else None
    return Example(
        id=row_id,
        input=_text(record[mapping.input], mapping.input, where),
        references=tuple(references),
        context=None
        if mapping.context is None or is_missing(context)
        else _text(context, mapping.context, where),
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
