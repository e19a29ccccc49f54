"""The run as its one keeper sees it: what was decided, and how it ends."""

from __future__ import annotations

import shlex
import time
import warnings
from collections.abc import Iterable
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pluggy

from pytest_llmeval.config import Settings
from pytest_llmeval.deploy.deployer import Deployer
from pytest_llmeval.deploy.deployer import Order
from pytest_llmeval.deploy.outcome import Outcome
from pytest_llmeval.deploy.refusals import known_refusal
from pytest_llmeval.deploy.targets import DRY_RUN
from pytest_llmeval.evidence import Evidence
from pytest_llmeval.gate import explain
from pytest_llmeval.outgoing import redacted_digest
from pytest_llmeval.provenance import read_provenance
from pytest_llmeval.records import Decision
from pytest_llmeval.records import canonical
from pytest_llmeval.records import from_builtins
from pytest_llmeval.report.terminal import refusal_line
from pytest_llmeval.report.terminal import verdict_lines
from pytest_llmeval.seal import seal
from pytest_llmeval.session.plugins import add_plugins
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.text import one_line
from pytest_llmeval.text import redact
from pytest_llmeval.text import redact_within
from pytest_llmeval.text import redactor
from pytest_llmeval.text import safe
from pytest_llmeval.tracking import RunTracking
from pytest_llmeval.tracking import Say
from pytest_llmeval.tracking import tracked_id
from pytest_llmeval.verdict import NO_MANIFEST
from pytest_llmeval.verdict import format_manifest
from pytest_llmeval.verdict import judge
from pytest_llmeval.verdict import keep_live_tables
from pytest_llmeval.verdict import manifest_entry
from pytest_llmeval.verdict import read_manifest
from pytest_llmeval.verdict import verdict_document


GATHERED = "gw-cases"
"""Stands for a worker where the controller writes rows that it has gathered."""


class Run:
    """Keeps a run's decisions and evaluations, and finishes it.

    There is one in a run: in the controller of xdist workers, or in the only process.

    Args:
        settings: The run's settings.
        hook: Where trackers and targets are registered.
        evidence: Where tests and decisions are noted.
        directory: The run's files.
        tracking: The run's way into the tracking store.
        started_at: When the run began, Unix time in seconds.
        say: Shows a line to the user.
        signing_key: Signs the verdict.
        command: What the user typed, for the line that says how to repeat it.

    Raises:
        ConfigurationError: the manifest cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        hook: pluggy.HookRelay,
        *,
        evidence: Evidence,
        directory: RunDirectory,
        tracking: RunTracking,
        started_at: float,
        say: Say,
        signing_key: str | None = None,
        command: str = "pytest",
    ) -> None:
        self._settings, self._hook, self._evidence = settings, hook, evidence
        self._directory, self._tracking = directory, tracking
        self._started_at, self._key, self._command = started_at, signing_key, command
        self._show_line, self._said = say, set[str]()
        self._provenance = read_provenance(settings.rootdir)
        self._manifest = read_manifest(settings.manifest_path)
        self._evaluations: list[dict[str, Any]] = []
        self._tellers: dict[str | None, str] = {}

    def begin(self) -> None:
        """Write the verdict as incomplete, and say what is sure to forbid a deployment.

        Raises:
            ConfigurationError: the folder cannot be written.
        """
        if self._settings.gates is None:
            begun = self._verdict("incomplete", "INCOMPLETE", "running")
            self._directory.create(seal(begun, self._key))
            self._directory.keep_redaction(self._settings.redaction)
        else:
            self._directory.prepare()
        if self._settings.deploy is not None:
            refusal = known_refusal(
                self._settings,
                self._provenance,
                has_manifest=self._manifest is not None,
            )
            if refusal is not None:
                self.say("fail", refusal_line(refusal.reason, str(refusal)))

    def hold(self) -> None:
        """Tell other processes that the run goes on, until it has finished."""
        self._directory.hold()

    def say(self, status: str, line: str) -> None:
        """Show a line to the user; a refusal that several workers see only once."""
        if status == "fail" and line in self._said:
            return
        self._said.add(line)
        self._show_line(status, line)

    def add_decision(self, decision: Decision) -> None:
        """Keep a decision."""
        self._evidence.decisions.append(decision)

    def add_error(self, test: str | None, reason: str, message: str) -> None:
        """Note an evaluation that could not be made."""
        self._evidence.evaluation_errors.append((test, reason, message))

    def add_evaluation(self, evaluation: dict[str, Any]) -> None:
        """Keep an evaluation whose rows are in ``results.jsonl``, or a worker's."""
        self._note_budget(evaluation)
        self._evaluations.append(evaluation)

    def _note_budget(self, evaluation: Mapping[str, Any]) -> None:
        if evaluation["over_budget"]:
            self._evidence.over_budget = evaluation["over_budget"]

    def receive(self, worker: str, news: Mapping[str, Any]) -> None:
        """Take over what a worker has to tell.

        With ``--dist each`` several workers tell of one test: its evaluations count
        once, and so do the decisions that they agree on.

        Args:
            worker: Its id.
            news: What its `Outbox` held.
        """
        for status, line in news.get("lines", ()):
            self.say(status, line)
        for error in news.get("errors", ()):
            self.add_error(*error)
        for entry in news.get("decisions", ()):
            decision = from_builtins(Decision, entry)
            if self._is_first(worker, decision.test) or self._differs(decision):
                self.add_decision(decision)
        for evaluation in news.get("evaluations", ()):
            self._note_budget(evaluation)
            if self._is_first(worker, evaluation["test"]):
                self._evaluations.append(evaluation)

    def _is_first(self, worker: str, test: str | None) -> bool:
        """Return whether no other worker has told of a test before."""
        return self._tellers.setdefault(test, worker) == worker

    def _differs(self, decision: Decision) -> bool:
        """Return whether no decision that is known came out like this one."""
        known = map(_outcome, self._evidence.decisions)
        return _outcome(decision) not in known

    def note_left(self, workers: Iterable[str]) -> None:
        """Note which of the workers that said they were done did not come to an end."""
        if self._settings.gates is None:
            lost = [name for name in workers if not self._directory.has_left(name)]
            self._evidence.lost += lost

    def finish(self, exit_status: int) -> int:
        """Decide the verdict, write it, track the run, deploy; return the exit status.

        Args:
            exit_status: pytest's own, when nothing can change it any more.
        """
        try:
            return self._finish(exit_status)
        finally:
            self._directory.release()

    def _finish(self, exit_status: int) -> int:
        self._evidence.sort_decisions()
        self._directory.drop_shared_files()
        if self._settings.gates is not None:
            self._directory.remove()
            return self._finish_gates(exit_status)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of tracker and registry, after the tests
            return self._finish_run(exit_status)

    def _gather_rows(self) -> None:
        """Bring the rows of all workers into one file, in the order of the tests."""
        if any(evaluation["worker"] is not None for evaluation in self._evaluations):
            # Without workers they stand there, and are numbered, as they came.
            self._evaluations.sort(key=self._place)
            for number, evaluation in enumerate(self._evaluations, 1):
                rows = self._directory.take_rows(
                    number, evaluation["worker"], evaluation["rows_span"]
                )
                evaluation["rows_span"], evaluation["rows_digest"] = rows
        self._directory.drop_worker_files()
        rules = self._settings.redaction
        for evaluation in self._evaluations if rules else ():
            digest = redacted_digest(self._directory, evaluation, rules)
            evaluation["redacted_digest"] = digest

    def _place(self, evaluation: Mapping[str, Any]) -> tuple[bool, int]:
        """Return where an evaluation comes without xdist: those of cases at the end."""
        gathered = evaluation["worker"] == GATHERED
        return gathered, self._evidence.in_order(evaluation["test"])

    def _finish_run(self, exit_status: int) -> int:
        evidence, finished_at = self._evidence, time.time()
        verdict: Mapping[str, Any]
        try:
            self._gather_rows()
            judged = judge(evidence, self._manifest)
            verdict = self._verdict(*judged, finished_at)
            rootdir = self._settings.rootdir
            verdict = add_plugins(verdict, self._hook, rootdir, evidence.hooks)
            self._write_verdict(verdict)
        except OSError as error:
            self.say(
                "fail",
                f"cannot write {self._directory.verdict}: {error.strerror}; "
                "the verdict stays incomplete, and nothing is tracked or deployed",
            )
            return exit_status or 1
        status = verdict["status"]
        verdict = self._tracking.upload(verdict, self._evaluations, self._write_verdict)
        self._show(verdict)
        if evidence.over_budget:  # whatever the gates say of the rows that are there
            exit_status = exit_status or 1
        if self._settings.deploy is not None and status != "pass":
            exit_status = exit_status or 1
        failed = status != "pass" or self._manifest is None
        if self._settings.require and failed:
            if status == "pass":
                path = self._settings.manifest
                self.say("fail", f"required: {NO_MANIFEST.format(path=path)}")
            exit_status = exit_status or 1
        if self._settings.deploy is not None:
            deployed = self._deploy(verdict, self._settings.deploy)
            exit_status = exit_status or deployed
        if not self._publish(verdict):
            exit_status = exit_status or 1
        if self._settings.export is not None:
            self._export(self._settings.export)
        if exit_status:
            path = self._shown(self._directory.verdict)
            self.say("", f"see {path}; repeat with: {safe(self._command)}")
        return exit_status

    def _verdict(
        self, status: str, reason: str, detail: str, finished_at: float | None = None
    ) -> dict[str, Any]:
        document = verdict_document(
            run_id=self._directory.run_id,
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
        # Before it is sealed: a secret that is taken out later would break the seal.
        redacted: dict[str, Any] = redact_within(document, redactor())
        return redacted

    def _write_verdict(self, verdict: Mapping[str, Any]) -> None:
        self._directory.write(self._directory.verdict, seal(verdict, self._key))

    def _show(self, verdict: Mapping[str, Any]) -> None:
        for status, line in verdict_lines(verdict, self._places(verdict)):
            self.say(status, line)

    def _places(self, verdict: Mapping[str, Any]) -> dict[str, str]:
        """Return where the parts of the run are, by what they are."""
        places = {"verdict file": self._shown(self._directory.verdict)}
        if self._evaluations:
            places["rows"] = self._shown(self._directory.results)
        if verdict["mlflow_run_id"]:
            places["MLflow run"] = verdict["mlflow_run_id"] + self._where_tracked()
        return places

    def _publish(self, verdict: Mapping[str, Any]) -> bool:
        """Write the reports; return whether those that were asked for are there."""
        from pytest_llmeval.report.publish import publish_html
        from pytest_llmeval.report.publish import publish_markdown

        run_id, settings = self._directory.run_id, self._settings
        places = self._places(verdict)
        markdown = publish_markdown(run_id, settings, places, self.say)
        return publish_html(run_id, settings, self.say) and markdown

    def _export(self, place: str) -> None:
        """Add the run to the history; a failure ends no run."""
        from pytest_llmeval.history.sources import export_run

        try:
            name = export_run(self._directory, place, self._hook, self._settings)
        except Exception as error:  # noqa: BLE001  # of a remote database, or of Spark
            self.say(
                "fail",
                f"not added to the history: {one_line(error, 500)}; add it later with: "
                f"llmeval export --to {shlex.quote(redact(place))}",
            )
        else:
            self.say("", f"history: {one_line(name, 500)}")

    def _where_tracked(self) -> str:
        uri = self._settings.tracking_uri.replace(f"{self._settings.rootdir}/", "")
        if uri.startswith("sqlite:"):
            return f" (open with: mlflow ui --backend-store-uri {uri})"
        return f" at {uri}"

    def _shown(self, path: Path) -> str:
        root = self._settings.rootdir
        return str(path.relative_to(root)) if path.is_relative_to(root) else str(path)

    def _deploy(self, verdict: Mapping[str, Any], text: str) -> int:
        """Deploy, or plan it alone for ``dry-run:``; return an exit status."""
        target = text.removeprefix(DRY_RUN)
        order = Order(
            target=target,
            path=self._directory.deployment,
            verdict=verdict,
            tracked_id=tracked_id(self._directory),
        )
        deployer = Deployer(
            self._hook,
            self._settings,
            self._provenance,
            say=lambda line: self.say("", safe(line, 1_000)),
        )
        if target == text:
            outcome = deployer.apply(order)
        else:
            outcome = deployer.plan(order)
            self._note_dry_run(outcome)
        for line in outcome.details:
            self.say("", safe(line, 500))
        self.say("pass" if outcome.ok else "fail", safe(outcome.line, 1_000))
        return outcome.exit_status

    def _note_dry_run(self, outcome: Outcome) -> None:
        document = {**outcome.to_dict(), "run_id": self._directory.run_id}
        try:
            self._directory.write(self._directory.deployment, document)
        except OSError as error:
            self.say("fail", f"cannot write {self._directory.deployment}: {error}")

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
            self.say(
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
            self.say("", line)
        shown = self._shown(path)
        if before == text:
            self.say("pass", f"{shown} is up to date: {len(entries)} gates")
        elif self._settings.gates == "diff":
            self.say("fail", f"{shown} differs; write it with: llmeval gates update")
            return exit_status or 1
        else:
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text, encoding="utf-8")
            except (OSError, UnicodeError) as error:
                self.say("fail", f"cannot write {shown}: {one_line(error)}")
                return exit_status or 1
            self.say("pass", f"wrote {shown}: {len(entries)} gates; commit it")
        return exit_status


def _outcome(decision: Decision) -> tuple[str | None, str, str]:
    """Return what two runs of one test have to agree on."""
    return (
        decision.test,
        canonical(manifest_entry(decision)).decode(),
        decision.status,
    )


def _differences(before: str, after: str) -> list[str]:
    import difflib

    lines = difflib.unified_diff(
        before.splitlines(), after.splitlines(), "committed", "now", lineterm="", n=3
    )
    return [safe(line, 500) for line in lines]
