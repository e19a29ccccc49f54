"""Daily evaluations to watch."""

from datetime import UTC
from datetime import datetime
from datetime import timedelta

from pytest_llmeval.drift import Point


FIRST = datetime(2026, 11, 1, tzinfo=UTC)
DAY = timedelta(days=1)


def daily(values, n=100):
    """Return an evaluation of n rows a day."""
    return [Point(FIRST + at * DAY, value, n) for at, value in enumerate(values)]


def day(number):
    """Return the time of the evaluation with this number, from 0."""
    return FIRST + number * DAY
