"""A test that may be looked at after every row: bets against the threshold.

The capital of someone who bets against "the mean is at most m" is, on average, never
above the first unit while that is true, whatever the scores and whenever one stops
(Ville's inequality; Waudby-Smith and Ramdas 2024, arXiv:2010.09686). Capital of
1 / (1 - confidence) is therefore evidence at that confidence.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING
from typing import Literal

from pytest_llmeval.config import check_confidence
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.stats.gaffke import check_scores


if TYPE_CHECKING:
    from numpy.typing import ArrayLike


BETS = 25
"""The capital is split evenly over so many bets and never moved between them."""
LARGEST = 0.99
"""Share of its capital that the boldest bet can lose in one row; 1 would end it."""


class BettingTest:
    """Decide whether the mean is above or below a threshold, as early as it shows.

    With G(f) = prod (1 + f * (x_i - m) / (m - low)) over the scores x_i, the capital
    against "at most m" is the mean of G over 25 fractions f of the largest bet; against
    "at least m" it is the mirror image. Each direction has the full level 1 - c: the
    truth can be on one side only.

    Args:
        threshold: The m above, strictly between `low` and `high`.
        confidence: For example 0.95: a decision in a given wrong direction comes in at
            most 5 % of samples, however often one looks.
        low: Lowest possible score.
        high: Highest possible score.

    Raises:
        ConfigurationError: The threshold is not inside the range, or the confidence is
            not at least 0.5 and below 1.
    """

    decided: Literal["above", "below"] | None
    """Where the mean is, or None while nothing is decided."""
    rows: int
    """Rows that counted: those up to the decision, or all so far."""

    def __init__(
        self, threshold: float, confidence: float, low: float, high: float
    ) -> None:
        import numpy as np

        if not low < threshold < high:
            raise ConfigurationError(
                f"no bet is possible on a mean above and below {threshold!r}: the "
                f"threshold must be inside the range {low!r} to {high!r}"
            )
        fractions = LARGEST * np.arange(1, BETS + 1) / BETS
        self._threshold, self._low, self._high = threshold, low, high
        self._bets = np.stack(
            [fractions / (threshold - low), -fractions / (high - threshold)]
        )
        self._logs = np.zeros_like(self._bets)
        self._goal = -math.log(1.0 - check_confidence(confidence)) + math.log(BETS)
        self.decided = None
        self.rows = 0

    def add(self, scores: ArrayLike) -> None:
        """Bet on the next scores, in the order in which they were shuffled.

        After the decision nothing counts any more. How the scores are cut into calls
        does not matter; a call takes 800 bytes a row.

        Raises:
            ConfigurationError: A score is not in the range.
        """
        import numpy as np

        if self.decided is not None or not np.size(scores):
            return
        block = check_scores(scores, self._low, self._high) - self._threshold
        steps = np.log1p(np.multiply.outer(block, self._bets))
        logs = self._logs + np.cumsum(steps, axis=0)
        reached = np.logaddexp.reduce(logs, axis=2) >= self._goal
        self._logs = logs[-1]
        if not reached.any():
            self.rows += len(block)
            return
        row = int(reached.any(axis=1).argmax())
        self.rows += row + 1
        self.decided = "above" if reached[row, 0] else "below"
