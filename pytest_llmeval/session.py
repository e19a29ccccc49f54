"""One run: its evaluations, its decisions, and how it ends. Free of pytest."""

from __future__ import annotations

import time
import warnings
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import asdict
from dataclasses import replace
from pathlib import Path
from typing import Any
from typing import NamedTuple

import pluggy

from pytest_llmeval.asked import AskedRows
from pytest_llmeval.baselines import Baselines
from pytest_llmeval.budget import Budget
from pytest_llmeval.budget import open_budget
from pytest_llmeval.config import RunStart
from pytest_llmeval.config import Settings
from pytest_llmeval.deploy import deploy
from pytest_llmeval.deploy import known_refusal
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.errors import ModelRefused
from pytest_llmeval.evidence import Evidence
from pytest_llmeval.gate import explain
from pytest_llmeval.hooks import register_backends
from pytest_llmeval.models import load_model
from pytest_llmeval.provenance import read_provenance
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Model
from pytest_llmeval.records import Progress
from pytest_llmeval.report.junit import junit_properties
from pytest_llmeval.report.terminal import usage_line
from pytest_llmeval.report.terminal import verdict_lines
from pytest_llmeval.results import EvalResults
from pytest_llmeval.rows import RowLog
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe
from pytest_llmeval.tracking import RunTracking
from pytest_llmeval.tracking import Say
from pytest_llmeval.tracking import is_uploaded
from pytest_llmeval.verdict import NO_MANIFEST
from pytest_llmeval.verdict import format_manifest
from pytest_llmeval.verdict import judge
from pytest_llmeval.verdict import keep_live_tables
from pytest_llmeval.verdict import manifest_entry
from pytest_llmeval.verdict import read_manifest
from pytest_llmeval.verdict import sign
from pytest_llmeval.verdict import verdict_document


class _Evaluated(NamedTuple):
    results: EvalResults
    test: str | None
    began: float
    """By the performance counter."""
    child_run_id: str | None
    """Of the tracked run that the test had open for them."""


class RunRecorder:
    """Keeps one run's evaluations and decisions, and finishes it.

    Args:
        settings: The run's settings.
        manager: The plugin manager whose hooks are asked.
        evidence: Where tests and decisions are noted.
        say: Shows a line to the user.
        progress: Shows how evaluations get on.
        signing_key: Signs the verdict.
        command: What the user typed, for the line that says how to repeat it.
        run: The run's id and when it began, as the controller says.
        is_worker: Whether another process keeps the verdict.

    Raises:
        ConfigurationError: the manifest cannot be read, or the folder not written.
    """

    def __init__(
        self,
        settings: Settings,
        manager: pluggy.PluginManager,
        *,
        evidence: Evidence,
        say: Say,
        progress: Progress | None = None,
        signing_key: str | None = None,
        command: str = "pytest",
        run: RunStart,
        is_worker: bool = False,
    ) -> None:
        register_backends(manager)
        self._settings, self._hook = settings, manager.hook
        self._evidence, self._say = evidence, say
        self._progress, self._key, self._command = progress, signing_key, command
        self._is_worker = is_worker
        self._started_at, self._run_id = run.at, run.id
        self._directory = RunDirectory(settings.home, self._run_id)
        self._budget = self._open_budget(run)
        self._provenance = read_provenance(settings.rootdir)
        self._manifest = read_manifest(settings.manifest_path)
        self._models: dict[str | int, tuple[Any, Model]] = {}
        self._refused: dict[str | int, ModelRefused] = {}
        self._baselines = Baselines(settings, signing_key)
        self._evaluations: list[dict[str, Any]] = []
        self._open: list[_Evaluated] = []
        self._tracking = RunTracking(
            settings,
            self._hook,
            self._directory,
            started_at=self._started_at,
            say=say,
        )
        self._child_run_id: str | None = None
        self._properties: dict[str | None, list[tuple[str, Any]]] = {}
        self._announced: set[str] = set()
        self._reached = (0, 0)
        if self._keeps_run:
            self._directory.create(self._verdict("incomplete", "INCOMPLETE", "running"))
        if settings.deploy is not None:
            refusal = known_refusal(
                settings, self._provenance, has_manifest=self._manifest is not None
            )
            if refusal is not None:
                self._announce(refusal.reason, str(refusal))

    @property
    def _keeps_run(self) -> bool:
        return self._settings.gates is None and not self._is_worker

    @property
    def raises(self) -> bool:
        """False while the gate manifest is written, which needs every gate."""
        return self._settings.gates is None

    def _open_budget(self, run: RunStart) -> Budget | None:
        """Open the account that all processes of the run share."""
        shared = self._settings.workers > 1
        path = self._directory.path / "budget.db" if shared else None
        return open_budget(self._settings, path, run.began)

    def _announce(self, reason: str, message: str) -> None:
        if reason not in self._announced:
            self._announced.add(reason)
            line = f"llmeval: this run cannot deploy: {reason}: {safe(message, 500)}"
            self._say("fail", line)

    def evaluate(
        self,
        model: Any,
        data: Any,
        metrics: Sequence[Any],
        *,
        hook: pluggy.HookRelay,
        folder: Path,
        **options: Any,
    ) -> EvalResults:
        """Evaluate for the current test; note what cannot be evaluated, and raise."""
        test, began = self._evidence.current, time.perf_counter()
        engine = Engine(
            settings=self._settings,
            hook=hook,
            run_id=self._run_id,
            recorder=self,
            progress=self._follow,
            budget=self._budget,
            baselines=self._baselines,
            folder=folder,
            scratch=self._directory.path if self._keeps_run else None,
        )
        try:
            results = self._evaluate(engine, model, data, metrics, options)
        except LLMEvalError as error:
            reason = getattr(error, "reason", "CONFIGURATION")
            self._evidence.evaluation_errors.append(
                (test, reason, one_line(error, 500))
            )
            raise
        evaluated = _Evaluated(results, test, began, self._child_run_id)
        self._child_run_id = None
        if results.source is None:
            self._keep(evaluated)
        else:
            self._open.append(evaluated)
        return results

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
                engine, self._load(model, engine.hook), data, metrics, **options
            )
        except ModelRefused as error:
            self._refused[key] = error
            raise

    def _follow(self, done: int, total: int, errors: int) -> None:
        self._reached = (done, total)
        if self._progress is not None:
            self._progress(done, total, errors)

    def _how_to_go_on(self) -> str:
        done, total = self._reached
        line = f"llmeval: interrupted after {done} of {total} rows"
        if self._settings.cache == "on":
            line += "; their replies are stored: the same command goes on from there"
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
            self._announce("UNPINNED_MODEL", f"{loaded.ref} is not a fixed version")
        return loaded

    def _keep(self, evaluated: _Evaluated) -> None:
        """Say what an evaluation took, and write its rows."""
        results = evaluated.results
        left_out = results.columns.kinds["budget"]
        if left_out:
            self._evidence.over_budget = (
                f"{left_out} of {len(results.rows)} rows of {results.name} were not "
                "evaluated"
            )
        if self._progress is not None:
            self._say("", f"  {usage_line(results)}")
        if not self._keeps_run:
            return
        number = len(self._evaluations) + 1
        rows: RowLog | AskedRows = results.rows  # type: ignore[assignment]  # ours
        try:
            written = self._directory.append_rows(number, rows.lines())
        except OSError as error:
            raise ConfigurationError(
                f"cannot write {self._directory.results}: {error}; the answers are in "
                "the predictions store, so the same command goes on from there"
            ) from None
        self._evaluations.append(
            {
                **results.summary(),
                "test": evaluated.test,
                "rows_span": written.span,
                "rows_digest": written.digest,
                "mlflow_run_id": evaluated.child_run_id,
            }
        )

    def record(self, decision: Decision) -> Decision:
        """Keep a decision for the current test; safe in threads."""
        decision = replace(decision, test=self._evidence.current)
        self._evidence.decisions.append(decision)
        properties = self._properties.setdefault(decision.test, [])
        properties.extend(junit_properties(decision))
        return decision

    def take_properties(self, test: str) -> list[tuple[str, Any]]:
        """Return the junit properties of a test's decisions, once."""
        properties = self._properties.pop(test, [])
        if properties and self._keeps_run:
            properties.append(("llmeval.run_id", self._run_id))
        return properties

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

    def _verdict(
        self, status: str, reason: str, detail: str, finished_at: float | None = None
    ) -> dict[str, Any]:
        return verdict_document(
            run_id=self._run_id,
            status=status,
            reason=reason,
            detail=safe(detail, 1_000),
            evidence=self._evidence,
            gates=[
                {**decision.to_dict(), "text": explain(decision)}
                for decision in self._evidence.decisions
            ],
            manifest=self._manifest,
            provenance=self._provenance.to_dict(),
            evaluations=self._evaluations,
            times=(self._started_at, finished_at),
        )

    def finish(self, exit_status: int) -> int:
        """Decide the verdict, write it, track the run, deploy; return the exit status.

        Args:
            exit_status: pytest's own, when nothing can change it any more.
        """
        evidence = self._evidence
        evidence.exit_status = exit_status
        if exit_status in (2, 3) and evidence.stopped is None:
            evidence.stopped = "the run was interrupted before its end"
        if exit_status == 2 and self._reached[0] < self._reached[1]:
            self._say("", self._how_to_go_on())
        for _, model in self._models.values():
            model.close()
        if self._is_worker:
            return exit_status
        if self._settings.gates is not None:
            return self._finish_gates(exit_status)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracker and registry, after the tests
            return self._finish_run(exit_status)

    def _finish_run(self, exit_status: int) -> int:
        evidence, finished_at = self._evidence, time.time()
        status, reason, detail = judge(evidence, self._manifest)
        verdict: Mapping[str, Any]
        verdict = self._verdict(status, reason, detail, finished_at)
        try:
            self._write_verdict(verdict)
        except OSError as error:
            self._say(
                "fail",
                f"cannot write {self._directory.verdict}: {error.strerror}; "
                "the verdict stays incomplete, and nothing is tracked or deployed",
            )
            return exit_status or 1
        verdict = self._tracking.upload(verdict, self._evaluations, self._write_verdict)
        self._show(verdict)
        if evidence.over_budget:  # whatever the gates say of the rows that are there
            exit_status = exit_status or 1
        failed = status != "pass" or self._manifest is None
        if self._settings.require and failed:
            if status == "pass":
                path = self._settings.manifest
                self._say("fail", f"required: {NO_MANIFEST.format(path=path)}")
            exit_status = exit_status or 1
        if self._settings.deploy is not None and not self._deploy(verdict):
            exit_status = exit_status or 1
        if exit_status:
            path = self._shown(self._directory.verdict)
            self._say("", f"see {path}; repeat with: {safe(self._command)}")
        return exit_status

    def _write_verdict(self, verdict: Mapping[str, Any]) -> None:
        self._directory.write(self._directory.verdict, sign(verdict, self._key))

    def _show(self, verdict: Mapping[str, Any]) -> None:
        paths = {"verdict file": self._shown(self._directory.verdict)}
        if self._evaluations:
            paths["rows"] = self._shown(self._directory.results)
        if verdict["mlflow_run_id"]:
            paths["MLflow run"] = verdict["mlflow_run_id"] + self._where_tracked()
        for status, line in verdict_lines(verdict, paths):
            self._say(status, line)

    def _where_tracked(self) -> str:
        uri = self._settings.tracking_uri.replace(f"{self._settings.rootdir}/", "")
        if uri.startswith("sqlite:"):
            return f" (open with: mlflow ui --backend-store-uri {uri})"
        return f" at {uri}"

    def _shown(self, path: Path) -> str:
        root = self._settings.rootdir
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    def _deploy(self, verdict: Mapping[str, Any]) -> bool:
        settings = self._settings
        outcome = deploy(
            verdict,
            settings.deploy or "",
            self._hook,
            settings,
            self._provenance,
            is_tracked=is_uploaded(self._directory),
        )
        document = {
            "schema": 1,
            "run_id": self._run_id,
            "verdict_reason": verdict["reason"],
            **asdict(outcome),
            "at": time.time(),
        }
        try:
            self._directory.write(self._directory.deployment, document)
        except OSError as error:
            self._say("fail", f"cannot write {self._directory.deployment}: {error}")
        word = {"DEPLOYED": "deployed", "NOOP": "nothing to deploy"}
        text = word.get(outcome.reason, f"not deployed: {outcome.reason}")
        self._say(
            "pass" if outcome.ok else "fail", f"{text}: {safe(outcome.message, 500)}"
        )
        return outcome.ok

    def _finish_gates(self, exit_status: int) -> int:
        """Write the manifest, or show how it would change."""
        evidence = self._evidence
        kept = [
            decision if decision.status == "error" else replace(decision, status="pass")
            for decision in evidence.decisions
        ]
        whole = replace(evidence, decisions=kept, exit_status=exit_status)
        _, reason, detail = judge(whole, None)
        if evidence.selection is not None:
            reason, detail = "PARTIAL_RUN", evidence.selection
        if reason != "OK":
            self._say(
                "fail",
                f"llmeval gates: the manifest stays as it is, because it needs a "
                f"complete run ({reason}: {safe(detail, 500)})",
            )
            return exit_status or 1
        entries = [manifest_entry(decision) for decision in evidence.decisions]
        text = format_manifest(keep_live_tables(entries, self._manifest))
        path = self._settings.manifest_path
        before = path.read_text(encoding="utf-8") if self._manifest else ""
        for line in _differences(before, text):
            self._say("", line)
        shown = self._shown(path)
        if before == text:
            self._say("pass", f"{shown} is up to date: {len(entries)} gates")
        elif self._settings.gates == "diff":
            self._say("fail", f"{shown} differs; write it with: llmeval gates update")
            return exit_status or 1
        else:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            except (OSError, UnicodeError) as error:
                self._say("fail", f"cannot write {shown}: {one_line(error)}")
                return exit_status or 1
            self._say("pass", f"wrote {shown}: {len(entries)} gates; commit it")
        return exit_status


def _differences(before: str, after: str) -> list[str]:
    import difflib

    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "committed", "now", lineterm="", n=3
    )
    return [safe(line, 500) for line in lines]
