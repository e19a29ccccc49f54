"""Confidence bounds for means of bounded scores. Arrays in, numbers out.

Gaffke's bound (Gaffke 2005; Learned-Miller and Thomas 2019, arXiv:1905.06208; Phan et
al. 2021, arXiv:2106.03163): the p-value for "the mean is at most t" is the probability
that a Dirichlet(1, …, 1)-weighted mean of the scores and one pseudo-score at the low
end of the range is at most t. For scores that are 0 or 1 it is the exact binomial
(Clopper-Pearson) bound.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from collections.abc import Sequence
from statistics import NormalDist
from typing import TYPE_CHECKING

from pytest_llmeval.config import check_confidence
from pytest_llmeval.errors import ConfigurationError


if TYPE_CHECKING:
    from typing import Any
    from typing import TypeAlias

    from numpy.typing import ArrayLike
    from numpy.typing import NDArray

    from pytest_llmeval.records import Sample

    Floats: TypeAlias = NDArray[Any]


SMALLEST = 1e-100
"""Scores and thresholds below it are 0: their squares would underflow."""
GRID = 100_000
"""Above so many distinct scores they are rounded outward to 1/GRID of the range."""
SLACK = 1e-9
"""A score may be so far outside, as a share of the range: a mean may be rounded."""
MOST_ROWS = 1_000_000
"""The search for the rows that would decide ends here."""


def mean(scores: Sequence[float], *, counts: Sequence[int] | None = None) -> float:
    """Return the correctly rounded mean of at least one score.

    With counts it is to the last bit that of the scores listed one by one.
    """
    if counts is None:
        return math.fsum(scores) / len(scores)
    parts = [float(score).as_integer_ratio() for score in scores]
    unit = max(below for _, below in parts)  # a power of two, which all of them divide
    pairs = zip(parts, counts, strict=True)
    total = sum(above * (unit // below) * count for (above, below), count in pairs)
    return total / unit / sum(counts)


def lower_bound(
    scores: ArrayLike,
    confidence: float,
    low: float,
    high: float,
    *,
    counts: ArrayLike | None = None,
) -> float:
    """Return the one-sided lower confidence bound of the mean.

    Args:
        scores: At least one score, each between `low` and `high`, in any order.
        confidence: For example 0.95: the bound is above the true mean in at most 5 %
            of samples.
        low: Lowest possible score.
        high: Highest possible score.
        counts: How often each score occurs, when they are not listed one by one. Who
            has counted them has also rounded them, where they were too many.

    Returns:
        A number between `low` and `high`. Above 100,000 distinct scores it is taken
        over scores that are rounded down to 1/100,000 of the range.

    Raises:
        ConfigurationError: A score is not in the range, or there is none, or the
            confidence is not at least 0.5 and below 1.
    """
    values, weights = _counted(scores, low, high, counts)
    bound = _unit_bound(values, weights, check_confidence(confidence))
    return low + (high - low) * bound


def upper_bound(
    scores: ArrayLike,
    confidence: float,
    low: float,
    high: float,
    *,
    counts: ArrayLike | None = None,
) -> float:
    """Return the one-sided upper confidence bound: the mirror of `lower_bound`."""
    mirrored = -check_scores(scores, low, high)
    return -lower_bound(mirrored, confidence, -high, -low, counts=counts)


def bounds_of(
    sample: Sample, confidence: float, bounds: tuple[float, float]
) -> tuple[float, float]:
    """Return the one-sided bounds of a sample's mean."""
    scores, counts = sample.scores, sample.counts
    lower = lower_bound(scores, confidence, *bounds, counts=counts)
    if sample.upper is not None:
        scores, counts = sample.upper
    return lower, upper_bound(scores, confidence, *bounds, counts=counts)


def p_value(
    threshold: float,
    scores: ArrayLike,
    low: float,
    high: float,
    *,
    counts: ArrayLike | None = None,
) -> float:
    """Return Gaffke's p-value for "the mean is at most the threshold".

    It is at most 1 - c where the lower bound at confidence c reaches the threshold, and
    takes a tenth of the time.

    Args:
        threshold: The mean to test.
        scores: As in `lower_bound`, and so the rest.
        low: Lowest possible score.
        high: Highest possible score.
        counts: How often each score occurs.

    Raises:
        ConfigurationError: A score is not in the range, or there is none.
    """
    values, weights = _counted(scores, low, high, counts)
    return _unit_p_value(values, weights, (threshold - low) / (high - low))


def rows_to_decide(
    scores: Sequence[float],
    confidence: float,
    low: float,
    high: float,
    *,
    reaches: Callable[[float], bool],
    counts: Sequence[int] | None = None,
) -> int | None:
    """Return about how many rows like these push the lower bound over the bar.

    Args:
        scores: The scores so far.
        confidence: As in `lower_bound`.
        low: Lowest possible score.
        high: Highest possible score.
        reaches: Whether a lower bound is high enough.
        counts: As in `lower_bound`.

    Returns:
        The number of rows, all together, or None when no number up to a million does.
    """
    if not reaches(mean(scores, counts=counts)):
        return None
    values, weights = _counted(scores, low, high, counts)
    size = len(scores) if counts is None else sum(counts)

    def enough(rows: int) -> bool:
        bound = _unit_bound(values, weights * (rows / size), confidence)
        return reaches(low + (high - low) * bound)

    few, many = size, 2 * size
    while not enough(many):
        few, many = many, 2 * many
        if many > MOST_ROWS:
            return None
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    return many


def check_scores(scores: ArrayLike, low: float, high: float) -> Floats:
    """Return the scores as an array, moved into the range where rounding left it.

    Raises:
        ConfigurationError: There is no score, or one is not a number in the range.
    """
    import numpy as np

    if not (low < high and math.isfinite(high - low)):
        raise ConfigurationError(
            f"{low!r} to {high!r} is no range: give two finite numbers, lowest first"
        )
    given = np.asarray(scores, dtype=float)
    if given.ndim != 1 or not given.size:
        raise ConfigurationError(
            f"scores of shape {given.shape} have no mean: give a list of at least one "
            "number"
        )
    slack = SLACK * (high - low)
    # The least and the greatest are NaN when one score is, and then not inside.
    if not low - slack <= float(given.min()) <= float(given.max()) <= high + slack:
        raise ConfigurationError(
            f"scores from {given.min():g} to {given.max():g} are not all in the range "
            f"{low:g} to {high:g}: correct the scores or the range"
        )
    return given.clip(low, high)


def _counted(
    scores: ArrayLike, low: float, high: float, counts: ArrayLike | None
) -> tuple[Floats, Floats]:
    """Return distinct scores as fractions of the range, with how often each occurs."""
    import numpy as np

    fractions = (check_scores(scores, low, high) - low) / (high - low)
    weights = None if counts is None else np.asarray(counts, dtype=float)
    _check_counts(fractions, weights)
    values, which = np.unique(fractions, return_inverse=True)
    if counts is None and len(values) > GRID:
        rounded = np.floor(fractions * GRID) / GRID
        values, which = np.unique(rounded, return_inverse=True)
    return values, np.bincount(which, weights).astype(float)


def _check_counts(fractions: Floats, weights: Floats | None) -> None:
    import numpy as np

    if weights is None:
        return
    if weights.shape != fractions.shape:
        raise ConfigurationError(
            f"{weights.size} counts do not belong to {fractions.size} scores: give one "
            "for each"
        )
    if not (np.isfinite(weights).all() and (weights > 0).all()):
        raise ConfigurationError(
            "counts must be above 0: leave out scores without rows"
        )


def _unit_bound(values: Floats, counts: Floats, confidence: float) -> float:
    """Return the t at which the p-value is 1 - confidence, scores within 0 to 1."""
    from pytest_llmeval.stats.exponentials import increasing_root

    if values[-1] < SMALLEST:
        return 0.0
    probit = NormalDist().inv_cdf
    wanted = probit(1.0 - confidence)

    # The probit of the p-value is nearly a straight line in t.
    def excess(t: float) -> float:
        p = _unit_p_value(values, counts, t)
        return probit(min(max(p, 1e-300), 1.0 - 1e-15)) - wanted

    top, rows = float(values[-1]), float(counts.sum()) + 1.0
    middle = float(counts @ values) / rows
    spread = float(counts @ (values - middle) ** 2) + middle**2
    guess = middle + wanted * math.sqrt(spread) / rows  # normal theory
    guess = max(guess, middle / 2.0) if guess < 0.99 * middle else 0.99 * middle
    return increasing_root(excess, 0.0, top, middle, guess)


def _unit_p_value(values: Floats, counts: Floats, t: float) -> float:
    """Return the p-value at t, scores within 0 to 1."""
    import numpy as np

    from pytest_llmeval.stats.exponentials import probability_below_zero

    if t >= values[-1]:
        return 1.0
    if t < SMALLEST:
        return 0.0
    with_pseudo = np.append(0.0, values), np.append(1.0, counts)
    return probability_below_zero(with_pseudo[0] - t, with_pseudo[1])
