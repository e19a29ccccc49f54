"""The table of gates, as values that the template puts in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pytest_llmeval.gate.interval import counted_op
from pytest_llmeval.gate.interval import share_gate
from pytest_llmeval.records import Gate
from pytest_llmeval.records import is_number
from pytest_llmeval.report.excerpt import find_evaluation
from pytest_llmeval.report.excerpt import metric_of
from pytest_llmeval.report.html.draw import draw_interval
from pytest_llmeval.report.html.figures import Estimate
from pytest_llmeval.results import interval
from pytest_llmeval.results import number


@dataclass(frozen=True, slots=True, kw_only=True)
class GateView:
    """A line of the table of gates."""

    test: str
    name: str
    value: str
    change: str | None
    """For a change: the metric before and now."""
    picture: str | None
    needed: str
    interval: str
    note: str | None
    """What the interval is of, or that there is none."""
    n: int
    errors: int
    decision: str
    reason: str
    text: str
    evaluation: int | None
    """Place of its evaluation among those of the run."""
    metric: str
    """Whose scores it rests on."""


def gate_view(gate: Mapping[str, Any], verdict: Mapping[str, Any]) -> GateView:
    """Return a gate's line.

    Args:
        gate: Its entry in the verdict.
        verdict: To find the evaluation that it was decided on.
    """
    subject = Gate(
        gate["metric"],
        gate["op"],
        gate["threshold"],
        kind=gate.get("kind", "metric"),
        baseline=gate.get("baseline"),
        quantile=gate.get("quantile"),
        where=gate.get("where"),
    )
    compared = gate.get("compared")
    threshold = gate["threshold"]
    return GateView(
        test=gate["test"] or "outside a test",
        name=str(subject),
        value=number(gate["value"]) if gate["value"] is not None else "none",
        change=f"{number(compared['value'])} → {number(compared['value_now'])}"
        if compared
        else None,
        picture=_gate_picture(gate, subject),
        needed=f"{gate['op']} {number(threshold)}"
        if is_number(threshold)
        else f"{gate['op']} {threshold}",
        interval=interval(gate["lower"], gate["upper"], gate["confidence"]),
        note=_note(gate, subject),
        n=gate["n"],
        errors=gate["errors"],
        decision=gate["decision"],
        reason=gate["reason"],
        text=gate.get("text", ""),
        evaluation=_place(gate, verdict),
        metric=metric_of(gate),
    )


def _gate_picture(gate: Mapping[str, Any], subject: Gate) -> str | None:
    if gate["value"] is None or not is_number(gate["threshold"]):
        return None
    op, threshold, value = gate["op"], gate["threshold"], gate["value"]
    if gate.get("share") is not None:
        counted = share_gate(subject)
        op, threshold, value = counted.op, counted.threshold, gate["share"]
    return draw_interval(Estimate(value, gate["lower"], gate["upper"]), op, threshold)


def _note(gate: Mapping[str, Any], subject: Gate) -> str | None:
    if gate.get("share") is not None:
        side = f"{counted_op(subject)} {number(gate['threshold'])}"
        return f"share of rows {side}: {number(gate['share'])}"
    if gate["method"] == "bca":
        return "approximate"
    is_point = gate["confidence"] is None and gate["value"] is not None
    return "point only" if is_point else None


def _place(gate: Mapping[str, Any], verdict: Mapping[str, Any]) -> int | None:
    evaluation = find_evaluation(verdict, gate)
    return None if evaluation is None else verdict["evaluations"].index(evaluation)
