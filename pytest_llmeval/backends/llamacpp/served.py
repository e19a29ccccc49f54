"""Engines that another process runs for all workers; `server` is the other side.

Both sides prove that they know the token before either says anything. Then a message
is one body of a chat completion, and the answer comes under a word that says how it
went, as JSON.
"""

from __future__ import annotations

import json
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Client
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from pytest_llmeval.backends.llamacpp.engines import Engines
from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.errors import ServiceError
from pytest_llmeval.services import Service


HOST = "127.0.0.1"
MODULE = "pytest_llmeval.backends.llamacpp.server"
LONGEST_MESSAGE_BYTES = 64 * 2**20
ANSWERED = "answered"
FAILED = "failed"
"""The engine refuses this body."""
REFUSED = "refused"
"""There is no engine."""


def served_engines(
    path: Path, digest: str, *, services: Path, most: int, workers: int
) -> Engines:
    """Return a worker's share of the engines that one process runs for all workers.

    Args:
        path: The GGUF file.
        digest: Its SHA-256, in hex.
        services: Where the run's processes leave the addresses of services.
        most: How many engines that process may start.
        workers: How many workers share them; each has one engine's place at least.
    """
    service = Service(services, f"gguf-{digest[:16]}")
    start = partial(ServedEngine, service, [str(path), str(most)])
    return Engines(start, max(1, most // workers))


class ServedEngine:
    """A place at the server; the first question connects it, and starts the server.

    The server lives while places are connected. When it has died the next question
    starts it again.
    """

    def __init__(self, service: Service, arguments: list[str]) -> None:
        self._service, self._arguments = service, arguments
        self._connection: Connection | None = None

    def handle_chat_completions(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer that an engine of this process would give, or raise so.

        Raises:
            CallError: the server is gone, which another try may help.
            ModelError: the server cannot be started, or cannot load the model.
            RuntimeError: the body cannot be used.
        """
        message = json.dumps(body).encode()
        try:
            if self._connection is None:
                self._connection = self._connect()
            self._connection.send_bytes(message)
            answer = json.loads(self._connection.recv_bytes(LONGEST_MESSAGE_BYTES))
        except (OSError, EOFError, AuthenticationError) as error:
            self._connection = None
            said = f"the model's server is gone: {type(error).__name__}"
            raise CallError("connection", said, retry=True) from None
        if REFUSED in answer:
            raise ModelError(answer[REFUSED])
        if FAILED in answer:
            raise RuntimeError(answer[FAILED])
        answered: dict[str, Any] = answer[ANSWERED]
        return answered

    def _connect(self) -> Connection:
        try:
            address = self._service.find_or_start(MODULE, self._arguments)
        except ServiceError as error:
            raise ModelError(f"no server for the model: {error}") from None
        return Client((HOST, address.port), authkey=address.token.encode())
