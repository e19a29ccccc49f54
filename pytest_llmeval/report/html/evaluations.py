"""The sections of the evaluations, as values that the template puts in place."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pytest_llmeval.report.html.draw import draw_histogram
from pytest_llmeval.report.html.draw import draw_interval
from pytest_llmeval.report.html.facts import Fact
from pytest_llmeval.report.html.figures import NOTHING_MEASURED
from pytest_llmeval.report.html.figures import Calls
from pytest_llmeval.report.html.figures import Figures
from pytest_llmeval.report.html.figures import Slice
from pytest_llmeval.report.html.figures import bin_latencies
from pytest_llmeval.report.html.figures import measure
from pytest_llmeval.report.html.table import Part
from pytest_llmeval.report.run import ReportedRun
from pytest_llmeval.results import interval
from pytest_llmeval.results import number
from pytest_llmeval.text import age
from pytest_llmeval.text import one_line


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricView:
    """A metric of an evaluation."""

    name: str
    value: str
    interval: str
    n: int
    errors: int
    lower_is_better: bool
    source: str
    before: str | None
    change: str | None
    quantiles: Sequence[str]
    """Least, lower quartile, median, upper quartile, largest; empty without scores."""
    histogram: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class CallsView:
    """What asked or stored rows took."""

    name: str
    calls: Calls
    percentiles: Sequence[str]
    histogram: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class SliceView:
    """A line of a column's table: the examples with one value."""

    value: str
    n: int
    errors: int
    cells: Sequence[tuple[str, str] | None]
    """For each metric value and picture; None where it has no score."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationView:
    """The section of an evaluation."""

    part: Part
    facts: Sequence[Fact]
    metrics: Sequence[MetricView]
    calls: Sequence[CallsView]
    confidence: str
    """Of the intervals of slices."""
    sliced: Sequence[str]
    """The metrics of the slices."""
    slices: Mapping[str, Sequence[SliceView]]
    """By column."""


def evaluation_view(run: ReportedRun, evaluation: Mapping[str, Any]) -> EvaluationView:
    """Return an evaluation's section and the rows that it rests on.

    Raises:
        ConfigurationError: its rows, or the baseline's, cannot be read.
    """
    rows, entry = run.read(evaluation), run.before(evaluation)
    before = run.baseline.read(entry) if run.baseline and entry else None
    table = evaluation.get("table")
    # Of a table a few rows are at hand, chosen for how they are: no fair picture.
    figures = measure(rows, evaluation) if table is None else NOTHING_MEASURED
    known = entry["metrics"] if entry else {}
    return EvaluationView(
        part=Part(evaluation, rows, figures.slices, before),
        facts=_evaluation_facts(run, evaluation),
        metrics=[
            _metric_view(name, evaluation, figures, known.get(name))
            for name in evaluation["metrics"]
        ],
        calls=[
            _calls_view(name, calls)
            for name, calls in (
                ("asked in this run", figures.asked),
                ("stored replies", figures.stored),
            )
            if calls.rows
        ],
        confidence=f"{100 * figures.confidence:g} %",
        sliced=list(figures.spreads),
        slices=_slice_views(figures),
    )


def _evaluation_facts(run: ReportedRun, evaluation: Mapping[str, Any]) -> list[Fact]:
    repeats = evaluation["repeats"]
    counted = f"{evaluation['rows']:,}"
    if repeats > 1:
        counted += f", each asked {repeats} times"
    if evaluation["early_stopped"]:
        counted += "; stopped early, when its gates were decided"
    if not run.directory.has_rows:
        counted += "; llmeval gc has removed them"
    table = evaluation.get("table")
    if table:
        counted += (
            f"; all of them lie at {table['place']}, and {table['rows_shown']:,} are "
            "shown: those in error first, then the lowest scores"
        )
    return [
        Fact("Test", evaluation["test"] or "outside a test"),
        Fact("Model", evaluation["model"]),
        Fact("Rows", counted),
        Fact("Took", age(evaluation["duration_s"])),
    ]


def _metric_view(
    name: str,
    evaluation: Mapping[str, Any],
    figures: Figures,
    before: Mapping[str, Any] | None,
) -> MetricView:
    metric, definition = evaluation["metrics"][name], evaluation["definitions"][name]
    spread = figures.spreads.get(name)
    value, earlier = metric["value"], before["value"] if before else None
    is_comparable = value is not None and earlier is not None
    return MetricView(
        name=name,
        value=number(value),
        interval=interval(metric["lower"], metric["upper"], evaluation["confidence"]),
        n=metric["n"],
        errors=metric["errors"],
        lower_is_better=not definition["higher_is_better"],
        source=definition["source"],
        before=number(earlier) if before else None,
        change=f"{value - earlier:+.3g}" if is_comparable else None,
        quantiles=[number(each) for each in spread.quantiles] if spread else [],
        histogram=draw_histogram(spread.bins, f"examples by {one_line(name)}")
        if spread
        else None,
    )


def _calls_view(name: str, calls: Calls) -> CallsView:
    latencies = calls.latencies_ms
    return CallsView(
        name=name,
        calls=calls,
        percentiles=[f"{latency:,.0f}" for latency in calls.percentiles_ms],
        histogram=draw_histogram(bin_latencies(latencies), "replies by latency in ms")
        if latencies
        else None,
    )


def _slice_views(figures: Figures) -> dict[str, list[SliceView]]:
    return {
        column: [
            SliceView(
                value=one.value,
                n=one.n,
                errors=one.errors,
                cells=[_slice_cell(name, one, slices) for name in figures.spreads],
            )
            for one in slices
        ]
        for column, slices in figures.slices.items()
    }


def _slice_cell(
    metric: str, one: Slice, slices: Sequence[Slice]
) -> tuple[str, str] | None:
    estimate = one.estimates.get(metric)
    if estimate is None:
        return None
    known = [each.estimates[metric] for each in slices if metric in each.estimates]
    return number(estimate.value), draw_interval(estimate, among=known)
