"""A GGUF file as a model."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from pytest_llmeval.backends.llamacpp.engines import CONTEXT_TOKENS
from pytest_llmeval.backends.llamacpp.engines import Engines
from pytest_llmeval.backends.llamacpp.engines import start_engine
from pytest_llmeval.backends.llamacpp.files import KNOWN
from pytest_llmeval.backends.llamacpp.files import check_sha256
from pytest_llmeval.backends.llamacpp.files import file_sha256
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.errors import optional
from pytest_llmeval.records import Ask
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply
from pytest_llmeval.threads import Threads


MOST_ENGINES = 4
# Without one, the chat template of small models adds a persona that ruins answers.
SYSTEM = "You answer precisely and briefly."
DEFAULTS = {"temperature": 0, "max_tokens": 128, "cache_prompt": False}
MAGIC = b"GGUF"


class GgufModel:
    """A GGUF model; its engines start with the first questions.

    They run in this process, or in one that serves all workers of the run.
    """

    sees_example = False

    def __init__(
        self, path: Path, name: str, *, requested: str, settings: Settings
    ) -> None:
        engine = optional("xllamacpp")
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ModelError(f"{path} is not a GGUF file: it does not begin so")
        digest = file_sha256(path)
        if name in KNOWN:
            check_sha256(path, digest, KNOWN[name])
        self._engines = _engines(path, digest, settings)
        self.concurrency = self._engines.most
        self._threads = Threads()
        # Flash attention, thread count and the like change replies a little; the
        # engine's version and the context size stand for the whole configuration.
        self.ref = ModelRef(
            scheme="gguf",
            name=name,
            version=f"xllamacpp-{engine.__version__}-ctx{CONTEXT_TOKENS}",
            digest=f"sha256:{digest}",
            pinned=True,
            requested=requested,
        )

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Ask]:
        """Open nothing: the engines outlive evaluations."""

        async def ask(prompt: Prompt) -> Reply:
            return await self._threads.run(self._ask, prompt)

        yield ask

    def close(self) -> None:
        """Stop the engines, after the replies that they are at."""
        self._engines.close()

    def _ask(self, prompt: Prompt) -> Reply:
        answer = self._engines.ask(
            {
                **DEFAULTS,
                **prompt.params,
                "messages": replace(prompt, system=prompt.system or SYSTEM).messages,
            }
        )
        if "error" in answer:
            problem = answer["error"]
            kind = str(problem.get("type", "engine"))
            if kind == "exceed_context_size_error":
                kind = "prompt_too_long"
            raise CallError(kind, str(problem.get("message", problem)))
        usage = answer.get("usage", {})
        return Reply(
            text=answer["choices"][0]["message"]["content"] or "",
            prompt_tokens=usage.get("prompt_tokens"),
            output_tokens=usage.get("completion_tokens"),
        )


def _engines(path: Path, digest: str, settings: Settings) -> Engines:
    most = min(os.cpu_count() or 1, MOST_ENGINES)
    if settings.services is None or settings.workers == 1:
        return Engines(partial(start_engine, path), most)
    from pytest_llmeval.backends.llamacpp.served import served_engines

    return served_engines(
        path,
        digest,
        services=settings.services,
        most=most,
        workers=settings.workers,
    )
