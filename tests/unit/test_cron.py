"""Schedules of Databricks jobs are checked before any call, and their times are known.

The times are compared with those of Quartz's own documentation and source, and with a
walk through the days and minutes that asks of each whether the expression holds.
"""

from __future__ import annotations

import random
from datetime import UTC
from datetime import date
from datetime import datetime
from datetime import timedelta
from zoneinfo import ZoneInfo

import pytest

from pytest_llmeval.backends.databricks.cron import check_schedule
from pytest_llmeval.backends.databricks.cron import next_times
from pytest_llmeval.errors import ConfigurationError

from .walked_times import DAYS
from .walked_times import MONTHS
from .walked_times import day_holds
from .walked_times import holds
from .walked_times import walk


# A Sunday; 2024 is a leap year.
NEW_YEAR = datetime(2023, 1, 1, tzinfo=UTC)

# The examples of Quartz's tutorial, with the first times in 2023 by a wall calendar.
TUTORIAL = {
    "0 0 12 * * ?": "01-01 12:00, 01-02 12:00",
    "0 15 10 ? * *": "01-01 10:15, 01-02 10:15",
    "0 15 10 * * ?": "01-01 10:15, 01-02 10:15",
    "0 15 10 * * ? *": "01-01 10:15, 01-02 10:15",
    "0 15 10 * * ? 2023": "01-01 10:15, 01-02 10:15",
    "0 * 14 * * ?": "01-01 14:00, 01-01 14:01",
    "0 0/5 14 * * ?": "01-01 14:00, 01-01 14:05",
    "0 0/5 14,18 * * ?": "01-01 14:00, 01-01 14:05",
    "0 0-5 14 * * ?": "01-01 14:00, 01-01 14:01, 01-01 14:02",
    "0 10,44 14 ? 3 WED": "03-01 14:10, 03-01 14:44, 03-08 14:10",
    "0 15 10 ? * MON-FRI": "01-02 10:15, 01-03 10:15",
    "0 15 10 15 * ?": "01-15 10:15, 02-15 10:15",
    "0 15 10 L * ?": "01-31 10:15, 02-28 10:15, 03-31 10:15, 04-30 10:15",
    "0 15 10 L-2 * ?": "01-29 10:15, 02-26 10:15",
    "0 15 10 ? * 6L": "01-27 10:15, 02-24 10:15, 03-31 10:15",
    "0 15 10 ? * 6#3": "01-20 10:15, 02-17 10:15",
    "0 0 12 1/5 * ?": "01-01 12:00, 01-06 12:00, 01-11 12:00",
    "0 11 11 11 11 ?": "11-11 11:11",
    # Of lesson 6 and of the documentation of the class.
    "10 0/5 * * * ?": "01-01 00:00, 01-01 00:05",
    "0 30 10-13 ? * WED,FRI": "01-04 10:30, 01-04 11:30, 01-04 12:30, 01-04 13:30, "
    "01-06 10:30",
    "0 0/30 8-9 5,20 * ?": "01-05 08:00, 01-05 08:30, 01-05 09:00, 01-05 09:30, "
    "01-20 08:00",
    "0 0 6 15W * ?": "01-16 06:00, 02-15 06:00, 03-15 06:00, 04-14 06:00",
    "0 0 6 1W * ?": "01-02 06:00, 02-01 06:00, 03-01 06:00, 04-03 06:00",
    "0 0 6 31W * ?": "01-31 06:00, 03-31 06:00, 05-31 06:00, 07-31 06:00",
    "0 0 6 LW * ?": "01-31 06:00, 02-28 06:00, 03-31 06:00, 04-28 06:00",
    "0 0 6 ? * 4#5": "03-29 06:00, 05-31 06:00, 08-30 06:00",
    "0 0 6 ? * L": "01-07 06:00, 01-14 06:00",
    "0 0 22-2 * * ?": "01-01 00:00, 01-01 01:00, 01-01 02:00, 01-01 22:00",
    "0 0 6 1 NOV-FEB ?": "01-01 06:00, 02-01 06:00, 11-01 06:00, 12-01 06:00",
    "0 0 6 ? * fri-mon": "01-01 06:00, 01-02 06:00, 01-06 06:00, 01-07 06:00",
}


@pytest.mark.parametrize(("cron", "times"), TUTORIAL.items())
def test_examples_of_the_quartz_documentation_run_when_it_says(cron, times):
    expected = times.split(", ")
    just_before = NEW_YEAR - timedelta(seconds=1)
    found = next_times(cron, "UTC", just_before, len(expected))
    assert [f"{time:%m-%d %H:%M}" for time in found] == expected
    assert {time.second for time in found} == {10 if cron.startswith("10") else 0}


def test_days_of_leap_years_come_in_leap_years_only():
    found = next_times("0 0 6 29 2 ?", "UTC", NEW_YEAR, 2)
    assert [time.date() for time in found] == [date(2024, 2, 29), date(2028, 2, 29)]


def test_a_time_at_the_moment_itself_is_not_next():
    at_six = datetime(2023, 1, 1, 6, tzinfo=UTC)
    assert next_times("0 0 6 * * ?", "UTC", at_six, 1)[0].day == 2


def test_times_end_with_the_last_year_that_quartz_knows():
    last = datetime(2099, 12, 30, 12, tzinfo=UTC)
    assert len(next_times("0 0 6 * * ?", "UTC", last, 5)) == 1


# As Quartz's own class CronExpression gives them.
CLOCK_CHANGES = [
    ("0 30 2 * * ?", "2026-03-28T12:00+01:00", "30T02:30+02:00 31T02:30+02:00"),
    ("0 0 * * * ?", "2026-03-29T00:00+01:00", "29T01:00+01:00 29T03:00+02:00"),
    ("0 30 2 * * ?", "2026-10-24T12:00+02:00", "25T02:30+01:00 26T02:30+01:00"),
    (
        "0 0/30 1-2 * * ?",
        "2026-10-25T00:30+02:00",
        "25T01:00+02:00 25T01:30+02:00 25T02:00+01:00 25T02:30+01:00 26T01:00+01:00",
    ),
]


@pytest.mark.parametrize(("cron", "after", "times"), CLOCK_CHANGES)
def test_where_clocks_change_a_job_runs_as_by_quartz(cron, after, times):
    expected = times.split()
    moment = datetime.fromisoformat(after)
    found = next_times(cron, "Europe/Berlin", moment, len(expected))
    assert [time.isoformat(timespec="minutes")[8:] for time in found] == expected


def a_list(draw, low, high, names=()):
    """Draw one to three values, ranges and steps, and names where there are any."""

    def item():
        first, last = draw.randint(low, high), draw.randint(low, high)
        numbers = [f"{first}", f"{first}-{last}", "*"]
        stepped = [f"{one}/{draw.randint(1, high)}" for one in numbers]
        named = ["-".join(draw.choices(names, k=count)) for count in (1, 2) if names]
        return draw.choice(numbers + stepped + named)

    return ",".join(item() for _ in range(draw.choice((1, 1, 2, 3))))


def some_days(draw):
    """Draw day of month and day of week, one of which is ?."""
    number, named = draw.randint(1, 7), draw.choice(DAYS)
    if draw.random() < 0.5:
        ends = ["L", "LW", f"L-{draw.randint(0, 30)}", f"L-{draw.randint(1, 30)}W"]
        return draw.choice([a_list(draw, 1, 31), f"{draw.randint(1, 31)}W", *ends]), "?"
    nth = [f"{day}#{draw.randint(1, 5)}" for day in (number, named)]
    return "?", draw.choice(
        [a_list(draw, 1, 7, DAYS), "L", f"{number}L", f"{named}L", *nth]
    )


@pytest.mark.parametrize("seed", range(300))
def test_any_days_are_those_that_a_walk_through_the_calendar_finds(seed):
    draw = random.Random(seed)
    (month_day, weekday), months = some_days(draw), a_list(draw, 1, 12, MONTHS)
    start = date(2026, 11, 30) + timedelta(draw.randint(0, 2000))
    days = [start + timedelta(number) for number in range(1, 800)]
    expected = [
        day
        for day in days
        if holds(months, day.month, 1, 12, MONTHS)
        and day_holds(day, month_day, weekday)
    ]
    cron = f"0 0 6 {month_day} {months} {weekday}"
    after = datetime(start.year, start.month, start.day, 12, tzinfo=UTC)
    found = next_times(cron, "UTC", after, len(expected) + 1)
    assert [time.date() for time in found][: len(expected)] == expected, cron
    assert all(time.date() > days[-1] for time in found[len(expected) :]), cron


# A clock change in each, and that of Lord Howe is of half an hour.
CHANGES = {
    "Europe/Berlin": ("2026-03-28T20:00", "2026-10-24T20:00"),
    "America/New_York": ("2026-03-08T00:00", "2026-11-01T00:00"),
    "Australia/Lord_Howe": ("2026-04-04T10:00", "2026-10-03T10:00"),
    "Asia/Kathmandu": ("2026-01-01T00:00",),
}
MOMENTS = [(zone, start) for zone, starts in CHANGES.items() for start in starts]


@pytest.mark.parametrize("seed", range(20))
@pytest.mark.parametrize(("zone", "start"), MOMENTS)
def test_any_times_are_those_that_a_walk_through_the_minutes_finds(zone, start, seed):
    draw = random.Random(f"{zone} {start} {seed}")
    minute, hour = a_list(draw, 0, 59), a_list(draw, 0, 23)
    after = datetime.fromisoformat(start).replace(tzinfo=UTC)
    expected = [
        time
        for time in walk(after, ZoneInfo(zone), timedelta(minutes=1), 24 * 60)
        if holds(minute, time.minute, 0, 59) and holds(hour, time.hour, 0, 23)
    ]
    cron = f"0 {minute} {hour} * * ?"
    found = next_times(cron, zone, after, len(expected))
    assert [time.isoformat() for time in found] == [t.isoformat() for t in expected]


@pytest.mark.parametrize("seed", range(20))
def test_any_seconds_are_those_that_a_walk_through_the_seconds_finds(seed):
    second = a_list(random.Random(seed), 0, 59)
    seconds = walk(NEW_YEAR, ZoneInfo("UTC"), timedelta(seconds=1), 200)
    expected = [time for time in seconds if holds(second, time.second, 0, 59)]
    found = next_times(f"{second} * * * * ?", "UTC", NEW_YEAR, len(expected))
    assert found == expected


@pytest.mark.parametrize("years", ["2030", "2031/33", "2098-2099", "2040,2039"])
def test_any_years_are_those_that_are_named(years):
    expected = [y for y in range(2026, 2100) if holds(years, y, 1970, 2099)]
    found = next_times(f"0 0 6 1 1 ? {years}", "UTC", NEW_YEAR, 99)
    assert [time.year for time in found] == expected


REFUSED = {
    "0 0 6 * * *": "exactly one of day of month (*) and day of week (*) must be ?",
    "0 0 6 ? * ?": "exactly one of day of month (?) and day of week (?) must be ?",
    "0 0 ? * * ?": "'?' is no hour; it takes 0-23, *,",
    "60 0 6 * * ?": "'60' is no second; it takes 0-59",
    "0 0 24 * * ?": "'24' is no hour; it takes 0-23",
    "0 0 6 0 * ?": "'0' is no day of month; it takes 1-31",
    "0 0 6 32W * ?": "'32' is no day of month",
    "0 0 6 L-31 * ?": "'L-31' is no day of month",
    "0 0 6 L,5 * ?": "'L' is no day of month; it takes 1-31, *, a range 2-5, a step "
    "0/2 or 2-5/2, a list 1,3 of these, or ?, L, L-3, LW, 15W with nothing beside it",
    "0 0 6 1W,15W * ?": "'1W' is no day of month",
    "0 0 6 * 13 ?": "'13' is no month; it takes 1-12 or JAN-DEC",
    "0 0 6 * MAI ?": "'MAI' is no month",
    "0 0 6 * JAN-6 ?": "'JAN-6' is no month",
    "0 0 6 ? * 0": "'0' is no day of week; it takes 1-7 or SUN-SAT",
    "0 0 6 ? * MON/2": "'MON/2' is no day of week",
    "0 0 6 ? * FRI#6": "'FRI#6' is no day of week",
    "0 0 6 ? * 2#1,6#3": "'2#1' is no day of week",
    "0 0/0 6 * * ?": "'0/0' is no minute",
    "0 0/60 6 * * ?": "'0/60' is no minute",
    "0 5- 6 * * ?": "'5-' is no minute",
    "0 1,,2 6 * * ?": "'' is no minute",
    "0 -5 6 * * ?": "'-5' is no minute",
    "0 ٣ 6 * * ?": "'٣' is no minute",
    "0 0 6 * * ? 1969": "'1969' is no year; it takes 1970-2099",
    "0 0 6 * * ? 2030-2027": "'2030-2027' is no year",
    "0 0 6 * * ? 2030 1": "it has 8 fields; Quartz takes 6 or 7: second minute hour",
    "@daily": "it has 1 field; Quartz takes 6 or 7",
    "": "it has 0 fields",
}


@pytest.mark.parametrize(("cron", "said"), REFUSED.items())
def test_an_expression_that_is_none_is_refused_with_what_is_allowed(cron, said):
    with pytest.raises(ConfigurationError) as error:
        check_schedule(cron, "UTC")
    assert str(error.value).startswith(f"--cron {cron!r}: {said}")


UNIX = {
    "0 6 * * *": "'0 0 6 * * ?'",
    "*/15 8-18 * * 1-5": "'0 */15 8-18 ? * MON-FRI'",
    "30 5 * * 0,6": "'0 30 5 ? * SUN,SAT'",
    "30 5 * * 7": "'0 30 5 ? * SUN'",
    "30 5 * jan sun": "'0 30 5 ? JAN SUN'",
    "0 6 * * 0-7": "'0 0 6 * * ?'",
    "0 6 1 * *": "'0 0 6 1 * ?'",
    "0 6 1 * mon": "two schedules, '0 0 6 1 * ?' and '0 0 6 ? * MON'",
}


@pytest.mark.parametrize(("cron", "quartz"), UNIX.items())
def test_an_expression_of_unix_is_refused_with_its_form_in_quartz(cron, quartz):
    with pytest.raises(ConfigurationError) as error:
        check_schedule(cron, "UTC")
    assert str(error.value).endswith(f"; a line of Unix cron becomes {quartz}")


def test_five_fields_that_are_not_of_unix_get_no_form_in_quartz():
    with pytest.raises(ConfigurationError, match=r"5 fields.*day-of-week \[year\]$"):
        check_schedule("0 25 * * *", "UTC")


@pytest.mark.parametrize(
    ("cron", "zone"),
    [
        ("0 0 6 30 FEB ?", "UTC"),
        ("0 0 6 31 4,6,9,11 ?", "UTC"),
        ("0 0 6 * * ? 2020", "UTC"),
        ("0 0 6 29 2 ? 2099", "UTC"),
        ("0 30 2 31 3 ? 2030", "Europe/Berlin"),  # the clock goes from 2 to 3
    ],
)
def test_an_expression_that_names_no_time_to_come_is_refused(cron, zone):
    with pytest.raises(ConfigurationError) as error:
        check_schedule(cron, zone)
    assert str(error.value) == (
        f"--cron {cron!r} names no time that is still to come in {zone}, so the job "
        "would never run; look at its days, months and years"
    )


@pytest.mark.parametrize("zone", ["Europe/Berlin", "UTC", "CET", "Etc/GMT+1"])
def test_names_of_the_time_zone_database_are_taken(zone):
    time = next_times("0 0 6 * * ?", zone, NEW_YEAR, 1)[0]
    assert (time.hour, str(time.tzinfo)) == (6, zone)


@pytest.mark.parametrize(
    ("zone", "meant"),
    [
        ("Europe/Berln", "; do you mean Europe/Berlin?"),
        ("europe/berlin", "; do you mean Europe/Berlin?"),
        ("Berlin", "; do you mean Europe/Berlin?"),
        ("America/New York", "; do you mean America/New_York?"),
        ("UTC+1", "; do you mean UTC?"),
        ("+01:00", ""),
        ("../../etc/passwd", ""),
        ("localtime", ""),
        ("", ""),
    ],
)
def test_another_time_zone_is_refused_with_what_may_be_meant(zone, meant):
    with pytest.raises(ConfigurationError) as error:
        check_schedule("0 0 6 * * ?", zone)
    assert str(error.value) == (
        f"--timezone {zone!r} is no name of the time zone database, such as "
        f"Europe/Berlin or UTC; an offset is none{meant}"
    )
