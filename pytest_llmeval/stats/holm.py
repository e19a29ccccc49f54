"""Holm's correction, for alarms over many slices at once."""

from __future__ import annotations

from collections.abc import Sequence


def adjust_p_values(p_values: Sequence[float]) -> list[float]:
    """Return the p-values adjusted for their number (Holm 1979), in the same order.

    Calling what is at most a an alarm makes any false alarm at most a likely, however
    the tests depend on each other. SciPy has no such function.

    Args:
        p_values: Each between 0 and 1; may be empty.
    """
    rising = sorted(range(len(p_values)), key=lambda at: p_values[at])
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for rank, at in enumerate(rising):
        largest = max(largest, (len(p_values) - rank) * p_values[at])
        adjusted[at] = min(1.0, largest)
    return adjusted
