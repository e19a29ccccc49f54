"""What stands in the JSON of requests and replies of chat endpoints and agents.

Inference tables and traces keep both as they were sent. Other JSON stays as it is: it
may be what the model was to write.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple


LONGEST_JSON = 1_000_000
INPUTS = ("prompt", "input", "question", "query", "inputs", "message", "content")


class Tokens(NamedTuple):
    """What a reply says it took; None where it does not say."""

    prompt: int | None = None
    output: int | None = None


def question_of(value: Any) -> str:
    """Return what was asked: of a conversation, what the user said last."""
    document = _opened(value)
    if not isinstance(document, Mapping):
        return _text(document if isinstance(document, list) else value)
    messages = document.get("messages", document.get("input"))
    if isinstance(messages, list):
        return _last(messages, "user")
    for name in INPUTS:
        if document.get(name) is not None:
            return question_of(document[name])
    values = list(document.values())
    return question_of(values[0]) if len(values) == 1 else _text(value)


def answer_of(value: Any) -> str:
    """Return what the model said."""
    document = _opened(value)
    if isinstance(document, Mapping):
        for read in (_of_choices, _of_outputs, _of_predictions, _of_messages):
            text = read(document)
            if text is not None:
                return text
    return _text(value)


def tokens_of(value: Any) -> Tokens:
    """Return how many tokens a reply of a chat endpoint says that it took."""
    document = _opened(value)
    usage = document.get("usage") if isinstance(document, Mapping) else None
    if not isinstance(usage, Mapping):
        return Tokens()
    return Tokens(
        _count(usage.get("prompt_tokens", usage.get("input_tokens"))),
        _count(usage.get("completion_tokens", usage.get("output_tokens"))),
    )


def _of_choices(document: Mapping[str, Any]) -> str | None:
    choices = document.get("choices")
    if not isinstance(choices, list):
        return None
    first = choices[0] if choices and isinstance(choices[0], Mapping) else {}
    message = first.get("message")
    said = message.get("content") if isinstance(message, Mapping) else first.get("text")
    return _parts(said)


def _of_outputs(document: Mapping[str, Any]) -> str | None:
    output = document.get("output")
    if not isinstance(output, list):
        return None
    messages = [item for item in output if isinstance(item, Mapping)]
    return "".join(_parts(item.get("content")) for item in messages)


def _of_predictions(document: Mapping[str, Any]) -> str | None:
    predictions = document.get("predictions")
    if predictions is None or len(document) > 2:  # "usage" beside it
        return None
    if isinstance(predictions, list) and len(predictions) == 1:
        predictions = predictions[0]
    return answer_of(predictions)


def _of_messages(document: Mapping[str, Any]) -> str | None:
    messages = document.get("messages")
    return _last(messages, "assistant") if isinstance(messages, list) else None


def _last(messages: list[Any], role: str) -> str:
    own = [one for one in messages if isinstance(one, Mapping)]
    said = [one for one in own if one.get("role") == role] or own
    return _parts(said[-1].get("content")) if said else ""


def _parts(content: Any) -> str:
    """Return the text of a message, which may come in parts."""
    if content is None:
        return ""  # a tool call without words
    if isinstance(content, list):
        parts = [one.get("text") for one in content if isinstance(one, Mapping)]
        return "".join(part for part in parts if isinstance(part, str))
    return _text(content)


def _opened(value: Any) -> Any:
    if not isinstance(value, str) or len(value) > LONGEST_JSON:
        return value
    if not value.lstrip().startswith(("{", "[")):
        return value
    try:
        return json.loads(value)
    except (ValueError, RecursionError):
        return value


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, default=str, ensure_ascii=False)


def _count(value: object) -> int | None:
    is_count = isinstance(value, int) and not isinstance(value, bool)
    return value if is_count and value >= 0 else None  # type: ignore[operator, return-value]  # a count
