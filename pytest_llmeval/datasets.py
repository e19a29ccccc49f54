"""From ``data=`` to examples: column names, row ids and a digest of every byte."""

from __future__ import annotations

import heapq
import math
from array import array
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import pluggy

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DataError
from pytest_llmeval.examples import ColumnNames
from pytest_llmeval.examples import choose_columns
from pytest_llmeval.examples import content_hash
from pytest_llmeval.examples import copy_id
from pytest_llmeval.examples import digest_of_sum
from pytest_llmeval.examples import filled_columns
from pytest_llmeval.examples import is_selected
from pytest_llmeval.examples import row_id_of
from pytest_llmeval.examples import sample_place
from pytest_llmeval.examples import to_example
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import DatasetRef
from pytest_llmeval.records import Example
from pytest_llmeval.records import Rows
from pytest_llmeval.records import canonical
from pytest_llmeval.sources import spark_kind


Read = Callable[[], Rows]
"""Reads the source from its beginning: where a row stands, and its columns."""
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
        data: What `find_data` takes.
        hook: Where the backends that read are registered.
        settings: The run's settings.
        columns: Explicit names, as in `DatasetRef`.
        folder: What a relative path starts from, before the rootdir.
        limit: How many rows to read at most, from the first on.
        in_memory: Keep the examples, instead of reading them anew each time.

    Raises:
        DataError: names file, line and column of what is wrong.
    """
    ref = find_data(data, settings, columns=columns, folder=folder)

    selected = _selecting(lambda: read_rows(ref, hook, settings), ref)

    def read() -> Rows:
        return selected() if limit is None else islice(selected(), limit)

    return _build(ref, read, in_memory)


def find_data(
    data: Any,
    settings: Settings,
    *,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    folder: Path | None = None,
) -> DatasetRef:
    """Return what ``data=`` stands for: a file that is there, or what Spark reads.

    Args:
        data: A path, a pandas frame, a list of mappings, what Spark reads, or a
            `DatasetRef` of one of these.
        settings: The run's settings.
        columns: Explicit names, as in `DatasetRef`.
        folder: What a relative path starts from, before the rootdir.

    Raises:
        DataError: there is no such file.
    """
    ref = data if isinstance(data, DatasetRef) else DatasetRef(source=data)
    source, name = ref.source, ref.name or "data"
    kind = spark_kind(source) if isinstance(source, str) else None
    if isinstance(source, (str, Path)) and kind in (None, "table"):
        found = _find(Path(source), folder, settings.rootdir)
        if found is not None:
            source, kind = found, None
            name = ref.name or found.name
        elif kind is None and "://" not in str(source):
            raise _no_file(Path(source), folder, settings.rootdir)
    if isinstance(source, str):
        name = ref.name or ("query" if kind == "sql" else source)
    return replace(ref, source=source, name=name, columns=columns or ref.columns)


def read_rows(ref: DatasetRef, hook: pluggy.HookRelay, settings: Settings) -> Rows:
    """Return where each row stands, and its columns, before any selection.

    Raises:
        DataError: nobody can read it.
    """
    rows: Rows | None = hook.pytest_llmeval_load_dataset(ref=ref, settings=settings)
    if rows is None:
        raise DataError(
            f"data={ref.source!r:.200} is nothing that can be read; give a path to "
            "a csv, tsv, json, jsonl or parquet file, a pandas frame, a list of "
            "mappings, the name of a table or another source of Spark, or a DatasetRef"
        )
    return rows


def _selecting(read: Read, ref: DatasetRef) -> Read:
    """Return what reads the rows that ``where`` and ``sample`` keep."""
    check_selection(ref)
    if ref.where:
        read = _reading_where(read, {k: canonical(v) for k, v in ref.where.items()})
    return read if ref.sample is None else _reading_sample(read, ref, ref.sample)


def check_selection(ref: DatasetRef) -> None:
    """Refuse a sample that is no number of rows and no share of them.

    Raises:
        DataError: it is neither.
    """
    sample: object = ref.sample
    is_count = isinstance(sample, int) and not isinstance(sample, bool) and sample > 0
    is_share = isinstance(sample, float) and 0 < sample <= 1
    if sample is not None and not (is_count or is_share):
        raise DataError(
            f"sample={sample!r:.60} is neither a number of rows, such as 1000, nor a "
            "share of them above 0 and up to 1.0"
        )


def _reading_where(read: Read, where: Mapping[str, bytes]) -> Read:
    def selected() -> Rows:
        return (item for item in read() if is_selected(item[1], where))

    return selected


def _reading_sample(read: Read, ref: DatasetRef, sample: float) -> Read:
    """Return what reads the rows whose places come first.

    Rows of one place are copies of each other, so it does not matter which are kept.
    """

    def placed() -> Iterator[tuple[int, tuple[str, Mapping[str, Any]]]]:
        names: ColumnNames | None = None
        for where, record in read():
            names = names or choose_columns(record, ref.columns, str(ref.name), where)
            row_id = row_id_of(record, names, content_hash(record), where)
            yield sample_place(row_id, ref.seed), (where, record)

    if isinstance(sample, int):
        first = heapq.nsmallest(sample, (place for place, _ in placed()))
        last = first[-1] if first else 0
        copies = first.count(last)
    else:
        last, copies = int(sample * 2.0**64), 0

    def chosen() -> Rows:
        left = copies
        for place, item in placed():
            if place == last:
                left -= 1
            if place < last or (place == last and left >= 0):
                yield item

    return chosen


def _find(path: Path, folder: Path | None, rootdir: Path) -> Path | None:
    tried = [base / path for base in (folder, rootdir) if base is not None]
    return next((candidate for candidate in tried if candidate.is_file()), None)


def _no_file(path: Path, folder: Path | None, rootdir: Path) -> DataError:
    tried = [base / path for base in (folder, rootdir) if base is not None]
    return DataError(
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
    total = sum(
        int.from_bytes(content_hash(example.metadata), "big") for example in examples
    )
    return replace(
        dataset,
        digest=digest_of_sum(total),
        examples=examples,
        ids=[example.id for example in examples],
        filled=Counter(
            name for one in examples for name in filled_columns(one.metadata)
        ),
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


class _Examples:
    """The examples of a dataset, read anew each time, and checked to be the same."""

    def __init__(self, name: str, read: Read, mapping: ColumnNames) -> None:
        self._name, self._read, self.mapping = name, read, mapping
        self.ids: list[str] = []
        self.checks = array("Q")

    def __len__(self) -> int:
        return len(self.ids)

    def __iter__(self) -> Iterator[Example]:
        position = -1
        for position, (where, record) in enumerate(self._read()):
            row_hash = content_hash(record)
            if position >= len(self) or _check(row_hash) != self.checks[position]:
                raise self._changed(f"{where} is another row now")
            yield to_example(self.ids[position], record, self.mapping, where)
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


def _build(ref: DatasetRef, read: Read, in_memory: bool) -> Dataset:
    """Read all rows once: check them, name them, and digest them."""
    name, examples = str(ref.name), None
    kept: list[Example] = []
    copies: Counter[str] = Counter()
    seen: set[str] = set()
    filled: Counter[str] = Counter()
    total = with_references = 0
    for where, record in read():
        if examples is None:
            names = choose_columns(record, ref.columns, name, where)
            examples = _Examples(name, read, names)
        mapping = examples.mapping
        row_hash = content_hash(record)
        total += int.from_bytes(row_hash, "big")
        row_id = row_id_of(record, mapping, row_hash, where)
        if mapping.id is None:
            copies[row_id] += 1
            row_id = copy_id(row_id, copies[row_id])
        if row_id in seen:
            raise _doubled(row_id, where, read, mapping)
        seen.add(row_id)
        example = to_example(row_id, record, mapping, where)
        if in_memory:
            kept.append(example)
        with_references += bool(example.references)
        filled.update(filled_columns(record))
        examples.ids.append(row_id)
        examples.checks.append(_check(row_hash))
    if examples is None:
        raise no_rows(ref)
    return Dataset(
        name=name,
        digest=digest_of_sum(total),
        examples=kept or examples,
        ids=examples.ids,
        columns=asdict(examples.mapping),
        filled=filled,
        with_references=with_references,
    )


def no_rows(ref: DatasetRef) -> DataError:
    """Return the error that a source has no rows, or that none is selected."""
    kept_by = f" where {ref.where!r}" if ref.where else ""
    return DataError(
        f"{ref.name} has no rows{kept_by}; an evaluation needs one", "ZERO_ROWS"
    )


def _doubled(row_id: str, where: str, read: Read, names: ColumnNames) -> DataError:
    """Say where an id occurs first."""
    before = next(
        (
            place
            for place, record in read()
            if row_id_of(record, names, content_hash(record), place) == row_id
        ),
        "an earlier row",
    )
    return DataError(
        f"{where}: id {row_id!r} occurs before, at {before}; ids must be unique "
        "(without an id column, rows are named by their content)",
        "DUPLICATE_ROWS",
    )
