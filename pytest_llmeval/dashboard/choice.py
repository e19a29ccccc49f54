"""What the reader of the page has chosen, as it stands in an address."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass

from pytest_llmeval.errors import ConfigurationError


RUN_ID = re.compile(r"\w[\w.-]{0,199}", re.ASCII)
MOST_POINTS = 2_000
LATEST = datetime.datetime(9999, 1, 1, tzinfo=datetime.UTC)
EARLIEST = datetime.datetime(1, 1, 2, tzinfo=datetime.UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """One series, a time, and runs."""

    suite: str = ""
    """The file of the test; with the name, the evaluation."""
    name: str = ""
    metric: str = ""
    slice_by: str = ""
    slice_value: str = ""
    since: datetime.datetime = EARLIEST
    until: datetime.datetime = LATEST
    run: str = ""
    other: str = ""
    """The run that it is compared with."""
    points: int = 400
    """Of a chart, at most: one for each two or three pixels."""


def read_choice(given: Mapping[str, str]) -> Choice:
    """Return a choice from the parameters of an address.

    Raises:
        ConfigurationError: one has a value that the page does not give it.
    """
    suite, name = _pair(given, "evaluation")
    slice_by, slice_value = _pair(given, "slice")
    return Choice(
        suite=suite,
        name=name,
        metric=given.get("metric", ""),
        slice_by=slice_by,
        slice_value=slice_value,
        since=_time(given, "since") or EARLIEST,
        until=_time(given, "until") or LATEST,
        run=_run_id(given, "run"),
        other=_run_id(given, "other"),
        points=_points(given),
    )


def _pair(given: Mapping[str, str], name: str) -> tuple[str, str]:
    try:
        first, second = json.loads(given.get(name) or '["", ""]')
    except (ValueError, TypeError, RecursionError):
        raise _refused(name, "must be a JSON list of two texts") from None
    return str(first), str(second)


def _time(given: Mapping[str, str], name: str) -> datetime.datetime | None:
    if not given.get(name):
        return None
    try:
        return datetime.datetime.fromtimestamp(float(given[name]), datetime.UTC)
    except (ValueError, OverflowError, OSError):
        raise _refused(name, "must be a time in seconds since 1970") from None


def _points(given: Mapping[str, str]) -> int:
    found = given.get("points", "400")
    if not found.isascii() or not found.isdigit() or not 1 <= int(found) <= MOST_POINTS:
        raise _refused("points", f"must be a number from 1 to {MOST_POINTS:,}")
    return int(found)


def _run_id(given: Mapping[str, str], name: str) -> str:
    run_id = given.get(name, "")
    if run_id and not RUN_ID.fullmatch(run_id):
        raise _refused(name, "must be the id of a run")
    return run_id


def _refused(name: str, rule: str) -> ConfigurationError:
    return ConfigurationError(f"{name} {rule}")
