"""The probability that a weighted sum of exponential variables is at most 0.

Apart from `gaffke`, because this is numerical analysis and not statistics, and because
it loads NumPy.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray


Floats: TypeAlias = NDArray[Any]

SETTLED = 1e-8
"""Halving the step squares the error: so small a change leaves 1e-12 or less."""


def probability_below_zero(distances: Floats, counts: Floats) -> float:
    """Return P(sum of E_i * d_i <= 0), E_i independent standard exponentials.

    The moment generating function M(z) = prod 1 / (1 - z d_i) is inverted along the
    vertical line through its saddle point c < 0, where the integrand neither cancels
    nor oscillates before it has died off:
    P = -M(c) / pi * integral over y > 0 of Re(prod 1 / (1 - i y r_i) / (c + i y)), with
    r_i = d_i / (1 - c d_i). With y = w sinh(v) the trapezoidal rule converges
    geometrically.

    Args:
        distances: Distinct d_i in rising order, the first below 0 and the last above.
        counts: How often each occurs; need not be whole.

    Returns:
        A probability, to about 1e-11 of itself.
    """
    c = _saddle_point(distances, counts)
    tilted = 1.0 - c * distances
    ratios = distances / tilted
    width = 1.0 / math.sqrt(float((counts * ratios**2).sum()) + 1.0 / c**2)

    def terms(v: Floats) -> Floats:
        y = width * np.sinh(v)
        products = y[:, None] * ratios
        angle = np.arctan(products) @ counts
        decay = np.log1p(products * products) @ counts
        wave = c * np.cos(angle) + y * np.sin(angle)
        values: Floats = np.exp(-0.5 * decay) * np.cosh(v) * wave / (c * c + y * y)
        return values

    log_m = -float(counts @ np.log(tilted))
    integral = _integrate(terms, block=max(4, min(32, 4_000 // len(distances))))
    return -math.exp(log_m) / math.pi * width * integral


def _integrate(terms: Callable[[Floats], Floats], block: int) -> float:
    """Integrate over v > 0 by trapezoids that are halved until nothing changes.

    So many nodes are evaluated at once as `block` says: few where each is dear.
    """
    step, settled = 0.2, False
    at_zero = 0.5 * float(terms(np.zeros(1))[0])
    integral = step * (at_zero + _sum_tail(terms, step, 1.0, block))
    while not settled and step > 0.001:
        finer = 0.5 * (integral + step * _sum_tail(terms, step, 0.5, block))
        settled = abs(finer - integral) < SETTLED * abs(finer)
        integral, step = finer, step / 2.0
    return integral


def _sum_tail(
    terms: Callable[[Floats], Floats], step: float, offset: float, block: int
) -> float:
    """Sum terms(step * (offset + k)) over k >= 0 until they have died off."""
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

    # Beyond 35 the point would be the pole itself, where the slope has no value.
    return point(increasing_root(slope, -30.0, 30.0, -1.0, 1.0, tolerance=1e-2))


def increasing_root(
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
