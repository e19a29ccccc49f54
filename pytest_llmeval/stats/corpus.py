"""Approximate bounds for metrics that are computed over all rows together."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from pytest_llmeval.config import check_confidence


if TYPE_CHECKING:
    from numpy.typing import NDArray


LEAST_UNITS = 100
"""With fewer rows or clusters the bootstrap is too far off to decide anything."""
RESAMPLES = 2_000


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
    resamples: int = RESAMPLES,
) -> CorpusBounds | None:
    """Return BCa bootstrap bounds (Efron 1987, by SciPy) of a corpus-level metric.

    They are approximate: nothing is proved for a finite number of rows.

    Args:
        metric: Gives the metric of the units at these positions, which repeat.
        units: How many rows there are, or clusters when rows belong together.
        confidence: Above 0.5 and below 1, of each bound.
        seed: Of the resampling; the same seed gives the same bounds.
        resamples: How many samples of `units` are drawn. `metric` is called as many
            times, and once for each unit left out.

    Returns:
        The bounds, or None where there are none: below 100 units, or where the metric
        is the same in all resamples or not finite in one.

    Raises:
        ConfigurationError: The confidence is not at least 0.5 and below 1.
    """
    check_confidence(confidence)
    if units < LEAST_UNITS:
        return None
    import numpy as np
    from scipy.stats import DegenerateDataWarning
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
