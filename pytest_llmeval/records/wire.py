"""Records as builtins, for another process, and back."""

from __future__ import annotations

import json
import types
from collections.abc import Mapping
from dataclasses import fields
from dataclasses import is_dataclass
from functools import cache
from typing import Any
from typing import TypeVar
from typing import Union
from typing import cast
from typing import get_args
from typing import get_origin
from typing import get_type_hints

from pytest_llmeval.records.canonical import plain


T = TypeVar("T")


def to_builtins(value: Any) -> Any:
    """Return a record as nested dicts and lists, by the names of its fields."""
    if is_dataclass(value):
        return {
            field.name: to_builtins(getattr(value, field.name))
            for field in fields(value)
        }
    if isinstance(value, Mapping):
        return {str(key): to_builtins(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [to_builtins(item) for item in value]
    if value is None or type(value) in (str, int, float, bool):
        return value
    return plain(value)


def from_builtins(record: type[T], data: Mapping[str, Any]) -> T:
    """Return the record that `to_builtins` was given."""
    return cast("T", _read(record, data))


def to_text(value: Any) -> str:
    """Return builtins as JSON in ASCII, which every channel takes, NaN included."""
    return json.dumps(value)


def _read(kind: Any, data: Any) -> Any:
    """Return data as the type that a field was declared with."""
    if data is None:
        return None
    if get_origin(kind) in (Union, types.UnionType):
        kinds = [one for one in get_args(kind) if one is not types.NoneType]
        lists = [one for one in kinds if get_origin(one) is tuple]
        kind = lists[0] if lists and isinstance(data, list) else kinds[0]
    if isinstance(kind, type) and is_dataclass(kind):
        hints = _hints(kind)
        return kind(**{name: _read(hints[name], item) for name, item in data.items()})
    if get_origin(kind) is tuple and isinstance(data, list):
        (item_kind, *_) = get_args(kind)
        return tuple(_read(item_kind, item) for item in data)
    return data


@cache
def _hints(record: type) -> dict[str, Any]:
    return get_type_hints(record)
