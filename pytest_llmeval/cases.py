"""Rows of a dataset as tests of their own: what a test gets, and what it comes to.

Apart from `runner`, which evaluates all rows at once: here a test looks at one row, and
scores it. The rows of all tests of one function make an evaluation again.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from pathlib import Path
from typing import Any

import pluggy

from pytest_llmeval.config import Settings
from pytest_llmeval.datasets import load_dataset
from pytest_llmeval.decisions import complete_gate
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import MetricError
from pytest_llmeval.gate import problem_of
from pytest_llmeval.metrics import find_metrics
from pytest_llmeval.metrics import known_metrics
from pytest_llmeval.models import build_request
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Example
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Request
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.records import is_finite
from pytest_llmeval.scoring import score_row
from pytest_llmeval.text import one_line
from pytest_llmeval.text import redactor


PASS_RATE = Metric(
    name="pass_rate",
    range=(0.0, 1.0),
    source="share of the cases whose test passes",
)
LONGEST_ID = 40
OWN = "recorded by the suite"
KINDS = {
    "id": str,
    "limit": int,
    "metrics": Sequence,
    "gates": Sequence,
    "name": str,
    "params": Mapping,
    "columns": Mapping,
}
"""What the marker's arguments are, where it matters to us."""


@dataclass(kw_only=True)
class CaseSpec:
    """What a marker says of its test function."""

    test: str
    """Node id of the function, without a case."""
    location: tuple[str, int | None, str]
    """Where the function stands, as pytest's reports say it."""
    name: str
    dataset: Dataset
    """Its examples are in memory."""
    request: Request
    gates: tuple[Gate, ...]
    metrics: tuple[str | Metric | Callable[..., Any], ...]
    selected: list[int] = field(default_factory=list)
    """Positions of the examples whose tests are to run, in the order of the tests."""

    @property
    def ids(self) -> list[str]:
        """What the tests are called: short and harmless, one for each example."""
        redact = redactor()
        return [short_id(one, redact(one)) for one in self.dataset.ids]


def load_cases(
    test: str,
    location: tuple[str, int | None, str],
    hook: pluggy.HookRelay,
    settings: Settings,
    folder: Path,
    marker: Mapping[str, Any],
) -> CaseSpec:
    """Read what ``@pytest.mark.llmeval_cases(data, …)`` names.

    Args:
        test: Node id of the function.
        location: Where it stands.
        hook: Where backends are registered.
        settings: The run's settings.
        folder: The test file's folder, where relative paths start.
        marker: The arguments by name, as `check_marker` returns them.

    Raises:
        LLMEvalError: an argument cannot be used.
    """
    for gate in marker["gates"]:
        problem = problem_of(complete_gate(gate, settings.confidence))
        if problem is not None:
            raise ConfigurationError(f"gates= holds {gate}: {problem}")
    columns = dict(marker["columns"] or {})
    if marker["id"] is not None:
        columns["id"] = marker["id"]
    dataset = load_dataset(
        marker["data"],
        hook,
        settings,
        columns=columns,
        folder=folder,
        limit=marker["limit"],
        in_memory=True,
    )
    return CaseSpec(
        test=test,
        location=location,
        name=marker["name"] or dataset.name,
        dataset=dataset,
        request=build_request(marker["prompt"], marker["params"], dataset.columns),
        gates=tuple(marker["gates"]),
        metrics=tuple(marker["metrics"]),
    )


def check_marker(
    data: Any = None,
    *,
    id: str | None = None,  # noqa: A002  # what users call it
    limit: int | None = None,
    metrics: Sequence[str | Metric | Callable[..., Any]] = (),
    gates: Sequence[Gate] = (),
    name: str | None = None,
    prompt: str | Sequence[Mapping[str, str]] | None = None,
    params: Mapping[str, Any] | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
) -> dict[str, Any]:
    """Return the arguments of a marker by name.

    Args:
        data: As in `evaluate`.
        id: The column that names the rows.
        limit: How many rows to take, from the first on.
        metrics: Computed for each case; further ones by ``llmeval_case.score``.
        gates: Decided over all cases; the cases alone then fail nothing.
        name: Names the evaluation in reports; the dataset's name by default.
        prompt: As in `evaluate`.
        params: As in `evaluate`.
        columns: As in `evaluate`.

    Raises:
        ConfigurationError: an argument is of the wrong kind.
    """
    given = {**locals()}
    if data is None:
        raise ConfigurationError('it needs data, such as a path: ("data/qa.jsonl")')
    for argument, kind in KINDS.items():
        _check_kind(argument, given[argument], kind)
    if limit is not None and (isinstance(limit, bool) or limit < 1):
        raise ConfigurationError(f"limit={limit!r} must be a whole number, at least 1")
    for gate in gates:
        if not isinstance(gate, Gate):
            raise ConfigurationError(
                f"gates= holds {gate!r:.100}, expected a Gate, such as "
                'Gate("pass_rate", ">=", 0.9, confidence=0.95)'
            )
    return given


def _check_kind(argument: str, value: object, kind: type) -> None:
    words = {str: "a text", int: "a whole number", Sequence: "a list"}
    is_text = isinstance(value, str) and kind is not str  # a sequence too, but of what
    if value is None and argument not in ("metrics", "gates"):
        return
    if is_text or not isinstance(value, kind):
        expected = words.get(kind, 'a mapping, such as {"input": "question"}')
        raise ConfigurationError(f"{argument}={value!r:.100} must be {expected}")


class Case:
    """One row, with what the model said to it; what the fixture `llmeval_case` gives.

    Args:
        example: The row.
        prediction: What the model said.
        cases: Knows the metrics.
    """

    def __init__(
        self, example: Example, prediction: Prediction, cases: CaseMetrics
    ) -> None:
        self.example = example
        """The row as metrics see it."""
        self._prediction, self._cases = prediction, cases
        self.scores: dict[str, float] = {}
        """What was recorded so far, by metric."""
        self.missed = False
        """Whether an assert of its test failed."""
        self._failure: str | None = None

    def __repr__(self) -> str:
        return f"<case {one_line(self.id, LONGEST_ID)}>"  # in what pytest shows of it

    @property
    def id(self) -> str:
        """The row's id."""
        return self.example.id

    @property
    def input(self) -> str:
        """What the model was asked about."""
        return self.example.input

    @property
    def references(self) -> tuple[str, ...]:
        """Acceptable answers."""
        return self.example.references

    @property
    def context(self) -> str | None:
        """Text that the answer should rest on."""
        return self.example.context

    @property
    def metadata(self) -> Mapping[str, Any]:
        """Every column of the row under its own name."""
        return self.example.metadata

    @property
    def prediction(self) -> str:
        """What the model said."""
        return self._prediction.text

    @property
    def latency_ms(self) -> float | None:
        """From sending the request to the whole reply; None for some stored replies."""
        return self._prediction.latency_ms

    def score(self, metric: str | Metric | Callable[..., Any]) -> float:
        """Compute a metric for this row, record the score and return it.

        Args:
            metric: What `evaluate` takes as a metric.

        Raises:
            MetricError: the metric is unknown, or has no score for this row.
        """
        definition = self._cases.find(metric)
        if definition.name in self.scores:
            return self.scores[definition.name]
        row = score_row(self.example, self._prediction, [definition])
        if row.errors:
            raise MetricError(f"row {self.id!r}: {row.errors[0].message}")
        if definition.name not in row.scores:
            raise MetricError(
                f"{definition.name} has no score for a single row; name it in the "
                "gates= of the marker"
            )
        self.scores.update(row.scores)
        return row.scores[definition.name]

    def record(self, name: str, value: float) -> None:
        """Record a score of your own for this row.

        Args:
            name: The metric's name in gates and reports.
            value: A finite number, or True or False.

        Raises:
            MetricError: it is no number, or the name is that of a known metric.
        """
        if not isinstance(name, str) or not name:
            raise MetricError(f"record({name!r:.100}, …) needs the name of a metric")
        number = float(value) if type(value).__name__ in ("bool", "bool_") else value
        if not is_finite(number):
            raise MetricError(f"record({name!r}, {value!r:.100}) needs a finite number")
        self._cases.define(name)
        self.scores[name] = float(number)

    def fail(self, failure: str) -> None:
        """Note what kept the test from its end; the row has no result then."""
        self._failure = self._failure or failure

    def finish(self) -> Row:
        """Return the row as its test leaves it."""
        errors = [self._prediction.error] if self._prediction.error else []
        if self._failure is not None and not errors:
            errors = [RowError(id=self.id, kind="test", message=self._failure)]
        if not errors:
            self.scores[PASS_RATE.name] = float(not self.missed)
            wanted = [m for m in self._cases.wanted if m.name not in self.scores]
            row = score_row(self.example, self._prediction, wanted)
            self.scores.update(row.scores)
            errors = list(row.errors)
        return Row(
            example=self.example,
            prediction=self._prediction,
            scores={} if errors else self.scores,
            errors=tuple(errors),
        )


class CaseMetrics:
    """The metrics of one function's cases: those it wants, and those it comes up with.

    Args:
        spec: Names metrics and gates.
        hook: Where metrics are registered.
        further: Metrics that the suite's ``llmeval_metrics`` fixture adds.
    """

    def __init__(
        self,
        spec: CaseSpec,
        hook: pluggy.HookRelay,
        further: Sequence[Metric | Callable[..., Any]],
    ) -> None:
        self._hook, self._further = hook, further
        self._known = {*known_metrics(hook, further), PASS_RATE.name}
        self._found: dict[str | int, tuple[object, Metric]] = {}
        self.definitions: dict[str, Metric] = {PASS_RATE.name: PASS_RATE}
        """By name, all that was scored or is wanted."""
        for metric in spec.metrics:
            self.find(metric)
        for gate in spec.gates:
            if gate.metric in self._known and gate.metric not in self.definitions:
                self.find(gate.metric)
        self.wanted = [m for m in self.definitions.values() if m.score is not None]
        """Scored for every case."""

    def find(self, metric: str | Metric | Callable[..., Any]) -> Metric:
        """Return a metric's definition; from now on it is one of these cases'."""
        key = metric if isinstance(metric, str) else id(metric)
        if key not in self._found:
            (definition,) = find_metrics([metric], self._hook, self._further).values()
            self.definitions[definition.name] = definition
            self._found[key] = (metric, definition)  # kept, or its id names another one
        return self._found[key][1]

    def define(self, name: str) -> None:
        """Take up a metric that the suite scores itself."""
        if name not in self.definitions and name not in self._known:
            self.definitions[name] = Metric(name=name, source=OWN)
        if name in self._known or self.definitions[name].source != OWN:
            raise MetricError(
                f"record({name!r}, …) has the name of a known metric; compute it with "
                f"score({name!r}), or rename yours"
            )

    def of_this_process(self) -> list[str]:
        """Name the metrics over all rows that no other process can compute."""
        known = known_metrics(self._hook)
        return [
            name
            for name, metric in self.definitions.items()
            if metric.aggregate is not None and name not in known
        ]


def short_id(example_id: str, shown: str | None = None) -> str:
    """Return an id for a test's name: short, harmless, and the same every time.

    Args:
        example_id: What it is to name.
        shown: The same without secrets.
    """
    slug = re.sub(r"[^A-Za-z0-9_.-]+", "-", shown or example_id)
    if slug == example_id and len(slug) <= LONGEST_ID:
        return slug
    digest = hashlib.sha256(example_id.encode("utf-8", "surrogatepass")).hexdigest()
    return f"{slug[: LONGEST_ID - 9].strip('-')}-{digest[:8]}"
