"""Examples that were asked several times: one score for each, and pass@k.

Decisions and intervals are about examples, which are drawn from a population. Repeats
of one example are not: it counts by the mean of their scores.
"""

from __future__ import annotations

import math
import re
from array import array
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pytest_llmeval import stats
from pytest_llmeval.errors import MetricError
from pytest_llmeval.lazy import LazyRows
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply
from pytest_llmeval.records import Row
from pytest_llmeval.results import Columns
from pytest_llmeval.results import EvalResults


PASS = re.compile(r"(.+)/pass([@^])([1-9]\d*)")


class PassRate(NamedTuple):
    """What a name such as ``accuracy/pass@3`` stands for."""

    name: str
    metric: str
    kind: str
    """``@`` when one of the answers has to be right, ``^`` when all have to be."""
    answers: int

    @classmethod
    def of(cls, name: object) -> PassRate | None:
        """Read a name; None when it is that of a metric."""
        parts = PASS.fullmatch(name) if isinstance(name, str) else None
        return cls(parts[0], parts[1], parts[2], int(parts[3])) if parts else None

    def score(self, scores: Sequence[float], row_id: str) -> float:
        """Return an example's score, from those of its repeats; NaN when one is.

        Raises:
            MetricError: a score is neither 0 nor 1.
        """
        if any(map(math.isnan, scores)):
            return math.nan
        if not set(scores) <= {0.0, 1.0}:
            raise MetricError(
                f"{self.name} needs scores of 0 and 1, and row {row_id!r} has "
                f"{', '.join(f'{score:g}' for score in scores)}; gate on "
                f"{self.metric} itself instead"
            )
        estimate = stats.pass_at_k if self.kind == "@" else stats.pass_hat_k
        return estimate(int(sum(scores)), len(scores), self.answers)


class ExampleRows(LazyRows):
    """One row for each example: scores are means, replies stand beside each other.

    Args:
        rows: The rows of all repeats.
        columns: Those of the examples, from `by_example`.
        repeats: Rows of each example.
        answers: The columns of `rows`, where they are needed.
    """

    def __init__(
        self,
        rows: Sequence[Row],
        columns: Columns,
        repeats: int,
        answers: Columns | None = None,
    ) -> None:
        self._rows, self.columns, self._repeats = rows, columns, repeats
        self._answers = answers

    def __len__(self) -> int:
        return len(self.columns.ids)

    def row(self, at: int) -> Row:
        """Read the rows of an example as one."""
        scores = {name: all_[at] for name, all_ in self.columns.scores.items()}
        known = {name: score for name, score in scores.items() if not math.isnan(score)}
        return as_one(self.repeats_of(at), known)

    def answers(self, metric: str, at: int) -> Sequence[float]:
        """Return the scores of one example's answers; a pass rate has one for all."""
        if self._answers is None or metric not in self._answers.scores:
            return [self.columns.scores[metric][at]]
        start = at * self._repeats
        return self._answers.scores[metric][start : start + self._repeats]

    def repeats_of(self, at: int) -> Sequence[Row]:
        """Return the rows of one example."""
        start = at * self._repeats
        return self._rows[start : start + self._repeats]


def as_one(rows: Sequence[Row], scores: Mapping[str, float]) -> Row:
    """Return the rows of one example as one, with its scores."""
    replies = [row.prediction.reply for row in rows if row.prediction.reply]
    reply = Reply(text=" | ".join(reply.text for reply in replies))
    return Row(
        example=rows[0].example,
        prediction=Prediction(reply=reply),
        scores=scores,
        errors=tuple(error for row in rows for error in row.errors),
    )


def by_example(results: EvalResults, metric: str | None = None) -> EvalResults:
    """Return results whose rows are the examples; the same object without repeats.

    Args:
        results: What `evaluate` returned.
        metric: A name such as ``accuracy/pass@3``, whose scores are then there too.

    Raises:
        MetricError: there are not so many answers, or the scores are not 0 and 1.
    """
    rate, repeats = PassRate.of(metric), results.request.repeats
    if repeats == 1 and rate is None:
        return results
    columns, definitions = average(results.columns), dict(results.definitions)
    found = find_metric(definitions, repeats, rate.name) if rate else None
    if rate is not None and found is not None:
        columns.scores[rate.name] = pass_scores(results.columns, rate)
        definitions[rate.name] = found
    rows = ExampleRows(results.rows, columns, repeats, results.columns)
    return replace(results, rows=rows, definitions=definitions)


def rows_of(results: EvalResults, at: int) -> Sequence[Row]:
    """Return the rows of one example of `by_example`: one for each repeat."""
    rows = results.rows
    return rows.repeats_of(at) if isinstance(rows, ExampleRows) else [rows[at]]


def find_metric(
    definitions: Mapping[str, Metric], repeats: int, name: str
) -> Metric | None:
    """Return a metric, or the one that a name such as ``accuracy/pass@3`` stands for.

    Raises:
        MetricError: there are not so many answers, or the metric has no row scores.
    """
    rate = PassRate.of(name)
    if name in definitions or rate is None or rate.metric not in definitions:
        return definitions.get(name)
    metric = definitions[rate.metric]
    if metric.score is None or metric.aggregate is not None:
        raise MetricError(f"{name} needs scores of rows, and {metric.name} has none")
    if tuple(metric.range or (0, 1)) != (0, 1) or not metric.higher_is_better:
        raise MetricError(
            f"{name} counts right answers, and {metric.name} has the range "
            f"{metric.range!r} or is better when it is lower; gate on it itself instead"
        )
    if rate.answers > repeats:
        raise MetricError(
            f"{name} needs {rate.answers} answers to each example, and there are "
            f"{repeats}: evaluate with repeats={rate.answers} or more"
        )
    return Metric(name=name, score=metric.score, range=(0.0, 1.0), source=metric.source)


def average(columns: Columns) -> Columns:
    """Return the columns of the examples: means of scores, time of the oldest reply.

    An example is in error when one of its repeats is.
    """
    repeats = columns.repeats
    means = Columns(columns.ids, ())
    for name, scores in columns.scores.items():
        means.scores[name] = array("d", map(_mean, parts(scores, repeats)))
    stored_at = parts(columns.numbers["stored_at"], repeats)
    means.numbers["stored_at"] = array("d", map(_least, stored_at))
    for at, kinds in columns.failed.items():
        example = at // repeats
        means.failed[example] = means.failed.get(example, ()) + kinds
    means.not_needed = columns.not_needed // repeats
    return means


def pass_scores(columns: Columns, rate: PassRate) -> array[float]:
    """Return the pass rate of each example; NaN where a repeat has no score.

    Raises:
        MetricError: a score is neither 0 nor 1.
    """
    scores = parts(columns.scores[rate.metric], columns.repeats)
    return array("d", map(rate.score, scores, columns.ids))


def score_of(rows: Sequence[Row], name: str) -> float:
    """Return the score of one example, from the rows of its repeats without an error.

    Raises:
        MetricError: the name is one of a pass rate, and a score is neither 0 nor 1.
    """
    rate = PassRate.of(name)
    if rate is None or name in rows[0].scores:
        return _mean([row.scores[name] for row in rows])
    scores = [row.scores[rate.metric] for row in rows]
    return rate.score(scores, rows[0].example.id)


def parts(values: array[float], size: int) -> list[array[float]]:
    """Cut values into parts of one size: the rows of each example."""
    return [values[at : at + size] for at in range(0, len(values), size)]


def _mean(scores: Sequence[float]) -> float:
    """Return the mean, which rounding must not put outside the range of the scores."""
    return min(max(stats.mean(scores), min(scores)), max(scores))


def _least(times: Sequence[float]) -> float:
    return min((at for at in times if not math.isnan(at)), default=math.nan)
