"""Asks of each day and each moment of a walk whether a Quartz expression names it."""

from calendar import monthrange
from datetime import date


MONTHS = ["JAN", "FEB", "MAR", "APR", "MAY", "JUN"]
MONTHS += ["JUL", "AUG", "SEP", "OCT", "NOV", "DEC"]
DAYS = ["SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT"]


def walk(after, zone, step, count):
    """Yield moments that follow; where a time comes twice, only its second moment."""
    for number in range(1, count + 1):
        moment = (after + number * step).astimezone(zone)
        if moment.utcoffset() == moment.replace(fold=1).utcoffset():
            yield moment


def holds(text, value, low, high, names=()):
    """Whether a list of values, ranges and steps names the value."""
    return any(_item_holds(item, value, low, high, names) for item in text.split(","))


def _item_holds(item, value, low, high, names):
    values, _, step = item.partition("/")
    ends = [
        names.index(end) + low if end in names else int(end)
        for end in values.replace("*", f"{low}-{high}").split("-")
    ]
    first, last = ends[0], high if step and len(ends) == 1 else ends[-1]
    span = high - low + 1
    distance = (value - first) % span
    return distance <= (last - first) % span and distance % int(step or 1) == 0


def day_holds(day, month_day, weekday):
    """Whether the fields of day of month and day of week, one of them ?, name a day."""
    return _weekday_holds(day, weekday) if month_day == "?" else _nears(day, month_day)


def _weekday_holds(day, text):
    number, last = int(day.strftime("%w")) + 1, monthrange(day.year, day.month)[1]
    if text == "L":
        return number == 7
    if text.endswith("L"):
        return holds(text[:-1], number, 1, 7, DAYS) and day.day > last - 7
    name, _, nth = text.partition("#")
    is_nth = not nth or (day.day + 6) // 7 == int(nth)
    return is_nth and holds(name, number, 1, 7, DAYS)


def _nears(day, text):
    last = monthrange(day.year, day.month)[1]
    wanted = text.removesuffix("W")
    if wanted.startswith("L"):
        wanted = str(last - int(wanted[2:] or 0))
    if not text.endswith("W"):
        return day.day == int(wanted) if "L" in text else holds(text, day.day, 1, 31)
    weekdays = [
        number
        for number in range(1, last + 1)
        if date(day.year, day.month, number).strftime("%a") not in ("Sat", "Sun")
    ]
    nearest = min(weekdays, key=lambda number: abs(number - int(wanted)))
    return 1 <= int(wanted) <= last and day.day == nearest
