"""Reads csv, tsv, json, jsonl and parquet files, pandas frames and lists."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pytest_llmeval.errors import DataError
from pytest_llmeval.hooks import hookimpl
from pytest_llmeval.records import DatasetRef


Rows = Iterable[tuple[str, Mapping[str, Any]]]
BLOCK = 1_000
PANDAS_INDEX = re.compile(r"__index_level_\d+__$")


@hookimpl(trylast=True)
def pytest_llmeval_load_dataset(ref: DatasetRef) -> Rows | None:
    """Read what is a file, a frame or a list."""
    source, name = ref.source, ref.name or "data"
    if ref.prepare is not None:
        return None
    if isinstance(source, Path):
        return _read_file(source)
    if hasattr(source, "to_dict") and hasattr(source, "columns"):
        return _named(name, _frame_records(source))
    if isinstance(source, Sequence) and not isinstance(source, (str, bytes)):
        return _named(name, source)
    return None


def _frame_records(frame: Any) -> Iterator[Any]:
    """Yield a frame's records in blocks: all of them at once would double the frame."""
    for start in range(0, len(frame), BLOCK):
        yield from frame.iloc[start : start + BLOCK].to_dict("records")


def _named(name: str, records: Iterable[Any]) -> Rows:
    for index, record in enumerate(records):
        yield _checked(record, f"{name}, row {index}")


def _checked(record: Any, where: str) -> tuple[str, Mapping[str, Any]]:
    if not isinstance(record, Mapping):
        raise DataError(
            f"{where}: expected a mapping of columns, got {type(record).__name__}"
        )
    return where, record


def _read_file(path: Path) -> Rows:
    readers: dict[str, Callable[[Path], Rows]] = {
        ".csv": lambda path: _read_separated(path, ","),
        ".tsv": lambda path: _read_separated(path, "\t"),
        ".json": _read_json,
        ".jsonl": _read_json_lines,
        ".ndjson": _read_json_lines,
        ".parquet": _read_parquet,
    }
    reader = readers.get(path.suffix.lower())
    if reader is None:
        raise DataError(
            f"{path}: cannot read files ending in {path.suffix!r}; the known endings "
            f"are: {', '.join(readers)}"
        )
    return reader(path)


def _lines(path: Path) -> Iterator[str]:
    """Yield decoded lines, and say in which one the encoding is broken."""
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                yield line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                raise DataError(
                    f"{path.name}, line {number}: not UTF-8 (byte {error.start}: "
                    f"{error.reason}); save the file as UTF-8"
                ) from None


def _read_separated(path: Path, delimiter: str) -> Rows:
    csv.field_size_limit(2**31 - 1)  # passages are longer than csv's default allows
    reader = csv.reader(_lines(path), delimiter=delimiter, strict=True)
    try:
        header = next(reader, None)
        if header is None:
            return
        if len(set(header)) != len(header):
            twice = sorted({column for column in header if header.count(column) > 1})
            raise DataError(f"{path.name}, line 1: column {twice[0]!r} occurs twice")
        before = reader.line_num
        for cells in reader:
            where, before = f"{path.name}, line {before + 1}", reader.line_num
            if not cells:
                continue
            if len(cells) != len(header):
                raise DataError(
                    f"{where}: {len(cells)} cells, but the header has {len(header)} "
                    "columns; quote cells that hold the separator or a line break"
                )
            # An empty cell is a missing value, as parquet would have it.
            yield where, dict(zip(header, (c or None for c in cells), strict=True))
    except csv.Error as error:
        raise DataError(f"{path.name}, line {reader.line_num}: {error}") from None


def _read_json_lines(path: Path) -> Rows:
    for number, line in enumerate(_lines(path), 1):
        if line.strip():
            where = f"{path.name}, line {number}"
            yield _checked(_parse(line.rstrip(), where), where)


def _read_json(path: Path) -> Rows:
    document = _parse("".join(_lines(path)), path.name)
    if not isinstance(document, list):
        raise DataError(
            f"{path.name}: expected a list of objects, got {type(document).__name__}; "
            "one object per line is a .jsonl file"
        )
    yield from _named(path.name, document)


def _parse(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except json.JSONDecodeError as error:
        place = f"{where}, column {error.colno}"
        if error.lineno > 1:
            place = f"{where}, line {error.lineno}, column {error.colno}"
        raise DataError(f"{place}: not valid JSON: {error.msg}") from None
    except (ValueError, RecursionError) as error:  # huge integers, deep nesting
        raise DataError(f"{where}: JSON that cannot be read: {error}") from None


def _read_parquet(path: Path) -> Rows:
    try:
        from pyarrow import ArrowException
        from pyarrow.parquet import ParquetFile
    except ImportError:
        raise DataError(
            f"{path.name}: parquet files need pyarrow: pip install pyarrow"
        ) from None
    index = 0
    try:
        with ParquetFile(path) as file:
            names = [n for n in file.schema_arrow.names if not PANDAS_INDEX.match(n)]
            for batch in file.iter_batches(batch_size=BLOCK, columns=names):
                for record in batch.to_pylist():
                    yield f"{path.name}, row {index}", record
                    index += 1
    except (OSError, ValueError, ArrowException) as error:
        raise DataError(f"{path.name}: not a readable parquet file: {error}") from None
