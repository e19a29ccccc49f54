"""Engines of llama.cpp: how one starts, and how several are shared out.

One thread to an engine: two threads of one engine on a busy two-core machine spin
against each other until nothing moves. Two engines of one thread each do not.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any
from typing import Protocol

from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.errors import optional


CONTEXT_TOKENS = 2048
LONGEST_REPLY_S = 120.0


class Engine(Protocol):
    """Answers one question at a time."""

    def handle_chat_completions(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer to the body of a chat completion, both as in OpenAI's API.

        Raises:
            ValueError: the body cannot be used.
            RuntimeError: likewise.
        """


def start_engine(path: Path) -> Engine:
    """Load a GGUF file; engines of one file share the weights in memory.

    Each has one slot and one thread, so that a reply depends neither on what else is
    asked nor on the number of engines.

    Raises:
        ModelError: llama.cpp cannot load the file.
    """
    xllamacpp = optional("xllamacpp")
    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(path)
    parameters.n_ctx = CONTEXT_TOKENS
    parameters.n_parallel = 1
    parameters.cpuparams.n_threads = 1
    parameters.cpuparams_batch.n_threads = 1
    parameters.verbosity = -1  # its log would fill the terminal
    # The engine also listens on a free port of 127.0.0.1: close it to others.
    parameters.api_keys = [secrets.token_hex(16)]
    try:
        engine: Engine = xllamacpp.Server(parameters)
    except RuntimeError as error:
        raise ModelError(
            f"llama.cpp cannot load {path}: {error} The file may be damaged, "
            "or of a kind that this version does not know"
        ) from None
    return engine


class Engines:
    """Some engines; they start with the first questions. Safe in threads.

    Args:
        start: Starts one.
        most: How many there may be.
    """

    def __init__(self, start: Callable[[], Engine], most: int) -> None:
        self._start, self.most = start, most
        self._idle: list[Engine] = []
        # A call that timed out keeps its engine until the engine is done with it.
        self._slots = threading.BoundedSemaphore(most)
        self._lock = threading.Lock()
        self._closed = False

    def ask(self, body: dict[str, Any]) -> dict[str, Any]:
        """Return the answer of the first engine that is free.

        Raises:
            CallError: it cannot answer this, or all are closed.
            ModelError: it cannot be started.
        """
        with self._slots:
            if self._closed:
                raise CallError("closed", "the run is over")
            return self._ask(body)

    def _ask(self, body: dict[str, Any]) -> dict[str, Any]:
        with self._lock:
            engine = self._idle.pop() if self._idle else self._start()
        try:
            return engine.handle_chat_completions(body)
        except ModelError:
            raise
        except (ValueError, RuntimeError) as error:
            raise CallError("engine", str(error)) from None
        finally:
            self._idle.append(engine)

    def close(self) -> None:
        """Stop the engines, after the replies that they are at.

        A call that timed out goes on in its thread. It cannot be cut off, and a process
        that ends under it crashes.
        """
        self._closed = True
        for _ in range(self.most):
            self._slots.acquire(timeout=LONGEST_REPLY_S)
        self._idle.clear()
