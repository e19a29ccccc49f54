"""Sends messages to webhooks that take ``{"text": …}``, as Slack's do.

Their URLs are secrets: they come from the environment, and no error repeats them.
"""

from __future__ import annotations

import http.client
import json
import os
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from urllib.parse import urlsplit

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError


TIMEOUT_S = 10.0
ATTEMPTS = 3
PAUSES_S = (1.0, 3.0)
LONGEST_PAUSE_S = 10.0
"""A server that asks for more gets the message next time."""
USUAL = "LLMEVAL_ALARM_URL"


class NotSent(LLMEvalError, RuntimeError):
    """A message has not arrived, as far as is known."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """A redirection would be followed by a GET, which tells nobody anything."""

    def redirect_request(self, *arguments: object) -> None:
        return None


def find_channels(names: Sequence[str] | None) -> dict[str, str]:
    """Return the URLs in environment variables, by the variables' names.

    Args:
        names: Of the variables; None takes the usual one where it is set.

    Raises:
        ConfigurationError: a variable is not set, or holds no URL.
    """
    wanted = list(names) if names is not None else [USUAL] * (USUAL in os.environ)
    return {name: _url_in(name) for name in wanted}


def _url_in(name: str) -> str:
    if "/" in name or ":" in name:
        raise ConfigurationError(
            "--alarm takes names of environment variables, because a webhook's URL is "
            f"a secret that the list of processes shows: export it as {USUAL}"
        )
    url = os.environ.get(name, "").strip()
    try:
        parts = urlsplit(url)
        is_url = parts.scheme in ("http", "https") and bool(parts.hostname)
    except ValueError:
        is_url = False
    if not is_url or not url.isascii() or any(char.isspace() for char in url):
        state = "holds no http or https URL" if url else "is not set"
        raise ConfigurationError(
            f"the environment variable {name!r:.60} {state}; it should hold the URL of "
            "a webhook that takes messages as Slack's do"
        )
    return url


def send(url: str, text: str) -> None:
    """Send a message; try again where that may help.

    Raises:
        NotSent: it has not arrived, or the server did not say so.
    """
    for attempt in range(ATTEMPTS):
        try:
            return _post(url, text)
        except urllib.error.HTTPError as error:
            failure = f"HTTP {error.code}"
            pause_s = _pause_s(error, attempt)
        except (OSError, http.client.HTTPException) as error:
            failure, pause_s = _told(error), _usual_pause_s(attempt)
        if pause_s is None:
            break
        time.sleep(pause_s)
    raise NotSent(f"the webhook does not take the message: {failure}")


def _post(url: str, text: str) -> None:
    request = urllib.request.Request(  # noqa: S310  # its scheme was looked at
        url,
        json.dumps({"text": text}).encode(),
        {"Content-Type": "application/json"},
        method="POST",
    )
    opener = urllib.request.build_opener(_NoRedirect)
    with opener.open(request, timeout=TIMEOUT_S):
        return


def _pause_s(error: urllib.error.HTTPError, attempt: int) -> float | None:
    """Return how long to wait; None where it makes no sense to try again now."""
    if error.code != 429 and error.code < 500:  # HTTP's own
        return None
    asked = error.headers.get("Retry-After", "")
    usual = _usual_pause_s(attempt)
    if usual is None or not asked.isdecimal():
        return usual
    return None if float(asked) > LONGEST_PAUSE_S else float(asked)


def _usual_pause_s(attempt: int) -> float | None:
    return PAUSES_S[attempt] if attempt < len(PAUSES_S) else None


def _told(error: Exception) -> str:
    """Return what went wrong by its kind: its text might quote the URL."""
    cause = getattr(error, "reason", error)
    kind = cause if isinstance(cause, Exception) else error
    number = kind.errno if isinstance(kind, OSError) else None
    said = os.strerror(number) if number is not None and number > 0 else ""
    return f"{type(kind).__name__} {said}".strip()
