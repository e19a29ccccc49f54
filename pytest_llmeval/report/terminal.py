"""From decisions, usage and verdict to lines for the terminal."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.results import EvalResults
from pytest_llmeval.results import interval
from pytest_llmeval.results import number
from pytest_llmeval.text import age
from pytest_llmeval.text import counted
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


def gate_lines(decisions: Sequence[Decision]) -> list[tuple[str, str]]:
    """Return the status and one aligned line for each gate, a heading first."""
    table: list[tuple[str, tuple[str, ...]]] = [("", _HEADING)]
    table += [(decision.status, _cells(decision)) for decision in decisions]
    columns = zip(*(cells for _, cells in table), strict=True)
    widths = [max(map(len, column)) for column in columns]
    return [
        (
            status,
            "  ".join(
                cell.ljust(width) for cell, width in zip(cells, widths, strict=True)
            ).rstrip(),
        )
        for status, cells in table
    ]


PROGRESS_TERMINAL_S = 0.2
PROGRESS_PLAIN_S = 10.0
_HEADING = ("test", "metric", "value", "", "bar", "interval", "n", "errors", "decision")


def _cells(decision: Decision) -> tuple[str, ...]:
    gate = decision.gate
    return (
        one_line(short_name(decision.test), 60),
        one_line(_title(gate), 40),
        number(decision.value) if decision.value is not None else "-",
        gate.op if isinstance(gate.op, str) else repr(gate.op),
        number(gate.threshold)
        if isinstance(gate.threshold, float)
        else one_line(repr(gate.threshold), 20),
        _interval(decision),
        str(decision.n),
        str(decision.errors),
        _word(decision),
    )


def short_name(test: str | None) -> str:
    """Return the node id of a test without its folders; parameters may hold slashes."""
    path, bracket, parameters = (test or "").partition("[")
    return path.rpartition("/")[2] + bracket + parameters


def _title(gate: Gate) -> str:
    if not gate.where:
        return str(gate)
    return f"{replace(gate, where=None)} {gate.where!r}"


def _interval(decision: Decision) -> str:
    shown = interval(decision.lower, decision.upper, decision.gate.confidence)
    if decision.share is not None:
        return f"share {number(decision.share)}: {shown}"
    is_approximate = decision.method == "bca" and decision.lower is not None
    return f"{shown} (approximate)" if is_approximate else shown


def _word(decision: Decision) -> str:
    if decision.status == "error":
        return f"error {decision.reason}"
    if decision.reason == "FIRST_VERSION":
        return "pass (FIRST_VERSION: nothing was compared)"
    if decision.status != "pass" or decision.gate.confidence is not None:
        return decision.status
    if decision.point_only in (None, "pass"):
        return "pass (point only)"
    return f"pass (point only: at 95 % this would be {decision.point_only})"


def usage_line(results: EvalResults) -> str:
    """Return what an evaluation took, by its name: requests, tokens, dollars, latency.

    The line may stand far from its test, as those of xdist workers and of cases do.
    """
    tally, parts = results.tally, []
    usage, not_needed = tally.usage, tally.not_needed
    if not_needed:
        asked = tally.rows
        total = asked + not_needed
        parts.append(f"{asked:,} of {total:,} rows asked, {not_needed:,} not needed")
    if usage.rows:
        asked_for = counted(usage.rows, "row")
        parts.append(f"{counted(usage.requests, 'request')} for {asked_for}")
    if tally.cached:
        old = age(time.time() - (tally.oldest_reply or time.time()))
        parts.append(f"{tally.cached} stored replies up to {old} old")
    counts = (("prompt", usage.prompt_tokens), ("output", usage.output_tokens))
    parts += [f"{count:,} {kind} tokens" for kind, count in counts if count is not None]
    if usage.cost_usd is not None:
        parts.append(f"{usage.cost_usd:.4f} US dollars")
    if usage.latency_p50_ms is not None and usage.latency_p95_ms is not None:
        shown = f"{usage.latency_p50_ms:.0f} ms, 95 % within {usage.latency_p95_ms:.0f}"
        parts.append(f"median latency {shown} ms")
    return f"{one_line(results.name, 60)}: {', '.join(parts) or 'no request'}"


def refusal_line(reason: str, message: str) -> str:
    """Return the line that says at once what will forbid the deployment."""
    return f"llmeval: this run cannot deploy: {reason}: {safe(message, 500)}"


def verdict_lines(
    verdict: Mapping[str, Any], paths: Mapping[str, str]
) -> list[tuple[str, str]]:
    """Return status and text of the lines that close a run."""
    status, reason = verdict["status"], verdict["reason"]
    line = f"verdict: {status}"
    if reason == "VETOED":
        line += " (VETOED)"
    elif reason != "OK":
        line += f" ({reason}: {safe(verdict['detail'], 500)})"
    lines = [(status, line)]
    for veto in verdict["vetoes"]:
        said = f"{veto['plugin']}: {veto['message']}"
        lines.append(("fail", f"veto of {safe(said, 500)}"))
    if verdict["manifest"] is None:
        advice = "nothing can be deployed; write one with: llmeval gates update"
        lines.append(("", f"manifest: none, so {advice}"))
    lines += [("", f"{name}: {safe(path, 500)}") for name, path in paths.items()]
    return lines


class ProgressLine:
    """Shows rows, speed and time left: in place on a terminal, else now and then.

    Args:
        write: Writes text as it is.
        is_terminal: Whether a line can be overwritten.
    """

    def __init__(self, write: Callable[[str], None], *, is_terminal: bool) -> None:
        self._write, self._is_terminal = write, is_terminal
        self._began: tuple[float, int] | None = None
        self._shown_at = 0.0

    def __call__(self, done: int, total: int, errors: int) -> None:
        """Show the state; the evaluation is over when all rows are done."""
        now, over = time.monotonic(), done >= total
        if self._began is None:
            if over:  # its last line has been shown
                return
            self._began, self._shown_at = (now, done), now
            self._write("\n")
        wait = PROGRESS_TERMINAL_S if self._is_terminal else PROGRESS_PLAIN_S
        if over or now - self._shown_at >= wait:
            self._shown_at = now
            self._show(done, total, errors, now, over)
        if over:
            self._began = None

    def _show(self, done: int, total: int, errors: int, now: float, over: bool) -> None:
        began_at, began_with = self._began or (now, done)
        rate = (done - began_with) / max(now - began_at, 1e-3)
        line = f"  {done} of {total} rows, {rate:.1f} rows/s"
        if rate > 0 and not over:
            line += f", {(total - done) / rate:.0f} s left"
        if errors:
            line += f", {errors} in error"
        if self._is_terminal:
            self._write(f"\r{line:<70}" + ("\n" if over else ""))
        else:
            self._write(f"{line}\n")
