"""The terminal as pytest has it: what a run says meanwhile, and in the summary."""

from __future__ import annotations

from contextlib import contextmanager
from contextlib import nullcontext
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.report.terminal import ProgressLine
from pytest_llmeval.report.terminal import gate_lines
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

    from pytest_llmeval.evidence import Evidence


MISSED_SHOWN = 10
MISSED_LENGTH = 160


class Screen:
    """Writes between what pytest writes, past the capture of a test that runs.

    Args:
        config: Of a session, which may have no terminal.
    """

    def __init__(self, config: pytest.Config) -> None:
        self._plugins = config.pluginmanager

    def progress(self) -> ProgressLine | None:
        """Return what shows how evaluations get on; None without a terminal."""
        reporter = self._plugins.get_plugin("terminalreporter")
        if reporter is None:
            return None
        return ProgressLine(self._write, is_terminal=reporter.isatty)

    def say(self, status: str, line: str) -> None:
        """Write a line, in the colour of a status."""
        with self._terminal() as reporter:
            if reporter is not None:
                reporter.ensure_newline()
                if reporter._tw.width_of_current_line:  # dots of -q and of xdist
                    reporter.line("")
                reporter.write_line(line, **_markup(status))

    def _write(self, text: str) -> None:
        with self._terminal() as reporter:
            reporter.write(text, flush=True)
            reporter.currentfspath = None  # the line that began with it is over

    @contextmanager
    def _terminal(self) -> Iterator[Any]:
        capture: Any = self._plugins.get_plugin("capturemanager")
        with capture.global_and_fixture_disabled() if capture else nullcontext():
            yield self._plugins.get_plugin("terminalreporter")


def show_missed(reporter: pytest.TerminalReporter, evidence: Evidence) -> None:
    """Name the cases that missed, the first ones in the order of the tests."""
    reports = reporter.stats.get("missed", [])
    missed = sorted(reports, key=lambda report: evidence.in_order(report.nodeid))
    if not missed:
        return
    reporter.write_sep("=", "llmeval cases that missed")
    for report in missed[:MISSED_SHOWN]:
        first = one_line(report.longrepr[2].partition("\n")[0], MISSED_LENGTH)
        reporter.write_line(f"{report.nodeid} {first}", yellow=True)
    if len(missed) > MISSED_SHOWN:
        more = len(missed) - MISSED_SHOWN
        reporter.write_line(f"and {more} more; all are in --junitxml FILE")


def show_gates(reporter: pytest.TerminalReporter, evidence: Evidence) -> None:
    """Show the table of gates, and those that could not be decided."""
    if evidence.decisions:
        evidence.sort_decisions()
        reporter.write_sep("=", "llmeval gates")
        for status, line in gate_lines(evidence.decisions):
            reporter.write_line(line, **_markup(status))
    for test, gate, cause in evidence.undecided:
        line = f"not decided: {test} {one_line(gate)}: {cause}"
        reporter.write_line(line, yellow=True)


def _markup(status: str) -> dict[str, bool]:
    return {
        "pass": {"green": True},
        "fail": {"red": True},
        "error": {"red": True},
        "inconclusive": {"yellow": True},
        "incomplete": {"yellow": True},
    }.get(status, {})
