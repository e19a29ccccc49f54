"""Where a series changed: the likeliest evaluation, and those that it could be.

With the means before and after known, the likelihood of any wrong place relative to the
true one is a martingale on either side of it, so it ever exceeds 1 / a on one of them
with a chance of at most 2 a (Ville; compare Siegmund 1988, *Confidence sets in
change-point problems*). The interval holds what is within log(2 / (1 - confidence)) of
the highest. The means are estimated, and an alarm has chosen the moment to look, which
the proof does not cover: that is simulated, see docs/monitoring.md.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import NamedTuple

from pytest_llmeval.drift.series import Unit


if TYPE_CHECKING:
    from numpy.typing import NDArray


class Change(NamedTuple):
    """Numbers of evaluations, from 0: the first one after the change."""

    first: int
    earliest: int
    latest: int


def locate(
    values: Sequence[float], rows: Sequence[int], unit: Unit, confidence: float = 0.95
) -> Change:
    """Return where the mean changed, given that it did; 0 is "before the first".

    Args:
        values: The mean of each evaluation, 0 to 1; at least one.
        rows: The number of rows of each.
        unit: Right-or-wrong rows are assumed with ``row``, which makes the interval
            wide for scores that vary less; with ``evaluation`` means of one variance.
        confidence: How often the interval holds the change.
    """
    import numpy as np

    value, n = np.asarray(values, dtype=float), np.asarray(rows, dtype=float)
    fit = _rows_fit(value, n) if unit == "row" else _means_fit(value)
    near = np.flatnonzero(fit >= fit.max() - math.log(2.0 / (1.0 - confidence)))
    return Change(int(fit.argmax()), int(near[0]), int(near[-1]))


def _rows_fit(value: NDArray[Any], n: NDArray[Any]) -> NDArray[Any]:
    """Return the binomial log likelihood of a change before each evaluation."""
    import numpy as np
    from scipy.special import xlogy

    right = np.concatenate([[0.0], np.cumsum(value * n)])
    wrong = np.concatenate([[0.0], np.cumsum((1.0 - value) * n)])

    def likelihood(right: NDArray[Any], wrong: NDArray[Any]) -> NDArray[Any]:
        rows = np.maximum(right + wrong, 1e-300)
        fit = xlogy(right, right / rows) + xlogy(wrong, wrong / rows)
        return np.asarray(fit)

    before = likelihood(right[:-1], wrong[:-1])
    after = likelihood(right[-1] - right[:-1], wrong[-1] - wrong[:-1])
    return np.asarray(before + after)


def _means_fit(value: NDArray[Any]) -> NDArray[Any]:
    """Return the normal log likelihood of a change before each evaluation."""
    import numpy as np

    number = len(value)
    count = np.arange(number)
    total = np.concatenate([[0.0], np.cumsum(value - value.mean())])
    before = total[:-1] ** 2 / np.maximum(count, 1)
    after = (total[-1] - total[:-1]) ** 2 / (number - count)
    left = ((value - value.mean()) ** 2).sum() - before - after
    return np.asarray(-number / 2 * np.log(np.maximum(left, 1e-12)))
