"""Rows that were asked several times: pass@k, pass^k, and where the variance is."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmeval.errors import ConfigurationError


def pass_at_k(right: int, repeats: int, k: int) -> float:
    """Return an unbiased estimate of P(at least one of k answers is right).

    1 - C(n - c, k) / C(n, k) with c of n answers right (Chen et al. 2021,
    arXiv:2107.03374): the share of draws of k of these answers that hold a right one.

    Args:
        right: How many answers of the row are right.
        repeats: How many answers the row has.
        k: How many answers a user would get, at most `repeats`.

    Raises:
        ConfigurationError: `k` or `right` does not fit `repeats`.
    """
    _check(right, repeats, k)
    return 1.0 - math.comb(repeats - right, k) / math.comb(repeats, k)


def pass_hat_k(right: int, repeats: int, k: int) -> float:
    """Return an unbiased estimate of P(all of k answers are right), or pass^k.

    C(c, k) / C(n, k) with c of n answers right (Yao et al. 2024, arXiv:2406.12045).

    Args:
        right: How many answers of the row are right.
        repeats: How many answers the row has.
        k: How many answers a user would get, at most `repeats`.

    Raises:
        ConfigurationError: `k` or `right` does not fit `repeats`.
    """
    _check(right, repeats, k)
    return math.comb(right, k) / math.comb(repeats, k)


def _check(right: int, repeats: int, k: int) -> None:
    if not 1 <= k <= repeats:
        raise ConfigurationError(
            f"k={k!r} answers cannot be drawn from {repeats!r}: k must be at least 1 "
            "and at most the number of repeats; raise repeats="
        )
    if not 0 <= right <= repeats:
        raise ConfigurationError(f"{right!r} of {repeats!r} answers cannot be right")


class Variances(NamedTuple):
    """The variance of one score, in two parts that add up (Miller 2024)."""

    between: float
    """Of the rows' own means: more rows make it count less."""
    within: float
    """Of the answers to one row: more repeats, or more rows, make it count less."""


def split_variance(rows: Sequence[Sequence[float]]) -> Variances:
    """Return how much scores differ between rows, and between repeats of one row.

    Both are unbiased, but that `between` is cut off at 0. The variance of the mean over
    n rows of k repeats is (between + within / k) / n.

    Args:
        rows: The scores of at least two rows, each with at least two repeats.

    Raises:
        ConfigurationError: There are fewer rows or repeats.
    """
    if len(rows) < 2 or min(map(len, rows)) < 2:
        raise ConfigurationError(
            "variance between and within rows needs at least 2 rows of at least 2 "
            "repeats each"
        )
    within = [statistics.variance(scores) for scores in rows]
    of_means = statistics.variance([statistics.fmean(scores) for scores in rows])
    noise = statistics.fmean(
        [spread / len(scores) for spread, scores in zip(within, rows, strict=True)]
    )
    return Variances(max(0.0, of_means - noise), statistics.fmean(within))
