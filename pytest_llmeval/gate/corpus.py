"""Metrics that are one number for all rows, such as BLEU, and their intervals.

There is no exact bound for them: the interval is a bootstrap's, and approximate.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmeval import stats
from pytest_llmeval.gate.check import Undecidable
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Row
from pytest_llmeval.records import is_finite
from pytest_llmeval.records import is_number


SEED = 0
"""The same results give the same decision."""
MOST_ROWS = 1_000_000
"""More are not named as what would decide."""


class CorpusInterval(NamedTuple):
    """One-sided bounds, or why there are none."""

    lower: float | None = None
    upper: float | None = None
    problem: str = ""
    seed: int | None = None


def corpus_value(
    metric: Metric, rows: Sequence[Row], bounds: tuple[float, float] | None
) -> float:
    """Return the metric over rows, once it is known to be a number in its range."""
    value = _aggregate(metric, rows)
    if bounds and not bounds[0] <= value <= bounds[1]:
        raise Undecidable(
            "OUT_OF_RANGE",
            f"{metric.name} is {value!r}, outside its range {bounds[0]:g} to "
            f"{bounds[1]:g}",
        )
    return value


def _aggregate(metric: Metric, rows: Sequence[Row]) -> float:
    if metric.aggregate is None:
        raise Undecidable("METRIC_MISSING", f"{metric.name} has no aggregate")
    try:
        value = metric.aggregate(
            [row.prediction for row in rows], [row.example for row in rows]
        )
    except Exception as error:  # the metric may be the user's
        message = f"{metric.name} raised {type(error).__name__}: {error}"
        raise Undecidable("METRIC_ERROR", message) from error
    if not is_number(value):
        raise Undecidable("BAD_TYPE", f"{metric.name} is {value!r:.60}, not a number")
    if not is_finite(value):
        raise Undecidable("NOT_FINITE", f"{metric.name} is {value!r:.60}")
    return float(value)


def corpus_interval(
    metric: Metric,
    rows: Sequence[Row],
    units: Sequence[Sequence[int]],
    confidence: float,
) -> CorpusInterval:
    """Return BCa bounds; costs one call of the metric per unit and per resample.

    Args:
        metric: A metric with `aggregate`.
        rows: The rows that count.
        units: What is resampled, single rows or clusters, as indices into `rows`.
        confidence: Of each bound.
    """
    if len(units) < stats.LEAST_UNITS:
        return CorpusInterval(
            problem=f"a bound for {metric.name}, which is no mean of rows, takes at "
            f"least {stats.LEAST_UNITS} rows or clusters, and there are {len(units)}"
        )

    def value_of(drawn: Iterable[int]) -> float:
        return _aggregate(metric, [rows[at] for unit in drawn for at in units[unit]])

    bounds = stats.corpus_bounds(value_of, len(units), confidence, seed=SEED)
    if bounds is None:
        return CorpusInterval(
            problem=f"{metric.name} hardly varies between resampled rows, so the "
            "bootstrap gives no bound for it; add rows that differ",
            seed=SEED,
        )
    return CorpusInterval(*bounds, seed=SEED)


def rows_for_corpus(decision: Decision) -> int | None:
    """Return about how many rows would decide: an interval shrinks as 1/sqrt(n)."""
    if None in (decision.value, decision.lower, decision.upper):
        return None
    value, bar = decision.value or 0.0, float(decision.gate.threshold)
    bound = (decision.lower if value >= bar else decision.upper) or 0.0
    if value == bar:
        return None
    needed = decision.n * ((value - bound) / (value - bar)) ** 2
    return int(needed) + 1 if needed < MOST_ROWS else None
