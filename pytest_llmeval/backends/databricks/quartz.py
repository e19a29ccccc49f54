"""Reads a Quartz cron expression: which days, hours, minutes and seconds it names.

Quartz accepts more than is accepted here, and means something else by it: ``MON/2`` is
every Monday, and what a list with ``L`` in it means depends on the version.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Sequence
from datetime import date
from datetime import timedelta
from typing import NamedTuple
from typing import NoReturn

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.text import counted


MONTHS: tuple[str, ...] = ("JAN", "FEB", "MAR", "APR", "MAY", "JUN")
MONTHS += ("JUL", "AUG", "SEP", "OCT", "NOV", "DEC")
DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
FARTHEST_FROM_LAST = 30
NUMBER = "[0-9]{1,4}"
NUMBERS = re.compile(rf"(?:\*|({NUMBER})(?:-({NUMBER}))?)(?:/({NUMBER}))?")
NAMES = re.compile(r"([A-Z]{3})(?:-([A-Z]{3}))?()")
FROM_LAST = re.compile(r"L(?:-([0-9]{1,2}))?(W?)")
NEAREST_WEEKDAY = re.compile(rf"({NUMBER})W")
ONE_OF_MONTH = re.compile(rf"({NUMBER}|[A-Z]{{3}})(?:L|#([1-5]))")

DayRule = Callable[[Sequence[date]], Sequence[date]]
"""Picks days out of all the days of one month."""


class Expression(NamedTuple):
    """What an expression names; numbers are sorted."""

    seconds: tuple[int, ...]
    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    months: tuple[int, ...]
    years: tuple[int, ...]
    pick_days: DayRule


class Field(NamedTuple):
    """One field of an expression, and what may stand in it."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    special: str = ""
    wraps: bool = True

    def values(self, text: str) -> tuple[int, ...]:
        """Return the numbers that a list of values, ranges and steps names."""
        ranges = map(self._range, text.split(","))
        return tuple(sorted({value for one in ranges for value in one}))

    def number(self, text: str) -> int:
        """Return the number of one value, which may be a name."""
        if text in self.names:
            return self.low + self.names.index(text)
        if not text.isdecimal() or not self.low <= int(text) <= self.high:
            self.refuse(text)
        return int(text)

    def refuse(self, text: str) -> NoReturn:
        """Raise the error that says what may stand here."""
        names = f" or {self.names[0]}-{self.names[-1]}" if self.names else ""
        special = f", or {self.special} with nothing beside it" if self.special else ""
        raise ConfigurationError(
            f"{text!r} is no {self.name}; it takes {self.low}-{self.high}{names}, *, "
            f"a range 2-5, a step 0/2 or 2-5/2, a list 1,3 of these{special}"
        )

    def _range(self, item: str) -> list[int]:
        found = NUMBERS.fullmatch(item) or NAMES.fullmatch(item)
        if found is None:
            self.refuse(item)
        first, last, step = found.groups()
        start = self.number(first) if first else self.low
        end = self.high if step or not first else start
        if last:
            end = self.number(last)
        if not 1 <= int(step or 1) <= self.high or (end < start and not self.wraps):
            self.refuse(item)
        span = self.high - self.low + 1
        stop = end + 1 if end >= start else end + 1 + span
        numbers = range(start, stop, int(step or 1))
        return [self.low + (number - self.low) % span for number in numbers]


SECOND = Field("second", 0, 59)
MINUTE = Field("minute", 0, 59)
HOUR = Field("hour", 0, 23)
MONTH_DAY = Field("day of month", 1, 31, special="?, L, L-3, LW, 15W")
MONTH = Field("month", 1, 12, MONTHS)
WEEKDAY = Field("day of week", 1, 7, DAYS, special="?, L, FRIL, FRI#2")
YEAR = Field("year", 1970, 2099, wraps=False)


def parse(cron: str) -> Expression:
    """Read an expression of six or seven fields.

    Raises:
        ConfigurationError: it is none; the message does not quote the whole of it.
    """
    parts = cron.upper().split()
    if len(parts) not in (6, 7):
        raise ConfigurationError(
            f"it has {counted(len(parts), 'field')}; Quartz takes 6 or 7: second "
            "minute hour day-of-month month day-of-week [year]"
        )
    second, minute, hour, day, month, weekday, *year = parts
    if (day == "?") == (weekday == "?"):
        raise ConfigurationError(
            f"exactly one of day of month ({day}) and day of week ({weekday}) must be "
            "?, which leaves the choice of the days to the other"
        )
    return Expression(
        seconds=SECOND.values(second),
        minutes=MINUTE.values(minute),
        hours=HOUR.values(hour),
        months=MONTH.values(month),
        years=YEAR.values(year[0] if year else "*"),
        pick_days=_by_weekday(weekday) if day == "?" else _by_day_of_month(day),
    )


def _by_day_of_month(text: str) -> DayRule:
    if found := FROM_LAST.fullmatch(text):
        back, move = int(found[1] or 0), _to_weekday if found[2] else _stay
        if back > FARTHEST_FROM_LAST:
            MONTH_DAY.refuse(text)
        return lambda days: [
            move(day, days) for day in days if day.day == len(days) - back
        ]
    if found := NEAREST_WEEKDAY.fullmatch(text):
        number = MONTH_DAY.number(found[1])
        return lambda days: [
            _to_weekday(day, days) for day in days if day.day == number
        ]
    numbers = MONTH_DAY.values(text)
    return lambda days: [day for day in days if day.day in numbers]


def _by_weekday(text: str) -> DayRule:
    if found := ONE_OF_MONTH.fullmatch(text):
        number, nth = WEEKDAY.number(found[1]), int(found[2] or 0)
        chosen = slice(nth - 1, nth) if nth else slice(-1, None)
        return lambda days: [day for day in days if _weekday(day) == number][chosen]
    numbers = WEEKDAY.values("SAT" if text == "L" else text)
    return lambda days: [day for day in days if _weekday(day) in numbers]


def _weekday(day: date) -> int:
    return day.isoweekday() % 7 + 1


def _stay(day: date, days: Sequence[date]) -> date:
    return day


def _to_weekday(day: date, days: Sequence[date]) -> date:
    """Return the nearest day from Monday to Friday of the same month.

    Quartz leaves out the first hours of such a day, where there are several times.
    """
    moves = {6: -1 if day != days[0] else 2, 7: 1 if day != days[-1] else -2}
    return day + timedelta(moves.get(day.isoweekday(), 0))
