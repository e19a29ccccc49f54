"""Rows of a small table, brought to this process once for all of a run's workers."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import weakref
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from filelock import FileLock

from pytest_llmeval.backends.spark.source import naming_source
from pytest_llmeval.backends.spark.table import SparkTable
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DataError
from pytest_llmeval.records import DatasetRef
from pytest_llmeval.records import Rows
from pytest_llmeval.records import digest_of


BLOCK = 1_000
_folders: dict[int, Path] = {}
"""Of sources that only this process knows, by their references, with which they go."""


def fetch_rows(
    ref: DatasetRef, settings: Settings, read: Callable[[], Rows]
) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield a source's rows; Spark is asked once in a run, later calls read a file."""
    from pyarrow.parquet import ParquetFile

    path = _path_of(ref, settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{path}.lock"):
        if not path.exists():
            _fetch(SparkTable(ref, settings, read), path)
    with ParquetFile(path) as file:
        index = 0
        for batch in file.iter_batches(batch_size=BLOCK):
            for text in batch.column(0).to_pylist():
                yield f"{ref.name}, row {index}", json.loads(text)
                index += 1


def _path_of(ref: DatasetRef, settings: Settings) -> Path:
    """Return the file for what is selected: one for all workers, where that is sure."""
    if settings.services is not None and _is_the_same_everywhere(ref):
        selection = [ref.where, ref.sample, ref.seed, ref.columns]
        what = [str(ref.source), ref.prepare or "", selection]
        return settings.services / "data" / f"{digest_of(what)[7:23]}.parquet"
    if id(ref) not in _folders:
        folder = tempfile.mkdtemp(prefix="llmeval-")
        _folders[id(ref)] = Path(folder)
        weakref.finalize(ref, _drop, id(ref))
    return _folders[id(ref)] / "data.parquet"


def _drop(key: int) -> None:
    shutil.rmtree(_folders.pop(key), ignore_errors=True)


def _is_the_same_everywhere(ref: DatasetRef) -> bool:
    """Return whether a source has the same rows in each process and all the time.

    Functions and DataFrames are of one process; a temporary view is of one session, and
    may be another one later.
    """
    if not isinstance(ref.source, (str, Path)) or callable(ref.prepare):
        return False
    if "pyspark.sql" not in sys.modules:
        return True  # no session of this process has views yet
    from pyspark.sql import SparkSession

    text = f"{ref.source} {ref.prepare or ''}".lower()
    try:
        spark = SparkSession.getActiveSession()
        tables = [] if spark is None else spark.catalog.listTables()
        return not any(one.isTemporary and one.name.lower() in text for one in tables)
    except Exception:  # noqa: BLE001  # of an engine that cannot list them
        return False


def _fetch(table: SparkTable, path: Path) -> None:
    from pyarrow.parquet import write_table

    with naming_source(table.name):
        found = table.keyed.select("row", "problem").toArrow()
    problem = next(filter(None, found.column("problem").to_pylist()), None)
    if problem is not None:
        raise DataError(problem)
    scratch = path.with_suffix(".partial")
    write_table(found.select(["row"]), scratch)
    scratch.replace(path)
