"""From a decision to the sentences that a person reads."""

from __future__ import annotations

import time
from collections.abc import Iterator
from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmeval.gate.interval import USUAL_CONFIDENCE
from pytest_llmeval.gate.interval import counted_op
from pytest_llmeval.gate.interval import share_gate
from pytest_llmeval.records import Comparison
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Flip
from pytest_llmeval.records import WorstRow
from pytest_llmeval.results import number
from pytest_llmeval.text import age
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


MOST_DIGITS = 17
_MISSED = {
    ">=": "below",
    ">": "not above",
    "<=": "above",
    "<": "not below",
    "==": "not equal to",
    "!=": "equal to",
}


def explain(decision: Decision) -> str:
    """Return what a person reads: the decision, what it means, and rows to look at."""
    lines = [headline(decision), *_meaning(decision), *worst_lines(decision.worst)]
    if decision.compared is not None:
        lines += _flip_lines(decision.compared)
    return "\n".join(lines)


def worst_lines(rows: Sequence[WorstRow]) -> list[str]:
    """Return what a person reads of rows to look at; nothing when there are none."""
    lines = ["worst rows:"] if rows else []
    for row in rows:
        expected = " | ".join(row.expected)
        lines += [
            f"  {one_line(row.id, 80)}  score {number(row.score)}",
            f"    input:    {one_line(row.input)}",
            *([f"    expected: {one_line(expected)}"] if row.expected else []),
            f"    got:      {one_line(row.got)}",
        ]
    return lines


def headline(decision: Decision) -> str:
    """Return the decision in one sentence or two."""
    gate = decision.gate
    name = one_line(gate, 120)
    if decision.status == "error":
        return f"{name}: error {decision.reason}: {safe(decision.detail)}"
    if decision.value is None:
        return f"{name}: {decision.reason}: nothing was compared: {decision.detail}"
    value, bar = apart(decision.value, float(gate.threshold))
    if gate.kind == "change" and decision.value > 0:
        value = f"+{value}"
    evidence = f"{name} {value} ({_evidence(decision)})"
    if decision.status == "inconclusive":
        advice = decision.detail or _advice(decision)
        return f"{evidence} is inconclusive against {gate.op} {bar}; {advice}"
    if decision.status == "fail":
        return f"{evidence} is {_MISSED[gate.op]} {bar}"
    sentence = f"{evidence} is {gate.op} {bar}"
    if decision.point_only is not None:
        percent = f"{100 * USUAL_CONFIDENCE:g} %"
        sentence += f"; point only: at {percent} this would be {decision.point_only}"
    return sentence


def apart(value: float, bar: float) -> tuple[str, str]:
    """Return both with so many decimals that they look different when they are."""
    shown = number(value), number(bar)
    digits = 4
    while shown[0] == shown[1] and value != bar and digits <= MOST_DIGITS:
        shown = f"{value:.{digits}g}", f"{bar:.{digits}g}"
        digits += 1
    return shown


class _Decided(NamedTuple):
    """What the bounds are of, and what they are compared with."""

    what: str
    value: float
    op: str
    bar: float

    @property
    def at_least(self) -> bool:
        """Whether the lower bound makes it pass."""
        return self.op in (">=", ">")


def _decided(decision: Decision) -> _Decided:
    gate, value = decision.gate, decision.value or 0.0
    if gate.kind == "quantile":
        share, side = share_gate(gate), _side(decision)
        what = f"the share of rows that are {side}"
        return _Decided(what, decision.share or 0.0, share.op, share.threshold)
    names = {"metric": "the mean", "change": "the mean change"}
    what = "the value" if decision.method == "bca" else names[gate.kind]
    return _Decided(what, value, gate.op, float(gate.threshold))


def _side(decision: Decision) -> str:
    return f"{counted_op(decision.gate)} {number(decision.gate.threshold)}"


def _evidence(decision: Decision) -> str:
    gate, parts = decision.gate, list(_compared(decision))
    if decision.share is not None:
        shown = f"share of rows {_side(decision)}: {number(decision.share)}"
        parts.append(f"{shown}, needed {_decided(decision).op} {gate.quantile:g}")
    parts += _bounds(decision)
    unit = f" {gate.cluster} clusters" if gate.cluster else ""
    if decision.method == "betting":
        percent = f"{100 * (gate.confidence or 0.0):g} %"
        counted = f"{decision.n} of {decision.rows} rows"
        parts.append(f"betting test at {percent} on {counted}")
    else:
        parts.append(f"n={decision.n}{unit}")
    if decision.repeats > 1:
        parts.append(f"{decision.repeats} repeats")
    if decision.row_mean is not None:
        parts.append(f"row mean {number(decision.row_mean)}")
    if decision.errors:
        policy = "counted at the worst" if gate.on_error == "worst" else "left out"
        parts.append(f"{decision.errors} rows in error {policy}")
    if decision.cached:
        old = ""
        if decision.oldest_reply is not None:
            old = f" up to {age(time.time() - decision.oldest_reply)} old"
        parts.append(f"{decision.cached} stored replies{old}")
    return ", ".join(parts)


def _compared(decision: Decision) -> Iterator[str]:
    compared = decision.compared
    if compared is None:
        return
    yield f"{number(compared.value)} -> {number(compared.value_now)}"
    if compared.less_is_better:
        yield "a fall counts as positive"


def _bounds(decision: Decision) -> Iterator[str]:
    """Yield the bounds that decided."""
    confidence = decision.gate.confidence
    if decision.lower is None or decision.upper is None or confidence is None:
        return
    prefix = "approximate " if decision.method == "bca" else ""
    percent = f"{prefix}{100 * confidence:g} %"
    both, passed = decision.status == "inconclusive", decision.status == "pass"
    at_least = _decided(decision).at_least
    if passed == at_least or both:
        yield f"{percent} lower bound {number(decision.lower)}"
    if passed != at_least or both:
        yield f"{percent} upper bound {number(decision.upper)}"


def _advice(decision: Decision) -> str:
    gate, needed, decided = decision.gate, decision.rows_needed, _decided(decision)
    if decision.method == "betting":
        return (
            "all rows were asked, and the test that may stop early needs more; add "
            "rows, because another test on these would be a second try"
        )
    if needed is None:
        return (
            "the value is so close to the bar that not even a million rows like these "
            "would decide; choose another bar"
        )
    unit = f"{gate.cluster} clusters" if gate.cluster else "rows"
    passes = (decided.value >= decided.bar) == decided.at_least
    return f"about {needed} {unit} like these would {'pass' if passes else 'fail'}"


def _meaning(decision: Decision) -> Iterator[str]:
    """Yield a sentence that says in plain words what the interval says."""
    confidence = decision.gate.confidence
    if decision.lower is None or decision.upper is None or confidence is None:
        return
    what = _decided(decision).what
    if decision.status == "inconclusive":
        yield (
            f"these rows do not decide: {what} may lie anywhere from "
            f"{number(decision.lower)} to {number(decision.upper)}, on either side of "
            f"the bar; {_not_shown(decision)}"
        )
    elif decision.status == "fail":
        yield (
            f"more rows would hardly help: at {100 * confidence:g} % confidence "
            f"{what} misses the bar"
        )


def _not_shown(decision: Decision) -> str:
    gate = decision.gate
    if gate.kind != "change":
        return "it is neither shown to reach it nor to miss it"
    size = number(abs(gate.threshold))
    if gate.op == ">":
        return f"a gain of more than {size} is not shown"
    return f"a drop of more than {size} is not ruled out"


def _flip_lines(compared: Comparison) -> list[str]:
    worse = [flip for flip in compared.flips if flip.change < 0]
    better = [flip for flip in compared.flips if flip.change > 0]
    lines = [f"baseline: {one_line(compared.origin, 300)}"]
    lines += _flips(f"rows that got worse: {compared.worse}", worse)
    return lines + _flips(f"rows that got better: {compared.better}", better)


def _flips(title: str, flips: Sequence[Flip]) -> list[str]:
    lines = [title]
    for flip in flips:
        lines += [
            f"  {one_line(flip.id, 80)}  change {flip.change:+.3g}",
            f"    input:  {one_line(flip.input)}",
            f"    before: {one_line(flip.before)}",
            f"    now:    {one_line(flip.after)}",
        ]
    return lines
