"""How likely a gate is to pass, and how many rows it needs, exactly.

For scores that are right or wrong, and for differences of two such scores. Gates on
graded scores need fewer rows than these as a rule, because their variance is smaller.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from pytest_llmeval.config import check_confidence
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.stats.gaffke import p_value


if TYPE_CHECKING:
    from typing import Any

    from numpy.typing import ArrayLike
    from numpy.typing import NDArray


NEGLIGIBLE = 1e-12
"""Outcomes in the tails that are rarer than this, all together, are left out."""
MOST_PLANNED = 100_000
"""The search for rows ends here."""
MOST_PAIRS = 30_000
"""The search for rows of paired scores ends here, after half a minute."""
AHEAD = 50
"""So many further numbers of rows are checked for a lower power of paired scores."""


def binary_power(
    rows: ArrayLike, threshold: float, expected: float, confidence: float
) -> NDArray[Any]:
    """Return how likely a gate ">= threshold" is to pass on right-or-wrong scores.

    Args:
        rows: Numbers of rows, an array or one number.
        threshold: The bar, above 0 and below 1.
        expected: The share of right answers of the model, 0 to 1.
        confidence: The gate's, at least 0.5 and below 1.

    Returns:
        One probability for each number of rows.
    """
    from scipy.stats import binom

    # The exact binomial bound reaches the bar where so many right answers are at most
    # 1 - c likely at the bar itself; `isf` is the most that do not suffice.
    short = binom.isf(1.0 - confidence, rows, threshold)
    likely: NDArray[Any] = binom.sf(short, rows, expected)
    return likely


def rows_all_right(threshold: float, confidence: float) -> int:
    """Return how many rows pass a gate ">= threshold" when every one of them is right.

    Args:
        threshold: The bar, above 0 and below 1.
        confidence: The gate's, at least 0.5 and below 1.
    """
    return math.ceil(math.log1p(-confidence) / math.log(threshold))


def binary_rows_for_power(
    threshold: float, expected: float, confidence: float, wanted: float
) -> int:
    """Return the number of rows from which on the power stays at least as wanted.

    The power of an exact gate goes up in a saw-tooth, so the first number of rows that
    reaches it is not enough.

    Args:
        threshold: The bar, above 0 and below 1.
        expected: The share of right answers of the model, above the threshold.
        confidence: The gate's, at least 0.5 and below 1.
        wanted: The power, above 0 and below 1.

    Raises:
        ConfigurationError: An argument is out of its range, or more than 100,000 rows
            would be needed.
    """
    import numpy as np

    check_confidence(confidence)
    _check_power(wanted)
    if not 0.0 < threshold < expected <= 1.0:
        raise ConfigurationError(
            f"a model with an expected {expected:g} is not sure to pass {threshold:g} "
            "with any number of rows: the threshold must be above 0 and below the "
            "expected value, and that at most 1"
        )
    most = 256
    while most <= 2 * MOST_PLANNED:
        likely = binary_power(np.arange(1, most + 1), threshold, expected, confidence)
        short = np.flatnonzero(likely < wanted)
        needed = int(short[-1]) + 2 if len(short) else 1
        # The teeth become smaller: none reaches back from twice as many rows.
        if needed <= most // 2:
            return needed
        most *= 2
    raise _too_close(threshold, expected, MOST_PLANNED)


def paired_power(
    rows: int, threshold: float, expected: float, discordant: float, confidence: float
) -> float:
    """Return how likely a gate on differences of right-or-wrong scores is to pass.

    Each row is a model of its own: the new answer is right and the old one wrong with
    probability (discordant + expected) / 2, the other way round with
    (discordant - expected) / 2, and otherwise both are right or both are wrong.

    Args:
        rows: How many rows both models answer.
        threshold: The bar for the mean difference new - old; -0.02 for max_drop=0.02.
        expected: The true mean difference, 0 for a model that is as good.
        discordant: The share of rows on which one is right and one is wrong.
        confidence: The gate's, at least 0.5 and below 1.
    """
    from scipy.stats import binom

    gain, loss = (discordant + expected) / 2.0, (discordant - expected) / 2.0
    first = max(0, int(binom.ppf(NEGLIGIBLE, rows, loss)))
    last = int(binom.isf(NEGLIGIBLE, rows, loss))
    likely, gains = 0.0, 0
    for losses in range(first, last + 1):
        # A further loss never needs fewer gains.
        gains = _gains_needed(rows, losses, gains, threshold, confidence)
        enough = binom.sf(gains - 1, rows - losses, gain / (1.0 - loss))
        likely += float(binom.pmf(losses, rows, loss) * enough)
    return likely


def paired_rows_for_power(
    threshold: float,
    expected: float,
    discordant: float,
    confidence: float,
    wanted: float,
) -> int:
    """Return the number of rows from which on `paired_power` stays as wanted.

    The saw-tooth is small here, because many outcomes add up: the first number of rows
    that reaches the power is sought, and the next 50 are looked at for a lower one.

    Args:
        threshold: As in `paired_power`, and so the rest.
        expected: The true mean difference, above the threshold.
        discordant: At least as large as `expected` without its sign.
        confidence: The gate's, at least 0.5 and below 1.
        wanted: The power, above 0 and below 1.

    Raises:
        ConfigurationError: An argument is out of its range, or more than 30,000 rows
            would be needed.
    """
    check_confidence(confidence)
    _check_power(wanted)
    _check_paired(threshold, expected, discordant)

    def enough(rows: int) -> bool:
        likely = paired_power(rows, threshold, expected, discordant, confidence)
        return likely >= wanted

    few, many = 0, 1
    while not enough(many):
        if many == MOST_PAIRS:
            raise _too_close(threshold, expected, MOST_PAIRS)
        few, many = many, min(2 * many, MOST_PAIRS)
    while many - few > 1:
        middle = (few + many) // 2
        few, many = (few, middle) if enough(middle) else (middle, many)
    looked = many
    while looked < many + AHEAD:
        looked += 1
        if not enough(looked):
            many = looked + 1
    return many


def _gains_needed(
    rows: int, losses: int, at_least: int, threshold: float, confidence: float
) -> int:
    """Return the fewest gains that pass beside so many losses; rows + 1 for none."""
    for gains in range(at_least, rows - losses + 1):
        outcomes = {-1.0: losses, 0.0: rows - losses - gains, 1.0: gains}
        seen = {score: count for score, count in outcomes.items() if count}
        p = p_value(threshold, list(seen), -1.0, 1.0, counts=list(seen.values()))
        if p <= 1.0 - confidence:
            return gains
    return rows + 1


def _check_power(wanted: float) -> None:
    if not 0.0 < wanted < 1.0:
        raise ConfigurationError(
            f"power = {wanted!r} must be above 0 and below 1, for example 0.8"
        )


def _check_paired(threshold: float, expected: float, discordant: float) -> None:
    if not -1.0 < threshold < expected < 1.0:
        raise ConfigurationError(
            f"a model with an expected difference of {expected:g} is not sure to pass "
            f"{threshold:g} with any number of rows: the threshold must be above -1 "
            "and below the expected difference, and that below 1"
        )
    if not (abs(expected) <= discordant <= 1.0 and discordant > 0.0):
        raise ConfigurationError(
            f"discordant = {discordant!r} must be above 0, at most 1, and at least the "
            f"expected difference {expected:g}: it is the share of rows on which one "
            "model is right and the other wrong"
        )


def _too_close(threshold: float, expected: float, most: int) -> ConfigurationError:
    return ConfigurationError(
        f"more than {most:,} rows would be needed to tell {expected:g} from "
        f"{threshold:g}: choose a threshold that is further away"
    )
