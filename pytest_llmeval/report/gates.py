"""The gates of a run as a table in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from pytest_llmeval.records import Gate
from pytest_llmeval.report.excerpt import find_evaluation
from pytest_llmeval.report.gfm import inert
from pytest_llmeval.report.gfm import table
from pytest_llmeval.report.run import ReportedRun
from pytest_llmeval.report.terminal import short_name
from pytest_llmeval.results import interval
from pytest_llmeval.results import number


MOST_UNDECIDED = 10


class GateTable(NamedTuple):
    """The table, which can be cut."""

    heading: list[str]
    lines: list[list[str]]

    def cut(self, most: int | None) -> str:
        """Return the Markdown of so many lines, those that did not pass first.

        Args:
            most: None for all lines, in the order of the gates.
        """
        lines = self.lines
        if most is not None:
            lines = sorted(lines, key=lambda cells: cells[-1].startswith("pass"))[:most]
        return table(self.heading, lines) if lines else ""


def gate_table(run: ReportedRun) -> GateTable:
    """Return what is to be said of each gate of a run, in few words."""
    heading = ["test", "metric", "value", "bar", "interval", "n", "errors"]
    gates = run.verdict["gates"]
    changes = [_change(run, gate) for gate in gates]
    lines = [_cells(gate) for gate in gates]
    if any(changes):
        heading.append("against the baseline")
        lines = [[*cells, text] for cells, text in zip(lines, changes, strict=True)]
    pairs = zip(lines, gates, strict=True)
    lines = [[*cells, _decision(gate)] for cells, gate in pairs]
    return GateTable([*heading, "decision"], lines)


def undecided_list(run: ReportedRun) -> str:
    """Return which gates were not decided, and why: the first ones, a line for each."""
    gates = run.undecided
    lines = [
        f"- not decided: {inert(short_name(gate['test']), 80)} "
        f"{inert(gate['gate'], 80)}: {inert(gate['cause'])}"
        for gate in gates[:MOST_UNDECIDED]
    ]
    if more := len(gates[MOST_UNDECIDED:]):
        lines.append(
            f"- not decided: {more:,} more gates, which the verdict file names"
        )
    return "\n".join(lines)


def _cells(gate: Mapping[str, Any]) -> list[str]:
    clusters = f" {inert(gate['cluster'], 40)} clusters" if "cluster" in gate else ""
    repeats = f", {gate['repeats']} repeats" if "repeats" in gate else ""
    policy = {"worst": " at the worst", "exclude": " left out"}
    counted = policy.get(gate.get("on_error", ""), "") if gate["errors"] else ""
    return [
        inert(short_name(gate["test"]), 80),
        inert(subject(gate), 80),
        "" if gate["value"] is None else _signed(gate),
        f"{inert(gate['op'], 20)} {inert(_threshold(gate), 20)}",
        inert(_interval(gate)),
        f"{gate['n']}{clusters}{repeats}",
        f"{gate['errors']}{counted}",
    ]


def subject(gate: Mapping[str, Any]) -> str:
    """Return what a gate is about, as the terminal names it."""
    names = ("kind", "baseline", "quantile", "where")
    options = {name: gate[name] for name in names if name in gate}
    return str(Gate(gate["metric"], gate["op"], gate["threshold"], **options))


def _signed(gate: Mapping[str, Any]) -> str:
    value = number(gate["value"])
    return f"+{value}" if "compared" in gate and gate["value"] > 0 else value


def _threshold(gate: Mapping[str, Any]) -> str:
    bar = gate["threshold"]
    return number(bar) if isinstance(bar, (int, float)) else str(bar)


def _interval(gate: Mapping[str, Any]) -> str:
    shown = interval(gate["lower"], gate["upper"], gate["confidence"])
    if "share" in gate:
        return f"share {number(gate['share'])}: {shown}"
    is_approximate = gate["method"] == "bca" and gate["lower"] is not None
    return f"{shown} (approximate)" if is_approximate else shown


def _decision(gate: Mapping[str, Any]) -> str:
    word, reason = gate["decision"], gate["reason"]
    if word != "pass":
        return f"**{word}**" + (f" {inert(reason)}" if word == "error" else "")
    if reason == "FIRST_VERSION":
        return f"pass ({inert(reason)}: nothing was compared)"
    at_worst = gate.get("decision_at_worst", "pass")
    if at_worst != "pass":
        return f"pass ({at_worst} with the rows in error at the worst)"
    return "pass" if gate["confidence"] is not None else "pass (point only)"


def _change(run: ReportedRun, gate: Mapping[str, Any]) -> str:
    """Return how a gate's metric changed from the baseline; empty where none has it."""
    if "compared" in gate:
        compared = gate["compared"]
        return f"{number(compared['value'])} to {number(compared['value_now'])}"
    if run.baseline is None or "where" in gate or "quantile" in gate:
        return ""
    now = find_evaluation(run.verdict, gate)
    if now is None:
        return ""
    for before in reversed(run.baseline.verdict["evaluations"]):
        same = all(before[name] == now[name] for name in ("name", "dataset_digest"))
        values = [one["metrics"].get(gate["metric"], {}) for one in (before, now)]
        then_value, now_value = (value.get("value") for value in values)
        if same and then_value is not None and now_value is not None:
            return f"{number(then_value)} to {number(now_value)}"
    return ""
