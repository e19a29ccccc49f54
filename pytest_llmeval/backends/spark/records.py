"""Rows on executors: from what Spark reads to ids, JSON and digests.

The functions here run inside ``mapInArrow``; what they are given is plain data.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.errors import DataError
from pytest_llmeval.examples import ColumnNames
from pytest_llmeval.examples import content_hash
from pytest_llmeval.examples import filled_columns
from pytest_llmeval.examples import is_selected
from pytest_llmeval.examples import row_id_of
from pytest_llmeval.examples import sample_place
from pytest_llmeval.examples import to_example
from pytest_llmeval.records import as_text
from pytest_llmeval.records import canonical
from pytest_llmeval.records import is_missing


if TYPE_CHECKING:
    import pyarrow

    Batches = Iterator[pyarrow.RecordBatch]
    MapBatches = Callable[[Batches], Batches]


TEXT = "llmeval_row"
"""The one column, of JSON, of data that was read by this machine's own readers."""
KEYED = "id string, row string, hash string, place string, problem string"
"""What `keying` makes: a row's id, its columns as JSON, its content hash in hex, its
place in a sample, and what makes it no example."""
PROFILED = "profile string"
SUMMED = "total string"


def to_json(record: Mapping[str, Any]) -> str:
    """Return a record as JSON from which its canonical form follows, as from itself.

    Unlike that form it tells 1.0 from 1, which a prompt does too.
    """
    return json.dumps(_jsonable(record), allow_nan=False, separators=(",", ":"))


def _jsonable(value: Any) -> Any:
    if isinstance(value, (str, bool)):
        return value
    if is_missing(value):
        return None
    if isinstance(value, Mapping):
        return {str(key): _jsonable(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_jsonable(item) for item in value]
    if hasattr(value, "tolist"):
        return _jsonable(value.tolist())
    if isinstance(value, float):
        return None if abs(value) == float("inf") else value
    return value if isinstance(value, int) else as_text(value)


def read_records(batch: pyarrow.RecordBatch) -> Iterator[dict[str, Any]]:
    """Yield the rows of a batch as mappings of columns."""
    if batch.schema.names == [TEXT]:
        yield from map(json.loads, batch.column(0).to_pylist())
    else:
        yield from batch.to_pylist()


def keying(
    names: ColumnNames,
    dataset: str,
    *,
    where: Mapping[str, bytes],
    most: int | None,
    seed: int,
) -> MapBatches:
    """Return what makes `KEYED` rows of a source.

    Args:
        names: Which column is which.
        dataset: Its name, for messages.
        where: Keep rows that have these values, in canonical form.
        most: Keep rows whose place is below it; all when None.
        seed: Of the sample.
    """

    def key(record: dict[str, Any]) -> tuple[str | None, ...] | None:
        if not is_selected(record, where):
            return None
        row_hash = content_hash(record)
        try:
            row_id = row_id_of(record, names, row_hash, f"{dataset}, some row")
            row_id.encode()
            to_example(row_id, record, names, f"{dataset}, row {row_id!r}")
        except UnicodeEncodeError:
            message = f"{dataset}: the id {row_id!r} is no valid text"
            return None, None, None, "", message
        except DataError as error:
            return None, None, None, "", str(error)
        place = sample_place(row_id, seed)
        if most is not None and place >= most:
            return None
        return row_id, to_json(record), row_hash.hex(), f"{place:016x}", None

    def map_batches(batches: Batches) -> Batches:
        for batch in batches:
            keyed = filter(None, map(key, read_records(batch)))
            yield to_batch(KEYED, keyed)

    return map_batches


def profiling(names: ColumnNames, dataset: str) -> MapBatches:
    """Return what sums `KEYED` rows up: one JSON text for each partition."""

    def map_batches(batches: Batches) -> Batches:
        filled: Counter[str] = Counter()
        rows = total = with_references = 0
        problem: str | None = None
        for batch in batches:
            for row_id, row, row_hash, _, found in zip(
                *(column.to_pylist() for column in batch.columns), strict=True
            ):
                if found is not None:
                    problem = problem or found
                    continue
                record = json.loads(row)
                rows += 1
                total += int(row_hash, 16)
                filled.update(filled_columns(record))
                example = to_example(row_id, record, names, dataset)
                with_references += bool(example.references)
        profile = {
            "rows": rows,
            "total": f"{total:x}",
            "filled": filled,
            "with_references": with_references,
            "problem": problem,
        }
        yield to_batch(PROFILED, [(json.dumps(profile),)])

    return map_batches


def summing(batches: Batches) -> Batches:
    """Sum content hashes, in hex: one total for each partition."""
    total = 0
    for batch in batches:
        total += sum(int(row_hash, 16) for row_hash in batch.column(0).to_pylist())
    yield to_batch(SUMMED, [(f"{total:x}",)])


def adding_value(column: str, schema: str) -> MapBatches:
    """Return what adds a column of the data, in canonical form, as ``value``.

    Args:
        column: Of the data.
        schema: What comes out: the columns that come in, ``row`` among them, and
            ``value string`` at the end.
    """

    def map_batches(batches: Batches) -> Batches:
        import pyarrow

        for batch in batches:
            values = [
                None if is_missing(value) else canonical(value).decode()
                for value in (
                    json.loads(row).get(column)
                    for row in batch.column(batch.schema.names.index("row")).to_pylist()
                )
            ]
            array = pyarrow.array(values, pyarrow.string())
            yield pyarrow.RecordBatch.from_arrays(
                [*batch.columns, array], names=column_names(schema)
            )

    return map_batches


def column_names(schema: str) -> list[str]:
    """Return the names in a schema such as ``id string, n bigint``."""
    return [part.split()[0] for part in schema.split(", ")]


def to_batch(schema: str, rows: Any) -> pyarrow.RecordBatch:
    """Return rows, tuples in the order of a schema's columns, as an Arrow batch."""
    import pyarrow

    types = {
        "string": pyarrow.string(),
        "bigint": pyarrow.int64(),
        "int": pyarrow.int32(),
        "double": pyarrow.float64(),
    }
    parts = [part.split() for part in schema.split(", ")]
    columns = list(zip(*rows, strict=True)) or [()] * len(parts)
    return pyarrow.RecordBatch.from_arrays(
        [
            pyarrow.array(column, types[kind])
            for column, (_, kind) in zip(columns, parts, strict=True)
        ],
        names=[name for name, _ in parts],
    )
