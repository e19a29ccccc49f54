"""Distributions of scores from 0 to 1 whose mean is known: usual and hostile ones.

The hostile ones try to break a bound. Most depend on the number of rows n, because the
worst accident is one that a sample of n rows just so happens to miss.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np


GRADES = np.array([0.0, 0.25, 0.5, 0.75, 1.0])
GRADE_SHARES = np.array([0.05, 0.1, 0.2, 0.35, 0.3])


class Family(NamedTuple):
    """A distribution for samples of n rows."""

    mean: Callable[[int], float]
    draw: Callable[[np.random.Generator, tuple[int, int]], np.ndarray]
    """Takes (samples, n) and returns as many scores."""


def missed(n: int) -> float:
    """Return the rate of an accident that just under 5 % of samples of n rows lack."""
    return 1.0 - 0.05 ** (1.0 / n) + 1e-9


def with_accidents(rng, shape, rate, usual, accident=0.0):
    """Return the usual scores with some replaced at random."""
    return np.where(rng.random(shape) < rate, accident, usual)


def f1_like(rng, shape):
    kind = rng.random(shape)
    return np.where(kind < 0.2, 0.0, np.where(kind < 0.5, 1.0, rng.random(shape)))


def noisy_accidents(rng, shape):
    usual = rng.uniform(0.9, 1.0, shape)
    return with_accidents(rng, shape, missed(shape[1]), usual)


def two_accidents(rng, shape):
    half, whole = two_rates(shape[1])
    halves = with_accidents(rng, shape, half, np.ones(shape), 0.5)
    return with_accidents(rng, shape, whole, halves)


def two_rates(n):
    """Return rates of half and whole accidents: a sample without any just passes."""
    half = missed(n)
    return half, 1.0 - (1.0 - half) / (1.0 - half / 2)


def few_hits(rng, shape):
    return with_accidents(rng, shape, 1.0 - 3.0 / shape[1], rng.random(shape))


USUAL = {
    "uniform": Family(lambda n: 0.5, lambda rng, shape: rng.random(shape)),
    "ROUGE-like, Beta(2, 3)": Family(
        lambda n: 0.4, lambda rng, shape: rng.beta(2, 3, shape)
    ),
    "judge-like, Beta(8, 2)": Family(
        lambda n: 0.8, lambda rng, shape: rng.beta(8, 2, shape)
    ),
    "five grades": Family(
        lambda n: float(GRADES @ GRADE_SHARES),
        lambda rng, shape: rng.choice(GRADES, shape, p=GRADE_SHARES),
    ),
    "F1-like, many 0 and 1": Family(lambda n: 0.55, f1_like),
}
HOSTILE = {
    "noisy scores, missed accidents": Family(
        lambda n: 0.95 * (1.0 - missed(n)), noisy_accidents
    ),
    "half and whole accidents": Family(lambda n: 1.0 - missed(n), two_accidents),
    "heavy lower tail, 1 - U^20": Family(
        lambda n: 20 / 21, lambda rng, shape: 1.0 - rng.random(shape) ** 20
    ),
    "nearly binary, Beta(.05, .05)": Family(
        lambda n: 0.5, lambda rng, shape: rng.beta(0.05, 0.05, shape)
    ),
    "few rows above 0": Family(lambda n: 1.5 / n, few_hits),
    "one level, missed accidents": Family(
        lambda n: 0.7 * (1.0 - missed(n)),
        lambda rng, shape: with_accidents(
            rng, shape, missed(shape[1]), np.full(shape, 0.7)
        ),
    ),
}
FAMILIES = {**USUAL, **HOSTILE}


def cluster_means(rng, samples, clusters, icc, equal):
    """Return means of clusters of right-or-wrong rows with a true mean of 0.8.

    Equal clusters have 5 rows; unequal ones 1, 2, 4, 8 or 16. `icc` is the correlation
    of two rows of one cluster: their rate is drawn from a beta distribution.
    """
    shape = samples, clusters
    sizes = np.full(shape, 5) if equal else 2 ** rng.integers(0, 5, shape)
    rates = np.full(shape, 0.8)
    if icc > 0:
        weight = 1 / icc - 1
        rates = rng.beta(0.8 * weight, 0.2 * weight, shape)
    return rng.binomial(sizes, rates) / sizes
