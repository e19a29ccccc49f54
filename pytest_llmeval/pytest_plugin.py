"""Options, ini values and hooks of the pytest plugin; what they do is elsewhere.

Loaded in every pytest run on the machine, so it imports only what is light; the engine
comes with the first evaluation.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import time
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import pytest


CLASH = "pytest-llmeval"
MARKER = (
    "llmeval_cases(data, *, id=None, limit=None, metrics=(), gates=(), name=None, "
    "prompt=None, params=None, columns=None): run the test once for each row of the "
    'data, with the fixture llmeval_case. Example: @pytest.mark.llmeval_cases("data/'
    'qa.jsonl", gates=[Gate("pass_rate", ">=", 0.9)]). With gates= a failing assert is '
    "a case that missed, and the gates decide over all cases; without, it fails as in "
    "any test."
)
INTERRUPTED = "the run was interrupted before its end"
_signing_key = pytest.StashKey["str | None"]()
try:
    importlib.metadata.version(CLASH)
except importlib.metadata.PackageNotFoundError:
    _clashes = False
    from pytest_llmeval.evidence import Evidence
    from pytest_llmeval.fixtures import evaluate
    from pytest_llmeval.fixtures import llmeval_case
    from pytest_llmeval.fixtures import llmeval_dataset
    from pytest_llmeval.fixtures import llmeval_metrics
    from pytest_llmeval.fixtures import llmeval_model
    from pytest_llmeval.fixtures import mlflow_run
    from pytest_llmeval.fixtures import recorder_key
    from pytest_llmeval.fixtures import settings_key
    from pytest_llmeval.given import option_hints
    from pytest_llmeval.given import read_given
    from pytest_llmeval.given import unknown_ini
    from pytest_llmeval.options import OPTIONS
    from pytest_llmeval.selection import narrowed_by
    from pytest_llmeval.selection import partial_by

    __all__ = [
        "evaluate",
        "llmeval_case",
        "llmeval_dataset",
        "llmeval_metrics",
        "llmeval_model",
        "mlflow_run",
    ]
else:
    _clashes = True  # the other package has put its own files where ours were

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from pytest_llmeval.case_tests import CaseTests
    from pytest_llmeval.config import RunStart
    from pytest_llmeval.config import Settings
    from pytest_llmeval.session import Outbox
    from pytest_llmeval.session import Run
    from pytest_llmeval.session import RunRecorder


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the pytest_llmeval_* hooks, and what loads the plugins of a project."""
    if not _clashes:
        from pytest_llmeval import hooks
        from pytest_llmeval import plugins

        pluginmanager.add_hookspecs(hooks)
        pluginmanager.register(plugins, "llmeval-plugins")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options and ini values of the table of options."""
    if _clashes:
        raise pytest.UsageError(
            "the packages pytest-llmeval-gate and pytest-llmeval are both installed, "
            "and both own the folder pytest_llmeval. Remove the other one and install "
            "this one again: pip uninstall -y pytest-llmeval pytest-llmeval-gate && "
            "pip install pytest-llmeval-gate"
        )
    group = parser.getgroup("llmeval", "evaluations of language models")
    for option in OPTIONS:
        if option.option is not None:
            kwargs: dict[str, Any] = {"action": "store_true"}
            if not option.flag:
                kwargs = {"metavar": option.metavar, "default": None}
                if option.choices:
                    kwargs["metavar"] = "|".join(option.choices)
            group.addoption(option.option, help=option.help, **kwargs)
        if option.ini is not None:
            parser.addini(option.ini, option.ini_help, default="")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(
    early_config: pytest.Config, parser: pytest.Parser, args: list[str]
) -> None:
    """Take the signing key away before any code of the suite is imported."""
    # A secret that CI does not have is an empty variable, and no key.
    key = os.environ.pop("LLMEVAL_SIGNING_KEY", None) or None
    early_config.stash[_signing_key] = key
    parser.extra_info.update(option_hints(args))  # shown where pytest refuses one


def pytest_configure(config: pytest.Config) -> None:
    """Check what is set, and follow the run."""
    unknown = unknown_ini(config)
    if unknown is not None:
        raise pytest.UsageError(f"llmeval: {unknown}")
    if config.getini("llmeval_plugins"):  # again: -p no:llmeval-plugins lifts no veto
        from pytest_llmeval.plugins import load_plugins

        load_plugins(config)
    plugin = LLMEvalPlugin(config)
    if any(plugin.given.values()):
        plugin.settings()
    side = _side(config, plugin)
    if side is not None:
        config.pluginmanager.register(side, "llmeval-transport")
    _add_spark_fixture(config.pluginmanager)
    config.addinivalue_line("markers", MARKER)
    config.stash[settings_key] = plugin.settings
    config.stash[recorder_key] = plugin.open_recorder
    if config.pluginmanager.register(plugin, "llmeval-run") is None and plugin.asked:
        raise pytest.UsageError(
            "llmeval: -p no:llmeval-run leaves nothing that could decide a verdict"
        )


def _add_spark_fixture(manager: pytest.PytestPluginManager) -> None:
    """Add the fixture `spark`, unless another plugin has one."""
    kinds = {type(getattr(one, "spark", None)) for one in manager.get_plugins()}
    if "FixtureFunctionDefinition" not in {kind.__name__ for kind in kinds}:
        from pytest_llmeval import spark_fixture

        manager.register(spark_fixture, "llmeval-spark")


def _side(config: pytest.Config, plugin: LLMEvalPlugin) -> object | None:
    """Return this process's side of what xdist workers and their controller say."""
    if plugin.worker is None and not plugin.distributes:
        return None
    from pytest_llmeval import transport

    if plugin.worker is None:
        return transport.ControllerSide(plugin)
    return transport.WorkerSide(config, plugin)


class LLMEvalPlugin:
    """Follows one pytest session and hands what it sees to the run's recorder.

    Settings and recorder are made when they are first needed: most sessions evaluate
    nothing.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config, self.given = config, read_given(config)
        told: dict[str, Any] = getattr(config, "workerinput", {})
        self.worker: str | None = told.get("workerid")
        self._told = told.pop("llmeval", {})  # with the key, so not to be left there
        self._workers = told.get("workercount", 1)
        self.signing_key: str | None = self._told.get(
            "key", config.stash.get(_signing_key, None)
        )
        option = config.option
        self.distributes = (  # as xdist itself decides it, whose options may be missing
            getattr(option, "dist", "no") != "no" and bool(getattr(option, "tx", None))
        )
        self.asked = any(
            self.given[f"--llmeval-{name}"] for name in ("deploy", "require", "gates")
        )
        self._began = (time.time(), time.monotonic())
        self._settings: Settings | None = None
        self._start: RunStart | None = None
        names = ("collectonly", "setuponly", "setupplan", "showfixtures")
        partial = partial_by(config)
        self.evidence = Evidence(
            executed=not any(getattr(option, name, False) for name in names),
            grouped=getattr(option, "dist", "") == "loadgroup"
            or getattr(option, "loadgroup", False),  # in a worker
            partial=partial,
            selection=partial,
        )
        self._recorder: RunRecorder | None = None
        self._run: Run | None = None
        self.outbox: Outbox | None = None
        self._cases: CaseTests | None = None
        self.left: list[str] = []
        self._session: pytest.Session | None = None
        self._finished = False

    def settings(self) -> Settings:
        """Return the run's settings.

        Raises:
            UsageError: one of them cannot be used.
        """
        if self._settings is None:
            from pytest_llmeval.config import build_settings
            from pytest_llmeval.errors import ConfigurationError

            try:
                settings = build_settings(self._config.rootpath, self.given)
            except ConfigurationError as error:
                raise pytest.UsageError(f"llmeval: {error}") from None
            if self.worker is not None:
                number, count = self._told["number"], self._workers
                settings = replace(settings, worker=number, workers=count)
            self._settings = replace(settings, services=self._services(settings))
        return self._settings

    def _services(self, settings: Settings) -> Path:
        """Return where the processes of this run find what they share."""
        from pytest_llmeval.store import RunDirectory

        return RunDirectory(settings.home, self.start.id).services

    @property
    def start(self) -> RunStart:
        """When the run began, and its id; a worker's are those of its controller."""
        if self._start is None:
            from pytest_llmeval.config import RunStart

            if self.worker is not None:
                self._start = RunStart(**self._told["start"])
            else:
                self._start = RunStart.at_time(*self._began)
        return self._start

    def open_recorder(self) -> RunRecorder:
        """Return the recorder; the first call makes this an evaluation run."""
        if self._recorder is None:
            settings, evidence = self.settings(), self.evidence
            evidence.reruns_allowed = settings.reruns == "allow"
            if evidence.selection is None:
                evidence.selection = narrowed_by(
                    self._config, settings.manifest_path.parent
                )
            if self.worker is None:
                self._open_run(settings)
            else:
                self._open_outbox(settings, self.worker)
        assert self._recorder is not None  # noqa: S101  # for the type checker
        return self._recorder

    def _open_run(self, settings: Settings) -> None:
        from pytest_llmeval.screen import Screen
        from pytest_llmeval.session import open_run

        screen = Screen(self._config)
        self._run, self._recorder = open_run(
            settings,
            self._config.pluginmanager,
            evidence=self.evidence,
            start=self.start,
            say=screen.say,
            progress=screen.progress(),
            signing_key=self.signing_key,
            command=f"pytest {shlex.join(self._config.invocation_params.args)}",
            distributes=self.distributes,
        )

    def _open_outbox(self, settings: Settings, worker: str) -> None:
        from pytest_llmeval.session import open_outbox

        self.outbox, self._recorder = open_outbox(
            settings,
            self._config.pluginmanager,
            evidence=self.evidence,
            start=self.start,
            worker=worker,
            signing_key=self.signing_key,
        )

    def open_run(self) -> Run:
        """Return the run, in the process that keeps it."""
        self.open_recorder()
        assert self._run is not None  # noqa: S101  # for the type checker
        return self._run

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session
        if self.asked:
            from pytest_llmeval.errors import ConfigurationError

            try:
                self.open_recorder()
            except ConfigurationError as error:
                raise pytest.UsageError(f"llmeval: {error}") from None

    def pytest_generate_tests(self, metafunc: pytest.Metafunc) -> None:
        marker = metafunc.definition.get_closest_marker("llmeval_cases")
        if marker is not None:
            if self._cases is None:
                from pytest_llmeval.case_tests import CaseTests

                self._cases = CaseTests()
                self._config.pluginmanager.register(self._cases, "llmeval-cases")
            self._cases.parametrize(metafunc, marker, self.settings())

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self.evidence.collected = [item.nodeid for item in session.items]

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        if items and self.evidence.selection is None:
            self.evidence.selection = f"{len(items)} tests were deselected"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self.evidence.collection_errors.append(report.nodeid)
        elif report.skipped:
            self.evidence.collection_skips.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self.evidence.started(item.nodeid)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        report = yield
        if self._recorder is not None:
            if self._cases is not None:
                self._cases.follow(self._recorder, item, call, report)
            self._recorder.complete(report)
        return report

    @pytest.hookimpl(tryfirst=True)
    def pytest_report_teststatus(
        self, report: pytest.CollectReport | pytest.TestReport
    ) -> tuple[str, str, tuple[str, dict[str, bool]]] | None:
        if getattr(report, "llmeval_missed", False):
            return "missed", "m", ("MISSED", {"yellow": True})
        return None

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtestloop(self, session: pytest.Session) -> Generator[None, Any, Any]:
        # Until it comes to its end: pytest.exit() may leave an exit status of 0.
        self.evidence.stopped = INTERRUPTED
        try:
            result = yield
        except session.Failed:  # of -x: gates will miss the rows that are left
            self._decide_cases(session)
            self.evidence.stopped = None
            raise
        except KeyboardInterrupt as stop:
            if type(stop) is not KeyboardInterrupt:  # of -x under xdist, and of --sw
                self._decide_cases(session)
                self.evidence.stopped = str(stop)
            raise
        self._decide_cases(session)
        self.evidence.stopped = None
        return result

    def _decide_cases(self, session: pytest.Session) -> None:
        if self._run is None or self._recorder is None or not self.evidence.executed:
            return
        from pytest_llmeval.case_tests import report_gate

        for gated in self._recorder.decide_cases():
            session.testscollected += 1  # or the progress would pass 100 %
            report_gate(self._config, gated)

    def pytest_assertrepr_compare(
        self, op: str, left: object, right: object
    ) -> list[str] | None:
        if "MetricValue" not in (type(left).__name__, type(right).__name__):
            return None
        if self._recorder is not None:
            return self._recorder.explain_assert(op, left, right)
        from pytest_llmeval.gate import explain_assert

        return explain_assert(op, left, right, ())

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        node = getattr(report, "node", None)
        self.evidence.reported(
            report.nodeid,
            report.when,
            "missed" if getattr(report, "llmeval_missed", False) else report.outcome,
            xfail=hasattr(report, "wasxfail"),
            worker=node.gateway.id if node is not None else "",
        )

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        if self._recorder is None:
            return
        from pytest_llmeval.screen import show_gates
        from pytest_llmeval.screen import show_missed

        show_missed(terminalreporter, self.evidence)
        show_gates(terminalreporter, self.evidence)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None]:
        # Outermost: what any plugin raises at the end goes past here, and pytest would
        # still unconfigure with the exit status of the tests.
        if self._recorder is not None:
            self._recorder.stop()
        yield
        self._finished = True

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        # Not in sessionfinish: a plugin that comes later could still change the status.
        if self._start is not None and self.worker is None:
            self._stop_services()
        if self._session is None:
            return
        session, evidence = self._session, self.evidence
        if self._recorder is None and self._was_begun(session.exitstatus):
            self.open_recorder()
        if self._recorder is None:
            return
        if session.shouldstop:
            evidence.stopped = str(session.shouldstop)
        elif not self._finished:
            evidence.stopped = "a plugin failed when the session finished"
        status = int(session.exitstatus)
        evidence.exit_status = status
        if status in (2, 3) and evidence.stopped is None:
            evidence.stopped = INTERRUPTED
        self._recorder.close()
        if self._run is not None:
            if status == 2 and evidence.stopped == INTERRUPTED:
                self._run.say("", self._recorder.how_to_go_on)
            self._run.note_left(self.left)
            session.exitstatus = self._run.finish(status)

    def _was_begun(self, status: int) -> bool:
        """Return whether a worker that never reported had begun to evaluate."""
        if not (self.evidence.lost or (self.distributes and status in (2, 3))):
            return False
        return (self.settings().home / "runs" / self.start.id).exists()

    def _stop_services(self) -> None:
        folder = self._services(self.settings())
        if folder.exists():
            from pytest_llmeval.services import stop_all

            stop_all(folder)
            with suppress(OSError):  # of a run that evaluated nothing it was all
                folder.parent.rmdir()
