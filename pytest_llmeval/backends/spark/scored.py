"""Scored rows in Parquet; gates and reports ask for counts and for few rows."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from functools import cached_property
from typing import TYPE_CHECKING
from typing import Any

from pyspark.sql import functions as F

from pytest_llmeval.backends.spark.asking import read_example
from pytest_llmeval.backends.spark.counts import is_on_side
from pytest_llmeval.backends.spark.counts import sample_of
from pytest_llmeval.backends.spark.output import output_frame
from pytest_llmeval.backends.spark.output import write_frame
from pytest_llmeval.backends.spark.records import SUMMED
from pytest_llmeval.backends.spark.records import adding_value
from pytest_llmeval.backends.spark.scoring import KINDS_END
from pytest_llmeval.backends.spark.scoring import digesting
from pytest_llmeval.backends.spark.scoring import read_prediction
from pytest_llmeval.backends.spark.scoring import score_column
from pytest_llmeval.backends.spark.scoring import scored_schema
from pytest_llmeval.errors import BaselineError
from pytest_llmeval.gate.check import Undecidable
from pytest_llmeval.records import Changes
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.records import Sample
from pytest_llmeval.records import Tally
from pytest_llmeval.records import Usage
from pytest_llmeval.records import canonical
from pytest_llmeval.redaction import NO_RULES
from pytest_llmeval.redaction import Redaction
from pytest_llmeval.repeats import PassRate
from pytest_llmeval.repeats import as_one
from pytest_llmeval.results import Baseline
from pytest_llmeval.results import digest_of_answers
from pytest_llmeval.text import first_few
from pytest_llmeval.text import redactor


if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql import DataFrame
    from pyspark.sql import SparkSession


FLIPS_SHOWN = 3


class SparkScores:
    """The scored rows of one evaluation; see `ScoreTable`.

    Args:
        spark: Reads them.
        place: Where they lie.
        names: The metrics, in the order of their columns.
        repeats: Rows of each example.
        columns: Which column of the data is which, see `Dataset.columns`.
        run_id: The run that reads them: replies of others are stored ones.
        redaction: What is taken out of what `write` writes.
        rows: Those of them that count; all by default.
        all_rows: Where those are a part of.
    """

    def __init__(
        self,
        spark: SparkSession,
        place: str,
        *,
        names: Sequence[str],
        repeats: int,
        columns: Mapping[str, Any],
        run_id: str,
        redaction: Redaction = NO_RULES,
        rows: DataFrame | None = None,
        all_rows: DataFrame | None = None,
    ) -> None:
        self._spark, self.place, self._names = spark, place, names
        self._repeats, self._columns, self._run_id = repeats, columns, run_id
        self._redaction = redaction
        self._schema = scored_schema(names)
        if rows is None:
            rows = spark.read.schema(self._schema).parquet(place)
        self._rows = rows
        self._all_rows = rows if all_rows is None else all_rows
        self._redact = redactor()  # tasks know what was secret when Spark started
        self._sizes: tuple[int, int] | None = None
        self._samples: dict[tuple[Any, ...], Sample] = {}

    def open(self, place: str, metrics: Sequence[str], repeats: int) -> SparkScores:
        """Return the scored rows of another evaluation, of the same data."""
        return SparkScores(
            self._spark,
            place,
            names=metrics,
            repeats=repeats,
            columns=self._columns,
            run_id=self._run_id,
            redaction=self._redaction,
        )

    def select(self, where: Mapping[str, Any]) -> SparkScores:
        """Return the rows that have these values in these columns."""
        rows = self._rows
        for column, value in where.items():
            wanted = canonical(value).decode()
            rows = self._with_value(rows, column).where(_equals("value", wanted))
            rows = rows.drop("value")
        return SparkScores(
            self._spark,
            self.place,
            names=self._names,
            repeats=self._repeats,
            columns=self._columns,
            run_id=self._run_id,
            redaction=self._redaction,
            rows=rows,
            all_rows=self._all_rows,
        )

    def _with_value(self, rows: DataFrame, column: str) -> DataFrame:
        schema = f"{self._schema}, value string"
        return rows.mapInArrow(adding_value(column, schema), schema)

    @cached_property
    def tally(self) -> Tally:
        """What the rows come to."""
        now = F.col("run_id") == self._run_id
        asked = now & (F.col("attempts") > 0)
        totals: dict[str, Column] = {
            "rows": F.count("id"),
            "failed": _failed_examples(),
            "cached": F.count(F.when(~now & F.col("reply").isNotNull(), 1)),
            "oldest": F.min(
                F.when(~now & F.col("reply").isNotNull(), F.col("asked_at"))
            ),
            "asked": F.count(F.when(asked, 1)),
            "costs": F.count(F.when(asked, F.col("cost_usd"))),
            "replies": F.count(F.when(asked, F.col("latency_ms"))),
            **{
                name: F.sum(name)
                for name in ("answer_high", "answer_low", "score_high", "score_low")
            },
        }
        for name in ("attempts", "prompt_tokens", "output_tokens", "cost_usd"):
            totals[name] = F.sum(F.when(asked, F.col(name)))
        for name, share in (
            ("latency_ms", 0.5),
            ("latency_ms", 0.95),
            ("queue_ms", 0.95),
        ):
            value = F.when(asked, F.col(name))
            totals[f"{name}_{share}"] = F.percentile_approx(value, share)
        (row,) = self._rows.agg(*(v.alias(k) for k, v in totals.items())).collect()
        has_costs = row["costs"] and row["costs"] == row["replies"]
        return Tally(
            rows=row["rows"],
            failed=row["failed"],
            kinds=self._kinds(),
            cached=row["cached"],
            oldest_reply=row["oldest"],
            usage=Usage(
                requests=row["attempts"] or 0,
                rows=row["asked"],
                prompt_tokens=row["prompt_tokens"],
                output_tokens=row["output_tokens"],
                cost_usd=row["cost_usd"] if has_costs else None,
                latency_p50_ms=row["latency_ms_0.5"],
                latency_p95_ms=row["latency_ms_0.95"],
                queue_p95_ms=row["queue_ms_0.95"],
            ),
            predictions_digest=digest_of_answers(
                (row["answer_high"] << 32) + row["answer_low"]
            ),
            scores_digest=digest_of_answers(
                (row["score_high"] << 32) + row["score_low"]
            ),
        )

    def _kinds(self) -> dict[str, int]:
        bad = self._rows.where("kinds IS NOT NULL").groupBy("kinds")
        kinds: Counter[str] = Counter()
        for row in bad.agg(F.count("id").alias("times")).collect():
            for kind in row["kinds"].split(KINDS_END):
                kinds[kind] += row["times"]
        return dict(kinds)

    def read_digest(self) -> str:
        """Return the digest of the scores, from the scores themselves."""
        scores = (score_column(at) for at in range(len(self._names)))
        summed = self._rows.select("id", "repeat", *scores).mapInArrow(
            digesting, SUMMED
        )
        return digest_of_answers(sum(int(row["total"], 16) for row in summed.collect()))

    def sizes(self) -> tuple[int, int]:
        """Return how many examples there are, and how many of them are in error."""
        if self._sizes is None:
            counts = self._rows.agg(
                F.count("id").alias("rows"), _failed_examples().alias("bad")
            )
            (row,) = counts.collect()
            self._sizes = row["rows"] // self._repeats, row["bad"]
        return self._sizes

    def failed(self, most: int) -> list[Row]:
        """Return the first rows in error, by their ids."""
        bad = self._rows.where("kinds IS NOT NULL").orderBy("id", "repeat")
        return [self._row(row.asDict()) for row in bad.limit(most).collect()]

    # Scores.

    def _examples(
        self, rows: DataFrame, metric: str, errors_as: float | None = None
    ) -> DataFrame:
        """Return id and score of each example; with a column ``value`` that too.

        Args:
            rows: Scored rows.
            metric: Whose scores; the mean of an example's repeats.
            errors_as: The score of examples in error; they are left out when None.
        """
        score = self._score(metric)
        if self._repeats == 1:
            means = rows.select(
                "id",
                score.alias("score"),
                F.col("kinds").isNotNull().alias("is_bad"),
                *_value(rows),
            )
        else:
            # Rounding must not put a mean outside the range of what it is made of.
            mean = F.least(F.greatest(F.avg(score), F.min(score)), F.max(score))
            means = rows.groupBy("id", *_value(rows)).agg(
                mean.alias("score"), (F.count("kinds") > 0).alias("is_bad")
            )
        if errors_as is None:
            return means.where("NOT is_bad").drop("is_bad")
        worst = F.lit(float(errors_as))
        counted = F.when(F.col("is_bad"), worst).otherwise(F.col("score"))
        return means.withColumn("score", counted).drop("is_bad")

    def _scores(
        self, rows: DataFrame, metric: str, errors_as: float | None
    ) -> DataFrame:
        """Return `_examples`, of a pass rate too."""
        rate = self._rate(metric)
        if rate is None:
            return self._examples(rows, metric, errors_as)
        return self._pass_rates(rows, rate, errors_as)

    def _rate(self, metric: str) -> PassRate | None:
        return PassRate.of(metric) if metric not in self._names else None

    def _score(self, metric: str) -> Column:
        rate = self._rate(metric)
        number = self._names.index(rate.metric if rate else metric)
        return F.col(score_column(number))

    def sample(
        self,
        metric: str,
        bounds: tuple[float, float] | None,
        *,
        cluster: str | None = None,
        errors_as: float | None = None,
    ) -> Sample:
        """Return the scores of the examples, or means of groups."""
        key = (metric, bounds, cluster, errors_as)
        if key not in self._samples:
            self._samples[key] = self._count_scores(*key)
        return self._samples[key]

    def _count_scores(
        self,
        metric: str,
        bounds: tuple[float, float] | None,
        cluster: str | None,
        errors_as: float | None,
    ) -> Sample:
        rows = self._rows if cluster is None else self._clustered(cluster)
        scores = self._scores(rows, metric, errors_as)
        if cluster is not None:
            scores = scores.groupBy("value").agg(F.avg("score").alias("score"))
        self._check_scored(scores, metric)
        return sample_of(scores, bounds)

    def _check_scored(self, scores: DataFrame, metric: str) -> None:
        if scores.where("score IS NULL").limit(1).count():
            raise Undecidable("ROWS_MISSING", f"some rows have no score for {metric}")

    def _clustered(self, column: str) -> DataFrame:
        rows = self._with_value(self._rows, column)
        self._check_values(rows, column)
        return rows

    def _check_values(self, rows: DataFrame, column: str) -> None:
        bare = rows.where("value IS NULL").select("id").distinct()
        bare = bare.orderBy("id").limit(6)
        ids = [row["id"] for row in bare.collect()]
        if ids:
            raise Undecidable(
                "ROWS_MISSING", f"rows have no column {column!r}: {first_few(ids)}"
            )

    def _pass_rates(
        self, rows: DataFrame, rate: PassRate, errors_as: float | None
    ) -> DataFrame:
        """Return the pass rate of each example, from how many answers are right."""
        score, repeats = self._score(rate.metric), self._repeats
        other = self._all_rows.where(score.isNotNull() & ~score.isin(0.0, 1.0)).limit(1)
        for row in other.select("id", score.alias("score")).collect():
            rate.score([row["score"]], row["id"])  # says why it cannot be
        rates = [
            rate.score([1.0] * right + [0.0] * (repeats - right), "")
            for right in range(repeats + 1)
        ]
        means = self._examples(rows, rate.metric, math.nan)
        right = F.round(F.col("score") * repeats).cast("int")
        passed = F.element_at(F.array(*map(F.lit, rates)), right + 1)
        is_bad = F.isnan("score")
        means = means.withColumn(
            "score", F.when(is_bad, F.lit(errors_as).cast("double")).otherwise(passed)
        )
        return means.where("score IS NOT NULL") if errors_as is None else means

    def shares(
        self, metric: str, op: str, threshold: float, errors_as: float | None
    ) -> Sample:
        """Return for each example the share of its answers on a threshold's side."""
        rows = self._whole(errors_as)
        score = self._answer(metric, errors_as)
        side = F.when(is_on_side(score, op, threshold), 1.0).otherwise(0.0)
        means = rows.groupBy("id").agg(F.avg(side).alias("score"))
        return sample_of(means, (0.0, 1.0))

    def _whole(self, errors_as: float | None) -> DataFrame:
        """Return the rows of examples without an error, or all where errors count."""
        if errors_as is not None:
            return self._rows
        bad = self._rows.where("kinds IS NOT NULL").select("id").distinct()
        return self._rows.join(bad, "id", "left_anti")

    def _answer(self, metric: str, errors_as: float | None) -> Column:
        score = self._score(metric)
        if errors_as is None:
            return score
        worst = F.lit(float(errors_as))
        return F.when(F.col("kinds").isNotNull(), worst).otherwise(score)

    def quantile(self, metric: str, rank: int, errors_as: float | None) -> float:
        """Return the answer's score that stands at a rank, from 1, in rising order."""
        scores = self._whole(errors_as).select(
            self._answer(metric, errors_as).alias("score")
        )
        (row,) = scores.orderBy("score").offset(rank - 1).limit(1).collect()
        return float(row["score"])

    def worst(
        self,
        metric: str,
        most: int,
        *,
        highest_first: bool,
        best: float | None,
        errors_as: float | None = None,
    ) -> list[tuple[Row, float]]:
        """Return the examples to look at first."""
        scores = self._scores(self._rows, metric, errors_as)
        if best is not None:
            scores = scores.where(F.col("score") != best)
        order = F.col("score").desc() if highest_first else F.col("score").asc()
        found = scores.orderBy(order, "id").limit(most).collect()
        rows = self._rows_of([one["id"] for one in found])
        return [(rows[one["id"]], one["score"]) for one in found]

    def _rows_of(self, ids: Sequence[str]) -> dict[str, Row]:
        if not ids:
            return {}
        rows = self._rows.where(F.col("id").isin(list(ids))).orderBy("repeat").collect()
        found: dict[str, list[Row]] = {}
        for row in rows:
            found.setdefault(row["id"], []).append(self._row(row.asDict()))
        if self._repeats == 1:
            return {row_id: row for row_id, (row,) in found.items()}
        return {row_id: as_one(answers, {}) for row_id, answers in found.items()}

    def values(self, column: str, most: int) -> list[Any]:
        """Return the different values of a column, in the order of their JSON."""
        rows = self._with_value(self._rows, column)
        self._check_values(rows, column)
        found = rows.select("value").distinct().orderBy("value").limit(most).collect()
        return [json.loads(row["value"]) for row in found]

    # Changes.

    def changes(
        self,
        baseline: Baseline,
        metric: str,
        sign: float,
        bounds: tuple[float, float],
    ) -> Changes:
        """Return how much better each example is than in a baseline."""
        before = self._scores_before(baseline, metric).withColumnRenamed(
            "score", "before"
        )
        now = self._examples(self._rows, metric)
        pairs = now.join(before, "id", "full_outer")
        pairs = pairs.withColumn(
            "change", F.lit(sign) * (F.col("score") - F.col("before"))
        )
        (row,) = pairs.agg(
            F.count(F.when(F.col("change").isNull(), 1)).alias("alone"),
            F.count(F.when(F.col("change") < 0, 1)).alias("worse"),
            F.count(F.when(F.col("change") > 0, 1)).alias("better"),
        ).collect()
        if row["alone"]:
            ids = pairs.where("change IS NULL").orderBy("id").limit(6).collect()
            raise BaselineError(
                "ROWS_MISSING",
                f"{baseline.origin} does not hold the same rows, all without an error: "
                f"{first_few(one['id'] for one in ids)}",
            )
        scores_before = sample_of(before.select(F.col("before").alias("score")), None)
        low, high = scores_before.extremes
        if not bounds[0] <= low <= high <= bounds[1]:
            wrong = low if low < bounds[0] else high
            raise Undecidable(
                "BASELINE_UNUSABLE",
                f"a row of {baseline.origin} has {metric} = {wrong!r}, outside the "
                f"range {bounds[0]:g} to {bounds[1]:g}",
            )
        width = bounds[1] - bounds[0]
        return Changes(
            sample=sample_of(
                pairs.select(F.col("change").alias("score")), (-width, width)
            ),
            before=scores_before.mean,
            worse=row["worse"],
            better=row["better"],
            flips=self._flips(pairs, baseline),
        )

    def _scores_before(self, baseline: Baseline, metric: str) -> DataFrame:
        table = baseline.table
        if isinstance(table, SparkScores):
            return table._examples(table._rows, metric)  # of one kind
        import pyarrow

        columns = baseline.columns
        scores = pyarrow.table(
            {"id": list(columns.ids), "score": columns.scores[metric].tolist()}
        )
        return self._spark.createDataFrame(scores)

    def _flips(
        self, pairs: DataFrame, baseline: Baseline
    ) -> list[tuple[Row, Row, float]]:
        change = F.col("change")
        worse = pairs.where(change < 0).orderBy(change.asc(), "id").limit(FLIPS_SHOWN)
        better = pairs.where(change > 0).orderBy(change.desc(), "id").limit(FLIPS_SHOWN)
        found = [*worse.collect(), *better.collect()]
        ids = [one["id"] for one in found]
        now, before = self._rows_of(ids), self._rows_before(baseline, ids)
        return [(now[one["id"]], before[one["id"]], one["change"]) for one in found]

    def _rows_before(self, baseline: Baseline, ids: Sequence[str]) -> dict[str, Row]:
        if isinstance(baseline.table, SparkScores):
            return baseline.table._rows_of(ids)  # of one kind
        wanted = set(ids)
        at_id = {
            one: at for at, one in enumerate(baseline.columns.ids) if one in wanted
        }
        return {one: baseline.rows[at] for one, at in at_id.items()}

    # Rows.

    def shown(self, most: int) -> list[Row]:
        """Return the rows that a person should see: in error first, then the worst."""
        order = [F.col("kinds").isNull(), *map(self._score, self._names[:1]), "id"]
        rows = self._rows.orderBy(*order, "repeat").limit(most).collect()
        return [self._row(row.asDict()) for row in rows]

    def read(self) -> Iterator[Row]:
        """Yield every row, in the order of ids and repeats."""
        for row in self._rows.orderBy("id", "repeat").toLocalIterator():
            yield self._row(row.asDict())

    def _row(self, row: dict[str, Any]) -> Row:
        errors = tuple(
            RowError(
                id=row["id"],
                kind=kind,
                message=self._redact(message),
                attempts=attempts,
            )
            for kind, message, attempts in json.loads(row["errors"] or "[]")
        )
        if row["reply"] is not None:
            row["reply"] = self._redact(row["reply"])
        prediction = read_prediction(row)
        if prediction.reply is None and errors:
            prediction = replace(prediction, error=errors[0])
        scores = {
            name: row[score_column(at)]
            for at, name in enumerate(self._names)
            if row[score_column(at)] is not None
        }
        return Row(
            example=read_example(self._columns, row["id"], self._redact(row["row"])),
            prediction=prediction,
            scores=scores,
            errors=errors,
            repeat=row["repeat"],
        )

    def frame(self, evaluation: Mapping[str, Any]) -> DataFrame:
        """Return the rows as a DataFrame for people."""
        return output_frame(self._rows, self._names, self._columns, evaluation)

    def write(self, target: str, mode: str, evaluation: Mapping[str, Any]) -> None:
        """Write the rows of `frame` to a table or path, redacted."""
        rows, names, columns = self._rows, self._names, self._columns
        frame = output_frame(rows, names, columns, evaluation, self._redaction)
        write_frame(frame, target, mode)


def _failed_examples() -> Column:
    return F.countDistinct(F.when(F.col("kinds").isNotNull(), F.col("id")))


def _value(rows: DataFrame) -> list[str]:
    return ["value"] if "value" in rows.columns else []


def _equals(column: str, text: str) -> Column:
    return F.col(column) == F.lit(text)
