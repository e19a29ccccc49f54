"""One call of a model in production, from a log's record; nothing in it is trusted."""

from __future__ import annotations

import datetime
import math
from collections.abc import Mapping
from dataclasses import dataclass
from dataclasses import field
from typing import Any

from pytest_llmeval.examples import content_hash
from pytest_llmeval.monitor.envelopes import answer_of
from pytest_llmeval.monitor.envelopes import question_of
from pytest_llmeval.monitor.envelopes import tokens_of
from pytest_llmeval.records import is_missing
from pytest_llmeval.records.traffic import TrafficRef


FIRST_MS = 1e11
"""A time of at least that is in milliseconds: in seconds it is the year 5138."""
FAILED_STATUS = 400
LONGEST_TEXT = 100_000
"""Of what is looked at; a metric does not change by the rest."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Call:
    """A question to a model in production, and what came of it."""

    id: str
    at: datetime.datetime
    """When it was asked, in UTC."""
    input: str
    output: str | None
    """None when the call failed."""
    context: str | None = None
    reference: str | None = None
    """What would have been right, where that is known by now."""
    latency_ms: float | None = None
    prompt_tokens: int | None = None
    output_tokens: int | None = None
    cost_usd: float | None = None
    slices: Mapping[str, str] = field(default_factory=dict)
    """Values of the columns that metrics are cut by."""


def read_call(
    record: Mapping[str, Any], ref: TrafficRef, slices: tuple[str, ...] = ()
) -> Call | None:
    """Return a record as a call; None when it says neither when nor what was asked."""

    def find(field: str) -> Any:
        values = (record.get(name) for name in ref.names(field))
        return next((value for value in values if not is_missing(value)), None)

    at, asked = _time(find("time")), find("input")
    if at is None or asked is None:
        return None
    answer, row_id = find("output"), find("id")
    has_failed = _has_failed(find("status")) or find("error") not in (None, False, "")
    context, reference = find("context"), find("reference")
    used = tokens_of(answer)
    return Call(
        id=content_hash(record).hex() if row_id is None else str(row_id),
        at=at,
        input=question_of(asked)[:LONGEST_TEXT],
        output=None
        if has_failed or answer is None
        else answer_of(answer)[:LONGEST_TEXT],
        context=None if context is None else str(context)[:LONGEST_TEXT],
        reference=None if reference is None else str(reference),
        latency_ms=_real(find("latency_ms")),
        prompt_tokens=_whole(find("prompt_tokens"), used.prompt),
        output_tokens=_whole(find("output_tokens"), used.output),
        cost_usd=_real(find("cost_usd")),
        slices={name: str(record[name]) for name in slices if _has(record, name)},
    )


def _has(record: Mapping[str, Any], name: str) -> bool:
    return not is_missing(record.get(name))


def _has_failed(status: object) -> bool:
    if isinstance(status, str) and not status.isdecimal():
        return status.upper() in ("ERROR", "FAILED", "STATE_ERROR")
    number = _real(status)
    return number is not None and number >= FAILED_STATUS


def _time(value: object) -> datetime.datetime | None:
    try:
        if isinstance(value, datetime.datetime):
            at = value
        elif isinstance(value, str) and not value.replace(".", "", 1).isdecimal():
            at = datetime.datetime.fromisoformat(value)
        else:
            number = float(value)  # type: ignore[arg-type]  # else a TypeError
            seconds = number / 1000 if number >= FIRST_MS else number
            return datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        # A time without a zone is UTC, as logs of servers have it.
        aware = at if at.tzinfo else at.replace(tzinfo=datetime.UTC)
        return aware.astimezone(datetime.UTC)
    except (TypeError, ValueError, OverflowError, OSError):
        return None


def _real(value: object) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # else a TypeError
    except (TypeError, ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _whole(value: object, otherwise: int | None) -> int | None:
    number = _real(value)
    return otherwise if number is None else int(number)
