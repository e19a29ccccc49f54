"""What rows in error mean for a gate: an error, a score, or rows that are left out."""

from __future__ import annotations

from collections.abc import Collection
from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmeval.gate.check import Undecidable
from pytest_llmeval.gate.check import is_corpus
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Row
from pytest_llmeval.text import one_line


NAMED_ROWS = 5
Bounds = tuple[float, float]


class Bad(NamedTuple):
    """Rows in error, of those that a gate is about."""

    rows: int
    """How many it is about."""
    failed: int
    """How many of them are in error, at least one."""
    first: Sequence[Row]
    """The first few of these, at most `NAMED_ROWS`."""
    kinds: Collection[str]
    """The kinds of their errors."""

    @property
    def named(self) -> str:
        """The first few rows with the first error of each."""
        named = "; ".join(
            f"{one_line(row.example.id, 60)} ({row.errors[0].kind}: "
            f"{one_line(row.errors[0].message)})"
            for row in self.first
        )
        more = self.failed - len(self.first)
        return f"{named}; and {more} more" if more > 0 else named


def errors_count_as(
    gate: Gate, metric: Metric, bad: Bad, bounds: Bounds | None
) -> float | None:
    """Return the score that rows in error count with; None where they are left out.

    Raises:
        Undecidable: the gate does not say what they mean, or not for so many.
    """
    if gate.on_error == "exclude" and gate.max_error_rate is not None:
        _check_left_out(bad, gate.max_error_rate)
        return None
    if gate.on_error == "worst":
        if bounds is None or is_corpus(metric):
            raise Undecidable(
                "UNBOUNDED",
                f'on_error="worst" needs the range of {metric.name}: give bounds=',
            )
        return bounds[1] if gate.op in ("<=", "<") else bounds[0]
    advice = "Run the same command again to ask only for those"
    if set(bad.kinds) == {"test"}:
        advice = "Mend their tests, in which something else than an assert failed"
    if gate.kind == "metric":
        advice += ', or decide what they count for with on_error="worst"'
    raise Undecidable(
        _reason(bad.kinds),
        f"{bad.failed} of {bad.rows} rows could not be evaluated, so {metric.name} "
        f"has no honest value: {bad.named}. {advice}",
    )


def _check_left_out(bad: Bad, most: float) -> None:
    rate = bad.failed / bad.rows
    if rate > most:
        raise Undecidable(
            "TOO_MANY_ERRORS",
            f"{bad.failed} of {bad.rows} rows are in error, {rate:.3g} of "
            f"them, and max_error_rate={most:g}: {bad.named}",
        )
    if bad.failed == bad.rows:
        raise Undecidable("ZERO_ROWS", f"no row is left: {bad.named}")


def _reason(kinds: Collection[str]) -> str:
    known = {"budget": "BUDGET", "not_finite": "NOT_FINITE", "bad_type": "BAD_TYPE"}
    return next((known[kind] for kind in known if kind in kinds), "ROWS_MISSING")
