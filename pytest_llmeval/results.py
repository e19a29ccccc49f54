"""What an evaluation gives back: rows, metric values, and how they look."""

from __future__ import annotations

import hashlib
import html
import math
from array import array
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.config import nearest
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import MetricError
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Metric
from pytest_llmeval.records import MetricValue
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Recorder
from pytest_llmeval.records import Reply
from pytest_llmeval.records import Request
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.records import RowSource
from pytest_llmeval.records import ScoreTable
from pytest_llmeval.records import Tally
from pytest_llmeval.records import Usage
from pytest_llmeval.records import plain
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    import pandas


NUMBERS = (
    "latency_ms",
    "queue_ms",
    "attempts",
    "stored_at",
    "prompt_tokens",
    "output_tokens",
    "cost_usd",
)


class Columns:
    """What decisions rest on, in arrays; all that grows with rows.

    Args:
        ids: The examples' ids, in the dataset's order.
        metrics: Names of the row-level metrics.
        repeats: Rows of each example; they follow each other.
    """

    def __init__(
        self, ids: Sequence[str], metrics: Iterable[str], repeats: int = 1
    ) -> None:
        self.ids, self.repeats = ids, repeats
        rows = len(ids) * repeats
        self.scores = {name: _unknown(rows) for name in metrics}
        """One per row, in order; NaN where it could not be computed."""
        self.numbers = {name: _unknown(rows) for name in NUMBERS}
        """Fields of predictions and replies, by their names; NaN where unknown."""
        self.answers = array("Q", [0]) * rows
        """The `answer_digest` of each row; 0 where unknown."""
        self.failed: dict[int, tuple[str, ...]] = {}
        """Positions of rows in error, as they came, with the kinds of their errors."""
        self.not_needed = 0
        """Rows that were not asked for, because the gates were decided without."""

    @property
    def kinds(self) -> Counter[str]:
        """How many errors there are of each kind."""
        return Counter(kind for kinds in self.failed.values() for kind in kinds)

    @property
    def predictions_digest(self) -> str:
        """Tells predictions apart: equal for a replay, other for new answers."""
        return digest_of_answers(sum(self.answers))

    def note(self, position: int, row: Row) -> None:
        """Take over a row's scores and numbers."""
        for name, score in row.scores.items():
            if name not in self.scores:  # cases may come up with metrics of their own
                self.scores[name] = _unknown(len(self.numbers["attempts"]))
            self.scores[name][position] = score
        if row.errors:
            self.failed[position] = tuple(error.kind for error in row.errors)
        prediction, reply = row.prediction, row.prediction.reply
        repeat = position % self.repeats
        self.answers[position] = answer_digest(
            row.example.id, repeat, reply, row.errors
        )
        numbers = self.numbers
        numbers["attempts"][position] = prediction.attempts
        for name in ("latency_ms", "queue_ms", "stored_at"):
            value = getattr(prediction, name)
            if value is not None:
                numbers[name][position] = value
        if reply is not None:
            for name in ("prompt_tokens", "output_tokens", "cost_usd"):
                value = getattr(reply, name)
                if value is not None:
                    numbers[name][position] = value

    def forget(self, position: int) -> None:
        """Take back what is known of a row, which is to be noted anew."""
        for values in (*self.scores.values(), *self.numbers.values()):
            values[position] = math.nan
        self.answers[position] = 0
        self.failed.pop(position, None)

    def take(self, examples: Sequence[int]) -> Columns:
        """Return the columns of the examples at these positions, in this order."""
        rows = [
            self.repeats * at + repeat
            for at in examples
            for repeat in range(self.repeats)
        ]
        taken = Columns([self.ids[at] for at in examples], (), self.repeats)
        taken.scores = {name: _pick(all_, rows) for name, all_ in self.scores.items()}
        taken.numbers = {name: _pick(all_, rows) for name, all_ in self.numbers.items()}
        taken.answers = array("Q", [self.answers[at] for at in rows])
        taken.failed = {
            to: self.failed[at] for to, at in enumerate(rows) if at in self.failed
        }
        taken.not_needed = len(self.ids) * self.repeats - len(rows)
        return taken

    @classmethod
    def of(cls, rows: Sequence[Row]) -> Columns:
        """Return the columns of rows that lie in memory."""
        names = {name for row in rows for name in row.scores}
        columns = cls([row.example.id for row in rows], names)
        for position, row in enumerate(rows):
            columns.note(position, row)
        return columns


class ColumnsTally:
    """What columns come to, as `Tally` has it; each part is computed when it is read.

    Args:
        columns: Of rows at hand.
    """

    scores_digest = None

    def __init__(self, columns: Columns) -> None:
        self._columns = columns

    @property
    def rows(self) -> int:
        """Examples times repeats."""
        return len(self._columns.ids) * self._columns.repeats

    @property
    def failed(self) -> int:
        """Examples in error."""
        return len({at // self._columns.repeats for at in self._columns.failed})

    @property
    def kinds(self) -> Counter[str]:
        """How many errors there are of each kind."""
        return self._columns.kinds

    @property
    def cached(self) -> int:
        """Rows whose reply is of an earlier run."""
        return len(_known(self._columns.numbers["stored_at"]))

    @property
    def oldest_reply(self) -> float | None:
        """Unix time in seconds of the oldest of them."""
        return min(_known(self._columns.numbers["stored_at"]), default=None)

    @property
    def predictions_digest(self) -> str:
        """Tells predictions apart."""
        return self._columns.predictions_digest

    @property
    def not_needed(self) -> int:
        """Rows that were not asked for."""
        return self._columns.not_needed

    @property
    def usage(self) -> Usage:
        """Requests, tokens, cost and latency of what was asked now."""
        numbers = self._columns.numbers
        attempts = numbers["attempts"]

        def asked(name: str) -> list[float]:
            pairs = zip(attempts, numbers[name], strict=True)
            return _known(value for tries, value in pairs if tries > 0)

        latencies, costs, tries = (
            asked("latency_ms"),
            asked("cost_usd"),
            asked("attempts"),
        )
        return Usage(
            requests=int(sum(tries)),
            rows=len(tries),
            prompt_tokens=_total(asked("prompt_tokens")),
            output_tokens=_total(asked("output_tokens")),
            cost_usd=math.fsum(costs)
            if costs and len(costs) == len(latencies)
            else None,
            latency_p50_ms=_quantile(latencies, 0.5),
            latency_p95_ms=_quantile(latencies, 0.95),
            queue_p95_ms=_quantile(asked("queue_ms"), 0.95),
        )


def answer_digest(
    row_id: str, repeat: int, reply: Reply | None, errors: Sequence[RowError]
) -> int:
    """Return a hash below 2^64 of a row and its reply, or of why there is none."""
    text = " ".join(e.kind for e in errors) if reply is None else f"={reply.text}"
    content = f"{len(row_id)} {row_id} {repeat} {text}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def digest_of_answers(total: int) -> str:
    """Return the digest of all answers, in any order, from the sum of their hashes."""
    return f"blake2b-sum:{total % 2**64:016x}"


@dataclass(frozen=True, kw_only=True)
class Baseline:
    """An evaluation that a change is measured against."""

    origin: str
    """What and where it is, for people."""
    model: str
    dataset_digest: str
    request_digest: str
    sources: Mapping[str, str]
    """For each metric where it comes from, see `Metric.source`."""
    early_stopped: bool
    """Whether rows beyond an early stop have no score."""
    columns: Columns
    rows: Sequence[Row]
    """One per example, in the order of `columns`."""
    run_id: str | None = None
    """The run it is of; None for results at hand."""
    table: ScoreTable | None = None
    """The rows, where they lie elsewhere; `columns` and `rows` hold none then."""


FindBaseline = Callable[[str, "EvalResults"], Baseline]
"""Gives the baseline that a suite names, for results; raises BaselineError."""


@dataclass(frozen=True, kw_only=True, repr=False)
class EvalResults:
    """One model's predictions on one dataset, scored.

    ``results["rouge1"]`` is a metric's value with its interval; ``float()`` takes it.
    """

    name: str
    model: ModelRef
    request: Request
    dataset: Dataset
    rows: Sequence[Row]
    """One per example and repeat, in the dataset's order; read when they are asked for.
    With a `source`, those that were asked, in the order of asking; every one when they
    are read before the first gate. With a `table`, those that a person should see: in
    error first, then the lowest scores, a thousand at most."""
    values: Mapping[str, MetricValue]
    definitions: Mapping[str, Metric]
    """The metrics that `values` were computed with."""
    started_at: float
    """Unix time in seconds."""
    duration_s: float
    confidence: float | None = None
    """Confidence of gates that give none."""
    recorder: Recorder | None = field(default=None, compare=False)
    find_baseline: FindBaseline | None = field(default=None, compare=False)
    source: RowSource | None = field(default=None, compare=False)
    """Asks for further rows; None when the evaluation does not stop early."""
    table: ScoreTable | None = field(default=None, compare=False)
    """All rows, when Spark has evaluated them where they lie."""

    def __getitem__(self, metric: str) -> MetricValue:
        __tracebackhide__ = True
        try:
            return self.values[metric]
        except KeyError:
            raise MetricError(
                f"{self.name!r} has no metric {metric!r}; it has: "
                f"{', '.join(self.values)}{nearest(metric, list(self.values))}"
            ) from None

    @property
    def metrics(self) -> dict[str, float | None]:
        """Plain values by name; None where no row could be scored."""
        return {name: value.value for name, value in self.values.items()}

    @property
    def columns(self) -> Columns:
        """Scores and numbers of the rows."""
        columns: Columns | None = getattr(self.rows, "columns", None)
        return Columns.of(self.rows) if columns is None else columns

    @property
    def tally(self) -> Tally | ColumnsTally:
        """What the rows come to, scores apart."""
        return ColumnsTally(self.columns) if self.table is None else self.table.tally

    @property
    def errors(self) -> list[RowError]:
        """Rows that could not be evaluated, with kind, message and attempts.

        Of rows in Spark the first thousand.
        """
        rows: Iterable[Row] = self.rows
        if self.table is None:
            rows = (self.rows[position] for position in sorted(self.columns.failed))
        return [error for row in rows for error in row.errors]

    @property
    def cached(self) -> int:
        """Rows whose reply is of an earlier run, from the predictions store."""
        return self.tally.cached

    @property
    def oldest_reply(self) -> float | None:
        """Unix time in seconds of the oldest stored reply, when there is one."""
        return self.tally.oldest_reply

    @property
    def usage(self) -> Usage:
        """Requests, tokens, cost and latency of what was asked now."""
        return self.tally.usage

    def as_baseline(self) -> Baseline:
        """Return this evaluation as what another one is compared with."""
        return Baseline(
            origin=f"the results of {self.model}",
            model=str(self.model),
            dataset_digest=self.dataset.digest,
            request_digest=self.request.digest,
            sources={name: m.source for name, m in self.definitions.items()},
            early_stopped=self.early_stopped,
            columns=self.columns if self.table is None else Columns([], ()),
            rows=self.rows if self.table is None else (),
            table=self.table,
        )

    @property
    def early_stopped(self) -> bool:
        """Whether some rows were not needed, so that they have no score."""
        return bool(self.tally.not_needed)

    def summary(self) -> dict[str, Any]:
        """Return all but the rows as builtins."""
        request, tally = self.request, self.tally
        return {
            "name": self.name,
            "started_at": self.started_at,
            "duration_s": self.duration_s,
            "cached": tally.cached,
            "predictions_digest": tally.predictions_digest,
            "oldest_reply": tally.oldest_reply,
            "usage": asdict(tally.usage),
            "dataset": {
                "name": self.dataset.name,
                "digest": self.dataset.digest,
                "rows": len(self.dataset.ids),
                **self.dataset.origin,
            },
            "columns": dict(self.dataset.columns),
            "table": self._table_entry(),
            "early_stop": self._early_stop(),
            "confidence": next(
                (v.confidence for v in self.values.values() if v.confidence), None
            ),
            "metrics": {
                name: _numbers_of(value) for name, value in self.values.items()
            },
            "definitions": {
                name: {
                    "source": metric.source,
                    "higher_is_better": metric.higher_is_better,
                    "range": plain(metric.range),
                }
                for name, metric in self.definitions.items()
            },
            "params": {
                "model": str(self.model),
                "model_digest": self.model.digest,
                "dataset_digest": self.dataset.digest,
                "request_digest": request.digest,
                "prompt": request.prompt,
                "system": request.system,
                **{f"params.{key}": value for key, value in request.params.items()},
                **({"repeats": request.repeats} if request.repeats > 1 else {}),
            },
        }

    def _table_entry(self) -> dict[str, Any] | None:
        """Return where all rows lie, and what reports say of them; None if here."""
        if self.table is None:
            return None
        return {
            "place": self.table.place,
            "rows_shown": len(self.rows),
            "kinds": dict(self.tally.kinds),
            "scores_digest": self.tally.scores_digest,
        }

    def _early_stop(self) -> dict[str, Any] | None:
        """Return how many rows were not needed, and what names them; None if none."""
        not_needed = self.tally.not_needed
        if self.source is None or not not_needed:
            return None
        asked = len(self.rows)
        return {"seed": self.source.seed, "asked": asked, "not_needed": not_needed}

    def to_pandas(self) -> pandas.DataFrame:
        """Return a frame of the rows.

        Columns: id, with repeats also repeat, input, references, prediction, error,
        and one per metric. Rows in Spark come here, all of them, in the order of ids.
        """
        import pandas

        repeated = self.request.repeats > 1
        names = ("id", "input", "references", "prediction", "error")
        table, repeats = [], []
        for row in self.rows if self.table is None else self.table.read():
            reply, example = row.prediction.reply, row.example
            errors = "; ".join(f"{e.kind}: {e.message}" for e in row.errors)
            cells = (example.id, example.input, list(example.references))
            answer = (reply.text if reply else None, errors or None)
            table.append([*cells, *answer, *map(row.scores.get, self.values)])
            repeats.append(row.repeat)
        columns = [*names, *self.values]
        try:
            frame = pandas.DataFrame(table, columns=columns)
        except UnicodeEncodeError:  # pandas 3 has no text type for lone surrogates
            frame = pandas.DataFrame(table, columns=columns, dtype=object)
            frame = frame.astype(dict.fromkeys(self.values, float))
        if repeated:
            frame.insert(1, "repeat", repeats)
        return frame

    def to_spark(self) -> Any:
        """Return the rows as a Spark DataFrame, see docs/scale.md for its columns.

        Raises:
            ConfigurationError: Spark has not evaluated them.
        """
        return self._scored_by_spark("to_spark()").frame(self.summary())

    def write(self, target: str, *, mode: str = "append") -> None:
        """Write the rows of `to_spark` to a table.

        Args:
            target: ``catalog.schema.table``, ``delta:/path``, or a path for Parquet.
            mode: ``append`` or ``overwrite``.

        Raises:
            ConfigurationError: Spark has not evaluated them, or cannot write there.
        """
        self._scored_by_spark("write()").write(target, mode, self.summary())

    def _scored_by_spark(self, method: str) -> ScoreTable:
        if self.table is None:
            raise ConfigurationError(
                f"{method} is for rows that Spark has evaluated: "
                'evaluate(engine="spark"); others are given by to_pandas()'
            )
        return self.table

    def __repr__(self) -> str:
        if self.source is not None and not self.source.begun:
            name = one_line(self.name)
            return f"<EvalResults {name}: open, {one_line(self.model)}>"
        head = f"<EvalResults {self._headline()}>"
        return "\n".join([head, *("  " + "  ".join(cells) for cells in self._table())])

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{html.escape(cell.strip())}</td>" for cell in cells)
            + "</tr>"
            for cells in self._table()
        )
        caption = html.escape(self._headline())
        return f"<table><caption>{caption}</caption>{rows}</table>"

    def _headline(self) -> str:
        tally, name = self.tally, one_line(self.name)
        model = one_line(self.model)
        return f"{name}: {tally.rows} rows, {model}, {tally.failed} errors"

    def _table(self) -> list[list[str]]:
        table = [["metric", "value", "interval", "n", "errors"]]
        table += [
            [
                one_line(value.name, 80),
                number(value.value),
                interval(value.lower, value.upper, value.confidence),
                str(value.n),
                str(value.errors),
            ]
            for value in self.values.values()
        ]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return [
            [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
            for cells in table
        ]


def _numbers_of(value: MetricValue) -> dict[str, float | None]:
    numbers = {
        "value": value.value,
        "lower": value.lower,
        "upper": value.upper,
        "n": value.n,
        "errors": value.errors,
    }
    if value.variance_between is not None:
        numbers["variance_between"] = value.variance_between
        numbers["variance_within"] = value.variance_within
    return numbers


def _unknown(rows: int) -> array[float]:
    return array("d", [math.nan]) * rows


def _pick(values: array[float], positions: Iterable[int]) -> array[float]:
    return array("d", [values[at] for at in positions])


def _known(values: Iterable[float]) -> list[float]:
    return [value for value in values if not math.isnan(value)]


def _total(values: Sequence[float]) -> int | None:
    return int(sum(values)) if values else None


def _quantile(values: Sequence[float], share: float) -> float | None:
    """Return the smallest value that so large a share of the values does not pass."""
    ordered = sorted(values)
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)] if ordered else None


def number(value: float | None) -> str:
    """Return a value with three decimals, more where they would round to nothing."""
    if value is None:
        return "none"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3g}"


def interval(lower: float | None, upper: float | None, confidence: float | None) -> str:
    """Return ``0.381 to 0.482 at 95 %``, or a dash when there is no interval."""
    if lower is None or upper is None or confidence is None:
        return "-"
    return f"{number(lower)} to {number(upper)} at {100 * confidence:g} %"
