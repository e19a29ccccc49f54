"""From predictions to scores, and from the scores of all rows to metric values."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence

from pytest_llmeval import stats
from pytest_llmeval.errors import MetricError
from pytest_llmeval.records import Example
from pytest_llmeval.records import Metric
from pytest_llmeval.records import MetricValue
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.records import is_finite
from pytest_llmeval.records import is_missing
from pytest_llmeval.records import is_number
from pytest_llmeval.records import is_range
from pytest_llmeval.results import Columns


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


def join(first: Row, second: Row) -> Row:
    """Return the row with the scores and errors of both, which are of one row."""
    return Row(
        example=first.example,
        prediction=first.prediction,
        scores={**first.scores, **second.scores},
        errors=first.errors + second.errors,
    )


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


def metric_values(
    metrics: Mapping[str, Metric],
    columns: Columns,
    rows: Sequence[Row],
    confidence: float,
) -> dict[str, MetricValue]:
    """Return each metric over the rows without any error: one denominator for all."""
    failed = set(columns.failed)
    good = [at for at in range(len(columns.ids)) if at not in failed]
    values = {}
    for name, metric in metrics.items():
        if metric.aggregate is not None:
            value, bounds = _aggregate(metric, [rows[at] for at in good]), None
        else:
            scores = [columns.scores[name][at] for at in good]
            value, bounds = stats.mean(scores) if scores else None, metric.range
            if not (scores and is_range(bounds) and _within(scores, bounds)):
                bounds = None
        lower = upper = None
        if bounds is not None:
            lower = stats.lower_bound(scores, confidence, *bounds)
            upper = stats.upper_bound(scores, confidence, *bounds)
        values[name] = MetricValue(
            name=name,
            value=value,
            lower=lower,
            upper=upper,
            confidence=None if lower is None else confidence,
            n=len(good),
            errors=len(failed),
        )
    return values


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
