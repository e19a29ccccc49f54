"""The calls in a table, such as an inference table: a sample of each day, by Spark."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.backends.spark.session import open_session
from pytest_llmeval.backends.spark.source import naming_source
from pytest_llmeval.backends.spark.source import open_named
from pytest_llmeval.errors import DataError
from pytest_llmeval.records.traffic import TrafficRef
from pytest_llmeval.records.traffic import midnight


if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql import DataFrame

    from pytest_llmeval.config import Settings


FIRST_MS = 100_000_000_000
"""A number of at least that is a time in milliseconds."""


def read_calls(
    ref: TrafficRef, settings: Settings, kind: str
) -> Iterator[dict[str, Any]]:
    """Yield so many rows of each day as are wanted; all others stay in Spark.

    Raises:
        DataError: there is no such table, or it does not say when a call was.
    """
    with naming_source(ref.source):
        frame, _ = open_named(open_session(settings).spark, ref.source, kind)
        for day in ref.days:
            for row in _sample(frame, ref, day).toArrow().to_pylist():
                yield dict(row)


def _sample(frame: DataFrame, ref: TrafficRef, day: datetime.date) -> DataFrame:
    """Return the rows of a day whose hashes are the smallest."""
    from pyspark.sql import functions as F

    seconds = _seconds(frame, _column(frame, ref, "time"))
    start = midnight(day).timestamp()
    rows = frame.filter((seconds >= start) & (seconds < start + 86_400))
    row_id = _column(frame, ref, "id")
    # Not rand(seed), which gives other rows on other engines and after other writes.
    place = F.xxhash64(F.col(row_id).cast("string"), F.lit(str(day)))
    return rows.orderBy(place, F.col(row_id).cast("string")).limit(ref.sample)


def _seconds(frame: DataFrame, name: str) -> Column:
    from pyspark.sql import functions as F

    kind = dict(frame.dtypes)[name]
    if kind in ("timestamp", "timestamp_ntz", "date"):
        return F.col(name).cast("timestamp").cast("double")
    if kind == "string":
        return F.to_timestamp(F.col(name)).cast("double")
    number = F.col(name).cast("double")
    return F.when(number >= FIRST_MS, number / 1000).otherwise(number)


def _column(frame: DataFrame, ref: TrafficRef, field: str) -> str:
    names = ref.names(field)
    found = next((name for name in names if name in frame.columns), None)
    if found is None:
        raise DataError(
            f"{ref.source}: no column {' or '.join(names)}; name it with --columns "
            f"{field}=COLUMN; the columns are: {', '.join(frame.columns)}"
        )
    return found
