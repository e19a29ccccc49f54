"""Checks a schedule before any call, and says when a job runs next.

Databricks takes a Quartz expression and the name of a time zone. Where clocks change, a
job runs as the source of Quartz says: a time that the clock leaves out is left out, and
of a time that comes twice the second counts.
"""

from __future__ import annotations

import difflib
import itertools
from collections.abc import Iterator
from collections.abc import Sequence
from datetime import UTC
from datetime import date
from datetime import datetime
from datetime import time
from datetime import timedelta
from zoneinfo import ZoneInfo
from zoneinfo import available_timezones

from pytest_llmeval.backends.databricks.quartz import DAYS
from pytest_llmeval.backends.databricks.quartz import Expression
from pytest_llmeval.backends.databricks.quartz import Field
from pytest_llmeval.backends.databricks.quartz import parse
from pytest_llmeval.errors import ConfigurationError


OF_ONE_MACHINE = {"Factory", "localtime"}
UNIX_WEEKDAY = Field("day of week", 0, 7, DAYS)


def check_schedule(cron: str, zone: str) -> None:
    """Refuse an expression or a time zone that Databricks does not take.

    Args:
        cron: Of Quartz: ``0 0 6 * * ?`` is every day at six.
        zone: Name in the time zone database, for example ``Europe/Berlin``.

    Raises:
        ConfigurationError: one of them is wrong, or the job would never run.
    """
    if not next_times(cron, zone, datetime.now(UTC), 1):
        raise ConfigurationError(
            f"--cron {cron!r} names no time that is still to come in {zone}, so the "
            "job would never run; look at its days, months and years"
        )


def next_times(cron: str, zone: str, after: datetime, count: int) -> list[datetime]:
    """Return the first times after a moment, in the time zone of the schedule.

    Args:
        cron: As for `check_schedule`.
        zone: As for `check_schedule`.
        after: An aware moment; a time at that moment is not among the results.
        count: How many; there may be fewer, up to the end of the year 2099.

    Raises:
        ConfigurationError: the expression or the time zone is wrong.
    """
    times = _times_after(_read(cron), _find_zone(zone), after.astimezone(UTC))
    return list(itertools.islice(times, count))


def _times_after(
    expression: Expression, zone: ZoneInfo, after: datetime
) -> Iterator[datetime]:
    """Yield times in order; `after` is in UTC, for within a zone the wall compares."""
    of_day = (expression.hours, expression.minutes, expression.seconds)
    for day in _days_from(expression, after.astimezone(zone).date()):
        for numbers in itertools.product(*of_day):
            moment = datetime.combine(day, time(*numbers, fold=1), zone)
            if moment > after and _exists(moment):
                yield moment


def _days_from(expression: Expression, start: date) -> Iterator[date]:
    for year, month in itertools.product(expression.years, expression.months):
        if year >= start.year:
            days = expression.pick_days(_days_of(year, month))
            yield from (day for day in days if day >= start)


def _days_of(year: int, month: int) -> Sequence[date]:
    days = (date(year, month, 1) + timedelta(number) for number in range(31))
    return [day for day in days if day.month == month]


def _exists(moment: datetime) -> bool:
    """Whether a clock on the wall shows this time; it may leave an hour out."""
    there_and_back = moment.astimezone(UTC).astimezone(moment.tzinfo)
    return there_and_back.replace(tzinfo=None) == moment.replace(tzinfo=None)


def _read(cron: str) -> Expression:
    try:
        return parse(cron)
    except ConfigurationError as error:
        raise ConfigurationError(
            f"--cron {cron!r}: {error}{_unix_hint(cron)}"
        ) from None


def _unix_hint(cron: str) -> str:
    """Return how Quartz writes an expression of Unix, or nothing."""
    parts = cron.upper().split()
    if len(parts) != 5:
        return ""
    try:
        written = [name for name in _from_unix(*parts) if parse(name)]
    except ConfigurationError:
        return ""
    two = "two schedules, " if len(written) > 1 else ""
    return f"; a line of Unix cron becomes {two}{' and '.join(map(repr, written))}"


def _from_unix(
    minute: str, hour: str, day: str, month: str, weekday: str
) -> Iterator[str]:
    """Yield what together names the same times: either of the days, where both are."""
    numbers = {number % 7 for number in UNIX_WEEKDAY.values(weekday)}
    every_weekday = len(numbers) == len(DAYS)
    if every_weekday or day != "*":
        yield f"0 {minute} {hour} {day} {month} ?"
    if not every_weekday:
        yield f"0 {minute} {hour} ? {month} {_named(sorted(numbers))}"


def _named(weekdays: list[int]) -> str:
    names = [DAYS[number] for number in weekdays]
    in_a_row = len(names) > 2 and weekdays[-1] - weekdays[0] == len(names) - 1
    return f"{names[0]}-{names[-1]}" if in_a_row else ",".join(names)


def _find_zone(name: str) -> ZoneInfo:
    zones = available_timezones() - OF_ONE_MACHINE
    if name in zones:
        return ZoneInfo(name)
    near = _near(name, zones)
    meant = f"; do you mean {' or '.join(near)}?" if near else ""
    raise ConfigurationError(
        f"--timezone {name!r} is no name of the time zone database, such as "
        f"Europe/Berlin or UTC; an offset is none{meant}"
    )


def _near(name: str, zones: set[str]) -> list[str]:
    """Return the zones of that city, or those written alike."""
    wanted = name.strip().lower().replace(" ", "_")
    by_text = {zone.lower(): zone for zone in zones}
    cities = [text for text in by_text if wanted and f"/{text}".endswith(f"/{wanted}")]
    alike = sorted(cities) or difflib.get_close_matches(wanted, by_text, 1, 0.7)
    return [by_text[text] for text in alike]
