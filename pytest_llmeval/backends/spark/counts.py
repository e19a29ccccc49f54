"""Scores of a DataFrame as a sample: with how often each occurs."""

from __future__ import annotations

import math
import operator
from typing import TYPE_CHECKING

from pyspark.sql import functions as F

from pytest_llmeval import stats
from pytest_llmeval.records import Sample


if TYPE_CHECKING:
    from pyspark.sql import Column
    from pyspark.sql import DataFrame


COMPARE = {">=": operator.ge, ">": operator.gt, "<=": operator.le, "<": operator.lt}


def is_on_side(score: Column, op: str, threshold: float) -> Column:
    """Return whether a score lies on one side of a threshold."""
    compared: Column = COMPARE[op](score, threshold)
    return compared


def sample_of(scores: DataFrame, bounds: tuple[float, float] | None) -> Sample:
    """Return scores with how often each occurs, on the grid where they are too many."""
    few = scores.groupBy("score").agg(F.count("score").alias("times"))
    found = few.limit(stats.GRID + 1).toArrow()
    if found.num_rows <= stats.GRID:
        pairs = sorted(zip(*(c.to_pylist() for c in found.columns), strict=True))
        values, counts = [v for v, _ in pairs], [n for _, n in pairs]
        mean = stats.mean(values, counts=counts) if values else math.nan
        return Sample(scores=values, counts=counts, mean=mean)
    (total,) = scores.agg(
        F.avg("score").alias("mean"),
        F.min("score").alias("low"),
        F.max("score").alias("high"),
    ).collect()
    reach = total["low"], total["high"]
    if bounds is None or not bounds[0] <= reach[0] <= reach[1] <= bounds[1]:
        return Sample(scores=(), counts=(), mean=total["mean"], reach=reach)
    low, high = bounds
    down = _on_grid(scores, (F.col("score") - low) / (high - low))
    up = _on_grid(scores, (F.lit(high) - F.col("score")) / (high - low))
    width = high - low
    return Sample(
        scores=[low + width * step / stats.GRID for step in down],
        counts=list(down.values()),
        mean=total["mean"],
        upper=(
            [high - width * step / stats.GRID for step in up],
            list(up.values()),
        ),
        reach=reach,
    )


def _on_grid(scores: DataFrame, fraction: Column) -> dict[int, int]:
    step = F.floor(fraction * stats.GRID).cast("bigint")
    found = scores.groupBy(step.alias("step")).agg(F.count("score").alias("times"))
    return {row["step"]: row["times"] for row in sorted(found.collect())}
