"""What goes through an evaluation: data, requests, replies, scored rows."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from pytest_llmeval.records.canonical import digest_of


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


@dataclass(frozen=True, slots=True, kw_only=True, weakref_slot=True)
class DatasetRef:
    """Where examples come from, and which columns mean what."""

    source: Any
    """A path, a pandas frame, a list of mappings, or what Spark reads: the name of a
    table, a query, ``delta:/path``, a path in cloud storage, a Spark DataFrame."""
    name: str | None = None
    """Shown in reports; a path's own name by default."""
    columns: Mapping[str, str | Sequence[str]] | None = None
    """``{"input": "q", "references": ["a1", "a2"]}`` where names differ from ours."""
    prepare: Callable[[Any], Any] | str | None = None
    """Makes of the source what is evaluated, in Spark: a function from DataFrame to
    DataFrame, or a query in which the source is the table ``data``."""
    where: Mapping[str, Any] | None = None
    """Keep the rows that have these values in these columns."""
    sample: int | float | None = None
    """Keep so many rows, or such a share of them, chosen by a hash of their ids: the
    same rows in every order and on every engine."""
    seed: int = 0
    """Of the sample."""
    spark: Callable[[], Any] | None = field(default=None, compare=False)
    """Gives the Spark session of the suite; found by the settings when None."""


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
    origin: Mapping[str, Any] = field(default_factory=dict)
    """Where Spark has read it: ``source``, ``kind``, and ``version`` of a Delta table;
    empty for what this process reads."""


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
