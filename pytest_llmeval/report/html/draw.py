"""The pictures of the page as inline SVG: intervals against bars, and histograms.

Colours come from the page's style sheet by class names, so that they follow its scheme.
"""

from __future__ import annotations

from collections.abc import Iterable
from collections.abc import Sequence
from xml.sax.saxutils import escape
from xml.sax.saxutils import quoteattr

from pytest_llmeval.chart import CENTERED
from pytest_llmeval.chart import Axis
from pytest_llmeval.chart import label
from pytest_llmeval.chart import segment
from pytest_llmeval.report.html.figures import Bin
from pytest_llmeval.report.html.figures import Estimate
from pytest_llmeval.report.html.figures import short
from pytest_llmeval.results import number


WIDTH = 260
LABELED_BARS = 6
"""Up to so many bars of a histogram have room for their numbers."""


def draw_interval(
    estimate: Estimate,
    op: str | None = None,
    threshold: float | None = None,
    among: Sequence[Estimate] = (),
) -> str:
    """Return a value with its interval, against the threshold where there is one.

    Args:
        estimate: What to draw.
        op: On which side of the threshold a gate passes; its side is shaded.
        threshold: In the estimate's unit.
        among: Estimates that are drawn on the same scale, to be compared.
    """
    height, y = (40, 27) if threshold is not None else (24, 12)
    across = _around(
        each
        for numbers in (estimate, (threshold,), *among)
        for each in numbers
        if each is not None
    )
    parts = [segment(0, y, WIDTH, y, 'class="axis"')]
    if threshold is not None:
        parts = [*_threshold(across, op, threshold, height), *parts]
    if estimate.lower is not None and estimate.upper is not None:
        parts += _interval(across, estimate.lower, estimate.upper, y)
    x = WIDTH * across.place(estimate.value)
    parts.append(f'<circle class="value" cx="{x:.1f}" cy="{y}" r="4.5"/>')
    return _picture(parts, height, _sentence(estimate, op, threshold))


def _around(numbers: Iterable[float]) -> Axis:
    """Return an axis with room for labels on both sides of the numbers."""
    ordered = sorted(numbers)
    low, high = ordered[0], ordered[-1]
    room = 0.4 * (high - low) or 0.1 * abs(high) or 1.0
    return Axis("", (low - room, high + room))


def _threshold(
    across: Axis, op: str | None, threshold: float, height: float
) -> list[str]:
    x = WIDTH * across.place(threshold)
    sides = {">": (x, WIDTH), "<": (0.0, x)}
    parts = []
    if op is not None and op[0] in sides:
        start, end = sides[op[0]]
        shape = f'x="{start:.1f}" y="14" width="{end - start:.1f}" height="{height}"'
        parts.append(f'<rect class="passing" {shape}/>')
    parts.append(segment(x, 14, x, height, 'class="threshold"'))
    words = f"{op or ''} {number(threshold)}".strip()
    parts.append(label(min(max(x, 35), WIDTH - 35), 10, words, CENTERED))
    return parts


def _interval(across: Axis, lower: float, upper: float, y: float) -> list[str]:
    left, right = WIDTH * across.place(lower), WIDTH * across.place(upper)
    return [
        segment(left, y, right, y, 'class="interval"'),
        segment(left, y - 5, left, y + 5, 'class="end"'),
        segment(right, y - 5, right, y + 5, 'class="end"'),
        label(left - 5, y + 4, number(lower), 'text-anchor="end"'),
        label(right + 5, y + 4, number(upper)),
    ]


def _sentence(estimate: Estimate, op: str | None, threshold: float | None) -> str:
    words = f"value {number(estimate.value)}"
    if estimate.lower is not None:
        words += f", from {number(estimate.lower)} to {number(estimate.upper)}"
    return (
        f"{words}; needed {op} {number(threshold)}" if threshold is not None else words
    )


def draw_histogram(bins: Sequence[Bin], what: str) -> str:
    """Return how many rows lie in each bin, as bars.

    Args:
        bins: At least one.
        what: Names what is counted, for those who cannot see the picture.
    """
    height, floor = 92, 74
    most, width = max(each.size for each in bins), WIDTH / len(bins)
    has_room = len(bins) <= LABELED_BARS
    parts = []
    for at, each in enumerate(bins):
        tall = (floor - 16) * each.size / most
        gap = min(8.0 if has_room else 1.0, width / 4)
        shape = f'x="{at * width + gap / 2:.1f}" width="{width - gap:.1f}"'
        title = f"<title>{escape(f'{each.name}: {each.size:,}')}</title>"
        parts.append(
            f'<rect class="bin" {shape} y="{floor - tall:.1f}" height="{tall:.1f}">'
            f"{title}</rect>"
        )
        if has_room:
            x = (at + 0.5) * width
            parts.append(label(x, floor - tall - 4, f"{each.size:,}", CENTERED))
            parts.append(label(x, height - 4, each.name, CENTERED))
    parts.append(segment(0, floor, WIDTH, floor, 'class="axis"'))
    if not has_room:
        parts += _ends(bins, height - 4)
    counts = "; ".join(f"{each.name}: {each.size:,}" for each in bins)
    return _picture(parts, height, f"{what}: {counts}")


def _ends(bins: Sequence[Bin], y: float) -> list[str]:
    most = max(bins, key=lambda each: each.size)
    return [
        label(0, y, short(bins[0].low)),
        label(WIDTH, y, short(bins[-1].high), 'text-anchor="end"'),
        label(WIDTH / 2, 11, f"most: {most.size:,} at {most.name}", CENTERED),
    ]


def _picture(parts: Sequence[str], height: float, words: str) -> str:
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = f'<svg {size} role="img" aria-label={quoteattr(words)}>'
    return "".join([head, *parts, "</svg>"])
