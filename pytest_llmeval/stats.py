"""Confidence bounds for means of bounded scores. Arrays in, numbers out.

Gaffke's bound (Gaffke 2005; Learned-Miller and Thomas 2019, arXiv:1905.06208; Phan et
al. 2021, arXiv:2106.03163): the p-value for "the mean is at most t" is the probability
that a Dirichlet(1, …, 1)-weighted mean of the scores and one pseudo-score at the low
end of the range is at most t. For scores that are 0 or 1 it is the exact binomial
(Clopper-Pearson) bound.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple


if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[Any]


SMALLEST = 1e-100
"""Scores below it are 0: their squares would underflow."""
GRID = 100_000
"""Above so many distinct scores they are rounded outward to 1/GRID of the range."""
LEAST_UNITS = 100
"""With fewer rows or clusters the bootstrap is too far off to decide anything."""
MOST_ROWS = 1_000_000
"""The search for the rows that would decide ends here."""


def mean(scores: Sequence[float]) -> float:
    """Return the correctly rounded mean of at least one score."""
    return math.fsum(scores) / len(scores)


def lower_bound(
    scores: Sequence[float], confidence: float, low: float, high: float
) -> float:
    """Return the one-sided lower confidence bound of the mean.

    Args:
        scores: At least one score, each between `low` and `high`.
        confidence: For example 0.95: the bound is above the true mean in at most 5 %
            of samples.
        low: Lowest possible score.
        high: Highest possible score.

    Returns:
        A number between `low` and the mean of the scores.
    """
    return low + (high - low) * _unit_bound(*_counted(scores, low, high), confidence)


def upper_bound(
    scores: Sequence[float], confidence: float, low: float, high: float
) -> float:
    """Return the one-sided upper confidence bound: the mirror of `lower_bound`."""
    return -lower_bound([-score for score in scores], confidence, -high, -low)


def rows_to_decide(
    scores: Sequence[float],
    confidence: float,
    low: float,
    high: float,
    *,
    reaches: Callable[[float], bool],
) -> int | None:
    """Return about how many rows like these push the lower bound over the bar.

    Args:
        scores: The scores so far.
        confidence: As in `lower_bound`.
        low: Lowest possible score.
        high: Highest possible score.
        reaches: Whether a lower bound is high enough.

    Returns:
        The number of rows, all together, or None when no number up to a million does.
    """
    if not reaches(mean(scores)):
        return None
    values, counts = _counted(scores, low, high)

    def enough(rows: int) -> bool:
        bound = _unit_bound(values, counts * (rows / len(scores)), confidence)
        return reaches(low + (high - low) * bound)

    few, many = len(scores), 2 * len(scores)
    while not enough(many):
        few, many = many, 2 * many
        if many > MOST_ROWS:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many


def _counted(scores: Sequence[float], low: float, high: float) -> tuple[Floats, Floats]:
    """Return distinct scores as fractions of the range, with how often each occurs."""
    import numpy as np

    fractions = (np.asarray(scores, dtype=float) - low) / (high - low)
    values, counts = np.unique(np.clip(fractions, 0.0, 1.0), return_counts=True)
    if len(values) > GRID:
        grid = np.floor(fractions * GRID) / GRID
        values, counts = np.unique(np.clip(grid, 0.0, 1.0), return_counts=True)
    return values, counts.astype(float)


def _unit_bound(values: Floats, counts: Floats, confidence: float) -> float:
    """Return the t at which the p-value is 1 - confidence, scores within 0 to 1."""
    import numpy as np

    if values[-1] < SMALLEST:
        return 0.0
    values = np.append(0.0, values)
    counts = np.append(1.0, counts)
    probit = NormalDist().inv_cdf
    wanted = probit(1.0 - confidence)

    # The probit of the p-value is nearly a straight line in t.
    def excess(t: float) -> float:
        p = _probability_below(values - t, counts)
        return probit(min(max(p, 1e-300), 1.0 - 1e-15)) - wanted

    top, rows = float(values[-1]), float(counts.sum())
    middle = float((counts * values).sum()) / rows
    spread = float((counts * (values - middle) ** 2).sum())
    guess = middle + wanted * math.sqrt(spread) / rows  # normal theory
    guess = max(guess, middle / 2.0) if guess < 0.99 * middle else 0.99 * middle
    return _increasing_root(excess, 0.0, top, middle, guess)


def _probability_below(distances: Floats, counts: Floats) -> float:
    """Return P(sum of E_i * d_i <= 0), E_i independent standard exponentials.

    The moment generating function M(z) = prod 1 / (1 - z d_i) is inverted along the
    vertical line through its saddle point c < 0, where the integrand neither cancels
    nor oscillates before it has died off:
    P = -M(c) / pi * integral over y > 0 of Re(prod 1 / (1 - i y r_i) / (c + i y)), with
    r_i = d_i / (1 - c d_i). With y = w sinh(v) the trapezoidal rule converges
    geometrically.
    """
    import numpy as np

    c = _saddle_point(distances, counts)
    tilted = 1.0 - c * distances
    ratios = distances / tilted
    width = 1.0 / math.sqrt(float((counts * ratios**2).sum()) + 1.0 / c**2)

    def terms(v: Floats) -> Floats:
        y = width * np.sinh(v)
        products = y[:, None] * ratios
        angle = (np.arctan(products) * counts).sum(axis=1)
        decay = (np.log1p(products * products) * counts).sum(axis=1)
        wave = c * np.cos(angle) + y * np.sin(angle)
        values: Floats = np.exp(-0.5 * decay) * np.cosh(v) * wave / (c * c + y * y)
        return values

    # Blocks bound the memory: distinct scores times nodes can be 10^7.
    block = max(4, min(32, 1_000_000 // len(distances)))
    step, settled = 0.2, False
    at_zero = 0.5 * float(terms(np.zeros(1))[0])
    integral = step * (at_zero + _sum_tail(terms, step, 1.0, block))
    while not settled and step > 0.001:
        finer = 0.5 * (integral + step * _sum_tail(terms, step, 0.5, block))
        settled = abs(finer - integral) < 1e-12 * abs(finer)
        integral, step = finer, step / 2.0
    log_m = -float((counts * np.log(tilted)).sum())
    return -math.exp(log_m) / math.pi * width * integral


def _sum_tail(
    terms: Callable[[Floats], Floats], step: float, offset: float, block: int
) -> float:
    """Sum terms(step * (offset + k)) over k >= 0 until they have died off."""
    import numpy as np

    total, start = 0.0, 0
    while True:
        part = terms(step * (offset + np.arange(start, start + block)))
        total += float(part.sum())
        if not float(np.abs(part).max()) >= 1e-17 * abs(total):  # false for NaN too
            return total
        start += block


def _saddle_point(distances: Floats, counts: Floats) -> float:
    """Return about where log M(z) - log(-z) is least below zero.

    Any point of the interval gives the same integral; near the minimum it is quick.
    """
    pole = 1.0 / float(distances[0])  # the smallest distance is negative

    def point(x: float) -> float:
        return pole / (1.0 + math.exp(-x))

    # The slope changes its sign once; scaled by the way to both ends it is bounded.
    def slope(x: float) -> float:
        z = point(x)
        rise = 1.0 / z - float((counts * distances / (1.0 - z * distances)).sum())
        return rise * -z * (1.0 - z / pole)

    return point(_increasing_root(slope, -40.0, 40.0, -1.0, 1.0, tolerance=1e-2))


def _increasing_root(
    function: Callable[[float], float],
    left: float,
    right: float,
    first: float,
    second: float,
    tolerance: float = 1e-12,
) -> float:
    """Return where a function crosses zero: the secant method inside a bracket.

    SciPy has better ones, but its import costs more than all the rest of a small run.
    """
    known = function(first)
    for _ in range(100):
        left, right = (first, right) if known < 0.0 else (left, first)
        value = function(second)
        if abs(value) < tolerance or second == first:
            break
        left, right = (
            (max(left, second), right) if value < 0.0 else (left, min(right, second))
        )
        step = value * (second - first) / (value - known) if value != known else 0.0
        first, known, second = second, value, second - step
        if not left < second < right:
            second = 0.5 * (left + right)
    return second


class CorpusBounds(NamedTuple):
    """One-sided bounds, each at the confidence that was asked for."""

    lower: float
    upper: float


def corpus_bounds(
    metric: Callable[[NDArray[Any]], float],
    units: int,
    confidence: float,
    *,
    seed: int,
    resamples: int = 2_000,
) -> CorpusBounds | None:
    """Return BCa bootstrap bounds (Efron 1987, by SciPy) of a corpus-level metric.

    Args:
        metric: Gives the metric of the units at these positions, which repeat.
        units: How many rows there are, or clusters when rows belong together.
        confidence: Above 0.5 and below 1, of each bound.
        seed: Of the resampling; the same seed gives the same bounds.
        resamples: How many samples of `units` are drawn.

    Returns:
        The bounds, or None where there are none.
    """
    import numpy as np
    from scipy.stats import DegenerateDataWarning  # type: ignore[import-untyped]
    from scipy.stats import bootstrap

    # Where nothing varies SciPy warns, divides 0 by 0 and gives NaN.
    with warnings.catch_warnings(), np.errstate(invalid="ignore"):
        warnings.simplefilter("ignore", DegenerateDataWarning)
        found = bootstrap(
            (np.arange(units),),
            metric,
            vectorized=False,
            n_resamples=resamples,
            confidence_level=2.0 * confidence - 1.0,
            random_state=np.random.default_rng(seed),
        ).confidence_interval
    bounds = CorpusBounds(float(found.low), float(found.high))
    return bounds if all(map(math.isfinite, bounds)) else None
