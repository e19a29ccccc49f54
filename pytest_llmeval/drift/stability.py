"""Population stability: whether a column of the inputs still fills its bins alike."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any
from typing import NamedTuple

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import is_missing


BINS = 10
CATEGORIES = 20
LONGEST_NAME = 100
"""Characters of a category that count."""
SPLITS = 1_999
"""Random splits behind a p-value, which is therefore at least 1 / 2000."""


@dataclass(frozen=True, slots=True)
class Bins:
    """How a column's values are counted, and what the reference counted.

    The last bin holds missing values, and among numbers whatever is none; the one
    before it, for categories, holds all others.
    """

    edges: tuple[float, ...] | None
    """The first bin holds numbers up to its edge, that one too; None for categories."""
    names: tuple[str, ...]
    """Categories with a bin of their own; empty for numbers."""
    counts: tuple[int, ...]
    """Values of the reference in each bin."""

    def count(self, values: Iterable[object]) -> list[int]:
        """Return how many values fall into each bin."""
        found = Counter(map(self._bin, values))
        return [found[at] for at in range(len(self.counts))]

    def _bin(self, value: object) -> int:
        missing = len(self.counts) - 1
        if self.edges is not None:
            number = _number(value)
            return missing if number is None else bisect_left(self.edges, number)
        name = _name(value)
        if name is None:
            return missing
        return self.names.index(name) if name in self.names else missing - 1

    def to_dict(self) -> dict[str, Any]:
        """Return builtins, to be stored beside the baseline."""
        return asdict(self)

    @classmethod
    def from_dict(cls, stored: dict[str, Any]) -> Bins:
        """Return what `to_dict` gave, also after JSON."""
        edges = stored["edges"]
        return cls(
            None if edges is None else tuple(map(float, edges)),
            tuple(map(str, stored["names"])),
            tuple(map(int, stored["counts"])),
        )


class Stability(NamedTuple):
    """How far a sample is from its reference, as the population stability index."""

    psi: float
    """0 when the shares are equal; .1 is often called a shift and .25 a large one, but
    small samples are beyond that by chance: go by the p-value."""
    p_value: float
    """How often a random split of both is as far apart."""


def number_bins(values: Iterable[object], bins: int = BINS) -> Bins:
    """Return bins that hold about equal shares of a reference's numbers.

    Raises:
        ConfigurationError: No value is a number.
    """
    import numpy as np

    everything = list(values)
    numbers = [x for x in map(_number, everything) if x is not None]
    known = [x for x in numbers if math.isfinite(x)]
    if not known:
        raise ConfigurationError("bins need at least one number, and all are missing")
    inner = np.quantile(known, np.arange(1, bins) / bins, method="inverted_cdf")
    # An edge at the largest value would leave a bin behind it that nothing falls into.
    edges = tuple(sorted({float(edge) for edge in inner if edge < max(known)}))
    empty = Bins(edges, (), (0,) * (len(edges) + 2))
    return Bins(edges, (), tuple(empty.count(everything)))


def category_bins(values: Iterable[object], categories: int = CATEGORIES) -> Bins:
    """Return a bin for each of a reference's most frequent categories."""
    everything = list(values)
    found = Counter(name for name in map(_name, everything) if name is not None)
    # Names of equal counts in their own order, so that equal references are equal.
    frequent = sorted(found, key=lambda name: (-found[name], name))[:categories]
    empty = Bins(None, tuple(frequent), (0,) * (len(frequent) + 2))
    return Bins(None, tuple(frequent), tuple(empty.count(everything)))


def stability_index(
    bins: Bins, values: Iterable[object], seed: int = 0, splits: int = SPLITS
) -> Stability:
    """Compare a column with its reference; values must be independent.

    The index is the sum of (a - b) log(a / b) over the shares a and b of each bin, with
    half a value added to each count. The p-value is that of a permutation test, which
    needs no large sample; it is the same for the same seed, and at least
    1 / (1 + splits).

    Raises:
        ConfigurationError: There are no values.
    """
    import numpy as np

    now = np.array(bins.count(values), dtype=np.int64)
    then = np.array(bins.counts, dtype=np.int64)
    if not now.sum() or not then.sum():
        raise ConfigurationError("there are no values to compare with the reference")
    both, rng = now + then, np.random.default_rng(seed)
    split = rng.multivariate_hypergeometric(both, int(now.sum()), splits)
    index = float(_index(now, then))
    beyond = int((_index(split, both - split) >= index - 1e-12).sum())
    return Stability(index, (1 + beyond) / (1 + splits))


def _number(value: object) -> float | None:
    """Return a number, or None for whatever is none."""
    try:
        number = float(value)  # type: ignore[arg-type]
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _name(value: object) -> str | None:
    """Return a category's name, cut, or None where it is missing."""
    return None if is_missing(value) else str(value)[:LONGEST_NAME]


def _index(now: Any, then: Any) -> Any:
    """Return the index of counts, whose last axis is that of the bins."""
    import numpy as np

    used = (now + then).reshape(-1, now.shape[-1]).any(axis=0)
    first, second = now[..., used] + 0.5, then[..., used] + 0.5
    first = first / first.sum(axis=-1, keepdims=True)
    second = second / second.sum(axis=-1, keepdims=True)
    return ((first - second) * np.log(first / second)).sum(axis=-1)
