"""Cases as tests: pytest's side of the marker llmeval_cases; loaded with its first use.

Apart from `cases`, which knows no pytest.
"""

from __future__ import annotations

import re
import time
from typing import TYPE_CHECKING

import pytest
from _pytest.junitxml import xml_key  # only record_xml_attribute, a fixture, is public

from pytest_llmeval.cases import CaseSpec
from pytest_llmeval.cases import check_marker
from pytest_llmeval.cases import load_cases
from pytest_llmeval.config import nearest
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.fixtures import fail
from pytest_llmeval.fixtures import open_recorder
from pytest_llmeval.hooks import register_backends
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


if TYPE_CHECKING:
    from pytest_llmeval.cases import Case
    from pytest_llmeval.config import Settings
    from pytest_llmeval.session import RunRecorder
    from pytest_llmeval.session.cases import CaseGate
    from pytest_llmeval.session.recorder import Surroundings


FIXTURE = "llmeval_case"
FIXTURES = open_recorder.__module__
LONGEST_MESSAGE = 2_000
COLOUR = re.compile(r"\x1b\[[\d;]*m")


def _arguments(marker: pytest.Mark) -> dict[str, object]:
    known = list(check_marker.__kwdefaults__ or ())
    for name in marker.kwargs:
        if name not in (*known, "data"):
            raise LLMEvalError(
                f"there is no argument {name!r}{nearest(name, known)}; the arguments "
                f"are: data, {', '.join(known)}"
            )
    if len(marker.args) + ("data" in marker.kwargs) > 1:
        raise LLMEvalError("only data may stand without a name; write id=…, limit=…")
    return check_marker(*marker.args, **marker.kwargs)


class CaseTests:
    """Follows the tests of cases; registered when there are some."""

    def __init__(self) -> None:
        self._specs: dict[tuple[object, str], CaseSpec] = {}
        self._ended = False

    def parametrize(
        self, metafunc: pytest.Metafunc, marker: pytest.Mark, settings: Settings
    ) -> None:
        """Make a test of each row that a marker names.

        Raises:
            CollectError: the marker or its data cannot be used.
        """
        item = metafunc.definition
        if FIXTURE not in metafunc.fixturenames and marker not in item.own_markers:
            return  # of a class or module that has other tests too
        register_backends(metafunc.config.pluginmanager)
        try:
            if FIXTURE not in metafunc.fixturenames:
                raise LLMEvalError(f"the test must use the fixture {FIXTURE}")
            if sum(own.name == marker.name for own in item.own_markers) > 1:
                raise LLMEvalError("it stands twice here; write a function for each")
            spec = load_cases(
                item.nodeid,
                item.location,
                item.ihook,
                settings,
                item.path.parent,
                _arguments(marker),
            )
        except LLMEvalError as error:
            message = f"{item.nodeid}: @pytest.mark.llmeval_cases: {safe(error)}"
            raise pytest.Collector.CollectError(message) from None
        self._specs[_key(item)] = spec
        positions = range(len(spec.dataset.ids))
        metafunc.parametrize(FIXTURE, positions, indirect=True, ids=spec.ids)

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Tell each marked function which of its cases are to run."""
        for item in session.items:
            spec = self._specs.get(_key(item))
            if spec is not None:
                position = item.callspec.params[FIXTURE]  # type: ignore[attr-defined]
                spec.selected.append(position)

    def pytest_fixture_setup(
        self, fixturedef: pytest.FixtureDef[object], request: pytest.FixtureRequest
    ) -> Case | None:
        """Give a test its case, in the place of the fixture's own function.

        That would need the fixture ``request``, which pytest takes longer to set up
        than all that is done here.
        """
        if fixturedef.argname != FIXTURE or fixturedef.func.__module__ != FIXTURES:
            return None  # of another fixture, or of a suite's own around ours
        spec = self._specs.get(_key(request.node))
        if spec is None:
            return None
        key = fixturedef.cache_key(request)  # type: ignore[arg-type]  # of a private type
        try:
            case = _open(spec, request)
        except (Exception, pytest.fail.Exception) as failure:
            # For plugins that run a test again, as pytest leaves it.
            fixturedef.cached_result = (None, key, (failure, failure.__traceback__))
            raise
        fixturedef.cached_result = (case, key, None)
        return case

    @pytest.hookimpl(trylast=True)
    def pytest_runtest_call(self) -> None:
        """Note that the test is at its end; until then reports are of subtests."""
        self._ended = True

    def follow(
        self,
        recorder: RunRecorder,
        item: pytest.Item,
        call: pytest.CallInfo[None],
        report: pytest.TestReport,
    ) -> None:
        """Keep what a phase of a test comes to; with gates a case may be *missed*."""
        case = recorder.case
        if case is None:
            return
        if call.when == "call":
            self._follow_call(case, item, call, report)
        elif call.when == "teardown":
            recorder.close_case()
        elif call.excinfo is not None:
            case.fail(_failure(call.excinfo.value))

    def _follow_call(
        self,
        case: Case,
        item: pytest.Item,
        call: pytest.CallInfo[None],
        report: pytest.TestReport,
    ) -> None:
        failure = call.excinfo.value if call.excinfo is not None else None
        ended, self._ended = self._ended, False
        misses = case.missed and ended if failure is None else _is_assert(failure)
        case.missed = case.missed or misses
        if failure is not None and not misses:
            case.fail(_failure(failure))
        elif misses and self._specs[_key(item)].gates and not report.skipped:
            _report_missed(report, "a subtest missed" if failure is None else None)


def _key(item: pytest.Item) -> tuple[object, str]:
    """Return what tells a test's function from others, whatever its cases."""
    return item.parent, getattr(item, "originalname", item.name)


def _open(spec: CaseSpec, request: pytest.FixtureRequest) -> Case:
    def surroundings() -> Surroundings:
        given = request.getfixturevalue
        return request.node.ihook, given("llmeval_model"), given("llmeval_metrics")

    try:
        return open_recorder(request).open_case(spec, request.param, surroundings)
    except LLMEvalError as error:
        fail(error)


def _is_assert(failure: BaseException) -> bool:
    """Return whether it is an assert of the suite, and no gate's."""
    return isinstance(failure, AssertionError) and not isinstance(failure, LLMEvalError)


def _failure(failure: BaseException) -> str:
    return f"{type(failure).__name__}: {one_line(failure, 500)}"


def _report_missed(report: pytest.TestReport, message: str | None) -> None:
    """Make of a report one of a case that missed: neither a pass nor a failure."""
    crash = getattr(report.longrepr, "reprcrash", None)
    text = message or (crash.message if crash is not None else report.longreprtext)
    text = COLOUR.sub("", text)  # of a terminal; in junit it would be noise
    path, line, _ = report.location
    report.outcome = "skipped"
    report.longrepr = (path, line or 0, f"missed: {safe(text, LONGEST_MESSAGE)}")
    report.llmeval_missed = True  # type: ignore[attr-defined]  # travels with it


def report_gate(config: pytest.Config, gated: CaseGate) -> None:
    """Report a gate over cases as a test of its own, in all three phases."""
    now = time.time()
    config.hook.pytest_runtest_logstart(nodeid=gated.name, location=gated.location)
    for when in ("setup", "call", "teardown"):
        fails = gated.failure is not None and when == "call"
        report = pytest.TestReport(
            nodeid=gated.name,
            location=gated.location,
            keywords={},
            outcome="failed" if fails else "passed",
            longrepr=gated.failure if fails else None,
            when=when,
            user_properties=gated.properties,
            start=now,
            stop=now,
        )
        config.hook.pytest_runtest_logreport(report=report)
        if when == "call":
            _place_in_junit(config, report)
    config.hook.pytest_runtest_logfinish(nodeid=gated.name, location=gated.location)


def _place_in_junit(config: pytest.Config, gate: pytest.TestReport) -> None:
    """Put a gate beside its cases; junit would take their function for a class."""
    xml = config.stash.get(xml_key, None)
    if xml is not None:
        entry = xml.node_reporter(gate)
        classname, _, function = str(entry.attrs["classname"]).rpartition(".")
        entry.add_attribute("classname", classname)
        entry.add_attribute("name", f"{function}::{entry.attrs['name']}")
