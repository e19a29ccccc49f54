"""The process that runs the engines for all workers of a run; see `served`.

It ends when nobody has been connected for a while: a connection ends with its worker,
however that ends, and workers end with their controller.
"""

from __future__ import annotations

import json
import os
import secrets
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from contextlib import suppress
from functools import partial
from multiprocessing import AuthenticationError
from multiprocessing.connection import Connection
from multiprocessing.connection import Listener
from multiprocessing.connection import answer_challenge
from multiprocessing.connection import deliver_challenge
from pathlib import Path
from typing import Any

from pytest_llmeval.backends.llamacpp.engines import Engines
from pytest_llmeval.backends.llamacpp.engines import start_engine
from pytest_llmeval.backends.llamacpp.served import ANSWERED
from pytest_llmeval.backends.llamacpp.served import FAILED
from pytest_llmeval.backends.llamacpp.served import HOST
from pytest_llmeval.backends.llamacpp.served import LONGEST_MESSAGE_BYTES
from pytest_llmeval.backends.llamacpp.served import REFUSED
from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.errors import optional
from pytest_llmeval.services import Service


IDLE_S = 10.0
BACKLOG = 64


class Server:
    """Gives each client, in a thread of its own, the answers of the engines.

    Args:
        engines: Shared by all clients.
        token: What clients have to know.
    """

    def __init__(self, engines: Engines, token: str) -> None:
        self._engines, self._token = engines, token.encode()
        # Without a key: a client that says nothing would keep the others waiting.
        self._listener = Listener((HOST, 0), backlog=BACKLOG)
        self._clients, self._changed = 0, threading.Condition()

    @property
    def port(self) -> int:
        """Where it listens."""
        address: Any = self._listener.address
        return int(address[1])

    def accept(self) -> None:
        """Accept clients for as long as the process lives."""
        while True:
            client = self._listener.accept()
            threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def await_disuse(self) -> None:
        """Return when nobody has been connected for some seconds."""
        with self._changed:
            while self._changed.wait_for(lambda: self._clients > 0, timeout=IDLE_S):
                self._changed.wait_for(lambda: self._clients == 0)

    def _serve(self, client: Connection) -> None:
        with suppress(OSError, EOFError, AuthenticationError), client:
            deliver_challenge(client, self._token)
            answer_challenge(client, self._token)
            with self._counted():
                while True:
                    body = json.loads(client.recv_bytes(LONGEST_MESSAGE_BYTES))
                    client.send_bytes(json.dumps(self._answer(body)).encode())

    @contextmanager
    def _counted(self) -> Iterator[None]:
        self._count(1)
        try:
            yield
        finally:
            self._count(-1)

    def _count(self, more: int) -> None:
        with self._changed:
            self._clients += more
            self._changed.notify_all()

    def _answer(self, body: dict[str, Any]) -> dict[str, Any]:
        try:
            return {ANSWERED: self._engines.ask(body)}
        except CallError as error:
            return {FAILED: str(error)}
        except ModelError as error:
            return {REFUSED: str(error)}


def main(folder: str, name: str, path: str, most: str) -> None:
    """Serve a model until nobody is connected any more."""
    service = Service(Path(folder), name)
    if not service.begin():
        return
    optional("xllamacpp")  # a first import in several threads at once may hang
    token = secrets.token_hex(32)
    server = Server(Engines(partial(start_engine, Path(path)), int(most)), token)
    threading.Thread(target=_end_after_use, args=[server], daemon=True).start()
    service.announce(server.port, token)
    server.accept()


def _end_after_use(server: Server) -> None:
    server.await_disuse()
    os._exit(0)  # an engine may still be at a reply that nobody waits for


if __name__ == "__main__":
    main(*sys.argv[1:])
