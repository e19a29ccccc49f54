"""From the rows of one evaluation to its numbers: distributions, slices, calls."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from pytest_llmeval import stats
from pytest_llmeval.baselines import StoredRows
from pytest_llmeval.gate import USUAL_CONFIDENCE
from pytest_llmeval.repeats import average
from pytest_llmeval.results import Columns


MOST_BARS = 10
"""Up to so many distinct values have a bar each; more are put into bins."""
BINS = 20
MOST_VALUES = 12
LONGEST_VALUE = 60
"""Characters of a value that makes a slice."""
MOST_COLUMNS = 4
SHARES = (0.5, 0.9, 0.95, 0.99, 1.0)
"""The percentiles of the latency; the last one is the longest."""


class Estimate(NamedTuple):
    """A value with its interval, where there is one."""

    value: float
    lower: float | None = None
    upper: float | None = None


class Bin(NamedTuple):
    """One bar of a histogram: both ends, which are equal for a single value."""

    low: float
    high: float
    size: int
    """Scores or latencies in it."""

    @property
    def name(self) -> str:
        """What the bar stands for."""
        if self.low == self.high:
            return short(self.low)
        return f"{short(self.low)} to {short(self.high)}"


def short(value: float) -> str:
    """Return a number in as few characters as a label has room for."""
    return f"{value:,.0f}" if abs(value) >= 1_000 else f"{value:.3g}"


class Spread(NamedTuple):
    """How the scores of a metric are distributed over the examples."""

    bins: Sequence[Bin]
    quantiles: Sequence[float]
    """Least, lower quartile, median, upper quartile, largest."""


class Slice(NamedTuple):
    """The examples that have one value of a column."""

    value: str
    examples: Sequence[int]
    """Positions among the examples of the evaluation."""
    errors: int
    estimates: Mapping[str, Estimate]
    """By metric; empty where all examples are in error."""

    @property
    def n(self) -> int:
        """Examples that the estimates rest on."""
        return len(self.examples) - self.errors


class Calls(NamedTuple):
    """What the rows of one kind took: those asked now, or those stored before."""

    rows: int
    requests: int
    prompt_tokens: int | None
    output_tokens: int | None
    cost_usd: float | None
    """None unless the cost of every reply is known."""
    latencies_ms: Sequence[float]
    """In rising order."""

    @property
    def percentiles_ms(self) -> Sequence[float]:
        """The latencies at `SHARES`; empty where none is known."""
        ordered = self.latencies_ms
        places = (math.ceil(share * len(ordered)) - 1 for share in SHARES)
        return [ordered[at] for at in places] if ordered else []


class Figures(NamedTuple):
    """The numbers of one evaluation."""

    spreads: Mapping[str, Spread]
    """By metric; corpus-level metrics have no scores."""
    slices: Mapping[str, Sequence[Slice]]
    """By column."""
    confidence: float
    """Of the intervals of slices."""
    asked: Calls
    stored: Calls


NOTHING_MEASURED = Figures(
    spreads={},
    slices={},
    confidence=USUAL_CONFIDENCE,
    asked=Calls(0, 0, None, None, None, ()),
    stored=Calls(0, 0, None, None, None, ()),
)
"""Of rows that are not at hand."""


def measure(rows: StoredRows, evaluation: Mapping[str, Any]) -> Figures:
    """Return the numbers of an evaluation.

    Args:
        rows: Its rows.
        evaluation: Its entry in the verdict.
    """
    examples = average(rows.columns)
    confidence = evaluation["confidence"] or USUAL_CONFIDENCE
    ranges = {
        name: evaluation["definitions"][name]["range"]
        for name in examples.scores
        if _scores(examples, name)
    }
    found = _find_slices(rows, evaluation["repeats"])
    slices = {
        column: [
            _slice(value, group, examples, ranges, confidence)
            for value, group in groups.items()
        ]
        for column, groups in found.items()
    }
    tries, failed = rows.columns.numbers["attempts"], rows.columns.failed
    return Figures(
        spreads={name: _spread(_scores(examples, name)) for name in ranges},
        slices=slices,
        confidence=confidence,
        asked=_calls(rows.columns, [count > 0 for count in tries]),
        stored=_calls(
            rows.columns,
            [count == 0 and at not in failed for at, count in enumerate(tries)],
        ),
    )


def _scores(
    examples: Columns, metric: str, among: Sequence[int] | None = None
) -> list[float]:
    """Return the scores of the examples that are not in error."""
    scores, failed = examples.scores[metric], examples.failed
    places = range(len(scores)) if among is None else among
    kept = (scores[at] for at in places if at not in failed)
    return [score for score in kept if not math.isnan(score)]


def _spread(scores: Sequence[float]) -> Spread:
    ordered = sorted(scores)
    last = len(ordered) - 1
    quarters = [ordered[round(last * share / 4)] for share in range(5)]
    return Spread(bin_scores(ordered), quarters)


def bin_scores(scores: Sequence[float]) -> list[Bin]:
    """Return bins of at least one number: single values where they are few."""
    counts = Counter(scores)
    if len(counts) <= MOST_BARS:
        return [Bin(value, value, counts[value]) for value in sorted(counts)]
    low, high = min(scores), max(scores)
    step = (high - low) / BINS
    places = Counter(min(int((score - low) / step), BINS - 1) for score in scores)
    return [
        Bin(low + at * step, low + (at + 1) * step, places[at]) for at in range(BINS)
    ]


def bin_latencies(ordered: Sequence[float]) -> list[Bin]:
    """Return bins of equal ratio, because a few latencies may be many times longer.

    Args:
        ordered: At least one latency in ms, in rising order.
    """
    logs = [math.log(max(latency, 0.01)) for latency in ordered]
    return [
        Bin(math.exp(each.low), math.exp(each.high), each.size)
        for each in bin_scores(logs)
    ]


def _find_slices(rows: StoredRows, repeats: int) -> dict[str, dict[str, list[int]]]:
    """Return the columns that have few values, with the examples of each value."""
    found: dict[str, dict[str, list[int]]] = {}
    many: set[str] = set()
    examples = len(rows) // repeats
    for at in range(examples):
        for column, value in rows[at * repeats].example.metadata.items():
            if column in many or value is None:
                continue
            groups = found.setdefault(column, {})
            if _names_a_slice(value):
                groups.setdefault(str(value), []).append(at)
            if len(groups) > MOST_VALUES or not _names_a_slice(value):
                many.add(column)
                del found[column]
    few = [
        column for column, groups in found.items() if 2 <= len(groups) <= examples / 2
    ]
    return {column: found[column] for column in few[:MOST_COLUMNS]}


def _names_a_slice(value: object) -> bool:
    if isinstance(value, str):
        return len(value) <= LONGEST_VALUE
    return isinstance(value, (bool, int))


def _slice(
    value: str,
    group: Sequence[int],
    examples: Columns,
    ranges: Mapping[str, Sequence[float] | None],
    confidence: float,
) -> Slice:
    estimates = {}
    for metric, known in ranges.items():
        scores = _scores(examples, metric, group)
        if scores:
            estimates[metric] = _estimate(scores, known, confidence)
    errors = sum(at in examples.failed for at in group)
    return Slice(value, group, errors, estimates)


def _estimate(
    scores: Sequence[float], known: Sequence[float] | None, confidence: float
) -> Estimate:
    value = stats.mean(scores)
    if known is None or min(scores) < known[0] or max(scores) > known[1]:
        return Estimate(value)
    low, high = known
    lower = stats.lower_bound(scores, confidence, low, high)
    return Estimate(value, lower, stats.upper_bound(scores, confidence, low, high))


def _calls(columns: Columns, kept: Sequence[bool]) -> Calls:
    """Return what the rows took that are marked."""

    def known(name: str) -> list[float]:
        pairs = zip(columns.numbers[name], kept, strict=True)
        return [value for value, keep in pairs if keep and not math.isnan(value)]

    prompts, outputs = known("prompt_tokens"), known("output_tokens")
    costs, latencies = known("cost_usd"), known("latency_ms")
    return Calls(
        rows=sum(kept),
        requests=int(sum(known("attempts"))),
        prompt_tokens=int(sum(prompts)) if prompts else None,
        output_tokens=int(sum(outputs)) if outputs else None,
        cost_usd=math.fsum(costs) if costs and len(costs) == len(latencies) else None,
        latencies_ms=sorted(latencies),
    )
