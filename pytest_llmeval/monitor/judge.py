"""From the series of a model to the state of each of them."""

from __future__ import annotations

import datetime
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace

from pytest_llmeval.drift import Detection
from pytest_llmeval.drift import Point
from pytest_llmeval.drift import Rule
from pytest_llmeval.drift import State
from pytest_llmeval.drift import detect_slices
from pytest_llmeval.drift import estimated
from pytest_llmeval.drift.series import LONGEST_RUN
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.monitor.series import Key
from pytest_llmeval.monitor.series import Series


A_DAY = datetime.timedelta(days=1)
DOUBT = 0.05
"""The chance that a baseline is wrong, over all metrics and slices together."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """How series are judged."""

    every: datetime.timedelta
    """How often an evaluation is due."""
    baseline: int = 7
    """Evaluations that the later ones are compared with."""
    run_length: float = 365
    """Evaluations up to the first false alarm of any metric, on average, at least."""
    warning_length: float = 30
    """The same for warnings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """The state of one series."""

    series: str
    """Names it, for people and in the file of states."""
    state: State
    since: datetime.datetime | None
    message: str


def judge(
    found: Mapping[Key, Series], plan: Plan, now: datetime.datetime
) -> list[Finding]:
    """Return the state of each series and slice that can be watched."""
    watched = {key: one for key, one in found.items() if one.high is not None}
    # The evidence of several detectors adds up, so each may have its share of it only.
    share = max(1, len(watched))
    if any(key.source == "traffic" for key in found):
        share *= 2  # its inputs have the other half
    findings: list[Finding] = []
    for key, series in watched.items():
        rule = Rule(
            better=series.better,
            high=series.high or 1.0,
            run_length=min(plan.run_length * share, LONGEST_RUN),
            warning_length=min(plan.warning_length * share, LONGEST_RUN),
            # Customers and languages come and go; the whole must not.
            every=None if key.slice_by else _every(key, plan),
        )
        # A day of traffic is looked at when it has ended, and dated by its beginning.
        by = now - A_DAY if key.source == "traffic" else now
        findings += _judge_slices(key, series, rule, plan, by, DOUBT / share)
    return findings


def _every(key: Key, plan: Plan) -> datetime.timedelta:
    return max(plan.every, A_DAY) if key.source == "traffic" else plan.every


def _judge_slices(
    key: Key,
    series: Series,
    rule: Rule,
    plan: Plan,
    now: datetime.datetime,
    doubt: float,
) -> Iterator[Finding]:
    base, rest = {}, {}
    for value, points in series.slices.items():
        known = [p for p in points if p.value is not None and p.n > 0]
        base[value], rest[value] = known[: plan.baseline], known[plan.baseline :]
    ready = [value for value in base if rest[value]]
    for value, points in base.items():
        if value not in ready:
            yield _gathering(_name(key, value), points, rule, plan, now)
    # Each slice may be wrong on two sides.
    confidence = 1.0 - doubt / (2 * max(1, len(ready)))
    try:
        references = {v: estimated(base[v], rule, confidence) for v in ready}
        detections = detect_slices({v: rest[v] for v in ready}, references, rule, now)
    except ConfigurationError as error:
        for value in ready:
            yield Finding(
                series=_name(key, value),
                state="ok",
                since=None,
                message=f"not watched: {error}",
            )
        return
    for value, detection in detections.items():
        yield _found(_name(key, value), detection)


def _found(name: str, detection: Detection) -> Finding:
    return Finding(
        series=name,
        state=detection.state,
        since=detection.since,
        message=detection.message,
    )


def _gathering(
    name: str,
    points: Sequence[Point],
    rule: Rule,
    plan: Plan,
    now: datetime.datetime,
) -> Finding:
    """Return the state before there is a point beyond the baseline."""
    text = f"a baseline is gathered: {len(points)} of {plan.baseline} evaluations"
    finding = Finding(series=name, state="ok", since=None, message=text)
    if rule.every is None or not points:
        return finding
    last = points[-1].time
    if now - last <= rule.grace * rule.every:
        return finding
    message = f"no evaluation since {last.isoformat(' ', 'minutes')}; {text}"
    return replace(finding, state="no_data", since=last + rule.every, message=message)


def _name(key: Key, value: str) -> str:
    where = f" [{key.slice_by}={value}]" if key.slice_by else ""
    return f"{key.source} {key.evaluation} {key.metric}{where}"
