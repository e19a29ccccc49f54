"""OpenAI-compatible chat and completion endpoints."""

from __future__ import annotations

import os
from typing import NamedTuple
from urllib.parse import urlsplit

from pytest_llmeval.chat import ChatModel
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.hooks import hookimpl
from pytest_llmeval.records import ModelRef
from pytest_llmeval.text import redact


OPENAI_URL = "https://api.openai.com/v1"


class Endpoint(NamedTuple):
    """Where a model string leads."""

    scheme: str
    url: str
    name: str | None
    """The model's, for servers that have several."""
    key: str | None
    """Sent as a bearer token."""

    @property
    def models_url(self) -> str:
        """Where the server lists its models."""
        address, question, query = self.url.partition("?")
        address = address.rstrip("/").removesuffix("/completions")
        return f"{address.removesuffix('/chat')}/models{question}{query}"


@hookimpl(trylast=True)
def pytest_llmeval_load_model(model: str) -> ChatModel | None:
    """Load ``http(s)://host/v1[#NAME]`` and ``openai:/NAME``.

    They are unpinned, because a URL may serve anything.
    """
    endpoint = find_endpoint(model)
    if endpoint is None:
        return None
    scheme, url, name, key = endpoint
    address, question, query = url.partition("?")
    address = address.rstrip("/")
    if not address.endswith("/completions"):
        address += "/chat/completions"
    shown = f"{urlsplit(url).netloc}{urlsplit(url).path}"
    if name:
        shown = f"{shown}#{name}"
    variable = "OPENAI_API_KEY" if scheme == "openai" else "LLMEVAL_API_KEY"
    requests_url = address + question + query
    return ChatModel(
        requests_url,
        ref=ModelRef(scheme=scheme, name=shown, pinned=False, requested=redact(model)),
        name=name,
        authorize=lambda: {"Authorization": f"Bearer {key}"} if key else {},
        credentials=f"the key in {variable}",
        unnamed=f" (name the model with {requests_url.rsplit('/', 2)[0]}#NAME)",
    )


def find_endpoint(model: str) -> Endpoint | None:
    """Return where a model string leads, or None when it is of another scheme.

    Raises:
        ConfigurationError: it names no model or host, or its key is missing.
    """
    if model.startswith("openai:/"):
        name = model.removeprefix("openai:").strip("/")
        if not name:
            raise ConfigurationError(
                "openai:/ needs a model name: openai:/gpt-4.1-mini"
            )
        key = os.environ.get("OPENAI_API_KEY")
        if not key:
            raise ConfigurationError(
                f"{model} needs the environment variable OPENAI_API_KEY"
            )
        url = os.environ.get("OPENAI_BASE_URL") or OPENAI_URL
        _check_url(url, "OPENAI_API_KEY")
        return Endpoint("openai", url, name, key)
    if not model.startswith(("http://", "https://")):
        return None
    _check_url(model, "LLMEVAL_API_KEY")
    url, _, name = model.partition("#")
    # OPENAI_API_KEY stays with openai:/, so that no other host is ever sent it.
    key = os.environ.get("LLMEVAL_API_KEY")
    return Endpoint(model.partition(":")[0], url, name or None, key)


def _check_url(url: str, variable: str) -> None:
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"{redact(url)!r} is no URL: {error}") from None
    if not parts.hostname:
        raise ConfigurationError(f"{redact(url)!r} has no host")
    if parts.username or parts.password:
        raise ConfigurationError(
            f"{redact(url)!r} has a user name or password in it; give the key in the "
            f"environment variable {variable} instead"
        )
