"""Options, ini values and hooks of the pytest plugin; what they do is elsewhere.

Loaded in every pytest run on the machine, so it imports only what is light; the engine
comes with the first evaluation.
"""

from __future__ import annotations

import importlib.metadata
import os
import shlex
import time
from contextlib import contextmanager
from contextlib import nullcontext
from dataclasses import asdict
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

import pytest


CLASH = "pytest-llmeval"
_signing_key = pytest.StashKey["str | None"]()
try:
    importlib.metadata.version(CLASH)
except importlib.metadata.PackageNotFoundError:
    _clashes = False
    from pytest_llmeval.evidence import Evidence
    from pytest_llmeval.fixtures import evaluate
    from pytest_llmeval.fixtures import llmeval_metrics
    from pytest_llmeval.fixtures import llmeval_model
    from pytest_llmeval.fixtures import mlflow_run
    from pytest_llmeval.fixtures import recorder_key
    from pytest_llmeval.fixtures import settings_key
    from pytest_llmeval.options import OPTIONS

    __all__ = ["evaluate", "llmeval_metrics", "llmeval_model", "mlflow_run"]
else:
    _clashes = True  # the other package has put its own files where ours were

if TYPE_CHECKING:
    from collections.abc import Generator
    from collections.abc import Iterator
    from pathlib import Path

    from pytest_llmeval.config import RunStart
    from pytest_llmeval.config import Settings
    from pytest_llmeval.session import RunRecorder


def pytest_addhooks(pluginmanager: pytest.PytestPluginManager) -> None:
    """Add the pytest_llmeval_* hooks."""
    if not _clashes:
        from pytest_llmeval import hooks

        pluginmanager.add_hookspecs(hooks)


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
            group.addoption(
                option.option, dest=_dest(option.option), help=option.help, **kwargs
            )
        if option.ini is not None:
            parser.addini(option.ini, option.help, default="")


def _dest(option: str) -> str:
    return option.lstrip("-").replace("-", "_")


@pytest.hookimpl(tryfirst=True)
def pytest_load_initial_conftests(early_config: pytest.Config) -> None:
    """Take the signing key away before any code of the suite is imported."""
    early_config.stash[_signing_key] = os.environ.pop("LLMEVAL_SIGNING_KEY", None)


def pytest_configure(config: pytest.Config) -> None:
    """Check what is set, and follow the run."""
    plugin = LLMEvalPlugin(config)
    if any(plugin.given.values()):
        plugin.settings()
    distributes = bool(getattr(config.option, "tx", None)) and not plugin.is_worker
    if distributes and plugin.asked:
        raise pytest.UsageError(
            "llmeval: --llmeval-deploy, --llmeval-require and --llmeval-gates need all "
            "gates in one process: run without -n"
        )
    config.stash[settings_key] = plugin.settings
    config.stash[recorder_key] = plugin.open_recorder
    if config.pluginmanager.register(plugin, "llmeval-run") is None and plugin.asked:
        raise pytest.UsageError(
            "llmeval: -p no:llmeval-run leaves nothing that could decide a verdict"
        )


def _given(config: pytest.Config) -> dict[str, Any]:
    """Return what stands on the command line and in the ini file, by its name."""
    options = {o.option: config.getoption(_dest(o.option)) for o in OPTIONS if o.option}
    return options | {o.ini: config.getini(o.ini) for o in OPTIONS if o.ini}


class LLMEvalPlugin:
    """Follows one pytest session and hands what it sees to the run's recorder.

    Settings and recorder are made when they are first needed: most sessions evaluate
    nothing.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._config, self.given = config, _given(config)
        self._worker: dict[str, Any] | None = getattr(config, "workerinput", None)
        self.is_worker = self._worker is not None
        self.asked = any(
            self.given[f"--llmeval-{name}"] for name in ("deploy", "require", "gates")
        )
        self._began = (time.time(), time.monotonic())
        self._settings: Settings | None = None
        self._start: RunStart | None = None
        option = config.option
        names = ("collectonly", "setuponly", "setupplan", "showfixtures")
        partial = _partial(config)
        self._evidence = Evidence(
            executed=not any(getattr(option, name, False) for name in names),
            partial=partial,
            selection=partial,
        )
        self._recorder: RunRecorder | None = None
        self._session: pytest.Session | None = None
        self._worker_gates = False
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
            if self._worker is not None:
                number = int(self._worker["workerid"].removeprefix("gw"))
                count = self._worker["workercount"]
                settings = replace(settings, worker=number, workers=count)
                if count > 1:
                    services = self._services(settings)
                    settings = replace(settings, services=services)
            self._settings = settings
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

            if self._worker is not None:
                self._start = RunStart(**self._worker["llmeval"])
            else:
                self._start = RunStart.at_time(*self._began)
        return self._start

    def open_recorder(self) -> RunRecorder:
        """Return the recorder; the first call makes this an evaluation run."""
        if self._recorder is None:
            from pytest_llmeval.report.terminal import ProgressLine
            from pytest_llmeval.session import RunRecorder

            settings, evidence = self.settings(), self._evidence
            evidence.reruns_allowed = settings.reruns == "allow"
            if evidence.selection is None:
                evidence.selection = _narrowed(self._config, settings)
            reporter = self._config.pluginmanager.get_plugin("terminalreporter")
            progress = None
            if reporter is not None and not self.is_worker:
                progress = ProgressLine(self._write, is_terminal=reporter.isatty)
            self._recorder = RunRecorder(
                settings,
                self._config.pluginmanager,
                evidence=evidence,
                say=self._say,
                progress=progress,
                signing_key=self._config.stash.get(_signing_key, None),
                command=f"pytest {shlex.join(self._config.invocation_params.args)}",
                run=self.start,
                is_worker=self.is_worker,
            )
        return self._recorder

    @contextmanager
    def _terminal(self) -> Iterator[Any]:
        """Give the terminal reporter, past the capture of a test that runs."""
        capture: Any = self._config.pluginmanager.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            yield self._config.pluginmanager.get_plugin("terminalreporter")

    def _write(self, text: str) -> None:
        with self._terminal() as reporter:
            reporter.write(text, flush=True)
            reporter.currentfspath = None  # the line that began with it is over

    def _say(self, status: str, line: str) -> None:
        with self._terminal() as reporter:
            if reporter is not None:
                reporter.ensure_newline()
                reporter.write_line(line, **_markup(status))

    @pytest.hookimpl(optionalhook=True)
    def pytest_configure_node(self, node: Any) -> None:
        """Tell an xdist worker which run it is part of."""
        node.workerinput["llmeval"] = asdict(self.start)

    @pytest.hookimpl(trylast=True)
    def pytest_sessionstart(self, session: pytest.Session) -> None:
        self._session = session
        if self.asked:
            from pytest_llmeval.errors import ConfigurationError

            try:
                self.open_recorder()
            except ConfigurationError as error:
                raise pytest.UsageError(f"llmeval: {error}") from None

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        self._evidence.collected = [item.nodeid for item in session.items]

    def pytest_deselected(self, items: list[pytest.Item]) -> None:
        if items and self._evidence.selection is None:
            self._evidence.selection = f"{len(items)} tests were deselected"

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.failed:
            self._evidence.collection_errors.append(report.nodeid)
        elif report.skipped:
            self._evidence.collection_skips.append(report.nodeid)

    @pytest.hookimpl(tryfirst=True)
    def pytest_runtest_setup(self, item: pytest.Item) -> None:
        self._evidence.started(item.nodeid)

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_runtest_makereport(
        self, item: pytest.Item, call: pytest.CallInfo[None]
    ) -> Generator[None, pytest.TestReport, pytest.TestReport]:
        if call.when == "teardown" and self._recorder is not None:
            item.user_properties += self._recorder.take_properties(item.nodeid)
        return (yield)

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        self._evidence.reported(
            report.nodeid,
            report.when,
            report.outcome,
            xfail=hasattr(report, "wasxfail"),
        )
        if any(name.startswith("llmeval.") for name, _ in report.user_properties):
            self._worker_gates = self._recorder is None

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        if self._worker_gates:
            terminalreporter.write_line(
                "llmeval: gates were decided in xdist workers, so no verdict is "
                "written; run without -n for one"
            )
        if self._evidence.decisions and not self.is_worker:
            from pytest_llmeval.report.terminal import gate_lines

            terminalreporter.write_sep("=", "llmeval gates")
            for status, line in gate_lines(self._evidence.decisions):
                terminalreporter.write_line(line, **_markup(status))

    @pytest.hookimpl(wrapper=True, tryfirst=True)
    def pytest_sessionfinish(self) -> Generator[None]:
        # Outermost: what any plugin raises at the end goes past here, and pytest would
        # still unconfigure with the exit status of the tests.
        yield
        self._finished = True

    @pytest.hookimpl(trylast=True)
    def pytest_unconfigure(self) -> None:
        # Not in sessionfinish: a plugin that comes later could still change the status.
        if self._start is not None and not self.is_worker:
            self._stop_services()
        if self._recorder is None:
            return
        if self._session is None:
            return
        session = self._session
        if session.shouldstop:
            self._evidence.stopped = str(session.shouldstop)
        elif not self._finished:
            self._evidence.stopped = "a plugin failed when the session finished"
        session.exitstatus = self._recorder.finish(int(session.exitstatus))

    def _stop_services(self) -> None:
        folder = self._services(self.settings())
        if folder.exists():
            from pytest_llmeval.services import stop_all

            stop_all(folder)


def _markup(status: str) -> dict[str, bool]:
    return {
        "pass": {"green": True},
        "fail": {"red": True},
        "error": {"red": True},
        "inconclusive": {"yellow": True},
        "incomplete": {"yellow": True},
    }.get(status, {})


def _partial(config: pytest.Config) -> str | None:
    """Return the option that selects tests by how they came out before."""
    options = {"lf": "--lf", "stepwise": "--sw", "stepwise_skip": "--sw-skip"}
    for name, option in options.items():
        if getattr(config.option, name, False):
            return f"{option} selects a part of the tests"
    return None


def _narrowed(config: pytest.Config, settings: Settings) -> str | None:
    """Return what in the command line leaves a part of the suite out."""
    narrowing = {
        "keyword": "-k",
        "markexpr": "-m",
        "deselect": "--deselect",
        "ignore": "--ignore",
        "ignore_glob": "--ignore-glob",
    }
    for name, option in narrowing.items():
        if getattr(config.option, name, None):
            return f"{option} selects a part of the tests"
    suite = settings.manifest_path.parent
    for argument in config.args:
        path = (config.invocation_params.dir / argument.partition("::")[0]).resolve()
        if suite.resolve().is_relative_to(path) and "::" not in argument:
            return None
    return f"the arguments do not cover the folder {suite}"
