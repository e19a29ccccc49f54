"""What tests of one process use: evaluations, decisions, tracked runs."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from typing import NamedTuple
from typing import Protocol
from typing import TypeAlias
from weakref import ref

import pluggy

from pytest_llmeval.asked import AskedRows
from pytest_llmeval.baselines import Baselines
from pytest_llmeval.budget import Budget
from pytest_llmeval.budget import open_budget
from pytest_llmeval.cases import Case
from pytest_llmeval.cases import CaseMetrics
from pytest_llmeval.cases import CaseSpec
from pytest_llmeval.config import RunStart
from pytest_llmeval.config import Settings
from pytest_llmeval.decisions import decide_listed
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.errors import ModelRefused
from pytest_llmeval.evidence import Evidence
from pytest_llmeval.gate import USUAL_CONFIDENCE
from pytest_llmeval.gate import explain
from pytest_llmeval.gate import explain_assert
from pytest_llmeval.hooks import register_backends
from pytest_llmeval.models import load_model
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Model
from pytest_llmeval.records import Progress
from pytest_llmeval.report.bounded import bound
from pytest_llmeval.report.junit import EvaluatedTest
from pytest_llmeval.report.junit import junit_properties
from pytest_llmeval.report.terminal import refusal_line
from pytest_llmeval.report.terminal import usage_line
from pytest_llmeval.results import Columns
from pytest_llmeval.results import EvalResults
from pytest_llmeval.rows import RowLog
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation
from pytest_llmeval.scoring import MetricValues
from pytest_llmeval.session.cases import CaseGate
from pytest_llmeval.session.cases import CasesOf
from pytest_llmeval.session.cases import RunCases
from pytest_llmeval.session.cases import as_test
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.text import one_line
from pytest_llmeval.text import redactor
from pytest_llmeval.tracking import RunTracking


Surroundings: TypeAlias = tuple[pluggy.HookRelay, Any, Sequence[Any]]
"""The hooks of a test's folder, the model under test, and the suite's own metrics."""


class _Evaluated(NamedTuple):
    results: EvalResults
    test: str | None
    began: float
    """By the performance counter."""
    child_run_id: str | None
    """Of the tracked run that the test had open for them."""


class Keeper(Protocol):
    """Takes what the tests of one process come to: the run, or a worker's outbox."""

    def add_decision(self, decision: Decision) -> None:
        """Keep a decision."""

    def add_evaluation(self, evaluation: dict[str, Any]) -> None:
        """Keep an evaluation whose rows have been written."""

    def add_error(self, test: str | None, reason: str, message: str) -> None:
        """Note an evaluation that could not be made."""

    def say(self, status: str, line: str) -> None:
        """Tell the user something."""


class RunRecorder:
    """Evaluates for the tests of one process, and records what they decide.

    Args:
        settings: The run's settings.
        manager: The plugin manager whose hooks are asked.
        keeper: Takes decisions and evaluations.
        evidence: Knows which test runs.
        directory: The run's files; of a worker, with its own file of rows.
        tracking: The run's way into the tracking store.
        run: The run's id and when it began, as the controller says.
        progress: Shows how evaluations get on.
        signing_key: Verdicts of baselines must be signed with it.
        worker: The xdist worker that this process is.
    """

    def __init__(
        self,
        settings: Settings,
        manager: pluggy.PluginManager,
        *,
        keeper: Keeper,
        evidence: Evidence,
        directory: RunDirectory,
        tracking: RunTracking,
        run: RunStart,
        progress: Progress | None = None,
        signing_key: str | None = None,
        worker: str | None = None,
    ) -> None:
        register_backends(manager)
        self._settings, self._hook = settings, manager.hook
        self._keeper, self._evidence, self._progress = keeper, evidence, progress
        self._directory, self._tracking = directory, tracking
        self._run_id, self._worker = run.id, worker
        self._budget = self._open_budget(run)
        self._models: dict[str | int, tuple[Any, Model]] = {}
        self._refused: dict[str | int, ModelRefused] = {}
        self._baselines = Baselines(settings, signing_key)
        self._open: list[_Evaluated] = []
        self._cases = RunCases(settings, run.id, directory, self._budget, worker)
        self._child_run_id: str | None = None
        self._tests: dict[str | None, EvaluatedTest] = {}
        self._written = 0
        self._reached = (0, 0)

    @property
    def raises(self) -> bool:
        """False while the gate manifest is written, which needs every gate."""
        return self._settings.gates is None

    def _open_budget(self, run: RunStart) -> Budget | None:
        """Open the account that all processes of the run share."""
        # One worker too: another one takes its place when it crashes.
        path = self._directory.budget if self._worker is not None else None
        return open_budget(self._settings, path, run.began)

    def evaluate(
        self,
        model: Any,
        data: Any,
        metrics: Sequence[Any],
        *,
        hook: pluggy.HookRelay,
        folder: Path,
        spark: Callable[[], Any] | None = None,
        **options: Any,
    ) -> EvalResults:
        """Evaluate for the current test; note what cannot be evaluated, and raise."""
        test, began = self._evidence.current, time.perf_counter()
        evaluated_test = self._evaluated(test)
        engine = Engine(
            settings=self._settings,
            hook=hook,
            run_id=self._run_id,
            recorder=self,
            progress=self._follow,
            budget=self._budget,
            baselines=self._baselines,
            folder=folder,
            scratch=self._directory.path,
            spark=spark,
        )
        try:
            results = self._evaluate(engine, model, data, metrics, options)
        except LLMEvalError as error:
            self._note_error(test, error)
            raise
        evaluated_test.results.append(ref(results))
        evaluated = _Evaluated(results, test, began, self._child_run_id)
        self._child_run_id = None
        if results.source is None:
            self._keep(evaluated)
        else:
            self._open.append(evaluated)
        return results

    def _note_error(self, test: str | None, error: LLMEvalError) -> None:
        reason = getattr(error, "reason", "CONFIGURATION")
        self._keeper.add_error(test, reason, one_line(error, 500))

    def close_results(self) -> None:
        """Keep the results that were open for the gates of a test that ends now."""
        while self._open:
            evaluated = self._open.pop(0)
            if evaluated.results.source is not None:
                evaluated.results.source.close()
            took_s = time.perf_counter() - evaluated.began
            results = replace(evaluated.results, duration_s=took_s)
            self._keep(evaluated._replace(results=results))

    def _evaluate(
        self,
        engine: Engine,
        model: Any,
        data: Any,
        metrics: Sequence[Any],
        options: Mapping[str, Any],
    ) -> EvalResults:
        key = self._key_of(model)
        if key in self._refused:  # the first refusal is enough for the whole run
            raise self._refused[key]
        try:
            return run_evaluation(
                engine,
                self._load(model, engine.hook),
                data,
                metrics,
                given=model,
                **options,
            )
        except ModelRefused as error:
            self._refused[key] = error
            raise

    def _follow(self, done: int, total: int, errors: int) -> None:
        self._reached = (done, total)
        if self._progress is not None:
            self._progress(done, total, errors)

    @property
    def how_to_go_on(self) -> str:
        """What to tell the user after an interrupt."""
        (done, total), line = self._reached, "llmeval: interrupted"
        if done < total:
            line += f" after {done} of {total} rows"
        if self._settings.cache == "on":
            line += "; the replies are stored: the same command goes on from there"
        return line

    @staticmethod
    def _key_of(model: Any) -> str | int:
        return model if isinstance(model, str) else id(model)

    def _load(self, model: Any, hook: pluggy.HookRelay) -> Model:
        key = self._key_of(model)
        if key not in self._models:
            # The original is kept too, so that its id names no other object later.
            self._models[key] = (model, load_model(model, hook, self._settings))
        loaded = self._models[key][1]
        if self._settings.deploy is not None and not loaded.ref.pinned:
            message = f"{loaded.ref} is not a fixed version"
            self._keeper.say("fail", refusal_line("UNPINNED_MODEL", message))
        return loaded

    def _keep(self, evaluated: _Evaluated) -> None:
        """Say what an evaluation took, and write its rows."""
        results, over_budget = evaluated.results, None
        tally = results.tally
        left_out = tally.kinds.get("budget", 0)
        if left_out:
            over_budget = (
                f"{left_out} of {tally.rows} rows of {results.name} were not evaluated"
            )
        self._keeper.say("", f"  {usage_line(results)}")
        self._evaluated(evaluated.test).values += results.values.values()
        if not self.raises:
            return
        self._written += 1
        try:
            written = self._directory.append_rows(self._written, self._lines(results))
        except OSError as error:
            raise ConfigurationError(
                f"cannot write {self._directory.results}: {error}; the answers are in "
                "the predictions store, so the same command goes on from there"
            ) from None
        self._keeper.add_evaluation(
            {
                **results.summary(),
                "test": evaluated.test,
                "worker": self._worker,
                "rows_span": written.span,
                "rows_digest": written.digest,
                "over_budget": over_budget,
                "mlflow_run_id": evaluated.child_run_id,
            }
        )

    def _lines(self, results: EvalResults) -> Iterator[bytes]:
        rows = results.rows
        if not isinstance(rows, (RowLog, AskedRows)):  # few, of rows in a table
            columns = Columns([row.example.id for row in rows], ())
            fields, folder = results.dataset.columns, self._directory.path
            log = RowLog(columns, fields, redactor(), folder)
            for position, row in enumerate(rows):
                log.add(position, row)
            rows = log
        return rows.lines()

    def record(self, decision: Decision, fields: Mapping[str, Any]) -> Decision:
        """Keep a decision for the current test; safe in threads."""
        decision = self._settings.redaction.decision(decision, fields)
        decision = replace(decision, test=self._evidence.current)
        self._keeper.add_decision(decision)
        self._evaluated(decision.test).decisions.append(decision)
        return decision

    def _evaluated(self, test: str | None) -> EvaluatedTest:
        return self._tests.setdefault(test, EvaluatedTest())

    def complete(self, report: Any) -> None:
        """Add what a test has evaluated to pytest's report of one of its phases.

        Reports of tests that evaluate nothing stay as they are.
        """
        name = self._evidence.current  # not the report's, to which xdist adds groups
        test = self._tests.get(name)
        if test is None:
            return
        if report.when == "teardown" or not report.passed:  # where junit looks
            report.user_properties += junit_properties(test, self._named_run)
        bound(report)
        if report.when == "teardown":
            del self._tests[name]

    @property
    def _named_run(self) -> str | None:
        """The run's id, where something is kept of it."""
        return self._run_id if self.raises else None

    def explain_assert(self, op: str, left: object, right: object) -> list[str] | None:
        """Explain an ordinary assert of the current test, see `gate.explain_assert`."""
        test = self._tests.get(self._evidence.current)
        held = [results() for results in test.results] if test else []
        rules = self._settings.redaction
        return explain_assert(op, left, right, filter(None, held), rules)

    def open_case(
        self,
        spec: CaseSpec,
        position: int,
        surroundings: Callable[[], Surroundings],
    ) -> Case:
        """Return the case of the current test, with what the model said.

        Args:
            spec: The marker of the test's function.
            position: Of the example.
            surroundings: Gives those of the test; for the function's first case.

        Raises:
            LLMEvalError: the row has no prediction, or nothing can be evaluated.
        """

        def load() -> tuple[Model, CaseMetrics]:
            hook, model, further = surroundings()
            return self._load(model, hook), CaseMetrics(spec, hook, further)

        try:
            case, prediction = self._cases.open(spec, position, load)
        except LLMEvalError as error:
            self._note_error(self._evidence.current, error)
            raise
        self._evaluated(self._evidence.current).scores = case.scores
        if prediction.error is not None:
            kind, message = prediction.error.kind, prediction.error.message
            raise ModelError(f"row {case.id!r} has no prediction: {kind}: {message}")
        return case

    @property
    def case(self) -> Case | None:
        """The case of the test that runs."""
        return self._cases.current

    def close_case(self) -> None:
        """Keep the row of the case whose test is over."""
        self._cases.close()

    def decide_cases(self) -> Iterator[CaseGate]:
        """Decide the gates of markers over the cases of all processes, once.

        Cases that come to no metric values are a test of their own that fails.
        """
        self._cases.stop()
        in_order = self._evidence.in_order
        finished = self._cases.finished(self._hook)
        for cases, rows in sorted(finished, key=lambda one: in_order(one[0].test)):
            try:
                yield from self._decide_gates(cases, rows)
            except LLMEvalError as error:
                self._note_error(cases.test, error)
                yield as_test(cases, "metrics", str(error))

    def _decide_gates(self, cases: CasesOf, rows: RowLog) -> Iterator[CaseGate]:
        self._cases.note_answered(cases, rows)
        results = self._results(cases, rows)
        self._keep(_Evaluated(results, cases.test, time.perf_counter(), None))
        if len(cases.dataset.ids) < cases.of:
            self._leave_undecided(cases)
            return
        names: Counter[str] = Counter()
        for gate in cases.gates:
            decision = replace(decide_listed(results, gate), test=cases.test)
            fields = results.dataset.columns
            decision = self._settings.redaction.decision(decision, fields)
            self._keeper.add_decision(decision)
            names[str(gate)] += 1
            suffix = f"#{names[str(gate)]}" if names[str(gate)] > 1 else ""
            failed = decision.status != "pass" and self.raises
            decided = EvaluatedTest(decisions=[decision])
            yield as_test(
                cases,
                f"gate[{one_line(gate, 60)}{suffix}]",
                explain(decision) if failed else None,
                junit_properties(decided, self._named_run),
            )

    def _results(self, cases: CasesOf, rows: RowLog) -> EvalResults:
        confidence = self._settings.confidence
        values = MetricValues(
            cases.metrics,
            lambda: rows.columns,
            rows,
            confidence or USUAL_CONFIDENCE,
        )
        return EvalResults(
            name=cases.name,
            model=cases.model,
            request=cases.request,
            dataset=cases.dataset,
            rows=rows,
            values=values,
            definitions=cases.metrics,
            started_at=cases.started_at,
            duration_s=max(time.time() - cases.started_at, 0.0),
            confidence=confidence,
            find_baseline=partial(self._baselines.find, self._hook),
        )

    def _leave_undecided(self, cases: CasesOf) -> None:
        cause = f"{len(cases.dataset.ids)} of {cases.of} cases were selected"
        undecided = [(cases.test, str(gate), cause) for gate in cases.gates]
        self._evidence.undecided += undecided

    @contextmanager
    def tracked_child(self, name: str) -> Iterator[Any]:
        """Open the tracked run of this test's next evaluation, and give it.

        Raises:
            ConfigurationError: tracking is off, or the store does not answer.
        """
        with self._tracking.child(name) as child:
            self._child_run_id = child.info.run_id
            try:
                yield child
            finally:
                self._child_run_id = None

    def stop(self) -> None:
        """Ask for nothing more: all tests are over."""
        self._cases.stop()

    def close(self) -> None:
        """Close the models."""
        self.stop()
        for _, model in self._models.values():
            model.close()
        if self._worker is not None and self.raises:
            self._directory.leave(self._worker)
