"""Placeholders of the templates: ``@@NAME@@``, which no language of theirs uses."""

from __future__ import annotations

import re
from collections.abc import Mapping


PLACEHOLDER = re.compile(r"@@([A-Za-z_]*)@@")


def fill(text: str, values: Mapping[str, str], name: str) -> str:
    """Replace each placeholder by its value.

    Args:
        text: Of the template.
        values: By the name of the placeholder.
        name: Of the template, for the message.

    Raises:
        ValueError: a placeholder has no value.
    """
    unknown = set(PLACEHOLDER.findall(text)) - set(values)
    if unknown:
        raise ValueError(
            f"{name} has the placeholders {sorted(unknown)}; known are {sorted(values)}"
        )
    filled = PLACEHOLDER.sub(lambda found: values[found[1]], text)
    if "@@" in filled:
        raise ValueError(f"{name} has a placeholder that is not closed by @@")
    return filled
