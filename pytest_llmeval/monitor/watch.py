"""One round of a monitor: evaluate, look at the history, tell what has changed."""

from __future__ import annotations

import datetime
import os
import subprocess
import sys
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.history.places import HistoryPlace
from pytest_llmeval.history.sources import export_runs
from pytest_llmeval.monitor.alarms import Told
from pytest_llmeval.monitor.alarms import tell
from pytest_llmeval.monitor.inputs import KeptInputs
from pytest_llmeval.monitor.inputs import compare_inputs
from pytest_llmeval.monitor.judge import Finding
from pytest_llmeval.monitor.judge import Plan
from pytest_llmeval.monitor.judge import judge
from pytest_llmeval.monitor.points import whose
from pytest_llmeval.monitor.points import write_days
from pytest_llmeval.monitor.series import Key
from pytest_llmeval.monitor.series import Series
from pytest_llmeval.monitor.series import read_series
from pytest_llmeval.monitor.shifts import Levels
from pytest_llmeval.monitor.shifts import baseline_days
from pytest_llmeval.monitor.shifts import days_seen
from pytest_llmeval.monitor.shifts import judge_inputs
from pytest_llmeval.monitor.shifts import sources_of
from pytest_llmeval.monitor.traffic import Traffic
from pytest_llmeval.monitor.traffic import join_labels
from pytest_llmeval.monitor.traffic import read_traffic
from pytest_llmeval.records.traffic import TrafficRef
from pytest_llmeval.records.traffic import midnight
from pytest_llmeval.text import counted
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


if TYPE_CHECKING:
    import pluggy

    from pytest_llmeval.config import Settings


GATE_FAILED = 1
"""pytest's exit status when a test has failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What a monitor is asked for."""

    model: str
    """As pytest takes it, for example ``models:/docs-qa@champion``."""
    paths: Sequence[str] = ()
    """Suites; none are run without any."""
    arguments: Sequence[str] = ()
    """Further ones for pytest."""
    traffic: TrafficRef | None = None
    labels: str | None = None
    metrics: Sequence[str] = ()
    """Of calls that have a label."""
    slices: tuple[str, ...] = ()
    plan: Plan
    since: datetime.datetime | None = None
    """Points before it do not count."""
    channels: Mapping[str, str] = field(default_factory=dict)
    """URLs of webhooks by the names of their variables."""
    remind: datetime.timedelta | None = None
    evaluates: bool = True
    """Whether there are new points, or only a look at those that are there."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a round came to."""

    findings: Sequence[Finding]
    told: Told


def watch(
    order: Order,
    place: HistoryPlace,
    hook: pluggy.HookRelay,
    settings: Settings,
    now: datetime.datetime,
    say: Callable[[str], None],
) -> Outcome:
    """Carry out one round.

    Raises:
        ConfigurationError: history or states cannot be used.
    """
    findings: list[Finding] = []
    if order.evaluates:
        if order.paths:
            findings.append(_run_suites(order, place, settings, now))
        if order.traffic is not None:
            findings.append(
                _add_traffic(order, order.traffic, place, hook, settings, now, say)
            )
    model = safe(order.model)  # as the history has it
    found = read_series(place, model, order.since)
    findings += [
        *_missing(order, found),
        *judge(found, order.plan, now),
        *judge_inputs(found, order.plan, now),
    ]
    folder = settings.home / "monitor"
    told = tell(folder, model, findings, order.channels, now, order.remind)
    return Outcome(findings=findings, told=told)


def _run_suites(
    order: Order, place: HistoryPlace, settings: Settings, now: datetime.datetime
) -> Finding:
    """Run pytest, export what it has left, and say how it ended."""
    command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider"]
    command += [f"--llmeval-model={order.model}", "--llmeval-cache=refresh"]
    # A suite has no business with the webhooks.
    environment = {k: v for k, v in os.environ.items() if k not in order.channels}
    status = subprocess.run(  # noqa: S603  # the user's own arguments
        [*command, *order.paths, *order.arguments], env=environment, check=False
    ).returncode
    name = f"suite {' '.join(order.paths)}"
    if (settings.home / "runs").is_dir():
        export_runs(settings.home, place)
    if status == 0:
        return Finding(series=name, state="ok", since=now, message="all gates pass")
    if status == GATE_FAILED:
        text = "a test has failed: pytest ended with 1; see llmeval report last"
        return Finding(series=name, state="alarm", since=now, message=text)
    text = f"the suite was not evaluated: pytest ended with {status}"
    return Finding(series=name, state="no_data", since=now, message=text)


def _add_traffic(
    order: Order,
    ref: TrafficRef,
    place: HistoryPlace,
    hook: pluggy.HookRelay,
    settings: Settings,
    now: datetime.datetime,
    say: Callable[[str], None],
) -> Finding:
    """Write the days of traffic; say whether they could be read."""
    name = f"traffic {ref.source}"
    try:
        traffic = read_traffic(ref, hook, settings, order.slices)
        if order.labels is not None:
            traffic = join_labels(traffic, order.labels, hook, settings)
    except LLMEvalError as error:
        text = f"it cannot be read: {one_line(error, 300)}"
        return Finding(series=name, state="no_data", since=now, message=text)
    wrote = write_days(
        traffic.days,
        place,
        model=order.model,
        source=ref.source,
        labelled=order.metrics,
        slices=order.slices,
        compared=_compare(order, ref, traffic, place, settings),
    )
    calls = sum(map(len, traffic.days.values()))
    say(
        f"traffic: {counted(calls, 'call')} of {counted(len(traffic.days), 'day')}, "
        f"{wrote.new} new, {wrote.changed} changed"
    )
    if traffic.unreadable:
        say(f"traffic: {counted(traffic.unreadable, 'record')} could not be read")
    return Finding(series=name, state="ok", since=now, message="it can be read")


def _compare(
    order: Order,
    ref: TrafficRef,
    traffic: Traffic,
    place: HistoryPlace,
    settings: Settings,
) -> dict[datetime.date, list[dict[str, Any]]]:
    """Keep what inputs were like, and return how each day differs from the baseline."""
    model, source = safe(order.model), safe(ref.source)
    kept = KeptInputs(settings.home / "monitor" / "inputs" / whose(model, ref.source))
    for day, calls in traffic.days.items():
        kept.keep(day, calls)
    found = read_series(place, model, order.since)
    seen = [*days_seen(found, source), *map(midnight, traffic.days)]
    base = baseline_days(
        [t for t in seen if not order.since or t >= order.since], order.plan
    )
    kept.forget(base)
    reference = kept.baseline(base)
    if reference is None or len(base) < order.plan.baseline:
        return {}
    level = Levels.of(order.plan, len({*sources_of(found), source})).alarm
    return {
        day: compare_inputs(reference, inputs, level, day.toordinal())
        for day in traffic.days
        if day > base[-1] and (inputs := kept.read(day)) is not None
    }


def _missing(order: Order, found: Mapping[Key, Series]) -> list[Finding]:
    """Return what should be watched and has no point at all."""
    sources = {key.source for key in found}
    wanted = [("suite", bool(order.paths)), ("traffic", order.traffic is not None)]
    return [
        Finding(
            series=f"{source} points",
            state="ok" if source in sources else "no_data",
            since=None,
            message="there are points"
            if source in sources
            else f"the history has no point of {safe(order.model)}",
        )
        for source, is_wanted in wanted
        if is_wanted
    ]
