"""The one JSON form of a value, and what kind of value something is."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
import numbers
from collections.abc import Mapping
from typing import Any
from typing import TypeGuard


def canonical(value: object) -> bytes:
    """Return the one JSON form of a value, the same on every engine.

    Keys are sorted, keys without a value left out, text is ASCII, NaN is null, and a
    float without a fraction is an integer, so that one table read by two engines has
    one digest.
    """
    return _encode(plain(value)).encode("ascii")


_encode = json.JSONEncoder(
    sort_keys=True, separators=(",", ":"), allow_nan=False
).encode


def plain(value: object) -> Any:
    """Return a value as JSON builtins, in the one form of `canonical`."""
    if isinstance(value, (str, bool)):  # first, because most values are text
        return value
    if is_missing(value):
        return None
    if isinstance(value, Mapping):
        return {
            str(key): form
            for key, item in value.items()
            if (form := plain(item)) is not None
        }
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if hasattr(value, "tolist"):  # numpy scalars and arrays
        return plain(value.tolist())
    if isinstance(value, int):
        return value
    if isinstance(value, float):
        if abs(value) == float("inf"):
            return None
        return int(value) if value.is_integer() else value
    return as_text(value)


def as_text(value: object) -> str:
    """Return what is neither text nor number as text: a moment in ISO form, in UTC."""
    if getattr(value, "tzinfo", None) is not None and hasattr(value, "astimezone"):
        value = value.astimezone(datetime.UTC)
    return value.isoformat() if hasattr(value, "isoformat") else str(value)


def is_missing(value: object) -> bool:
    """Return whether a cell has no value: None, NaN, and what pandas has for them."""
    if isinstance(value, str):
        return False
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, numbers.Real) and bool(value != value)


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a real number; numpy's are, a bool is not."""
    return not isinstance(value, bool) and isinstance(value, numbers.Real)


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a number that a float can hold."""
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:
        return False


def is_range(bounds: object) -> TypeGuard[tuple[float, float]]:
    """Return whether a value is a pair of finite numbers, the lower one first."""
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        return False
    low, high = bounds
    if not (is_finite(low) and is_finite(high)):
        return False
    return bool(low < high) and math.isfinite(float(high) - float(low))


def digest_of(value: object) -> str:
    """Return ``sha256:`` and the hash of the value's canonical JSON."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def finite_or_text(value: object) -> object:
    """Return a finite number as it is, anything else as text that strict JSON holds."""
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return value if number and abs(value) < float("inf") else repr(value)  # type: ignore[arg-type]  # number
