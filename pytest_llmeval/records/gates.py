"""What is measured and decided: metrics, gates, decisions."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import KW_ONLY
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any
from typing import Literal
from typing import get_args

from pytest_llmeval.records.canonical import finite_or_text
from pytest_llmeval.records.canonical import is_number
from pytest_llmeval.records.canonical import plain
from pytest_llmeval.records.rows import Example
from pytest_llmeval.records.rows import ModelRef
from pytest_llmeval.records.rows import Prediction
from pytest_llmeval.records.rows import Row
from pytest_llmeval.text import one_line


Op = Literal[">=", ">", "<=", "<", "==", "!="]
Status = Literal["pass", "fail", "inconclusive", "error"]
OnError = Literal["fail", "worst", "exclude"]
Kind = Literal["metric", "change", "quantile"]
Missing = Literal["error", "first"]
OPS: tuple[Op, ...] = get_args(Op)
LONGEST_FLIP = 500
"""Characters of a text in the verdict's lists of rows."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Metric:
    """How predictions become a number.

    A metric has `score` (a number per row, averaged) or `aggregate` (one number for
    all rows together, for metrics that are no mean of rows), or both.
    """

    name: str
    score: Callable[[Prediction, Example], float | bool] | None = None
    aggregate: Callable[[Sequence[Prediction], Sequence[Example]], float] | None = None
    higher_is_better: bool = True
    range: tuple[float, float] | None = None
    """Lowest and highest possible score; None when there is no bound."""
    needs_references: bool = False
    inline: bool = False
    """Whether a score takes well below a millisecond and never blocks, so that it is
    computed between requests; others are computed in threads, several at once."""
    source: str = ""
    """Paper or reference implementation, with its version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricValue:
    """A metric over one evaluation; compares with numbers as its `value` does.

    It equals no number, though: write ``float(value) == 1``.
    """

    name: str
    value: float | None
    """None when no row could be scored."""
    lower: float | None
    """One-sided lower confidence bound at `confidence`; None where there is none."""
    upper: float | None
    """One-sided upper confidence bound at `confidence`."""
    confidence: float | None
    n: int
    """Examples that `value` rests on."""
    errors: int
    """Examples that could not be evaluated, or not in every repeat; the same for all
    metrics of an evaluation."""
    variance_between: float | None = None
    """Of the means of the examples, without the part that `variance_within` makes; None
    without repeats."""
    variance_within: float | None = None
    """Of the scores of one example's repeats, on average."""

    def __float__(self) -> float:
        if self.value is None:
            raise ValueError(
                f"{self.name} has no value: none of the rows could be scored "
                f"({self.errors} errors; see results.errors)"
            )
        return self.value

    # No equality with numbers: it would have to agree with the hash, and two values
    # that rest on different rows are not equal.
    def __lt__(self, number: float) -> bool:
        return float(self) < number if is_number(number) else NotImplemented

    def __le__(self, number: float) -> bool:
        return float(self) <= number if is_number(number) else NotImplemented

    def __gt__(self, number: float) -> bool:
        return float(self) > number if is_number(number) else NotImplemented

    def __ge__(self, number: float) -> bool:
        return float(self) >= number if is_number(number) else NotImplemented


@dataclass(frozen=True, slots=True)
class Gate:
    """What a model has to reach: ``Gate("token_f1", ">=", 0.4, confidence=0.95)``."""

    metric: str
    op: Op
    threshold: float
    """In the metric's unit; for a change the least mean difference, where more is
    better."""
    _: KW_ONLY
    kind: Kind = "metric"
    """What is compared with the threshold: the metric, its change from a baseline, or
    one of its quantiles."""
    baseline: str | None = None
    """For a change: the baseline as the suite names it."""
    missing: Missing = "error"
    """For a change: what a model without an earlier version means."""
    quantile: float | None = None
    """For a quantile: which one, between 0 and 1."""
    confidence: float | None = None
    """None compares the point value."""
    bounds: tuple[float, float] | None = None
    cluster: str | None = None
    where: Mapping[str, Any] | None = None
    min_rows: int | None = None
    on_error: OnError = "fail"
    max_error_rate: float | None = None

    def __str__(self) -> str:
        name = _text(self.metric)
        if self.kind == "change":
            name = f"{name} vs {self.baseline}"
        elif self.kind == "quantile":
            name = f"{_quantile_name(self.quantile)} {name}"
        return f"{name} where {self.where!r}" if self.where else name


def _quantile_name(share: object) -> str:
    return f"p{100 * share:g}" if is_number(share) else f"quantile {share!r}"


@dataclass(frozen=True, slots=True, kw_only=True)
class WorstRow:
    """A row to look at first when a gate did not pass."""

    id: str
    input: str
    expected: tuple[str, ...]
    got: str
    score: float

    @classmethod
    def of(cls, row: Row, score: float) -> WorstRow:
        """Return a row with its score as one to look at."""
        return cls(
            id=row.example.id,
            input=row.example.input,
            expected=row.example.references,
            got=row.prediction.text,
            score=score,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """A row that a change made worse or better."""

    id: str
    input: str
    before: str
    """The baseline's answer."""
    after: str
    change: float
    """Of the row's score, where more is better."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """What a change was measured against, and which rows it changed."""

    origin: str
    """Where the baseline was found."""
    model: str
    """The baseline's model."""
    request_digest: str
    """How the baseline's model was asked."""
    value: float
    """The metric over the baseline's rows."""
    value_now: float
    """The metric over the rows under test."""
    less_is_better: bool
    """Whether a fall of the metric counts as a positive change."""
    worse: int
    """Rows with a worse score than in the baseline."""
    better: int
    flips: tuple[Flip, ...]
    """A few of them, the largest changes first: worse ones, then better ones."""
    run_id: str | None = None
    """The baseline's run; None when it is an evaluation of the same run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """How a gate came out, and on what evidence."""

    gate: Gate
    status: Status
    reason: str
    """``OK``, ``GATE_FAILED``, ``INCONCLUSIVE``, or what is in error."""
    detail: str = ""
    """For errors: what is wrong and what to do next."""
    test: str | None = None
    """Node id of the test that asked."""
    method: str = "point"
    """``point``; ``gaffke`` or ``bca``, which is approximate, when an interval decided;
    or ``betting`` when the test did that may stop early."""
    value: float | None = None
    """The metric, the mean difference of a change, or the quantile."""
    share: float | None = None
    """For a quantile: the share of rows that decides, which `lower` and `upper` are
    bounds of."""
    seed: int | None = None
    """Of the resampling behind a ``bca`` interval."""
    row_mean: float | None = None
    """Mean over rows, beside `value`, when clusters were averaged first."""
    lower: float | None = None
    upper: float | None = None
    n: int = 0
    errors: int = 0
    cached: int = 0
    """Rows whose reply is of an earlier run, from the predictions store."""
    oldest_reply: float | None = None
    """Unix time in seconds of the oldest of them."""
    rows_needed: int | None = None
    """About how many rows like these would decide an inconclusive gate."""
    at_worst: Status | None = None
    """With rows in error left out: what counting them at the worst would have said."""
    point_only: str | None = None
    """For a passing gate without a confidence: what 95 % confidence would have said."""
    worst: tuple[WorstRow, ...] = ()
    compared: Comparison | None = None
    """For a change."""
    model: ModelRef | None = None
    dataset: str = ""
    dataset_digest: str = ""
    rows: int = 0
    """Rows of the dataset, or of the slice that `where` selects."""
    repeats: int = 1
    """Answers to each row; its score is their mean."""
    request_digest: str = ""

    def to_dict(self) -> dict[str, Any]:
        """Return the gate's entry in ``verdict.json``."""
        gate = self.gate
        entry = {
            "test": self.test,
            "metric": _text(gate.metric),
            "op": _text(gate.op),
            "threshold": finite_or_text(gate.threshold),
            "confidence": plain(gate.confidence),
            "method": self.method,
            "request_digest": self.request_digest,
            "dataset": self.dataset,
            "dataset_digest": self.dataset_digest,
            "rows": self.rows,
            "value": self.value,
            "lower": self.lower,
            "upper": self.upper,
            "n": self.n,
            "errors": self.errors,
            "cached": self.cached,
            "decision": self.status,
            "reason": self.reason,
        }
        options = {
            "kind": _unless(gate.kind, "metric"),
            "baseline": gate.baseline,
            "missing": _unless(gate.missing, "error"),
            "quantile": plain(gate.quantile),
            "where": plain(gate.where) or None,
            "bounds": plain(gate.bounds) or None,
            "cluster": _text(gate.cluster) if gate.cluster is not None else None,
            "min_rows": plain(gate.min_rows),
            "on_error": _unless(gate.on_error, "fail"),
            "max_error_rate": plain(gate.max_error_rate),
            "decision_at_worst": self.at_worst,
            "share": self.share,
            "seed": self.seed,
            "compared": _comparison_entry(self.compared) if self.compared else None,
            "repeats": self.repeats if self.repeats > 1 else None,
        }
        given = {key: value for key, value in options.items() if value is not None}
        return entry | given


def _unless(value: object, usual: str) -> str | None:
    """Return a value as text, or None when it is the usual one."""
    text = _text(value)  # compared as text, because it may be anything
    return None if text == usual else text


def _text(value: object) -> str:
    return value if isinstance(value, str) else repr(value)


def _comparison_entry(compared: Comparison) -> dict[str, Any]:
    """Return it as builtins that are harmless and of bounded size."""
    flips = [
        {
            "id": one_line(flip.id, 80),
            "input": one_line(flip.input, LONGEST_FLIP),
            "before": one_line(flip.before, LONGEST_FLIP),
            "after": one_line(flip.after, LONGEST_FLIP),
            "change": flip.change,
        }
        for flip in compared.flips
    ]
    return {**asdict(compared), "flips": flips}
