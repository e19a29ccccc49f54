"""From the comparisons of inputs in the history to the state of each source."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

from pytest_llmeval.drift import Point
from pytest_llmeval.drift import Rule
from pytest_llmeval.drift import State
from pytest_llmeval.monitor.inputs import DRIFT_P
from pytest_llmeval.monitor.inputs import MOST_DIVISIONS
from pytest_llmeval.monitor.inputs import SIZES
from pytest_llmeval.monitor.judge import A_DAY
from pytest_llmeval.monitor.judge import Finding
from pytest_llmeval.monitor.judge import Plan
from pytest_llmeval.monitor.series import Key
from pytest_llmeval.monitor.series import Series


EACH_DAY = "input_length"
"""A metric that each day of traffic has."""
RECOVERY = 3
"""Days that must be like the baseline to end an alarm."""


class Levels(NamedTuple):
    """The largest p-values that count."""

    alarm: float
    warning: float

    @classmethod
    def of(cls, plan: Plan, sources: int) -> Levels:
        """Return those of each of several sources.

        Days are compared with one baseline, so their p-values depend on each other.
        However they do, one of n days has such a p-value with a chance of at most n
        times it. The detectors, with half of the evidence, are the first within the run
        length with a chance of at most a half; an eighth leaves room for that.
        """
        share = 8.0 * max(1, sources)
        return cls(1 / (share * plan.run_length), 1 / (share * plan.warning_length))

    @property
    def are_in_reach(self) -> bool:
        """Whether a comparison can give such a p-value, after paying for each part."""
        return self.alarm >= len(SIZES) / MOST_DIVISIONS


class _Shift(NamedTuple):
    state: State = "ok"
    since: datetime.datetime | None = None
    last: datetime.datetime | None = None
    """The latest day that differed."""


def sources_of(found: Mapping[Key, Series]) -> list[str]:
    """Return where traffic was read that the history has points of."""
    named = {key.evaluation for key in found if key.source == "traffic"}
    return [name for name in sorted(named) if days_seen(found, name)]


def days_seen(found: Mapping[Key, Series], source: str) -> list[datetime.datetime]:
    """Return when each day of a source's traffic began, the first one first."""
    return [p.time for p in _points(found, source, EACH_DAY) if p.n > 0]


def baseline_days(seen: Sequence[datetime.datetime], plan: Plan) -> list[datetime.date]:
    """Return the days that later ones are compared with; fewer at first."""
    return [time.date() for time in sorted(set(seen))[: plan.baseline]]


def judge_inputs(
    found: Mapping[Key, Series], plan: Plan, now: datetime.datetime
) -> list[Finding]:
    """Return the state of the inputs of each source of traffic."""
    sources = sources_of(found)
    levels = Levels.of(plan, len(sources))
    return [_judge(found, source, plan, levels, now) for source in sources]


def _judge(
    found: Mapping[Key, Series],
    source: str,
    plan: Plan,
    levels: Levels,
    now: datetime.datetime,
) -> Finding:
    seen = days_seen(found, source)
    base = baseline_days(seen, plan)
    points = [p for p in _points(found, source, DRIFT_P) if p.time.date() > base[-1]]
    reason = _unwatched(base, seen[-1], points, plan, levels)
    shift = _follow(points, levels) if levels.are_in_reach else _Shift()
    finding = Finding(
        series=f"traffic {source} inputs",
        state=shift.state,
        since=shift.since,
        message=reason or _told(found, source, base, shift, levels),
    )
    due = max(plan.every, A_DAY)
    last = points[-1].time if points else seen[len(base) - 1]
    # A day of traffic is looked at when it has ended.
    if now - A_DAY - last <= Rule().grace * due:
        return finding
    message = f"no evaluation since {last.date()}; {finding.message}"
    return replace(finding, state="no_data", since=last + due, message=message)


def _unwatched(
    base: Sequence[datetime.date],
    last: datetime.datetime,
    points: Sequence[Point],
    plan: Plan,
    levels: Levels,
) -> str | None:
    """Return why there is nothing to say about inputs yet."""
    if not levels.are_in_reach:
        return (
            f"not watched: a run length of {plan.run_length:,.0f} needs p-values of "
            f"{levels.alarm:.1g}, and {MOST_DIVISIONS:,} divisions do not give such"
        )
    if last.date() == base[-1]:
        return f"a baseline is gathered: {len(base)} of {plan.baseline} evaluations"
    if not points or points[-1].time < last:
        return (
            f"inputs of {last.date()} were not compared, because those of "
            f"{_span(base)} are not kept; begin a new baseline by --since"
        )
    return None


def _follow(points: Sequence[Point], levels: Levels) -> _Shift:
    """Return the state after the last day."""
    shift, calm = _Shift(), 0
    for point in points:
        if point.value is None:
            continue
        if point.value > levels.warning:
            calm += 1
            if shift.state == "warning" or calm >= RECOVERY:
                shift = _Shift()
            continue
        calm = 0
        if point.value <= levels.alarm and shift.state != "alarm":
            shift = _Shift("alarm", point.time)
        elif shift.state == "ok":
            shift = _Shift("warning", point.time)
        shift = shift._replace(last=point.time)
    return shift


def _told(
    found: Mapping[Key, Series],
    source: str,
    base: Sequence[datetime.date],
    shift: _Shift,
    levels: Levels,
) -> str:
    if shift.last is None:
        return f"inputs are like those of {_span(base)}"
    parts = []
    for part, size in SIZES.items():
        p_value = _at(shift.last, _points(found, source, f"input_{part}_p"))
        how_far = _at(shift.last, _points(found, source, f"input_{part}_{size}"))
        if p_value is not None and p_value <= levels.warning and how_far is not None:
            parts.append(f"{part} {size} {how_far:.2f}, p={p_value:.1g}")
    return (
        f"inputs of {shift.last.date()} differ from those of {_span(base)}: "
        f"{'; '.join(parts)}"
    )


def _points(found: Mapping[Key, Series], source: str, metric: str) -> list[Point]:
    series = found.get(Key("traffic", source, metric, ""))
    return series.slices.get("", []) if series else []


def _at(time: datetime.datetime, points: Sequence[Point]) -> float | None:
    return next((point.value for point in points if point.time == time), None)


def _span(days: Sequence[datetime.date]) -> str:
    return f"{days[0]} to {days[-1]}"
