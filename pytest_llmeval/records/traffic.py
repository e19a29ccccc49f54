"""What is wanted of production's traffic, and which columns it may stand in."""

from __future__ import annotations

import datetime
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field


FIELDS: Mapping[str, tuple[str, ...]] = {
    "id": ("id", "databricks_request_id", "request_id", "trace_id"),
    "time": ("time", "timestamp", "request_time", "event_time", "timestamp_ms", "ts"),
    "input": ("input", "request", "prompt", "question", "query"),
    "output": ("output", "response", "answer", "completion"),
    "context": ("context",),
    "reference": ("reference", "expected", "label"),
    "status": ("status_code", "status"),
    "error": ("error",),
    "latency_ms": ("latency_ms", "execution_duration_ms", "execution_time_ms"),
    "prompt_tokens": ("prompt_tokens", "input_tokens"),
    "output_tokens": ("output_tokens", "completion_tokens"),
    "cost_usd": ("cost_usd", "cost"),
}
"""The first of these columns that has a value is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrafficRef:
    """A sample of what production was asked and has answered."""

    source: str
    """A log file, ``traces:EXPERIMENT``, or what Spark reads."""
    days: Sequence[datetime.date]
    """UTC days, in order and without gaps."""
    sample: int
    """So many calls of each day, chosen by a hash of their ids and the day."""
    columns: Mapping[str, str] = field(default_factory=dict)
    """Columns by field, where they have other names than those in `FIELDS`."""

    @property
    def since(self) -> datetime.datetime:
        """When the first day begins."""
        return midnight(self.days[0])

    @property
    def until(self) -> datetime.datetime:
        """When the last day has ended."""
        return midnight(self.days[-1] + datetime.timedelta(days=1))

    def names(self, field: str) -> tuple[str, ...]:
        """Return the columns that a field may stand in, the likeliest first."""
        return (self.columns[field],) if field in self.columns else FIELDS[field]


def midnight(day: datetime.date) -> datetime.datetime:
    """Return the moment at which a UTC day begins."""
    return datetime.datetime.combine(day, datetime.time(), datetime.UTC)
