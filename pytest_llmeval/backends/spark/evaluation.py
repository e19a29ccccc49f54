"""Asks for the rows of a table where they lie, each once, and scores them.

What is asked is cut into waves: as many tasks as run at once, each with a bounded
number of rows. A wave is written before the next begins. So a run that was killed goes
on with its next wave, and asks again for the rows of one wave at most.

    rows/       every selected row with its id, once for each repeat, by wave
    answers/    round=0/wave=0 …: what the model said
    scores/     for each evaluation: answers with scores, which gates read

Beside these folders, ``newest`` names the answers that were refreshed last.

A round asks for what the rounds before it left without an answer: rows in error are
rows, and the same command asks for them again.
"""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING

from filelock import FileLock
from pyspark.sql import functions as F

from pytest_llmeval.backends.spark.asking import ANSWERED
from pytest_llmeval.backends.spark.asking import REFUSED
from pytest_llmeval.backends.spark.asking import asking
from pytest_llmeval.backends.spark.checkpoint import Checkpoint
from pytest_llmeval.backends.spark.checkpoint import refusals
from pytest_llmeval.backends.spark.checkpoint import wave_path
from pytest_llmeval.backends.spark.records import SUMMED
from pytest_llmeval.backends.spark.records import summing
from pytest_llmeval.backends.spark.scored import SparkScores
from pytest_llmeval.backends.spark.scoring import scored_schema
from pytest_llmeval.backends.spark.scoring import scoring
from pytest_llmeval.backends.spark.session import is_on_this_machine
from pytest_llmeval.backends.spark.shipping import Shipment
from pytest_llmeval.backends.spark.shipping import for_task
from pytest_llmeval.backends.spark.shipping import pack
from pytest_llmeval.backends.spark.shipping import travelling_model
from pytest_llmeval.errors import DataError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.errors import ModelRefused
from pytest_llmeval.examples import digest_of_sum
from pytest_llmeval.records import TableJob
from pytest_llmeval.records import digest_of
from pytest_llmeval.text import first_few


if TYPE_CHECKING:
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession

    from pytest_llmeval.backends.spark.table import SparkTable


ROWS = "id string, repeat int, row string"
GENERATION = "generation string"


def evaluate_table(table: SparkTable, job: TableJob) -> SparkScores:
    """Ask for every row of a table, score all rows, and return them."""
    return _Evaluation(table, job).run()


class _Evaluation:
    def __init__(self, table: SparkTable, job: TableJob) -> None:
        self._table, self._job = table, job
        self._spark: SparkSession = table.spark
        self._settings, self._dataset = table.settings, table.dataset
        self._repeats = job.request.repeats
        self._rows = len(self._dataset.ids) * self._repeats
        self._metrics = [m for m in job.metrics.values() if m.score]
        # Before anything is written: what cannot travel says so now.
        self._shipment = Shipment(
            settings=for_task(self._settings, 1),
            model=travelling_model(job.given, job.model),
            ref=job.model.ref,
            request=job.request,
            metrics={m.name: replace(m, aggregate=None) for m in self._metrics},
            dataset=self._dataset.name,
            columns=self._dataset.columns,
            run_id=job.run_id,
        )
        pack(self._shipment)
        self._newest_path = f"{table.folder}/newest/{self._key(job.generation)}"
        self._name = self._key(self._generation())
        self._kept = Checkpoint(self._spark, f"{table.folder}/{self._name}")

    def _key(self, generation: str | None) -> str:
        """Return what names the answers: the model, how it is asked, and the rows."""
        what = [
            self._job.model.ref.identity(),
            generation,
            self._job.request.digest,
            self._dataset.digest,
        ]
        return digest_of(what).removeprefix("sha256:")[:24]

    def _generation(self) -> str | None:
        """Return which answers serve: the run's own, or those refreshed last."""
        if self._settings.cache in ("off", "refresh"):
            return f"{self._job.run_id} {self._job.model.ref.instance or ''}"
        try:
            found = self._spark.read.schema(GENERATION).parquet(self._newest_path)
            return str(found.collect()[0]["generation"])
        except Exception:  # noqa: BLE001  # nothing was refreshed
            return self._job.generation

    def _note_newest(self) -> None:
        """Have refreshed answers serve later runs."""
        if self._settings.cache == "refresh":
            newest = self._spark.createDataFrame([(self._generation(),)], GENERATION)
            newest.write.mode("overwrite").parquet(self._newest_path)

    def run(self) -> SparkScores:
        with self._alone(), self._cancelled_with_us():
            self._tasks = self._settings.spark_tasks or self._tasks_at_once()
            self._tasks = min(self._tasks, self._settings.share)
            self._write_rows()
            last = self._ask()
            self._note_newest()
            return self._score(last)

    def _tasks_at_once(self) -> int:
        """Return how many tasks Spark runs at once, as far as it shows."""
        if is_on_this_machine(self._spark, self._settings):
            return os.cpu_count() or 1
        parts = self._spark.range(10_000).select(F.spark_partition_id().alias("part"))
        return int(parts.distinct().count())

    def _alone(self) -> AbstractContextManager[object]:
        """Wait for other processes here that evaluate the same: they ask for us too."""
        folder = self._settings.home / "turns"
        folder.mkdir(parents=True, exist_ok=True)
        return FileLock(folder / f"spark-{self._name}.lock")

    @contextmanager
    def _cancelled_with_us(self) -> Iterator[None]:
        """Cancel what Spark does for us when we are interrupted."""
        tag = f"llmeval-{self._name}"
        with suppress(AttributeError):  # of a classic session before Spark 4
            self._spark.addTag(tag)
        try:
            yield
        except KeyboardInterrupt:
            with suppress(Exception):  # nothing more can be done
                self._spark.interruptTag(tag)
            raise
        finally:
            with suppress(Exception):  # the server may be gone
                self._spark.removeTag(tag)

    # Rows.

    @property
    def _waves(self) -> int:
        size = self._tasks * self._settings.spark_rows_per_task
        return -(-self._rows // size)

    def _write_rows(self) -> None:
        """Write the selected rows once, so that nothing computes them again."""
        if self._kept.count("rows") != self._rows:
            keyed = self._table.keyed.select("id", "row", "hash")
            if self._dataset.columns["id"] is None:
                keyed = _numbering_copies(keyed)
            repeats = F.array(*(F.lit(number) for number in range(self._repeats)))
            keyed = keyed.withColumn("repeat", F.explode(repeats))
            wave = F.pmod(F.xxhash64("id", "repeat"), F.lit(self._waves)).cast("int")
            keyed = keyed.withColumn("wave", wave)
            if self._waves > 1:
                keyed = keyed.repartition("wave")
            writer = keyed.write.mode("overwrite").partitionBy("wave")
            writer.parquet(f"{self._kept.place}/rows")
        self._check_rows()
        self._sizes = self._sizes_of(self._rows_with_wave())

    def _check_rows(self) -> None:
        """Refuse rows that changed while they were read, and ids that occur twice."""
        rows = self._kept.read("rows", f"{ROWS}, hash string").where("repeat = 0")
        summed = rows.select("hash").mapInArrow(summing, SUMMED).collect()
        total = sum(int(row["total"], 16) for row in summed)
        if digest_of_sum(total) != self._dataset.digest:
            raise DataError(
                f"{self._dataset.name} changed while it was read; run again when "
                "nothing writes to it, or name a version of the table",
                "DATASET_CHANGED",
            )
        counted = rows.groupBy("id").agg(F.count("id").alias("times"))
        doubled = [row["id"] for row in counted.where("times > 1").limit(6).collect()]
        if doubled:
            raise DataError(
                f"{self._dataset.name}: ids must be unique, and these occur more than "
                f"once: {first_few(sorted(doubled))}",
                "DUPLICATE_ROWS",
            )

    def _rows_with_wave(self) -> DataFrame:
        return self._kept.read("rows", f"{ROWS}, wave int")

    def _sizes_of(self, rows: DataFrame) -> dict[int, int]:
        counted = rows.groupBy("wave").agg(F.count("id").alias("rows")).collect()
        return {row["wave"]: row["rows"] for row in counted}

    # Answers.

    def _ask(self) -> int:
        """Ask until there is a reply or an error for every row; return the last round.

        Raises:
            ModelError: rows have no answer, and must not be asked for.
        """
        done = self._kept.done_waves(self._sizes)
        last = max((number for number, _ in done), default=0)
        sizes = self._round_sizes(last)
        is_whole = all(done.get((last, w), (0, 0))[0] == n for w, n in sizes.items())
        failed = sum(bad for (number, _), (_, bad) in done.items() if number == last)
        if is_whole and failed and self._settings.cache != "only":
            last, sizes, done = last + 1, self._round_sizes(last + 1), {}
        left = {
            wave: rows
            for wave, rows in sizes.items()
            if done.get((last, wave), (0, 0))[0] != rows
        }
        if left and self._settings.cache == "only":
            raise ModelError(
                f"--llmeval-cache only: {sum(left.values())} of {self._rows} rows of "
                f"{self._dataset.name} have no stored prediction of "
                f"{self._job.model.ref}"
            )
        ready = self._rows - sum(left.values())
        self._show(ready, 0)
        errors = 0
        for wave, rows in sorted(left.items()):
            errors += self._ask_wave(last, wave, rows)
            ready += rows
            self._show(ready, errors)
        return last

    def _show(self, done: int, errors: int) -> None:
        if self._job.progress is not None:
            self._job.progress(done, self._rows, errors)

    def _round_sizes(self, number: int) -> dict[int, int]:
        """Return how many answers each wave of a round is to have."""
        return self._sizes if number == 0 else self._sizes_of(self._wanted(number))

    def _wanted(self, number: int) -> DataFrame:
        """Return the rows that a round asks for: those without a reply before it."""
        rows = self._rows_with_wave()
        if number == 0:
            return rows
        good = self._kept.answers(before=number).where("kind IS NULL")
        return rows.join(good.select("id", "repeat"), ["id", "repeat"], "left_anti")

    def _ask_wave(self, number: int, wave: int, rows: int) -> int:
        """Ask for a wave, and write it; return how many errors came."""
        limit = self._settings.spark_rows_per_task
        tasks = max(min(self._tasks, rows), -(-rows // limit))
        path = wave_path(number, wave)
        wanted = self._wanted(number).where(f"wave = {wave}")
        wanted = wanted.select("id", "repeat", "row")
        frame = wanted.repartition(tasks).mapInArrow(
            asking(pack(self._for_task(tasks))), ANSWERED
        )
        self._kept.write(frame, path, rows)
        return self._check_wave(path)

    def _for_task(self, tasks: int) -> Shipment:
        settings = for_task(self._settings, tasks)
        if self._job.budget is not None:
            settings = replace(settings, **self._job.budget.shares(tasks))
        return replace(self._shipment, settings=settings)

    def _check_wave(self, path: str) -> int:
        """Count what a wave took; stop when the model must not be asked on."""
        total = {
            "errors": F.count("kind"),
            "refused": refusals(),
            "message": F.max(F.when(F.col("kind") == REFUSED, F.col("message"))),
            "requests": F.sum("attempts"),
            "tokens": F.sum(
                F.coalesce("prompt_tokens", F.lit(0))
                + F.coalesce("output_tokens", F.lit(0))
            ),
            "dollars": F.sum("cost_usd"),
        }
        frame = self._kept.read(path, ANSWERED)
        found = frame.agg(*(value.alias(name) for name, value in total.items()))
        (row,) = found.collect()
        if self._job.budget is not None:
            self._job.budget.spend_shares(
                row["requests"] or 0, row["tokens"] or 0, row["dollars"] or 0.0
            )
        if row["refused"]:
            raise ModelRefused(json.loads(row["message"]))
        return int(row["errors"])

    # Scores.

    def _score(self, last: int) -> SparkScores:
        """Score every row's last answer, and write that down for the gates."""
        names = [metric.name for metric in self._metrics]
        # Anew each time: nothing tells for sure that a metric is what it was.
        place = f"scores/{self._job.run_id}-{uuid.uuid4().hex[:8]}"
        schema = scored_schema(names)
        answers = self._kept.answers().where(f"kind IS NULL OR round = {last}")
        scored = answers.mapInArrow(scoring(pack(self._shipment)), schema)
        self._kept.write(scored, place, self._rows)
        self._check_scored(self._kept.read(place, schema))
        return SparkScores(
            self._spark,
            f"{self._kept.place}/{place}",
            names=names,
            repeats=self._repeats,
            columns=self._dataset.columns,
            run_id=self._job.run_id,
            redaction=self._settings.redaction,
        )

    def _check_scored(self, scored: DataFrame) -> None:
        """Refuse rows that are not each there once, however many there are.

        Raises:
            DataError: some are missing, and others twice.
        """
        (row,) = scored.agg(F.countDistinct("id", "repeat").alias("rows")).collect()
        if row["rows"] != self._rows:
            raise DataError(
                f"{self._rows - row['rows']} rows of {self._dataset.name} have no "
                f"answer, and others have two, at {self._kept.place}; delete that "
                "folder and run again",
                "ROWS_MISSING",
            )


def _numbering_copies(keyed: DataFrame) -> DataFrame:
    """Give copies of a row ids of their own, as on one machine."""
    number = F.expr("row_number() OVER (PARTITION BY id ORDER BY row)")
    copy = F.concat(F.col("id"), F.lit("#"), F.col("copy").cast("string"))
    row_id = F.when(F.col("copy") == 1, F.col("id")).otherwise(copy)
    return keyed.withColumn("copy", number).select(row_id.alias("id"), "row", "hash")
