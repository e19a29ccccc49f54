"""Spark, Delta and Unity Catalog tables, and evaluation where they lie.

All of it uses the DataFrame API that Spark Connect has, so that it works on a laptop
without Java, on a cluster, and on Databricks.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.datasets import read_rows
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.hooks import hookimpl
from pytest_llmeval.records import DatasetRef
from pytest_llmeval.records.traffic import TrafficRef
from pytest_llmeval.sources import spark_kind


if TYPE_CHECKING:
    from pytest_llmeval.backends.spark.history import SparkPlace
    from pytest_llmeval.backends.spark.table import SparkTable
    from pytest_llmeval.config import Settings
    from pytest_llmeval.records import Rows


@hookimpl(trylast=True)
def pytest_llmeval_load_dataset(
    ref: DatasetRef, settings: Settings
) -> Iterable[tuple[str, Mapping[str, Any]]] | None:
    """Bring to this process what only Spark can read."""
    if not needs_spark(ref):
        return None
    from pytest_llmeval.backends.spark.fetch import fetch_rows

    def read() -> Rows:
        return read_rows(replace(ref, prepare=None), headless_manager().hook, settings)

    return fetch_rows(ref, settings, read)


@hookimpl(trylast=True)
def pytest_llmeval_open_table(
    ref: DatasetRef, settings: Settings, read: Callable[[], Rows], is_wanted: bool
) -> SparkTable | None:
    """Open what only Spark can read, or whatever it is wanted for."""
    if not (is_wanted or needs_spark(ref)):
        return None
    from pytest_llmeval.backends.spark.table import SparkTable

    return SparkTable(ref, settings, read)


@hookimpl(trylast=True)
def pytest_llmeval_traffic(
    ref: TrafficRef, settings: Settings
) -> Iterator[dict[str, Any]] | None:
    """Give the calls of a table, for example an inference table of Databricks."""
    kind = spark_kind(ref.source)
    if kind is None:
        return None
    from pytest_llmeval.backends.spark.traffic import read_calls

    return read_calls(ref, settings, kind)


@hookimpl(trylast=True)
def pytest_llmeval_spark_session(settings: Settings) -> Any:
    """Give a session of the Spark that the settings and the surroundings name."""
    from pytest_llmeval.backends.spark.session import open_session

    return open_session(settings)


@hookimpl(trylast=True)
def pytest_llmeval_history_place(place: str, settings: Settings) -> SparkPlace | None:
    """Give ``CATALOG.SCHEMA`` and ``delta:/path``."""
    kind = spark_kind(place)
    if kind != "delta" and (kind != "table" or place.count(".") != 1):
        return None
    from pytest_llmeval.backends.spark.history import SparkPlace

    return SparkPlace(place, settings)


@hookimpl(trylast=True)
def pytest_sessionfinish() -> None:
    """Close our sessions, whoever opened them: their server ends with the run."""
    session = sys.modules.get("pytest_llmeval.backends.spark.session")
    if session is not None:
        session.close_sessions()


def needs_spark(ref: DatasetRef) -> bool:
    """Return whether this process could not read a source by itself."""
    source = ref.source
    if isinstance(source, str) and spark_kind(source) is not None:
        return True
    is_frame = hasattr(source, "sparkSession") and hasattr(source, "schema")
    return is_frame or ref.prepare is not None
