"""The values that travel between stages, and the protocols that others implement.

Values hold data and identity. They never render, fetch or decide.
"""

from __future__ import annotations

import hashlib
import json
import math
import numbers
from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from contextlib import AbstractContextManager
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any
from typing import BinaryIO
from typing import Literal
from typing import Protocol
from typing import TypeGuard
from typing import get_args
from typing import runtime_checkable

from pytest_llmeval.text import one_line


Op = Literal[">=", ">", "<=", "<", "==", "!="]
Status = Literal["pass", "fail", "inconclusive", "error"]
OnError = Literal["fail", "worst", "exclude"]
Kind = Literal["metric", "change", "quantile"]
Missing = Literal["error", "first"]
OPS: tuple[Op, ...] = get_args(Op)
LONGEST_FLIP = 500
"""Characters of a text in the verdict's lists of rows."""


def canonical(value: object) -> bytes:
    """Return the one JSON form of a value, the same on every engine.

    Keys are sorted, keys without a value left out, text is ASCII, NaN is null, and a
    float without a fraction is an integer, so that one table read by two engines has
    one digest.
    """
    return _encode(plain(value)).encode("ascii")


_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False
).encode


def plain(value: object) -> Any:
    """Return a value as JSON builtins, in the one form of `canonical`."""
    if isinstance(value, (str, bool)):  # first, because most values are text
        return value
    if is_missing(value):
        return None
    if isinstance(value, Mapping):
        items = ((str(key), plain(item)) for key, item in value.items())
        return {key: item for key, item in items if item is not None}
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if abs(value) == float("inf"):
            return None
        return int(value) if value.is_integer() else value
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def is_missing(value: object) -> bool:
    """Return whether a cell has no value: None, NaN, and what pandas has for them."""
    if isinstance(value, str):
        return False
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Real) and bool(value != value)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a real number; numpy's are, a bool is not."""
    return not isinstance(value, bool) and isinstance(value, numbers.Real)


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a number that a float can hold."""
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:
        return False


def is_range(bounds: object) -> TypeGuard[tuple[float, float]]:
    """Return whether a value is a pair of finite numbers, the lower one first."""
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        return False
    low, high = bounds
    if not (is_finite(low) and is_finite(high)):
        return False
    return bool(low < high) and math.isfinite(float(high) - float(low))


def digest_of(value: object) -> str:
    """Return ``sha256:`` and the hash of the value's canonical JSON."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


@dataclass(frozen=True, slots=True, kw_only=True)
class Example:
    """One row of a dataset."""

    id: str
    """Unique in its dataset; the hash of the row where the data has no id column."""
    input: str
    """The question, or whatever the model is asked about."""
    references: tuple[str, ...] = ()
    """Acceptable answers; metrics take the best match."""
    context: str | None = None
    """Text that the answer should rest on."""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    """Every column of the row under its own name, the ones above included."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetRef:
    """Where examples come from, and which columns mean what."""

    source: Any
    """A path, a pandas frame or a list of mappings."""
    name: str | None = None
    """Shown in reports; a path's own name by default."""
    columns: Mapping[str, str | Sequence[str]] | None = None
    """``{"input": "q", "references": ["a1", "a2"]}`` where names differ from ours."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Dataset:
    """A dataset that was read: its examples and their identity."""

    name: str
    digest: str
    """Covers every column of every row, in any order."""
    examples: Iterable[Example]
    """In order, and as often as it is iterated: read anew from the source, so that a
    dataset need not fit into memory."""
    ids: Sequence[str]
    """One for each example, in the same order."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Which column is which, as given or found."""
    filled: Mapping[str, int] = field(default_factory=dict)
    """How many rows have a value, by column."""
    with_references: int = 0
    """How many examples have at least one reference."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelRef:
    """Which model, resolved once, before the first request."""

    scheme: str
    name: str
    version: str | None = None
    digest: str | None = None
    pinned: bool = False
    """Whether the same reference is sure to give the same model tomorrow."""
    requested: str | None = None
    """What the user wrote, for example ``models:/docs-qa@candidate``."""
    instance: str | None = None
    """Tells unpinned models of one name apart; not part of the identity."""
    aliases: Mapping[str, str] = field(default_factory=dict)
    """Registry aliases and their versions, as they stood when it was resolved."""

    def identity(self) -> tuple[str | None, ...]:
        """Return what makes it this model and no other."""
        return (self.scheme, self.name, self.version, self.digest)

    def __str__(self) -> str:
        if self.scheme == "runs":
            return f"runs:/{self.version}/{self.name}"
        text = f"{self.scheme}:{'/' if self.scheme == 'models' else ''}{self.name}"
        return f"{text}/{self.version}" if self.version else text


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """How the model is asked: a thing of its own beside the model."""

    prompt: str | tuple[Mapping[str, str], ...] | None = None
    """Template with named columns in braces, or chat messages of such templates;
    without one the input is the message."""
    system: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """Generation parameters such as ``max_tokens`` and ``temperature``."""
    columns: Mapping[str, Any] = field(default_factory=dict)
    """Which columns of the data are input, references and context."""
    repeats: int = 1
    """How often each example is asked."""

    @property
    def digest(self) -> str:
        """Cover template, system message, parameters, columns, and repeats above 1."""
        repeats = self.repeats if self.repeats > 1 else None
        return digest_of({**asdict(self), "repeats": repeats})


@dataclass(frozen=True, slots=True, kw_only=True)
class Prompt:
    """A request rendered for one example."""

    user: str
    system: str | None
    params: Mapping[str, Any]
    example: Example
    earlier: tuple[Mapping[str, str], ...] = ()
    """Messages before the user's, such as worked examples."""
    repeat: int = 0
    """Which of several answers to the same request, from 0."""

    @property
    def messages(self) -> list[dict[str, str]]:
        """Chat messages, the system message first when there is one."""
        system = [{"role": "system", "content": self.system}] if self.system else []
        earlier = map(dict, self.earlier)
        return [*system, *earlier, {"role": "user", "content": self.user}]

    @property
    def text(self) -> str:
        """All messages as one text, for models that know no roles."""
        return "\n\n".join(message["content"] for message in self.messages)


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a model said to one prompt."""

    text: str
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    """US dollars, when the model reports it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RowError:
    """Why a row has no prediction, or no score for one metric."""

    id: str
    kind: str
    """``timeout``, ``http_500``, ``malformed``, ``scorer``, ``not_finite`` …"""
    message: str
    attempts: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class Prediction:
    """One row's reply with what it cost, or the error in its place."""

    reply: Reply | None = None
    error: RowError | None = None
    latency_ms: float | None = None
    """From sending the request to the whole reply, last attempt only."""
    queue_ms: float | None = None
    """From taking the row up to sending the last attempt."""
    attempts: int = 1
    """Requests that were sent for it now; 0 when its reply was stored."""
    stored_at: float | None = None
    """Unix time in seconds of the original call when it is of an earlier run."""

    @property
    def text(self) -> str:
        """The reply's text; empty where there is none."""
        return self.reply.text if self.reply else ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One example with one prediction and its scores."""

    example: Example
    prediction: Prediction
    scores: Mapping[str, float]
    """One score per row-level metric, absent where it could not be computed."""
    errors: tuple[RowError, ...] = ()
    """Errors of the prediction and of scorers."""
    repeat: int = 0
    """Which of several answers to the same example, from 0."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Usage:
    """What an evaluation took, stored replies apart; None where it is not known."""

    requests: int
    """Sent to the model, further attempts included."""
    rows: int
    """Rows that a request was sent for."""
    prompt_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    """US dollars; None unless every reply's cost is known."""
    latency_p50_ms: float | None
    """From sending the last attempt to the whole reply."""
    latency_p95_ms: float | None
    queue_p95_ms: float | None
    """From taking a row up to sending its last attempt: waits and failed attempts."""


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
    """A metric over one evaluation."""

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


@dataclass(frozen=True, slots=True, kw_only=True)
class Gate:
    """What a model has to reach."""

    metric: str
    op: Op
    threshold: float
    """In the metric's unit; for a change the least mean difference, where more is
    better."""
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


def finite_or_text(value: object) -> object:
    """Return a finite number as it is, anything else as text that strict JSON holds."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if number and abs(value) < float("inf") else repr(value)  # type: ignore[arg-type]  # number


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run that has ended, with what it left behind."""

    verdict: Mapping[str, Any]
    """The content of its ``verdict.json``."""
    open_rows: Callable[[int], BinaryIO]
    """Opens a file of JSON lines that holds the rows of an evaluation, given by its
    number in the run, from 1."""
    origin: str
    """Where it was found, for people."""
    model: str | None = None
    """The model version that it has to be of; None where a run itself was named."""


class Model(Protocol):
    """A language model, or a whole application around one."""

    @property
    def ref(self) -> ModelRef:
        """Its resolved identity."""

    @property
    def concurrency(self) -> int | None:
        """The most requests it can work on at once; None when it sets no limit."""

    @property
    def sees_example(self) -> bool:
        """Whether it reads more of the example than the prompt."""

    def session(self) -> AbstractAsyncContextManager[Ask]:
        """Open it for one evaluation, inside that evaluation's event loop."""

    def close(self) -> None:
        """Free what it holds; called once, at the end of the run."""


Ask = Callable[[Prompt], Awaitable[Reply]]
"""Asks once and returns the reply, or raises `CallError`."""


class Recorder(Protocol):
    """Takes note of decisions; a pytest session has one, a notebook none."""

    @property
    def raises(self) -> bool:
        """Whether a gate that does not pass raises."""

    def record(self, decision: Decision) -> Decision:
        """Keep the decision and return it with the test it belongs to."""


class RowSource(Protocol):
    """Asks for rows of an evaluation that stops when its gates are decided."""

    @property
    def seed(self) -> str:
        """What the order of the rows follows from."""

    @property
    def begun(self) -> bool:
        """Whether a gate or a reader has asked for rows."""

    def begin(self) -> None:
        """Note that a gate has come: who reads rows now finds those that are there."""

    def ask(self, enough: Callable[[Sequence[Row]], bool] | None = None) -> None:
        """Ask for rows in their order, until there are enough or none is left.

        Args:
            enough: Called with the rows of one example, one for each repeat, and then
                of the next; those that are there already come first. Without it, every
                row is asked for.

        Raises:
            EarlyStopped: further rows are needed, and the source is closed.
            LLMEvalError: the model must not be asked on, or the data changed.
        """

    def close(self) -> None:
        """Ask no more: the test that evaluated is over."""


class Progress(Protocol):
    """Shows how an evaluation gets on."""

    def __call__(self, done: int, total: int, errors: int) -> None:
        """Say that `done` of `total` rows are answered, `errors` of them in error."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a deployment is about to do."""

    target: str
    summary: str
    """One sentence for people."""
    changes: tuple[str, ...]
    """One line for each write; empty when all is as wanted."""


class DeployTarget(Protocol):
    """Somewhere a model version can go live."""

    def plan(self, verdict: Mapping[str, Any]) -> Plan:
        """Compare the verdict with the world.

        Raises:
            DeploymentRefused: the world is not as the verdict saw it.
        """

    def apply(self, verdict: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Make the change, read it back, and say in one sentence what is live."""


@runtime_checkable
class BaselineTarget(Protocol):
    """A target that remembers which run evaluated the version that is live there."""

    def live(self) -> tuple[str, Mapping[str, str]]:
        """Return the version that is live, and its tags.

        Raises:
            DeploymentRefused: none is.
        """

    def mark(self, version: str, tags: Mapping[str, str]) -> None:
        """Tag a version; what is live stays."""


class Tracker(Protocol):
    """Keeps runs where a team looks them up.

    A run is the mapping in ``tracking.json``. Its uploads may break off at any point
    and begin again, in another process: each step leaves alone what is there already.
    """

    def child(self, name: str, run: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """Open a child run now, for a test that logs to it.

        Args:
            name: The child's name.
            run: Of the mapping only ``run_id``, ``experiment``, ``experiment_id`` and
                ``started_at``.
        """

    def log_run(self, run: Mapping[str, Any], rows: Path) -> str:
        """Write a finished run and its evaluations; return the run's id there.

        Args:
            run: What to write.
            rows: The file of which each evaluation has the bytes ``rows_span``.
        """

    def log_verdict(self, run_id: str, run: Mapping[str, Any], verdict: Path) -> None:
        """Add the verdict file to the run that `log_run` gave, and end that run."""
