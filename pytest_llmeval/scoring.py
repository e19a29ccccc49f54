"""From predictions to scores, and from the scores of all rows to metric values."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace

from pytest_llmeval import stats
from pytest_llmeval.errors import MetricError
from pytest_llmeval.records import Example
from pytest_llmeval.records import Metric
from pytest_llmeval.records import MetricValue
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.records import ScoreTable
from pytest_llmeval.records import is_finite
from pytest_llmeval.records import is_missing
from pytest_llmeval.records import is_number
from pytest_llmeval.records import is_range
from pytest_llmeval.repeats import PassRate
from pytest_llmeval.repeats import average
from pytest_llmeval.repeats import find_metric
from pytest_llmeval.repeats import parts
from pytest_llmeval.repeats import pass_scores
from pytest_llmeval.results import Columns
from pytest_llmeval.threads import AT_ONCE
from pytest_llmeval.threads import Threads


def score_row(
    example: Example, prediction: Prediction, metrics: Iterable[Metric]
) -> Row:
    """Score one row; whatever a metric raises is an error of the row that names it."""
    if prediction.error is not None:
        return Row(
            example=example,
            prediction=prediction,
            scores={},
            errors=(prediction.error,),
        )
    scores: dict[str, float] = {}
    errors: list[RowError] = []
    for metric in metrics:
        if metric.score is None:
            continue
        try:
            raw = metric.score(prediction, example)
        except Exception as error:  # noqa: BLE001  # may be the user's: a row's error
            message = f"{metric.name}: {type(error).__name__}: {error}"
            errors.append(RowError(id=example.id, kind="scorer", message=message))
            continue
        problem = _problem(raw)
        if problem is None:
            scores[metric.name] = float(raw)
        else:
            message = f"{metric.name} returned {raw!r:.100}"
            errors.append(RowError(id=example.id, kind=problem, message=message))
    return Row(
        example=example, prediction=prediction, scores=scores, errors=tuple(errors)
    )


def _join(first: Row, second: Row) -> Row:
    """Return the row with the scores and errors of both, which are of one row."""
    return Row(
        example=first.example,
        prediction=first.prediction,
        scores={**first.scores, **second.scores},
        errors=first.errors + second.errors,
    )


class Scorer:
    """Scores the rows of one evaluation: by quick metrics at once, by slow in threads.

    Args:
        metrics: What rows are scored by.
        timeout_s: How long the slow ones may take for a row.
        at_once: How many rows they may be at.
    """

    def __init__(
        self, metrics: Iterable[Metric], timeout_s: float, at_once: int
    ) -> None:
        metrics = list(metrics)
        self._quick = [metric for metric in metrics if metric.inline]
        self._slow = [metric for metric in metrics if not metric.inline]
        self._timeout_s, self._threads = timeout_s, Threads()
        self._turns = asyncio.Semaphore(min(at_once, AT_ONCE))

    def score(self, example: Example, prediction: Prediction) -> Row:
        """Return the row with its quick scores."""
        return score_row(example, prediction, self._quick)

    def has_more(self, row: Row) -> bool:
        """Return whether slow metrics are to score a row too."""
        return bool(self._slow) and row.prediction.error is None

    async def score_more(self, row: Row) -> Row:
        """Return the row with the slow scores added."""
        async with self._turns:
            return _join(row, await self._score_slowly(row))

    async def _score_slowly(self, row: Row) -> Row:
        try:
            async with asyncio.timeout(self._timeout_s):
                return await self._threads.run(
                    score_row, row.example, row.prediction, self._slow
                )
        except TimeoutError:
            names = ", ".join(metric.name for metric in self._slow)
            message = f"{names}: no score within {self._timeout_s:g} s"
            error = RowError(id=row.example.id, kind="scorer", message=message)
            return replace(row, scores={}, errors=(error,))


def _problem(raw: object) -> str | None:
    """Return why a score is unusable: numpy numbers and bools are fine."""
    if type(raw) is float:
        return None if is_finite(raw) else "not_finite"
    if type(raw).__name__ in ("bool", "bool_"):
        return None
    if is_missing(raw):
        return "not_finite"
    if not is_number(raw):
        return "bad_type"
    return None if is_finite(raw) else "not_finite"


class MetricValues(Mapping[str, MetricValue]):
    """Each metric over the examples without any error: one denominator for all.

    Values are computed when they are first read, and again when there are more rows. A
    name such as ``accuracy/pass@3`` has a value too, though it is not listed.

    Args:
        metrics: By name.
        columns: Gives the columns of the rows that are there.
        rows: Those rows.
        confidence: Of the intervals.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        columns: Callable[[], Columns],
        rows: Sequence[Row],
        confidence: float,
    ) -> None:
        self._metrics, self._rows, self._confidence = metrics, rows, confidence
        self._columns = columns
        self._known: dict[str, MetricValue] = {}
        self._of: Columns | None = None

    def __len__(self) -> int:
        return len(self._metrics)

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __getitem__(self, name: str) -> MetricValue:
        columns = self._columns()
        if columns is not self._of:
            self._of, self._known = columns, {}
            self._means = average(columns) if columns.repeats > 1 else columns
            self._good = [
                at for at in range(len(columns.ids)) if at not in self._means.failed
            ]
        if name not in self._known:
            self._known[name] = self._compute(name, columns)
        return self._known[name]

    def _compute(self, name: str, columns: Columns) -> MetricValue:
        metric = find_metric(self._metrics, columns.repeats, name)
        if metric is None:
            raise KeyError(name)
        scores = self._scores(name, columns) if metric.aggregate is None else None
        if metric.aggregate is not None:
            value = _aggregate(metric, self._good_rows(columns.repeats))
        else:
            value = stats.mean(scores) if scores else None
        lower, upper = self._interval(metric, scores, columns)
        between, within = self._variances(name, columns)
        return MetricValue(
            name=name,
            value=value,
            lower=lower,
            upper=upper,
            confidence=None if lower is None else self._confidence,
            n=len(self._good),
            errors=len(self._means.failed),
            variance_between=between,
            variance_within=within,
        )

    def _scores(self, name: str, columns: Columns) -> list[float] | None:
        """Return the scores of the examples that count; None when some have none."""
        rate = PassRate.of(name) if name not in self._metrics else None
        all_ = pass_scores(columns, rate) if rate else self._means.scores.get(name)
        if all_ is None:
            return None
        scores = [all_[at] for at in self._good]
        return None if any(map(math.isnan, scores)) else scores

    def _good_rows(self, repeats: int) -> list[Row]:
        return [
            self._rows[at * repeats + repeat]
            for at in self._good
            for repeat in range(repeats)
        ]

    def _interval(
        self, metric: Metric, scores: list[float] | None, columns: Columns
    ) -> tuple[float | None, float | None]:
        """Return the bounds; none where rows were added until a gate was decided."""
        bounds = metric.range
        if not scores or columns.not_needed or not is_range(bounds):
            return None, None
        if not _within(scores, bounds):
            return None, None
        lower = stats.lower_bound(scores, self._confidence, *bounds)
        return lower, stats.upper_bound(scores, self._confidence, *bounds)

    def _variances(
        self, name: str, columns: Columns
    ) -> tuple[float, float] | tuple[None, None]:
        if columns.repeats < 2 or len(self._good) < 2 or name not in columns.scores:
            return None, None
        scores = parts(columns.scores[name], columns.repeats)
        return stats.split_variance([scores[at] for at in self._good])


class TableValues(Mapping[str, MetricValue]):
    """Each metric over the examples of a table without any error.

    Args:
        metrics: By name; each scores rows.
        table: The scored rows.
        repeats: Answers to each example.
        confidence: Of the intervals.
    """

    def __init__(
        self,
        metrics: Mapping[str, Metric],
        table: ScoreTable,
        repeats: int,
        confidence: float,
    ) -> None:
        self._metrics, self._table = metrics, table
        self._repeats, self._confidence = repeats, confidence
        self._known: dict[str, MetricValue] = {}

    def __len__(self) -> int:
        return len(self._metrics)

    def __iter__(self) -> Iterator[str]:
        return iter(self._metrics)

    def __getitem__(self, name: str) -> MetricValue:
        if name not in self._known:
            self._known[name] = self._compute(name)
        return self._known[name]

    def _compute(self, name: str) -> MetricValue:
        metric = find_metric(self._metrics, self._repeats, name)
        if metric is None:
            raise KeyError(name)
        bounds = metric.range if is_range(metric.range) else None
        examples, failed = self._table.sizes()
        value = lower = upper = None
        if examples > failed:
            sample = self._table.sample(name, bounds)
            value = sample.mean
            if bounds is not None and _within(sample.extremes, bounds):
                lower, upper = stats.bounds_of(sample, self._confidence, bounds)
        return MetricValue(
            name=name,
            value=value,
            lower=lower,
            upper=upper,
            confidence=None if lower is None else self._confidence,
            n=examples - failed,
            errors=failed,
        )


def _aggregate(metric: Metric, rows: Sequence[Row]) -> float | None:
    if metric.aggregate is None or not rows:
        return None
    predictions = [row.prediction for row in rows]
    try:
        value = metric.aggregate(predictions, [row.example for row in rows])
    except Exception as error:
        raise MetricError(
            f"{metric.name} raised {type(error).__name__}: {error}; the answers are in "
            "the predictions store, so the same command asks for none again"
        ) from error
    if not is_finite(value):
        raise MetricError(f"{metric.name} is {value!r:.60}, not a finite number")
    return value


def _within(scores: Sequence[float], bounds: tuple[float, float]) -> bool:
    return bounds[0] <= min(scores) and max(scores) <= bounds[1]
