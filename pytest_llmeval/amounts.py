"""Ages and sizes as people write them: ``30d``, ``5GB``."""

from __future__ import annotations

import re


SECONDS = {"d": 86_400, "h": 3_600, "min": 60}
BYTES = {"MB": 10**6, "GB": 10**9, "TB": 10**12}


def read_age(text: str) -> float:
    """Return an age in seconds.

    Raises:
        ValueError: the text is no age; the message gives examples.
    """
    match = re.fullmatch(r"([0-9]{1,6})(d|h|min)", text)
    if match is None:
        raise ValueError(f"{text!r} is not an age: 30d, 12h or 90min")
    return float(int(match[1]) * SECONDS[match[2]])


def read_size(text: str) -> int:
    """Return a size in bytes.

    Raises:
        ValueError: the text is no size; the message gives examples.
    """
    match = re.fullmatch(r"([0-9]{1,6}(?:\.[0-9]{1,3})?)(MB|GB|TB)", text)
    if match is None:
        raise ValueError(f"{text!r} is not a size: 500MB, 1.5GB or 2TB")
    return round(float(match[1]) * BYTES[match[2]])


def size(number_bytes: float) -> str:
    """Return a size in one unit: ``0.4 MB``, ``1.5 GB``."""
    for unit, factor in (("TB", 10**12), ("GB", 10**9)):
        if number_bytes >= factor:
            return f"{number_bytes / factor:.1f} {unit}"
    return f"{number_bytes / 10**6:.1f} MB"
