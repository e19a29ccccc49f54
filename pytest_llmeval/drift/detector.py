"""The state of a series, and of the slices of a metric together."""

from __future__ import annotations

import math
from collections.abc import Mapping
from collections.abc import Sequence
from datetime import datetime
from itertools import groupby
from typing import NamedTuple

from pytest_llmeval.drift.baseline import Reference
from pytest_llmeval.drift.bets import Bets
from pytest_llmeval.drift.change import locate
from pytest_llmeval.drift.series import Detection
from pytest_llmeval.drift.series import Point
from pytest_llmeval.drift.series import Rule
from pytest_llmeval.drift.series import State
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.stats import adjust_p_values


def detect(
    points: Sequence[Point],
    reference: Reference,
    rule: Rule | None = None,
    now: datetime | None = None,
) -> Detection:
    """Return what a metric's evaluations say at their end.

    Args:
        points: In any order; those that the reference was estimated from left out.
        reference: From `fixed`, `measured` or `estimated`.
        rule: When to raise an alarm.
        now: To see that an evaluation was missed; needs the rule's `every`.

    Raises:
        ConfigurationError: A value is out of range, or the reference leaves no room to
            become worse.
    """
    return detect_slices({"": points}, {"": reference}, rule, now)[""]


def detect_slices(
    series: Mapping[str, Sequence[Point]],
    references: Mapping[str, Reference],
    rule: Rule | None = None,
    now: datetime | None = None,
) -> dict[str, Detection]:
    """Return the same for slices that share one run length, by Holm's correction.

    Until the first false alarm in any of those slices that are in order it takes at
    least `run_length` evaluations on average, whatever the other slices do and however
    the slices depend on each other.

    Raises:
        ConfigurationError: As for `detect`; or the baselines together are too doubtful.
    """
    rule = rule or Rule()
    sides = 2 if rule.better is None else 1
    doubt = sides * math.fsum(references[name].doubt for name in series)
    if doubt > 0.5:
        raise ConfigurationError(
            f"the baselines of {len(series)} slice(s) are wrong with a chance of up to "
            f"{doubt:.2g}, which may be 0.5; estimate them at a confidence of "
            f"{1 - 0.1 / (sides * len(series)):.4g}"
        )
    # An average of at least (1 - doubt) * limit, so that it is what was promised.
    watches = {
        name: _Watch(rule, references[name], 1.0 / (1.0 - doubt)) for name in series
    }
    events = sorted(
        (point.time, name, point)
        for name, points in series.items()
        for point in points
        if point.value is not None and point.n > 0
    )
    for time, group in groupby(events, key=lambda event: event[0]):
        for _, name, point in group:
            watches[name].add(point)
        among = sum(not watch.alarmed for watch in watches.values())
        adjusted = adjust_p_values([watch.p_value for watch in watches.values()])
        for watch, p_value in zip(watches.values(), adjusted, strict=True):
            watch.settle(p_value, among, time)
    return {name: watch.detection(now) for name, watch in watches.items()}


class _Watch:
    """One series: its evidence, and its state after each evaluation."""

    def __init__(self, rule: Rule, reference: Reference, factor: float) -> None:
        self._rule, self._reference, self._factor = rule, reference, factor
        self._state: State = "ok"
        self._since: datetime | None = None
        self._last: datetime | None = None
        self._change: tuple[datetime, datetime, datetime] | None = None
        self._among = 1
        self._start()

    def _start(self) -> None:
        self._sides = _sides(self._rule, self._reference)
        self._side = self._sides[0]
        self._points: list[Point] = []

    @property
    def evidence(self) -> float:
        return sum(side.bets.evidence for side in self._sides) / len(self._sides)

    @property
    def alarmed(self) -> bool:
        return self._state == "alarm"

    @property
    def p_value(self) -> float:
        """What Holm's correction takes; an alarm that is on has been counted."""
        return 0.0 if self.alarmed else 1.0 / max(1.0, self.evidence)

    def add(self, point: Point) -> None:
        """Take one evaluation; an alarm that ends with it starts everything anew."""
        value = self._rule.scaled(float(point.value or 0.0))
        self._last = point.time
        self._points.append(point)
        for side in self._sides:
            side.bets.add(value if side.falling else 1.0 - value, point.n)
        if self.alarmed and self._recovered():
            self._start()
            self._enter("ok", point.time)
            self._change = None

    def settle(self, p_value: float, among: int, time: datetime) -> None:
        """Set the state by the p-value as adjusted for the slices without an alarm."""
        if self.alarmed or self._last is None:
            return
        self._among = among
        if p_value * self._factor * self._rule.run_length <= 1.0:
            self._change = self._located()
            self._side = max(self._sides, key=lambda side: side.bets.evidence)
            self._points = []
            self._enter("alarm", time)
        elif p_value * self._factor * self._rule.warning_length <= 1.0:
            self._enter("warning", time)
        else:
            self._enter("ok", time)

    def _enter(self, state: State, time: datetime) -> None:
        if self._since is None or state != self._state:
            self._state, self._since = state, time

    def _recovered(self) -> bool:
        """Whether the last evaluations together are on the good side again."""
        last = self._points[-self._rule.recovery :]
        if len(last) < self._rule.recovery:
            return False
        total = math.fsum(float(point.value or 0.0) * point.n for point in last)
        mean = total / sum(point.n for point in last)
        return (
            mean >= self._side.bound
            if self._side.falling
            else (mean <= self._side.bound)
        )

    def _located(self) -> tuple[datetime, datetime, datetime]:
        values = [self._rule.scaled(float(p.value or 0.0)) for p in self._points]
        found = locate(values, [p.n for p in self._points], self._rule.unit)
        first, earliest, latest = (self._points[at].time for at in found)
        return first, earliest, latest

    def detection(self, now: datetime | None) -> Detection:
        """Return the state at the end, or that an evaluation is missing by now."""
        state, since, message = self._state, self._since, self._sentence()
        every = self._rule.every
        if self._last is None:
            state, message = "no_data", "there is no evaluation yet"
        elif now and every and now - self._last > self._rule.grace * every:
            state, since = "no_data", self._last + every
            message = f"no evaluation since {_told(self._last)}; until then {message}"
        return Detection(
            state=state,
            since=since,
            statistic=self.evidence,
            limit=self._limit,
            change_point=self._change[0] if self._change else None,
            change_interval=self._change[1:] if self._change else None,
            message=message,
        )

    @property
    def _limit(self) -> float:
        return self._factor * self._rule.run_length * self._among

    def _sentence(self) -> str:
        weight = f"evidence {self.evidence:.3g} of {self._limit:.4g}"
        if self._change is None:
            side = max(self._sides, key=lambda side: side.bets.evidence)
            return f"{weight} that the mean is {side.where}"
        first, earliest, latest = map(_told, self._change)
        return (
            f"the mean is {self._side.where} since {first} ({weight}); the first "
            f"evaluation after the change is one from {earliest} to {latest} with 95 % "
            "confidence"
        )


class _Side(NamedTuple):
    """One way to become worse."""

    falling: bool
    bound: float
    bets: Bets

    @property
    def where(self) -> str:
        return f"{'below' if self.falling else 'above'} {self.bound:.4g}"


def _sides(rule: Rule, reference: Reference) -> list[_Side]:
    """Return the ways to become worse that the range has room for."""
    width = rule.high - rule.low
    sides = []
    for falling, bound in ((True, reference.lower), (False, reference.upper)):
        mean = (bound - rule.low if falling else rule.high - bound) / width
        wanted = rule.better != ("lower" if falling else "higher")
        if wanted and 0.0 < mean < 1.0:
            sides.append(_Side(falling, bound, Bets(mean, rule.unit)))
    if not sides:
        raise ConfigurationError(
            f"nothing can be worse than the reference {reference.lower:.4g} to "
            f"{reference.upper:.4g}: it must lie inside the metric's range "
            f"{rule.low!r} to {rule.high!r}"
        )
    return sides


def _told(time: datetime) -> str:
    return time.isoformat(" ", "minutes")
