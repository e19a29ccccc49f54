"""What a series is compared with, and how sure that is."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmeval.config import check_confidence
from pytest_llmeval.drift.series import Point
from pytest_llmeval.drift.series import Rule
from pytest_llmeval.errors import ConfigurationError


class Reference(NamedTuple):
    """Bounds of the mean while all is well; beyond the bad one it has become worse."""

    lower: float
    upper: float
    doubt: float = 0.0
    """The chance that the true mean is beyond a given one of the two."""

    def wider(self, margin: float) -> Reference:
        """Return the bounds with a change of so much on either side tolerated."""
        return self._replace(lower=self.lower - margin, upper=self.upper + margin)


def fixed(level: float) -> Reference:
    """Compare with a level that is known, such as the threshold of a gate."""
    return Reference(level, level)


def measured(lower: float, upper: float, confidence: float) -> Reference:
    """Compare with the one-sided bounds of a verdict, as the history has them."""
    return Reference(lower, upper, 1.0 - check_confidence(confidence))


def estimated(
    points: Sequence[Point], rule: Rule, confidence: float = 0.9
) -> Reference:
    """Compare with the first evaluations; they must not be in the series as well.

    A higher confidence makes it rarer that a baseline was lucky, so that false alarms
    come more often than promised, and drops slower to see. The promise is an average
    over baselines, whatever the confidence.

    Rows are pooled, and the bounds hold for independent scores of any distribution:
    Bentkus (2004), by which no such mean strays more than e times as often as one of
    right-or-wrong scores. Where only evaluations are independent the bounds are
    Student's, which need means that are about normal.

    Raises:
        ConfigurationError: There are too few evaluations.
    """
    doubt = 1.0 - check_confidence(confidence)
    known = [(rule.scaled(p.value), p.n) for p in points if p.value is not None]
    needed = 1 if rule.unit == "row" else 3
    if len(known) < needed or sum(n for _, n in known) < 1:
        raise ConfigurationError(
            f"a baseline needs {needed} evaluation(s) with scored rows, and there are "
            f"{len(known)}; compare with a fixed level until there are"
        )
    bounds = _of_rows if rule.unit == "row" else _of_means
    lower, upper = bounds(known, doubt)
    width = rule.high - rule.low
    return Reference(rule.low + width * lower, rule.low + width * upper, doubt)


def _of_rows(known: Sequence[tuple[float, int]], doubt: float) -> tuple[float, float]:
    from scipy.stats import beta

    rows = sum(n for _, n in known)
    right = min(float(rows), math.fsum(value * n for value, n in known))
    # The mean of a whole count, as 0.29 * 100, may have fallen just below it.
    least, most = math.floor(right + 1e-6), math.ceil(right - 1e-6)
    level = doubt / math.e
    lower = float(beta.ppf(level, least, rows - least + 1)) if least else 0.0
    upper = float(beta.isf(level, most + 1, rows - most)) if most < rows else 1.0
    return lower, upper


def _of_means(known: Sequence[tuple[float, int]], doubt: float) -> tuple[float, float]:
    from scipy.stats import t

    values = [value for value, _ in known]
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1)
    # The baseline is the mean of future evaluations, so its own error is all there is.
    reach = float(t.isf(doubt, len(values) - 1)) * math.sqrt(variance / len(values))
    return max(0.0, mean - reach), min(1.0, mean + reach)
