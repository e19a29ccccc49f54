"""Cases as tests: pytest's side of the marker llmeval_cases; loaded with its first use.

Apart from `cases`, which knows no pytest.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import TYPE_CHECKING
from typing import NamedTuple

import pytest

from pytest_llmeval.cases import CaseSpec
from pytest_llmeval.cases import check_marker
from pytest_llmeval.cases import load_cases
from pytest_llmeval.config import nearest
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.gate import explain
from pytest_llmeval.hooks import register_backends
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


if TYPE_CHECKING:
    from pytest_llmeval.config import Settings
    from pytest_llmeval.session import RunRecorder
    from pytest_llmeval.session.recorder import CaseGate


FIXTURE = "llmeval_case"
LONGEST_MESSAGE = 2_000


class CaseParam(NamedTuple):
    """What a test is parametrised with."""

    spec: CaseSpec
    position: int


def parametrize(
    metafunc: pytest.Metafunc, marker: pytest.Mark, settings: Settings
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
    cases = [CaseParam(spec, position) for position in range(len(spec.dataset.ids))]
    metafunc.parametrize(FIXTURE, cases, indirect=True, ids=spec.ids)


def _arguments(marker: pytest.Mark) -> dict[str, object]:
    known = list(check_marker.__kwdefaults__ or ())
    for name in marker.kwargs:
        if name not in (*known, "data"):
            raise LLMEvalError(
                f"there is no argument {name!r}{nearest(name, known)}; the arguments "
                f"are: data, {', '.join(known)}"
            )
    if len(marker.args) > 1:
        raise LLMEvalError("only data may stand without a name; write id=…, limit=…")
    return check_marker(*marker.args, **marker.kwargs)


def note_selected(items: Iterable[pytest.Item]) -> None:
    """Tell each marked function which of its cases are to run.

    Raises:
        UsageError: a case would run twice.
    """
    seen: set[tuple[str, int]] = set()
    for item in items:
        param = _param(item)
        if param is None:
            continue
        key = (param.spec.test, param.position)
        if key in seen:
            raise pytest.UsageError(
                f"llmeval: {item.nodeid}: llmeval_cases makes the tests of a function, "
                "so that no other parametrization may multiply them; write a function "
                "for each"
            )
        seen.add(key)
        param.spec.selected.append(param.position)


def _param(item: pytest.Item) -> CaseParam | None:
    callspec = getattr(item, "callspec", None)
    param = callspec.params.get(FIXTURE) if callspec is not None else None
    return param if isinstance(param, CaseParam) else None


def close_case(
    item: pytest.Item,
    call: pytest.CallInfo[None],
    report: pytest.TestReport,
    recorder: RunRecorder,
) -> None:
    """Keep the row of a case whose test is over; with gates it may be *missed*."""
    failure = call.excinfo.value if call.excinfo is not None else None
    missed = isinstance(failure, AssertionError) and not isinstance(
        failure, LLMEvalError
    )
    error = None
    if failure is not None and not missed:
        error = f"{type(failure).__name__}: {one_line(failure, 500)}"
    recorder.close_case(passed=failure is None, error=error)
    param = _param(item)
    if missed and report.failed and param is not None and param.spec.gates:
        path, line, _ = report.location
        crash = getattr(report.longrepr, "reprcrash", None)
        message = crash.message if crash is not None else str(failure)
        report.outcome = "skipped"  # neither a pass nor a failure
        report.longrepr = (path, line or 0, f"missed: {safe(message, LONGEST_MESSAGE)}")
        report.llmeval_missed = True  # type: ignore[attr-defined]  # travels with it


def report_gate(config: pytest.Config, gated: CaseGate, raises: bool) -> None:
    """Report a gate over cases as a test of its own, in all three phases."""
    decision, now = gated.decision, time.time()
    failed = decision.status != "pass" and raises
    config.hook.pytest_runtest_logstart(nodeid=gated.name, location=gated.location)
    for when in ("setup", "call", "teardown"):
        fails = failed and when == "call"
        report = pytest.TestReport(
            nodeid=gated.name,
            location=gated.location,
            keywords={},
            outcome="failed" if fails else "passed",
            longrepr=explain(decision) if fails else None,
            when=when,
            user_properties=gated.properties,
            start=now,
            stop=now,
        )
        config.hook.pytest_runtest_logreport(report=report)
    config.hook.pytest_runtest_logfinish(nodeid=gated.name, location=gated.location)
