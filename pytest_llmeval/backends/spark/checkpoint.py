"""What an evaluation has written, and how far it came: rows, answers, scores.

A wave of answers is complete when it has as many as it should. What a kill left half
written has fewer, or cannot be read at all; it is written again.
"""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from contextlib import suppress
from typing import TYPE_CHECKING
from typing import TypeAlias

from pyspark.sql import functions as F

from pytest_llmeval.backends.spark.asking import ANSWERED
from pytest_llmeval.backends.spark.asking import REFUSED
from pytest_llmeval.errors import DataError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession


Done: TypeAlias = dict[tuple[int, int], tuple[int, int]]
"""By round and wave: answers, and how many of them are errors."""
TRIES = 2
"""How often something is written before its failure ends the evaluation."""


class Checkpoint:
    """Parquet files of one evaluation, which only Spark reads and writes.

    Args:
        spark: The session.
        place: Their folder or URI.
    """

    def __init__(self, spark: SparkSession, place: str) -> None:
        self._spark, self.place = spark, place

    def read(self, path: str, schema: str) -> DataFrame:
        """Return what is at a path."""
        return self._spark.read.schema(schema).parquet(f"{self.place}/{path}")

    def count(self, path: str) -> int:
        """Return how many rows are there; none where nothing can be read."""
        try:
            return int(self.read(path, "id string").count())
        except Exception:  # noqa: BLE001  # nothing is there, or it is half written
            return 0

    def write(self, frame: DataFrame, path: str, rows: int) -> None:
        """Write what a frame comes to, again when Spark loses a part of it.

        Raises:
            DataError: it does not come to so many rows.
        """
        for tries in range(1, TRIES + 1):
            try:
                frame.write.mode("overwrite").parquet(f"{self.place}/{path}")
                break
            except Exception as error:  # noqa: BLE001  # of tasks, of a network
                if tries == TRIES:
                    raise ModelError(
                        f"Spark failed {tries} times at {one_line(path)}: "
                        f"{type(error).__name__}: {one_line(error, 500)}; what was "
                        "answered before is kept, and the same command goes on there"
                    ) from None
        written = self.count(path)
        if written != rows:
            raise DataError(
                f"Spark wrote {written} rows where {rows} were expected, at "
                f"{self.place}/{path}; run the same command again",
                "ROWS_MISSING",
            )

    def answers(self, before: int | None = None) -> DataFrame:
        """Return the answers with their rounds and waves.

        Args:
            before: Those of the rounds before it alone, which are complete, and without
                their numbers; all when None.
        """
        if before is None:
            return self.read("answers", f"{ANSWERED}, round int, wave int")
        paths = [f"{self.place}/answers/round={number}" for number in range(before)]
        return self._spark.read.schema(ANSWERED).parquet(*paths)

    def done_waves(self, waves: Iterable[int]) -> Done:
        """Return how many answers each wave of each round has, and errors in them.

        Without waves in which the model must not be asked on: they are asked anew.

        Args:
            waves: Those of a round.
        """

        def count(frame: DataFrame) -> Done:
            found = frame.groupBy("round", "wave").agg(
                F.count("id").alias("rows"),
                F.count("kind").alias("failed"),
                refusals().alias("refused"),
            )
            return {
                (row["round"], row["wave"]): (row["rows"], row["failed"])
                for row in found.where("refused = 0").collect()
            }

        try:
            return count(self.answers())
        except Exception as error:  # noqa: BLE001  # see below
            if "PATH_NOT_FOUND" in str(error):
                return {}
            return self._done_one_by_one(count, waves)

    def _done_one_by_one(
        self, count: Callable[[DataFrame], Done], waves: Iterable[int]
    ) -> Done:
        """Look at single waves: what a kill left half written cannot be read."""
        done: Done = {}
        number = 0
        while True:
            found: Done = {}
            for wave in waves:
                with suppress(Exception):
                    frame = self.read(wave_path(number, wave), ANSWERED)
                    found |= count(_at(frame, number, wave))
            if not found:
                return done
            done |= found
            number += 1


def wave_path(number: int, wave: int) -> str:
    """Return where a round's wave is kept."""
    return f"answers/round={number}/wave={wave}"


def refusals() -> Column:
    """Count the rows whose task could not ask at all."""
    return F.count(F.when(F.col("kind") == REFUSED, 1))


def _at(frame: DataFrame, number: int, wave: int) -> DataFrame:
    return frame.withColumn("round", F.lit(number)).withColumn("wave", F.lit(wave))
