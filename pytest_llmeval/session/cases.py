"""The cases of a run: each process keeps those it ran, and one decides over all."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import NamedTuple

import pluggy

from pytest_llmeval.ahead import Ahead
from pytest_llmeval.budget import Budget
from pytest_llmeval.cases import Case
from pytest_llmeval.cases import CaseMetrics
from pytest_llmeval.cases import CaseSpec
from pytest_llmeval.cases import short_id
from pytest_llmeval.config import Settings
from pytest_llmeval.datasets import part_of
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.errors import MetricError
from pytest_llmeval.metrics import check_references
from pytest_llmeval.metrics import find_metrics
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Example
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Model
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Request
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.records import from_builtins
from pytest_llmeval.records import to_builtins
from pytest_llmeval.records import to_text
from pytest_llmeval.results import Columns
from pytest_llmeval.rows import RowLog
from pytest_llmeval.session.gather import gather_rows
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.store import replace_file
from pytest_llmeval.text import redactor


@dataclass(frozen=True, kw_only=True)
class CasesOf:
    """The selected cases of one test function, in the words of every process."""

    test: str
    location: tuple[str, int | None, str]
    name: str
    dataset: Dataset
    """Of the selected examples."""
    of: int
    """How many examples there are, selected or not."""
    request: Request
    gates: tuple[Gate, ...]
    model: ModelRef
    evaluation: str
    """What the predictions store calls it."""
    started_at: float
    metrics: Mapping[str, Metric]
    """Those that were scored, and those that gates are on."""

    def open_log(self, folder: Path | None, name: str | None = None) -> RowLog:
        """Return a log for the rows, empty."""
        columns = Columns(self.dataset.ids, ())
        return RowLog(columns, self.dataset.columns, redactor(), folder, name)

    def _slices(self) -> list[Example]:
        """Return the examples with no more than gates tell rows apart by."""
        named = {column for gate in self.gates for column in gate.where or ()}
        named |= {gate.cluster for gate in self.gates if gate.cluster is not None}
        return [
            Example(
                id=one.id,
                input="",
                metadata={
                    name: value for name, value in one.metadata.items() if name in named
                },
            )
            for one in (self.dataset.examples if named else ())
        ]

    def to_text(self) -> str:
        """Return all but functions and most of the examples as JSON."""
        metrics = {
            name: replace(metric, score=None, aggregate=None)
            for name, metric in self.metrics.items()
        }
        dataset = replace(self.dataset, examples=self._slices())
        bare = replace(self, dataset=dataset, metrics=metrics)
        corpus = [name for name, one in self.metrics.items() if one.aggregate]
        return to_text({**to_builtins(bare), "corpus": corpus})

    @classmethod
    def from_text(cls, text: str, hook: pluggy.HookRelay) -> CasesOf:
        """Return what `to_text` was given; corpus metrics by their names."""
        data = json.loads(text)
        corpus = data.pop("corpus")
        examples = data["dataset"]["examples"]
        data["dataset"]["examples"] = [from_builtins(Example, one) for one in examples]
        metrics = {
            name: from_builtins(Metric, metric)
            for name, metric in data["metrics"].items()
        }
        cases = from_builtins(cls, data)
        return replace(cases, metrics={**metrics, **_known(corpus, hook)})


class CaseGate(NamedTuple):
    """A gate over cases, decided, as a test of its own."""

    name: str
    """Node id: that of the test function, and what is tested."""
    location: tuple[str, int | None, str]
    failure: str | None
    """What to show when it does not pass."""
    properties: list[tuple[str, Any]]
    """For junit."""


def as_test(
    cases: CasesOf,
    name: str,
    failure: str | None,
    properties: Sequence[tuple[str, Any]] = (),
) -> CaseGate:
    """Return what cases come to together as a test of its own.

    Args:
        cases: Of one function.
        name: What is tested.
        failure: What to show when it does not pass.
        properties: For junit.
    """
    path, line, function = cases.location
    return CaseGate(
        name=f"{cases.test}::{name}",
        location=(path, line, f"{function}::{name}"),
        failure=failure,
        properties=list(properties),
    )


def _known(names: Sequence[str], hook: pluggy.HookRelay) -> dict[str, Metric]:
    """Return the metrics that every process knows; a gate on another one says so."""
    found: dict[str, Metric] = {}
    for name in names:
        try:
            found |= find_metrics([name], hook)
        except MetricError:
            continue
    return found


class RunCases:
    """The cases that the tests of one process open and close.

    Args:
        settings: The run's settings.
        run_id: The run.
        directory: The run's files.
        budget: What the run may spend.
        worker: The xdist worker that this process is; its rows stay in files then.
    """

    def __init__(
        self,
        settings: Settings,
        run_id: str,
        directory: RunDirectory,
        budget: Budget | None,
        worker: str | None,
    ) -> None:
        self._settings, self._run_id, self._budget = settings, run_id, budget
        self._directory, self._worker = directory, worker
        self._open: dict[str, _Opened] = {}
        self._refused: dict[str, LLMEvalError] = {}
        self._current: tuple[_Opened, int, Case] | None = None
        self._stopped = False

    def open(
        self,
        spec: CaseSpec,
        position: int,
        load: Callable[[], tuple[Model, CaseMetrics]],
    ) -> tuple[Case, Prediction]:
        """Return a case with what the model said to it, which is waited for.

        Args:
            spec: The function's marker.
            position: Of the example.
            load: Gives model and metrics, when the function's first case is opened.

        Raises:
            LLMEvalError: the model, the data or a metric cannot be used.
        """
        opened = self._opened(spec, load)
        at = opened.places[position]
        prediction = opened.ahead.get(at)
        case = Case(opened.examples[at], prediction, opened.metrics)
        self._current = (opened, at, case)
        return case, prediction

    @property
    def current(self) -> Case | None:
        """The case whose test runs."""
        return self._current[2] if self._current is not None else None

    def _opened(
        self,
        spec: CaseSpec,
        load: Callable[[], tuple[Model, CaseMetrics]],
    ) -> _Opened:
        if spec.test in self._refused:  # once is enough: it may have taken its time
            raise self._refused[spec.test].with_traceback(None)
        if spec.test not in self._open:
            try:
                self._open[spec.test] = self._begin(spec, *load())
            except LLMEvalError as error:
                self._refused[spec.test] = error
                raise
        return self._open[spec.test]

    def _begin(self, spec: CaseSpec, model: Model, metrics: CaseMetrics) -> _Opened:
        self._check_tests(spec, metrics)
        chosen = sorted(spec.selected)
        places = {position: at for at, position in enumerate(chosen)}
        dataset = part_of(spec.dataset, chosen)
        check_references(dataset, metrics.definitions.values())
        examples: Sequence[Example] = list(dataset.examples)
        ahead = Ahead(
            settings=self._settings,
            model=model,
            dataset=dataset,
            examples=examples,
            request=spec.request,
            order=[places[position] for position in spec.selected],
            run_id=self._run_id,
            store_path=self._store_path,
            budget=self._budget,
            elsewhere=lambda: self._waiting(spec.test),
        )
        cases = CasesOf(
            test=spec.test,
            location=spec.location,
            name=spec.name,
            dataset=dataset,
            of=len(spec.dataset.ids),
            request=spec.request,
            gates=spec.gates,
            model=model.ref,
            evaluation=ahead.evaluation,
            started_at=time.time(),
            metrics=metrics.definitions,
        )
        log = self._open_log(cases)
        return _Opened(cases, examples, places, metrics, ahead, log)

    def _check_tests(self, spec: CaseSpec, metrics: CaseMetrics) -> None:
        if len(set(spec.selected)) < len(spec.selected):
            raise ConfigurationError(
                f"{spec.test}: llmeval_cases makes the tests of a function, so that no "
                "other parametrization may multiply them; write a function for each"
            )
        private = metrics.of_this_process() if self._worker is not None else ()
        if private:
            raise MetricError(
                f"{', '.join(private)}: what is computed over all rows is computed by "
                "the controller of the workers, which does not know it; give it by the "
                "hook pytest_llmeval_metrics in conftest.py, or run without -n"
            )

    def _waiting(self, test: str) -> int:
        """Count the rows that other functions than this have asked for in advance."""
        others = (opened for name, opened in self._open.items() if name != test)
        return sum(opened.ahead.waiting for opened in others)

    @property
    def _store_path(self) -> Path:
        """Where replies are shared; nothing of ``--llmeval-cache off`` stays."""
        off = self._settings.cache == "off"
        folder = self._directory.path if off else self._settings.home
        return folder / "predictions.db"

    def _open_log(self, cases: CasesOf) -> RowLog:
        if self._worker is None:
            return cases.open_log(self._directory.path)
        folder = self._folder(cases.test)
        folder.mkdir(parents=True, exist_ok=True)
        return cases.open_log(folder, f"{self._worker}.jsonl")

    def _folder(self, test: str) -> Path:
        """Return where workers leave what they have of a function's cases."""
        return self._directory.cases / short_id(test)

    def close(self) -> None:
        """Keep the row of the case whose test is over."""
        if self._current is None:
            raise RuntimeError("no case is open")
        (opened, at, case), self._current = self._current, None
        opened.log.put(at, case.finish())
        known = len(opened.metrics.definitions)
        if self._worker is not None and opened.told != known:
            opened.told = known
            path = self._folder(opened.cases.test) / f"{self._worker}.json"
            replace_file(path, redactor()(opened.cases.to_text()))

    def stop(self) -> None:
        """Ask for nothing more."""
        if not self._stopped:
            self._stopped = True
            for opened in self._open.values():
                opened.ahead.close()
                self._note_given_away(opened)

    def _note_given_away(self, opened: _Opened) -> None:
        """Tell the controller what was asked here for tests in other workers."""
        if self._worker is not None and opened.ahead.given_away:
            path = self._folder(opened.cases.test) / f"{self._worker}.asked"
            replace_file(path, to_text(list(opened.ahead.given_away.items())))

    def finished(self, hook: pluggy.HookRelay) -> Iterator[tuple[CasesOf, RowLog]]:
        """Yield the cases of each function with their rows, in whatever process."""
        for opened in self._open.values():
            yield opened.cases, _complete(opened.cases, opened.log)
        for folder in sorted(self._directory.cases.glob("*")):
            files = sorted(folder.glob("*.json"))
            if files:  # no worker closed a case otherwise
                yield self._gather(files, hook)

    def _gather(
        self, files: Sequence[Path], hook: pluggy.HookRelay
    ) -> tuple[CasesOf, RowLog]:
        """Return the cases of one function from the files of all workers."""
        told = [CasesOf.from_text(path.read_text(), hook) for path in files]
        metrics = {name: metric for one in told for name, metric in one.metrics.items()}
        started_at = min(one.started_at for one in told)
        cases = replace(told[0], metrics=metrics, started_at=started_at)
        log = cases.open_log(self._directory.path)
        rows = [path.with_suffix(".jsonl") for path in files]
        gather_rows(log, cases.dataset.ids, rows)
        return cases, _complete(cases, log)

    def note_answered(self, cases: CasesOf, log: RowLog) -> None:
        """Note that an unpinned model's replies have served, unless one is missing."""
        if cases.model.pinned or any(
            kind != "test" for kinds in log.columns.failed.values() for kind in kinds
        ):
            return
        with Predictions(self._store_path, run_id=self._run_id) as store:
            store.finish(cases.evaluation)


@dataclass
class _Opened:
    cases: CasesOf
    examples: Sequence[Example]
    places: Mapping[int, int]
    """From positions in the whole dataset to those among the selected examples."""
    metrics: CaseMetrics
    ahead: Ahead
    log: RowLog
    told: int = 0
    """How many metrics the controller has been told of."""


def _complete(cases: CasesOf, log: RowLog) -> RowLog:
    """Add an error for each row whose test did not come to a result."""
    for at, example_id in enumerate(cases.dataset.ids):
        if not log.has(at):
            message = "its test did not run to its end"
            error = RowError(id=example_id, kind="missing", message=message, attempts=0)
            example = Example(id=example_id, input="")
            prediction = Prediction(error=error, attempts=0)
            row = Row(
                example=example, prediction=prediction, scores={}, errors=(error,)
            )
            log.put(at, row)
    return log
