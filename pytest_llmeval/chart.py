"""Line charts as SVG text: small, the same bytes for the same numbers, no library."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple
from xml.sax.saxutils import escape


WIDTH, HEIGHT = 720, 400
LEFT, RIGHT, TOP, BOTTOM = 70, 190, 50, 60
# Okabe and Ito's colours, which colour-blind readers tell apart.
COLORS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000")
CENTERED = 'text-anchor="middle"'
STYLE = (
    "text{font:13px sans-serif;fill:#222}.title{font-size:15px;font-weight:600}"
    ".grid{stroke:#ddd}.bar{stroke:#666;stroke-dasharray:5 4}"
    ".line{fill:none;stroke-width:2}"
)


class Axis(NamedTuple):
    """One axis: what it shows and from where to where."""

    label: str
    ticks: Sequence[float]
    """Numbers to write beside it, in rising order; the first and last are its ends."""
    log: bool = False

    def place(self, value: float) -> float:
        """Return where a value lies between both ends, 0 to 1."""
        scale = math.log if self.log else float
        first, last = scale(self.ticks[0]), scale(self.ticks[-1])
        return (scale(value) - first) / (last - first)


class Line(NamedTuple):
    """A line of the chart with its name in the legend."""

    name: str
    points: Sequence[tuple[float, float]]


class Bar(NamedTuple):
    """A dashed level across the chart, such as the 5 % that a gate promises."""

    name: str
    height: float


def draw_chart(
    title: str, lines: Sequence[Line], bars: Sequence[Bar], across: Axis, up: Axis
) -> str:
    """Return an SVG document with up to seven lines that are told apart."""
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        f'width="{WIDTH}" height="{HEIGHT}" role="img">',
        f"<title>{escape(title)}</title>",
        f"<style>{STYLE}</style>",
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#fff"/>',
        label(LEFT, TOP - 24, title, 'class="title"'),
        *_grid(across, up),
    ]
    for at, line in enumerate(lines):
        points = " ".join(
            f"{_x(across, x):.1f},{_y(up, y):.1f}" for x, y in line.points
        )
        style = f'class="line" stroke="{COLORS[at % len(COLORS)]}"'
        parts.append(f'<polyline {style} points="{points}"/>')
        parts += _legend(line.name, style, at)
    for at, bar in enumerate(bars, start=len(lines)):
        y = _y(up, bar.height)
        parts.append(segment(LEFT, y, WIDTH - RIGHT, y, 'class="bar"'))
        parts += _legend(bar.name, 'class="bar"', at)
    return "\n".join([*parts, "</svg>", ""])


def segment(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """Return a line between two points; the style is SVG attributes."""
    return f'<line {style} x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}"/>'


def label(x: float, y: float, text: str, style: str = "") -> str:
    """Return a text whose baseline begins at a point, escaped."""
    return f'<text x="{x:.1f}" y="{y:.1f}" {style}>{escape(text)}</text>'


def _grid(across: Axis, up: Axis) -> list[str]:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    parts = []
    for tick in across.ticks:
        x = _x(across, tick)
        parts.append(segment(x, TOP, x, bottom, 'class="grid"'))
        parts.append(label(x, bottom + 20, f"{tick:g}", CENTERED))
    for tick in up.ticks:
        y = _y(up, tick)
        parts.append(segment(LEFT, y, right, y, 'class="grid"'))
        parts.append(label(LEFT - 8, y + 4, f"{tick:g}", 'text-anchor="end"'))
    middle = (TOP + bottom) / 2
    parts.append(label((LEFT + right) / 2, bottom + 44, across.label, CENTERED))
    turned = f'transform="rotate(-90 20 {middle:g})"'
    parts.append(label(20, middle, up.label, f"{CENTERED} {turned}"))
    return parts


def _legend(name: str, style: str, at: int) -> list[str]:
    x, y = WIDTH - RIGHT + 12, TOP + 10 + 22 * at
    return [segment(x, y, x + 18, y, style), label(x + 25, y + 4, name)]


def _x(across: Axis, value: float) -> float:
    return LEFT + across.place(value) * (WIDTH - LEFT - RIGHT)


def _y(up: Axis, value: float) -> float:
    return HEIGHT - BOTTOM - up.place(value) * (HEIGHT - TOP - BOTTOM)
