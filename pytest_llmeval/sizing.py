"""How many rows a gate needs, for people: lines of text and a power curve."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterable
from typing import NamedTuple

from pytest_llmeval import stats
from pytest_llmeval.chart import Axis
from pytest_llmeval.chart import Bar
from pytest_llmeval.chart import Line
from pytest_llmeval.chart import draw_chart


ROUND = [mantissa * 10**power for power in range(1, 7) for mantissa in (1, 2, 3, 5)]
"""Numbers of rows that people like to read."""
SHARES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
MOST_POINTS = 400
PAIRED_POINTS = 30


class Plan(NamedTuple):
    """A gate, the model that one hopes to have, and the rows that it takes."""

    gate: str
    """The gate in words."""
    model: str
    """What is assumed of the model, in words."""
    wanted: float
    """The power that is asked for."""
    needed: int
    """Rows from which on the gate has that power."""
    all_right: int | None
    """Rows that pass when each of them is right, for a gate on one model."""
    table: list[tuple[int, float]]
    """The power at a few numbers of rows."""
    curve: list[tuple[int, float]]
    """The power from few rows to twice as many as needed."""


def plan_size(
    threshold: float, expected: float, confidence: float, wanted: float
) -> Plan:
    """Plan a gate ">= threshold" on right-or-wrong scores.

    Args:
        threshold: The bar, above 0 and below 1.
        expected: The share of right answers that the model is expected to have.
        confidence: The gate's, at least 0.5 and below 1.
        wanted: The power, above 0 and below 1.

    Raises:
        ConfigurationError: An argument is out of its range, or more than 100,000 rows
            would be needed.
    """

    def power(rows: int) -> float:
        return float(stats.binary_power(rows, threshold, expected, confidence))

    needed = stats.binary_rows_for_power(threshold, expected, confidence, wanted)
    return Plan(
        gate=f"at least {threshold:g} right, at {100 * confidence:g} % confidence",
        model=f"{expected:g} of its answers are right",
        wanted=wanted,
        needed=needed,
        all_right=stats.rows_all_right(threshold, confidence),
        table=_points(power, _round_rows(needed)),
        curve=_points(power, _even_rows(needed, MOST_POINTS)),
    )


def plan_paired(
    max_drop: float,
    expected: float,
    discordant: float,
    confidence: float,
    wanted: float,
) -> Plan:
    """Plan a gate "no more than max_drop worse than the baseline".

    Args:
        max_drop: The largest drop of the mean that passes; below 0 for a gain.
        expected: The true mean difference, 0 for a model that is as good.
        discordant: The share of rows on which one of both is right and one wrong.
        confidence: The gate's, at least 0.5 and below 1.
        wanted: The power, above 0 and below 1.

    Raises:
        ConfigurationError: An argument is out of its range, or more than 30,000 rows
            would be needed.
    """
    threshold = -max_drop

    def power(rows: int) -> float:
        return stats.paired_power(rows, threshold, expected, discordant, confidence)

    needed = stats.paired_rows_for_power(
        threshold, expected, discordant, confidence, wanted
    )
    return Plan(
        gate=f"a drop of at most {max_drop:g}, at {100 * confidence:g} % confidence",
        model=f"{discordant:g} of the rows change, by {expected:+g} on average",
        wanted=wanted,
        needed=needed,
        all_right=None,
        table=_points(power, _round_rows(needed)),
        curve=_points(power, _even_rows(needed, PAIRED_POINTS)),
    )


def describe(plan: Plan) -> list[str]:
    """Return the plan as lines for a terminal."""
    power = f"{100 * plan.wanted:g} %"
    lines = [
        f"gate         {plan.gate}",
        f"model        {plan.model}",
        f"rows         {plan.needed:,} or more pass with a power of {power}",
    ]
    if plan.all_right is not None:
        lines.append(
            f"all right    {plan.all_right:,} rows pass when every answer is right"
        )
    lines += ["", "     rows  power"]
    return lines + [f"{rows:>9,}  {likely:.3f}" for rows, likely in plan.table]


def draw(plan: Plan) -> str:
    """Return the power curve as an SVG document."""
    last = plan.curve[-1][0]
    step = next(step for step in ROUND if last / step <= 8) if last > 8 else 1
    ticks = [step * at for at in range(-(-last // step) + 1)]
    return draw_chart(
        f"Power of a gate: {plan.gate}",
        [Line("probability to pass", plan.curve)],
        [Bar(f"{100 * plan.wanted:g} %: {plan.needed:,} rows", plan.wanted)],
        Axis(f"rows, when {plan.model}", ticks),
        Axis("power", SHARES),
    )


def _points(
    power: Callable[[int], float], rows: Iterable[int]
) -> list[tuple[int, float]]:
    return [(count, power(count)) for count in rows]


def _round_rows(needed: int) -> list[int]:
    """Return a few round numbers around the rows that are needed, and those."""
    near = [rows for rows in ROUND if needed / 5 <= rows <= 2 * needed]
    return sorted({*near, needed})


def _even_rows(needed: int, points: int) -> range:
    """Return numbers of rows up to twice those needed, a given number at most."""
    return range(1, 2 * needed + 1, -(-2 * needed // points))
