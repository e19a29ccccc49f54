"""A model behind an endpoint that speaks OpenAI's chat or completion protocol.

Apart from the backends, because several of them lead to one.
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Mapping
from contextlib import asynccontextmanager
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.errors import ModelRefused
from pytest_llmeval.records import Ask
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply
from pytest_llmeval.records import is_finite
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    import aiohttp


LONGEST_REPLY_BYTES = 64 * 2**20
MOST_TOKENS = 2**53
"""Beyond it a count is a mistake, and no float holds it exactly."""


class ChatModel:
    """An endpoint that is asked by POST.

    Args:
        url: Where requests go, query included.
        ref: Which model answers there.
        name: The model's, for servers that have several.
        authorize: Gives the headers that authorize a session's requests.
        credentials: What holds them, for the error when they are refused.
        unnamed: Added to an error that a missing name may be the cause of.
    """

    concurrency: int | None = None
    sees_example = False

    def __init__(
        self,
        url: str,
        *,
        ref: ModelRef,
        name: str | None = None,
        authorize: Callable[[], Mapping[str, str]],
        credentials: str,
        unnamed: str = "",
    ) -> None:
        self._url, self.ref, self._name = url, ref, name
        self._authorize, self._credentials = authorize, credentials
        self._unnamed = unnamed
        path = url.partition("?")[0]
        self._is_chat = not path.endswith("/completions") or path.endswith(
            "/chat/completions"
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Ask]:
        """Open a connection pool that all requests of an evaluation share."""
        import aiohttp
        from yarl import URL

        headers = {"Content-Type": "application/json", **self._authorize()}
        url = URL(self._url)
        async with aiohttp.ClientSession(
            headers=headers,
            connector=aiohttp.TCPConnector(limit=0),
            timeout=aiohttp.ClientTimeout(total=None),  # the caller's loop has one
            max_line_size=16_384,
        ) as client:

            async def ask(prompt: Prompt) -> Reply:
                body = json.dumps(self._body(prompt)).encode()
                try:
                    async with client.post(
                        url, data=body, allow_redirects=False
                    ) as response:
                        content = await _read(response)
                        status, found = response.status, response.headers
                except (aiohttp.ClientError, OSError) as error:
                    message = f"{type(error).__name__}: {error}"
                    raise CallError("connection", message, retry=True) from error
                if status != 200:
                    raise self._refusal(status, found, content)
                return self._parse(content)

            yield ask

    def close(self) -> None:
        """Hold nothing between evaluations."""

    def _body(self, prompt: Prompt) -> dict[str, Any]:
        body: dict[str, Any] = {"model": self._name} if self._name else {}
        if self._is_chat:
            return {**body, "messages": prompt.messages, **prompt.params}
        return {**body, "prompt": prompt.text, **prompt.params}

    def _refusal(
        self, status: int, headers: Mapping[str, str], content: bytes
    ) -> ModelError:
        said = one_line(content[:2_000].decode("utf-8", "replace"), 300)
        if status in (401, 403):
            address = self._url.partition("?")[0]  # a query may hold a key
            return ModelRefused(
                f"{address} refuses with HTTP {status}, so no further request is "
                f"sent; check {self._credentials}. It said: {said}"
            )
        message = f"HTTP {status}: {said}"
        if status in (400, 404) and not self._name:
            message += self._unnamed
        retry = status in (408, 409, 425, 429) or status >= 500
        kind = "rate_limit" if status == 429 else f"http_{status}"
        return CallError(
            kind,
            message,
            retry=retry,
            retry_after_s=_retry_after_s(headers),
        )

    def _parse(self, content: bytes) -> Reply:
        try:
            document = json.loads(content)
            choice = document["choices"][0]
            text = choice["message"]["content"] if self._is_chat else choice["text"]
            usage = document.get("usage")
        except (
            *(ValueError, LookupError, TypeError, AttributeError),
            RecursionError,
        ) as error:
            said = one_line(content[:500].decode("utf-8", "replace"), 200)
            raise CallError(
                "malformed", f"{type(error).__name__} in the reply: {said}", retry=True
            ) from None
        if text is None:
            text = ""  # a refusal, or a tool call without words
        if not isinstance(text, str):
            raise CallError("malformed", f"the content is {type(text).__name__}")
        usage = usage if isinstance(usage, dict) else {}
        return Reply(
            text=text,
            prompt_tokens=_count(usage.get("prompt_tokens")),
            output_tokens=_count(usage.get("completion_tokens")),
            cost_usd=_dollars(usage.get("cost")),
        )


async def _read(response: aiohttp.ClientResponse) -> bytes:
    """Read the whole body, but no more than a reply can be."""
    parts, size = [], 0
    async for part in response.content.iter_any():
        parts.append(part)
        size += len(part)
        if size > LONGEST_REPLY_BYTES:
            raise CallError(
                "too_long", f"the reply is longer than {LONGEST_REPLY_BYTES} bytes"
            )
    return b"".join(parts)


def _count(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if 0 <= value < MOST_TOKENS else None


def _dollars(value: object) -> float | None:
    return float(value) if is_finite(value) and value >= 0 else None


def _retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Return the wait that a Retry-After header asks for, in seconds or by a date."""
    given = headers.get("Retry-After", "")
    try:
        seconds = float(given)
    except ValueError:
        try:
            until = parsedate_to_datetime(given)
            now = parsedate_to_datetime(headers.get("Date", ""))
            seconds = max((until - now).total_seconds(), 0.0)
        except (ValueError, TypeError):  # no date, or one without a time zone
            return None
    return seconds if 0 <= seconds < float("inf") else None
