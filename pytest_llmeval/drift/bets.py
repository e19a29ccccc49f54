"""An e-detector: evidence that a mean has fallen, with a proven run length.

Shin, Ramdas and Rinaldo (2024), *E-detectors*, New England Journal of Statistics in
Data Science 2(2), arXiv:2203.03532. A bet against "the mean is at least m" does not
gain on average while that is true. With each evaluation another unit is put in, and all
that there is is bet again, so that the sum after t evaluations is at most t on average.
It therefore takes at least L evaluations, on average, until the sum is L.
"""

from __future__ import annotations

import math

from pytest_llmeval.drift.series import Unit


FRACTIONS = tuple(0.99 / 2**halved for halved in range(8))
"""Drops to bet on, as shares of m; each has an equal part of what is put in."""
CAP = 1e12
"""Evidence above it is forgotten: that lowers it, so the promise holds."""
LARGEST_LOG = 600.0


class Bets:
    """The evidence that a mean has fallen below m, after any number of evaluations.

    Args:
        mean: The m above, strictly between 0 and 1.
        unit: With ``row``, a row of score x multiplies by (q / m)^x ((1 - q) / (1 -
            m))^(1 - x), q being the mean after the drop. That can be computed from
            mean and number of the rows, is the likelihood ratio of right-or-wrong
            scores, and gains no more with other scores. With ``evaluation``, a mean v
            multiplies by 1 + (m - q) (m - v) / (m (1 - m)), whatever its rows have in
            common.
    """

    def __init__(self, mean: float, unit: Unit) -> None:
        self._mean, self._unit = mean, unit
        self._sums = [0.0] * len(FRACTIONS)
        after = [mean * (1.0 - fraction) for fraction in FRACTIONS]
        self._right = [math.log(q / mean) for q in after]
        self._wrong = [math.log((1.0 - q) / (1.0 - mean)) for q in after]

    @property
    def evidence(self) -> float:
        """What all bets are worth on average."""
        return sum(self._sums) / len(self._sums)

    def add(self, value: float, n: int) -> None:
        """Bet on one evaluation: the mean of n scores from 0 to 1."""
        gains = self._of_rows(value, n) if self._unit == "row" else self._of_mean(value)
        self._sums = [
            min(CAP, gain * (1.0 + sum_))
            for gain, sum_ in zip(gains, self._sums, strict=True)
        ]

    def _of_rows(self, value: float, n: int) -> list[float]:
        return [
            math.exp(min(LARGEST_LOG, n * (value * right + (1.0 - value) * wrong)))
            for right, wrong in zip(self._right, self._wrong, strict=True)
        ]

    def _of_mean(self, value: float) -> list[float]:
        room = 1.0 - self._mean
        return [1.0 + share * (self._mean - value) / room for share in FRACTIONS]
