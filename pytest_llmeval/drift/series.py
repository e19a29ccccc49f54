"""What a detector takes and gives: points, a rule, a detection."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import datetime
from datetime import timedelta
from typing import Literal
from typing import NamedTuple
from typing import get_args

from pytest_llmeval.errors import ConfigurationError


State = Literal["ok", "warning", "alarm", "no_data"]
Better = Literal["higher", "lower"]
Unit = Literal["row", "evaluation"]
LONGEST_RUN = 1_000_000


class Point(NamedTuple):
    """One evaluation of a metric."""

    time: datetime
    value: float | None
    """The mean over rows; None when no row could be scored, which counts as no data."""
    n: int
    """Rows, or clusters of rows, that the value rests on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """When to raise an alarm, and what may be assumed of the metric.

    Raises:
        ConfigurationError: A number is out of its range.
    """

    better: Better | None = "higher"
    """Which way is better; None raises an alarm whichever way the metric moves."""
    low: float = 0.0
    high: float = 1.0
    """The range of the score of a row."""
    run_length: float = 365
    """Evaluations up to a false alarm, on average, at least."""
    warning_length: float = 30
    """The same up to a false warning."""
    unit: Unit = "row"
    """What is independent: rows, or evaluations only, whose rows may share bad luck."""
    recovery: int = 3
    """Evaluations whose common mean must be on the good side to end an alarm."""
    every: timedelta | None = None
    """How often an evaluation is due; None when nothing is."""
    grace: float = 1.5
    """After so many times `every` without an evaluation there is no data."""

    def __post_init__(self) -> None:
        if self.better not in (None, *get_args(Better)):
            raise ConfigurationError(
                f"better = {self.better!r} must be 'higher', 'lower' or None"
            )
        if self.unit not in get_args(Unit):
            raise ConfigurationError(
                f"unit = {self.unit!r} must be 'row' or 'evaluation'"
            )
        if not -math.inf < self.low < self.high < math.inf:
            raise ConfigurationError(
                f"the range {self.low!r} to {self.high!r} has no inside; a metric "
                "without bounds can be watched as the share of rows beyond a limit"
            )
        if not 1 < self.warning_length <= self.run_length <= LONGEST_RUN:
            raise ConfigurationError(
                f"warning_length = {self.warning_length!r} and run_length = "
                f"{self.run_length!r} must be above 1, rising, and at most "
                f"{LONGEST_RUN:,}"
            )
        if self.recovery < 1:
            raise ConfigurationError(f"recovery = {self.recovery!r} must be at least 1")
        if self.grace < 1:
            raise ConfigurationError(f"grace = {self.grace!r} must be at least 1")

    def scaled(self, value: float) -> float:
        """Return where a value lies in the range, 0 to 1.

        Raises:
            ConfigurationError: It is outside.
        """
        if not self.low <= value <= self.high:
            raise ConfigurationError(
                f"{value!r} is not in the metric's range {self.low!r} to {self.high!r}"
            )
        return (value - self.low) / (self.high - self.low)


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """What a series says at its end."""

    state: State
    since: datetime | None
    """When the state began: its first evaluation, or when the missed one was due; None
    when there never was an evaluation."""
    statistic: float
    """The evidence of a change, from 0 on; it is capped at 1e12."""
    limit: float
    """The evidence from which on it is an alarm."""
    change_point: datetime | None
    """The most likely first evaluation after the change; None without an alarm."""
    change_interval: tuple[datetime, datetime] | None
    """The earliest and latest of those that it could be, at 95 % confidence."""
    message: str
    """One plain sentence, without the metric's name."""
