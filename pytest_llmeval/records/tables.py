"""Evaluations whose rows lie elsewhere: what is asked there, and what comes back."""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from typing import Protocol

from pytest_llmeval.records.gates import Metric
from pytest_llmeval.records.protocols import Model
from pytest_llmeval.records.protocols import Progress
from pytest_llmeval.records.rows import Dataset
from pytest_llmeval.records.rows import Request
from pytest_llmeval.records.rows import Row
from pytest_llmeval.records.rows import Usage


Rows = Iterable[tuple[str, Mapping[str, Any]]]
"""The rows of a source: where each stands, and its columns."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TableJob:
    """How a table is to be evaluated where it lies."""

    given: Any
    """What the suite named the model by."""
    model: Model
    request: Request
    metrics: Mapping[str, Metric]
    run_id: str
    generation: str | None
    """Which stored replies of an unpinned model may serve."""
    budget: Any = None
    """What may be spent; None for no limit."""
    progress: Progress | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Scores with how often each occurs: all that a bound of their mean needs."""

    scores: Sequence[float]
    counts: Sequence[int] | None
    """None when the scores are listed one by one."""
    mean: float
    """Of the scores before any rounding."""
    upper: tuple[Sequence[float], Sequence[int]] | None = None
    """Scores and counts for the upper bound, where there are so many distinct scores
    that they were rounded: `scores` down, these up."""

    reach: tuple[float, float] | None = None
    """The lowest and the highest score before any rounding, where `scores` are rounded,
    or none because there are too many."""

    @property
    def extremes(self) -> tuple[float, float]:
        """The lowest and the highest score, of at least one."""
        return self.reach or (min(self.scores), max(self.scores))

    @property
    def rows(self) -> int:
        """How many scores there are."""
        return len(self.scores) if self.counts is None else sum(self.counts)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """What the rows of an evaluation come to, scores apart."""

    rows: int
    """Examples times repeats."""
    failed: int
    """Examples in error: one of their repeats is."""
    kinds: Mapping[str, int]
    """How many errors there are of each kind."""
    cached: int
    """Rows whose reply is of an earlier run."""
    oldest_reply: float | None
    """Unix time in seconds of the oldest of them."""
    usage: Usage
    predictions_digest: str
    scores_digest: str | None = None
    """Of the scores in a table; None for rows at hand, whose file has a digest."""
    not_needed: int = 0
    """Rows that were not asked for, because the gates were decided without."""


class ScoreTable(Protocol):
    """The scored rows of an evaluation that lie elsewhere, too many to be at hand.

    All that is asked about is answered from counts and from few rows.
    """

    @property
    def place(self) -> str:
        """Where they lie: a folder or URI of Parquet files."""

    @property
    def tally(self) -> Tally:
        """What they come to."""

    def select(self, where: Mapping[str, Any]) -> ScoreTable:
        """Return the rows that have these values in these columns; maybe none."""

    def read_digest(self) -> str:
        """Return what `Tally.scores_digest` is, from the scores themselves."""

    def sizes(self) -> tuple[int, int]:
        """Return how many examples there are, and how many of them are in error."""

    def failed(self, most: int) -> Sequence[Row]:
        """Return the first rows in error, by their ids."""

    def sample(
        self,
        metric: str,
        bounds: tuple[float, float] | None,
        *,
        cluster: str | None = None,
        errors_as: float | None = None,
    ) -> Sample:
        """Return the scores of the examples.

        Args:
            metric: Its name; that of a pass rate such as ``accuracy/pass@3`` too.
            bounds: Lowest and highest score, for rounding.
            cluster: Return the means of the groups that this column makes, instead.
            errors_as: The score of examples in error; they are left out when None.

        Raises:
            LLMEvalError: a row has no score, or no value in the column.
        """

    def shares(
        self, metric: str, op: str, threshold: float, errors_as: float | None
    ) -> Sample:
        """Return for each example the share of its answers on a threshold's side."""

    def worst(
        self,
        metric: str,
        most: int,
        *,
        highest_first: bool,
        best: float | None,
        errors_as: float | None = None,
    ) -> Sequence[tuple[Row, float]]:
        """Return the examples to look at first, with their scores; none of the best."""

    def quantile(self, metric: str, rank: int, errors_as: float | None) -> float:
        """Return the answer's score that stands at a rank, from 1, in rising order."""

    def values(self, column: str, most: int) -> Sequence[Any]:
        """Return the different values of a column, so many at most, in some order.

        Raises:
            LLMEvalError: a row has no value.
        """

    def changes(
        self, baseline: Any, metric: str, sign: float, bounds: tuple[float, float]
    ) -> Changes:
        """Return how much better each example is than in a baseline.

        Args:
            baseline: An evaluation of the same rows, see `Baseline`.
            metric: Its name.
            sign: -1.0 where less is better.
            bounds: Lowest and highest score.

        Raises:
            LLMEvalError: the baseline does not hold the same rows, or not whole.
        """

    def shown(self, most: int) -> Sequence[Row]:
        """Return the rows that a person should see: in error first, then the worst."""

    def read(self) -> Iterator[Row]:
        """Yield every row, in the order of ids and repeats."""

    def open(self, place: str, metrics: Sequence[str], repeats: int) -> ScoreTable:
        """Return the scored rows of another evaluation.

        Args:
            place: Where they lie.
            metrics: What they are scored by, in the order of their definitions.
            repeats: Rows of each example.
        """

    def frame(self, evaluation: Mapping[str, Any]) -> Any:
        """Return the rows as a DataFrame for people.

        Args:
            evaluation: What they are of, see `EvalResults.summary`.
        """

    def write(self, target: str, mode: str, evaluation: Mapping[str, Any]) -> None:
        """Write the rows of `frame` to a table or path."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Changes:
    """What became of the rows of a baseline."""

    sample: Sample
    """Of changes, positive where a row became better."""
    before: float
    """The mean score in the baseline."""
    worse: int
    better: int
    flips: Sequence[tuple[Row, Row, float]]
    """A few rows now and before with their changes, worse ones first."""


class Table(Protocol):
    """Data that lies where many processes can evaluate it."""

    @property
    def dataset(self) -> Dataset:
        """Its selected rows: their number, digest, columns, and examples on demand."""

    @property
    def origin(self) -> Mapping[str, Any]:
        """Where its rows come from, see `Dataset`."""

    def count(self) -> int:
        """Return how many rows there are, before any of them is checked."""

    def evaluate(self, job: TableJob) -> ScoreTable:
        """Ask for every row once, score all, and return when that is written down.

        Raises:
            LLMEvalError: the model must not be asked on, or rows are missing.
        """

    def close(self) -> None:
        """Remove what was only needed meanwhile."""
