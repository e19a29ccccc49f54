"""Data that lies where Spark reads it: rows with ids, a digest, examples on demand."""

from __future__ import annotations

import json
import shutil
import uuid
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import overload

from pytest_llmeval.backends.spark.records import KEYED
from pytest_llmeval.backends.spark.records import PROFILED
from pytest_llmeval.backends.spark.records import keying
from pytest_llmeval.backends.spark.records import profiling
from pytest_llmeval.backends.spark.source import checkpoint_folder
from pytest_llmeval.backends.spark.source import naming_source
from pytest_llmeval.backends.spark.source import open_source
from pytest_llmeval.backends.spark.source import session_of
from pytest_llmeval.config import Settings
from pytest_llmeval.datasets import check_selection
from pytest_llmeval.datasets import no_rows
from pytest_llmeval.errors import DataError
from pytest_llmeval.examples import digest_of_sum
from pytest_llmeval.examples import to_example
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import DatasetRef
from pytest_llmeval.records import Example
from pytest_llmeval.records import Rows
from pytest_llmeval.records import canonical


if TYPE_CHECKING:
    from pyspark.sql import DataFrame

    from pytest_llmeval.backends.spark.scored import SparkScores
    from pytest_llmeval.records import TableJob


class SparkTable:
    """A source with what was selected of it; nothing of it is read before it is needed.

    Args:
        ref: What the suite gave.
        settings: The run's settings.
        read: Reads it in this process, for sources that are not Spark's.
    """

    def __init__(
        self, ref: DatasetRef, settings: Settings, read: Callable[[], Rows]
    ) -> None:
        check_selection(ref)
        self.ref, self.settings = ref, settings
        self.spark = session_of(ref, settings)
        self.name = str(ref.name)
        self._read, self._scratch = read, ""

    @cached_property
    def folder(self) -> str:
        """Where answers are kept."""
        return checkpoint_folder(self.spark, self.settings)

    @cached_property
    def source(self) -> Any:
        """The DataFrame, with the names of its columns."""
        return open_source(self.spark, self.ref, self._read, self._new_scratch)

    def _new_scratch(self) -> str:
        self._scratch = f"{self.folder}/handed/{uuid.uuid4().hex}"
        return self._scratch

    def close(self) -> None:
        """Remove what was written for Spark to read, where this process can."""
        if self._scratch:
            shutil.rmtree(Path(self._scratch), ignore_errors=True)

    @cached_property
    def keyed(self) -> DataFrame:
        """The selected rows as `KEYED`; computed anew each time."""
        ref, source = self.ref, self.source
        share = isinstance(ref.sample, float)
        most = int(ref.sample * 2.0**64) if share and ref.sample < 1 else None  # type: ignore[operator]  # a float
        where = {name: canonical(value) for name, value in (ref.where or {}).items()}
        frame: DataFrame = source.frame.mapInArrow(
            keying(source.names, self.name, where=where, most=most, seed=ref.seed),
            KEYED,
        )
        if ref.sample is not None and not share:
            # Rows of one place are copies; what is no example comes first, to be seen.
            frame = frame.orderBy("place").limit(int(ref.sample))
        return frame

    @property
    def origin(self) -> Mapping[str, Any]:
        """Where the rows come from, see `Dataset`."""
        origin: Mapping[str, Any] = self.source.origin
        return origin

    def count(self) -> int:
        """Return how many rows there are, before any of them is checked."""
        selects = self.ref.where or isinstance(self.ref.sample, float)
        with naming_source(self.name):
            rows = int((self.keyed if selects else self.source.frame).count())
        sample = self.ref.sample
        return min(rows, sample) if isinstance(sample, int) else rows

    @cached_property
    def dataset(self) -> Dataset:
        """The selected rows' number, digest and columns; reads all of them once.

        Raises:
            DataError: there are none, or one of them is no example.
        """
        names = self.source.names
        with naming_source(self.name):
            found = self.keyed.mapInArrow(profiling(names, self.name), PROFILED)
            parts = [json.loads(row["profile"]) for row in found.collect()]
        problem = next((part["problem"] for part in parts if part["problem"]), None)
        if problem is not None:
            raise DataError(problem)
        rows = sum(part["rows"] for part in parts)
        if not rows:
            raise no_rows(self.ref)
        filled: Counter[str] = Counter()
        for part in parts:
            filled.update(part["filled"])
        return Dataset(
            name=self.name,
            digest=digest_of_sum(sum(int(part["total"], 16) for part in parts)),
            examples=_Examples(self),
            ids=_Ids(self, rows),
            columns=asdict(names),
            filled=filled,
            with_references=sum(part["with_references"] for part in parts),
            origin=self.origin,
        )

    def evaluate(self, job: TableJob) -> SparkScores:
        """Ask and score where the rows lie."""
        from pytest_llmeval.backends.spark.evaluation import evaluate_table

        return evaluate_table(self, job)


class _Examples:
    """The examples, brought here one by one."""

    def __init__(self, table: SparkTable) -> None:
        self._table = table

    def __iter__(self) -> Iterator[Example]:
        names, name = self._table.source.names, self._table.name
        for row in self._table.keyed.select("id", "row").toLocalIterator():
            yield to_example(row["id"], json.loads(row["row"]), names, name)


class _Ids(Sequence[str]):
    """The ids, whose number is known, and which are brought here when they are read."""

    def __init__(self, table: SparkTable, rows: int) -> None:
        self._table, self._rows = table, rows

    def __len__(self) -> int:
        return self._rows

    def __iter__(self) -> Iterator[str]:
        for row in self._table.keyed.select("id").toLocalIterator():
            yield row["id"]

    @overload
    def __getitem__(self, at: int) -> str: ...

    @overload
    def __getitem__(self, at: slice) -> Sequence[str]: ...

    def __getitem__(self, at: int | slice) -> str | Sequence[str]:
        return list(self)[at]
