"""As much of GitHub's expressions as the workflows use; anything else is an error."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any


TOKEN = re.compile(
    r"\s*(?:(?P<text>'(?:[^']|'')*')|(?P<operator>&&|\|\||==|!=|[()])"
    r"|(?P<function>(?:always|success)\(\))|(?P<name>[A-Za-z_][\w.-]*))"
)
OPERATORS = {"&&": "and", "||": "or"}


def evaluate(expression: str, contexts: Mapping[str, Any]) -> Any:
    """Return the value of an expression; what is not there is an empty text."""
    values: list[Any] = []
    translated, place = [], 0
    text = expression.strip()
    while place < len(text):
        token = TOKEN.match(text, place)
        if token is None:
            raise ValueError(f"cannot read {text[place:]!r} of {expression!r}")
        place = token.end()
        if operator := token["operator"]:
            translated.append(OPERATORS.get(operator, operator))
            continue
        translated.append(f"values[{len(values)}]")
        values.append(_value(token, contexts))
    return eval(" ".join(translated), {"values": values})


def _value(token: re.Match[str], contexts: Mapping[str, Any]) -> Any:
    if token["text"]:
        return token["text"][1:-1].replace("''", "'")
    if token["function"]:
        return contexts[token["function"]]
    first, *rest = token["name"].split(".")
    value = contexts[first]  # a context that is not there is a mistake of ours
    for part in rest:
        value = value.get(part, "") if isinstance(value, Mapping) else ""
    return value


def fill(text: str, contexts: Mapping[str, Any]) -> str:
    """Return a text with each ``${{ … }}`` in it replaced by its value."""
    return re.sub(
        r"\$\{\{(.*?)\}\}", lambda found: str(evaluate(found[1], contexts)), text
    )


def holds(condition: str | None, contexts: Mapping[str, Any]) -> bool:
    """Return whether a step or job runs: after a failure only those that say so."""
    if condition is None:
        return bool(contexts["success()"])
    bare = condition.removeprefix("${{").removesuffix("}}")
    value = bool(evaluate(bare, contexts))
    return value and ("always()" in bare or bool(contexts["success()"]))
