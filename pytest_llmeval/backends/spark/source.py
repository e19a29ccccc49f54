"""From what ``data=`` names to a DataFrame, and where that comes from."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from pytest_llmeval.backends.spark.records import TEXT
from pytest_llmeval.backends.spark.records import to_batch
from pytest_llmeval.backends.spark.records import to_json
from pytest_llmeval.backends.spark.session import is_on_this_machine
from pytest_llmeval.backends.spark.session import open_session
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import DataError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.examples import ColumnNames
from pytest_llmeval.examples import choose_columns
from pytest_llmeval.records import DatasetRef
from pytest_llmeval.sources import spark_kind
from pytest_llmeval.text import one_line
from pytest_llmeval.text import redact


if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

    from pytest_llmeval.records import Rows


BLOCK = 20_000
"""Rows that go to Spark at once."""
VERSION = re.compile(r"@v(\d+)$")
PANDAS_INDEX = re.compile(r"__index_level_\d+__$")
VIEW = "data"
"""What a query in ``prepare=`` calls the source."""


class Source(NamedTuple):
    """A DataFrame, which of its columns is which, and where it comes from."""

    frame: DataFrame
    names: ColumnNames
    origin: Mapping[str, Any]
    """``source``, ``kind``, and ``version`` of a Delta table; see `Dataset`."""


def session_of(ref: DatasetRef, settings: Settings) -> SparkSession:
    """Return the session that data is read with: its own, the suite's, or ours."""
    if hasattr(ref.source, "sparkSession"):
        spark: SparkSession = ref.source.sparkSession
        return spark
    if ref.spark is not None:
        return ref.spark()
    return open_session(settings).spark


def open_source(
    spark: SparkSession,
    ref: DatasetRef,
    read: Callable[[], Rows],
    new_scratch: Callable[[], str],
) -> Source:
    """Return the source's DataFrame, prepared but with all its rows.

    Args:
        spark: Reads it.
        ref: What the suite gave.
        read: Reads it in this process, for a source that is not Spark's.
        new_scratch: Gives the place where those rows are written for Spark.

    Raises:
        DataError: there is no such source, or it cannot be prepared.
    """
    name, source = str(ref.name), ref.source
    kind = spark_kind(source) if isinstance(source, str) else None
    with naming_source(name):
        if hasattr(source, "sparkSession"):
            frame, origin = source, {"source": name, "kind": "frame"}
        elif kind is not None:
            frame, origin = open_named(spark, source, kind)
        elif isinstance(source, Path) and source.suffix == ".parquet":
            frame = _without_index(spark.read.parquet(str(source)))
            origin = {"source": str(source), "kind": "file"}
        elif ref.prepare is not None:
            frame = _as_table(spark, read())
            origin = {"source": name, "kind": "file"}
        else:
            return _hand_over(spark, ref, read(), new_scratch())
        frame = _prepare(spark, frame, ref.prepare)
        columns = dict.fromkeys(frame.columns)
    return Source(frame, choose_columns(columns, ref.columns, name, name), origin)


@contextmanager
def naming_source(name: str) -> Iterator[None]:
    """Say of what Spark raises in the block which source it is about."""
    try:
        yield
    except LLMEvalError:
        raise
    except Exception as error:  # noqa: BLE001  # Spark's, of whatever kind
        said = redact(str(error)).strip().partition("JVM stacktrace")[0]
        raise DataError(
            f"{one_line(name)}: Spark cannot read it: {type(error).__name__}: "
            f"{one_line(said, 500)}; check the name, and what this session may read"
        ) from None


def open_named(
    spark: SparkSession, source: str, kind: str
) -> tuple[DataFrame, dict[str, Any]]:
    """Return what a name, a path or a query stands for, and where it comes from."""
    origin: dict[str, Any] = {"source": source, "kind": kind}
    if kind == "sql":
        return spark.sql(source), origin
    place, version = VERSION.sub("", source), VERSION.search(source)
    number = int(version[1]) if version else None
    if kind == "delta":
        path = place.removeprefix("delta:")
        number = _delta_version(spark, f"delta.`{path}`", path, number)
        reader = spark.read.format("delta")
        if number is not None:
            reader = reader.option("versionAsOf", number)
        return reader.load(path), {**origin, "source": path, "version": number}
    if kind == "table":
        number = _delta_version(spark, place, None, number)
        origin |= {"source": place, "version": number}
        if number is None:
            return spark.table(place), origin
        query = f"SELECT * FROM {place} VERSION AS OF {number}"  # noqa: S608  # a name
        return spark.sql(query), origin
    return _open_path(spark, place), origin


def _delta_version(
    spark: SparkSession, table: str, path: str | None, wanted: int | None
) -> int | None:
    """Return the version to read, so that the one that is recorded is the one read.

    None for a table that has no versions.
    """
    if wanted is not None:
        return wanted
    try:
        newest = spark.sql(f"DESCRIBE HISTORY {table} LIMIT 1").collect()
        return int(newest[0]["version"])
    except Exception:  # noqa: BLE001  # no Delta table, or an engine without the command
        log = Path(path or "", "_delta_log")
        if path is None or not log.is_dir():
            return None
        versions = [
            int(file.stem) for file in log.glob("*.json") if file.stem.isdigit()
        ]
        return max(versions, default=None)


def _open_path(spark: SparkSession, path: str) -> DataFrame:
    """Read files where Spark finds them; Parquet unless the ending says otherwise."""
    ending = path.rstrip("/").lower().rpartition(".")[2]
    if ending in ("jsonl", "ndjson", "json"):
        return spark.read.json(path)
    if ending in ("csv", "tsv"):
        reader = spark.read.option("header", True).option("multiLine", True)
        reader = reader.option("escape", '"').option("mode", "FAILFAST")
        return reader.option("sep", "\t" if ending == "tsv" else ",").csv(path)
    return spark.read.parquet(path)


def _without_index(frame: DataFrame) -> DataFrame:
    """Leave out the index that pandas has written."""
    return frame.drop(*filter(PANDAS_INDEX.match, frame.columns))


def _prepare(spark: SparkSession, frame: DataFrame, prepare: Any) -> DataFrame:
    if prepare is None:
        return frame
    if isinstance(prepare, str):
        frame.createOrReplaceTempView(VIEW)
        return spark.sql(prepare)
    prepared: DataFrame = prepare(frame)
    if not hasattr(prepared, "mapInArrow"):
        raise DataError(
            f"prepare= returned {type(prepared).__name__}, expected a Spark DataFrame"
        )
    return prepared


def _as_table(spark: SparkSession, rows: Rows) -> DataFrame:
    """Return rows that this process reads as a DataFrame with their own columns."""
    import pyarrow

    records = [json.loads(to_json(record)) for _, record in rows]
    try:
        table = pyarrow.Table.from_pylist(records)
    except pyarrow.ArrowException as error:
        raise DataError(
            f"the rows have no common columns that prepare= could work on: {error}"
        ) from None
    return spark.createDataFrame(table)


def _hand_over(
    spark: SparkSession, ref: DatasetRef, rows: Rows, scratch: str
) -> Source:
    """Write rows that this process reads to where Spark reads them, block by block."""
    import pyarrow

    name, names = str(ref.name), None
    pending = iter(rows)
    while block := list(itertools.islice(pending, BLOCK)):
        is_first = names is None
        if names is None:
            where, first = block[0]
            names = choose_columns(first, ref.columns, name, where)
        texts = [(to_json(record),) for _, record in block]
        table = pyarrow.Table.from_batches([to_batch(f"{TEXT} string", texts)])
        how = "overwrite" if is_first else "append"
        spark.createDataFrame(table).write.mode(how).parquet(scratch)
    if names is None:
        raise DataError(f"{name} has no rows; an evaluation needs one", "ZERO_ROWS")
    origin = {"source": str(ref.source) if isinstance(ref.source, Path) else name}
    frame = spark.read.schema(f"{TEXT} string").parquet(scratch)
    return Source(frame, names, {**origin, "kind": "file"})


def checkpoint_folder(spark: SparkSession, settings: Settings) -> str:
    """Return where answers are kept, which driver and executors both reach.

    Raises:
        ConfigurationError: Spark is elsewhere, and no place is configured.
    """
    if settings.spark_checkpoint is not None:
        return settings.spark_checkpoint.rstrip("/")
    if is_on_this_machine(spark, settings):
        return str(settings.home.absolute() / "spark")
    raise ConfigurationError(
        "Spark does not write to this machine's disk, so that it needs a place for "
        "answers: set the ini value llmeval_spark_checkpoint to a folder or URI that "
        "all of its executors reach, such as /Volumes/main/evals/checkpoints or "
        "s3://bucket/checkpoints"
    )
