"""Makes hostile strings safe: the last step before a terminal, report or file."""

from __future__ import annotations

import json
import os
import re
import time
import unicodedata
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from itertools import islice
from typing import Any


SECRET_NAMES = re.compile(r"TOKEN|KEY|SECRET|PASSWORD|ALARM_URL", re.IGNORECASE)
REDACT_VARIABLE = "LLMEVAL_REDACT"
"""Names further variables that hold secrets, with commas between."""
SECRET_MIN_LENGTH = 8
URL_USER = re.compile(r"(?<=://)[^/\s]+@")
SPARK_TOKEN = re.compile(r"(;token=)[^;\s'\"]+", re.IGNORECASE)
FIELD_LIMIT = 2_000
SHORTEST_CUT = 100
# GitHub's runner obeys ::error:: after nothing but space, and ##[error] anywhere in a
# line; the agents of Azure and TeamCity obey ##vso[ and ##teamcity[ likewise.
WORKFLOW_COMMAND = re.compile(r"^([^\S\n]*):(?=:)|#(?=#\w*\[)", re.MULTILINE)


def sanitize(text: str) -> str:
    r"""Backslash-escape every character that is not printable, except \n and \t.

    Covers control characters, terminal escapes, bidirectional overrides, NUL and
    lone surrogates; spaces of any width stay. The sign that begins a workflow command,
    which a CI system would obey when it reads the log, is escaped too.
    """
    if not (text.isascii() and text.isprintable()):
        text = "".join(map(_visible, text))
    return WORKFLOW_COMMAND.sub(_escape_last, text)


def _escape_last(found: re.Match[str]) -> str:
    return f"{found[0][:-1]}\\x{ord(found[0][-1]):02x}"


def _visible(char: str) -> str:
    if char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs":
        return char
    return (
        char.encode("ascii", "backslashreplace").decode()
        if char > "\x7f"
        else (f"\\x{ord(char):02x}")
    )


def cut(text: str, limit: int = FIELD_LIMIT) -> str:
    """Shorten to head and tail, with the length and SHA-256 of the whole."""
    if len(text) <= limit:
        return text
    import hashlib  # not at the top: its library is loaded in every pytest run then

    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
    note = f" … [{len(text)} characters, sha256 {digest[:16]}] … "
    keep = max(limit - len(note), 2)
    return text[: keep - keep // 3] + note + text[len(text) - keep // 3 :]


def redact(text: str) -> str:
    """Replace secrets: values of secret-looking variables and user info in URLs."""
    return redactor()(text)


def redactor() -> Callable[[str], str]:
    """Return `redact` with the secrets of this moment: for many texts, far faster."""
    # The names first: to read a value takes longer than to see that it is no secret.
    values = [os.environ.get(name, "") for name in _secret_names()]
    secrets = {value for value in values if len(value) >= SECRET_MIN_LENGTH}
    # Refusals are quoted as they come, often as JSON; junit is XML.
    secrets |= {form for secret in secrets for form in _quoted(secret)}
    longest_first = sorted(secrets, key=len, reverse=True)

    def redact_all(text: str) -> str:
        if any(secret in text for secret in longest_first):
            text = re.sub("|".join(map(re.escape, longest_first)), "[redacted]", text)
        if "://" not in text:
            return text
        text = SPARK_TOKEN.sub(r"\1[redacted]", text)
        return URL_USER.sub("[redacted]@", text)

    return redact_all


def _quoted(secret: str) -> set[str]:
    """Return how JSON and Python write a text, and how XML writes that and the text."""
    forms = {secret, json.dumps(secret)[1:-1], repr(secret)[1:-1]}
    forms |= {form.replace("&", "&amp;").replace("<", "&lt;") for form in forms}
    forms |= {form.replace(">", "&gt;") for form in forms}
    return forms | {form.replace('"', "&quot;") for form in forms}


def _secret_names() -> set[str]:
    named = os.environ.get(REDACT_VARIABLE, "").split(",")
    return {*filter(SECRET_NAMES.search, os.environ), *named} & set(os.environ)


def secrets_in(content: bytes) -> list[str]:
    """Return the environment variables whose secret values stand in some bytes."""
    return [
        name
        for name in sorted(_secret_names())
        if len(os.environ[name]) >= SECRET_MIN_LENGTH
        and os.environ[name].encode("utf-8", "surrogateescape") in content
    ]


def redact_within(value: Any, redact: Callable[[str], str]) -> Any:
    """Return a value of builtins with every text in it redacted."""
    if isinstance(value, str):
        return redact(value)
    if isinstance(value, Mapping):
        return {key: redact_within(item, redact) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [redact_within(item, redact) for item in value]
    return value


def counted(number: int, noun: str) -> str:
    """Return a number with what is counted: ``1 request``, ``1,000 requests``."""
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def age(seconds: float) -> str:
    """Return how long ago something was, in one unit: ``90 s``, ``5 min``, ``12 d``."""
    for unit, length in (("d", 86_400), ("h", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def utc(seconds: float) -> str:
    """Return a Unix time as ``2026-11-25T08:35:32Z``; such texts sort by time."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def safe(
    text: object,
    limit: int = FIELD_LIMIT,
    redact: Callable[[str], str] = redact,
) -> str:
    """Redact, cut and sanitise: for anything that a person or a report will read.

    The result is longer than `limit` only by what escaping adds, at most twice.

    Args:
        text: Its text is taken.
        limit: In characters.
        redact: What `redactor` returned, where many texts are made safe at once.
    """
    redacted, keep = redact(str(text)), limit
    shown = sanitize(cut(redacted, keep))
    while len(shown) > 2 * limit and keep > SHORTEST_CUT:
        keep //= 2
        shown = sanitize(cut(redacted, keep))
    return shown


def one_line(text: object, limit: int = 160) -> str:
    """`safe` on a single line: line breaks and runs of space become one space."""
    return safe(" ".join(redact(str(text)).split()), limit)


def first_few(ids: Iterable[str], most: int = 5) -> str:
    """Return the first ids on one line, and whether there are more."""
    few = [one_line(row_id, 60) for row_id in islice(ids, most + 1)]
    named = ", ".join(few[:most])
    return f"{named} …" if len(few) > most else named or "none"
