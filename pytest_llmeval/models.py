"""From model strings and callables to models, and from templates to prompts."""

from __future__ import annotations

import asyncio
import importlib
import inspect
import os
import re
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import asynccontextmanager
from types import CodeType
from typing import Any

import pluggy

from pytest_llmeval.config import Settings
from pytest_llmeval.config import nearest
from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.fingerprint import code_parts
from pytest_llmeval.records import Ask
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Example
from pytest_llmeval.records import Model
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply
from pytest_llmeval.records import Request
from pytest_llmeval.records import as_text
from pytest_llmeval.records import digest_of
from pytest_llmeval.records import is_missing
from pytest_llmeval.text import one_line
from pytest_llmeval.threads import AT_ONCE
from pytest_llmeval.threads import Threads


SCHEMES = (
    "gguf:",
    "http://",
    "https://",
    "openai:/",
    "endpoints:/",
    "models:/",
    "runs:/",
    "python:",
)
NO_MODEL = (
    "no model is configured. Give one of:\n"
    "  pytest --llmeval-model gguf:smollm2\n"
    "  llmeval_model = models:/docs-qa@candidate   (in the ini file)\n"
    "  a fixture named llmeval_model that returns a model string or a callable"
)


def load_model(model: Any, hook: pluggy.HookRelay, settings: Settings) -> Model:
    """Return the model that a string, a callable or a `Model` stands for.

    Raises:
        ConfigurationError: no model, or a scheme that nobody knows.
        ModelError: the model cannot be loaded.
    """
    if model is None:
        raise ConfigurationError(NO_MODEL)
    if not isinstance(model, str):
        if hasattr(model, "session") and hasattr(model, "ref"):
            loaded: Model = model
            return loaded
        if callable(model):
            return CallableModel(model)
        raise ConfigurationError(
            f"model={model!r:.200} is neither a model string nor a callable"
        )
    if model.startswith("python:"):
        return load_model(_import(model), hook, settings)
    loaded_by_hook: Model | None
    loaded_by_hook = hook.pytest_llmeval_load_model(model=model, settings=settings)
    if loaded_by_hook is None:
        scheme = model.partition(":")[0] + ":"
        raise ConfigurationError(
            f"unknown model scheme in {one_line(model)!r}; the known ones are: "
            f"{', '.join(SCHEMES)}{nearest(scheme, SCHEMES)}"
        )
    return loaded_by_hook


def _import(model: str) -> Any:
    module, _, function = model.removeprefix("python:").partition(":")
    if not module or not function:
        raise ConfigurationError(f"{model!r} is not of the form python:module:function")
    try:
        found = getattr(importlib.import_module(module), function)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise ModelError(f"cannot load {model!r}: {reason}") from error
    if not callable(found) and not hasattr(found, "session"):
        raise ModelError(f"{model!r} is not callable")
    return found


class CallableModel:
    """A Python function as a model: ``f(prompt: str) -> str``, sync or async.

    The prompt is all messages as one text, the system message first. It gets the whole
    `Example` instead when its parameter is named ``example``. Generation parameters
    are for models that have some. Sync functions are called from several threads at
    once, at most 256.

    Args:
        function: The callable.
        version: Pins it: stored predictions of this version serve later runs, and
            deployment accepts it. Change it with every change of behaviour.
    """

    def __init__(
        self, function: Callable[..., Any], *, version: str | None = None
    ) -> None:
        self.function = function
        # A session also gives a spec string here when the callable came by name.
        target = getattr(function, "__func__", function)
        name = getattr(target, "__qualname__", type(function).__qualname__)
        module = getattr(target, "__module__", None) or "?"
        self.ref = ModelRef(
            scheme="python",
            name=f"{module}:{name}",
            version=version,
            pinned=version is not None,
            instance=None if version else _fingerprint(function),
        )
        try:
            self.sees_example = "example" in inspect.signature(function).parameters
        except (TypeError, ValueError):  # some builtins have no signature
            self.sees_example = False
        self._threads = Threads()
        self._is_async = inspect.iscoroutinefunction(function) or (
            inspect.iscoroutinefunction(getattr(function, "__call__", None))  # noqa: B004  # async __call__
        )
        self.concurrency = None if self._is_async else AT_ONCE

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Ask]:
        """Open nothing: the function is asked as it is."""
        yield self._ask

    async def _ask(self, prompt: Prompt) -> Reply:
        argument = prompt.example if self.sees_example else prompt.text
        try:
            if self._is_async:
                reply = await self.function(argument)
            else:
                reply = await self._threads.run(self.function, argument)
        except (CallError, asyncio.CancelledError):
            raise
        except (
            Exception
        ) as error:  # the user's code: whatever it raises is a row's error
            raise CallError("exception", f"{type(error).__name__}: {error}") from error
        if not isinstance(reply, str):
            raise CallError(
                "malformed", f"the model returned {type(reply).__name__}, expected str"
            )
        return Reply(text=reply)

    def close(self) -> None:
        """Hold nothing that needs closing."""


def _fingerprint(function: object) -> str:
    """Tell callables of one name apart, the same in the next process where possible.

    Plain functions by their code, defaults and what they close over; other objects
    only within this process.
    """
    code = getattr(function, "__code__", None)
    if isinstance(code, CodeType):
        cells = getattr(function, "__closure__", None) or ()
        values = [
            _fingerprint(cell.cell_contents)
            if hasattr(cell.cell_contents, "__code__")
            else repr(cell.cell_contents)
            for cell in cells
        ]
        defaults = getattr(function, "__defaults__", None)
        text = repr((code_parts(code), defaults, values))
        if " at 0x" not in text:
            return digest_of(text)
    return f"{os.getpid()}-{id(function)}"


PLACE = re.compile(r"\{\{|\}\}|\{(\w+)\}")


def renderer(request: Request, dataset: Dataset) -> Callable[[Example], Prompt]:
    """Return what renders a request for an example of this dataset.

    The template's names in braces are columns of the data, or `input` and `context`;
    doubled braces stand for single ones, other braces for themselves.

    Raises:
        ConfigurationError: the template names a column that a row does not have.
    """
    turns: tuple[Mapping[str, str], ...]
    if isinstance(request.prompt, tuple):
        turns = request.prompt
    else:
        turns = ({"role": "user", "content": request.prompt or "{input}"},)
    *before, last = turns

    def render(example: Example) -> Prompt:
        return Prompt(
            user=_fill(last["content"], example, dataset.name),
            system=request.system,
            params=request.params,
            example=example,
            earlier=tuple(
                {**turn, "content": _fill(turn["content"], example, dataset.name)}
                for turn in before
            ),
        )

    named = {name for turn in turns for name in PLACE.findall(turn["content"]) if name}
    columns = {"input": dataset.columns["input"], "context": dataset.columns["context"]}
    rows = len(dataset.ids)
    if any(dataset.filled.get(columns.get(name, name), 0) < rows for name in named):
        for example in dataset.examples:  # the first row that lacks it raises
            render(example)
    return render


def _fill(template: str, example: Example, dataset: str) -> str:
    if template == "{input}":  # the usual one, a hundred times quicker
        return example.input
    known: Mapping[str, Any] = {
        **example.metadata,
        "input": example.input,
        "context": example.context,
    }

    def replace(match: re.Match[str]) -> str:
        name = match.group(1)
        if name is None:
            return match.group()[0]
        value = known.get(name)
        if is_missing(value):
            columns = [name for name, item in known.items() if not is_missing(item)]
            raise ConfigurationError(
                f"the prompt names {{{name}}}, which row {example.id!r} of {dataset} "
                f"does not have; it has: {', '.join(columns)}"
                f"{nearest(name, columns)}; write {{{{{name}}}}} for the braces"
            )
        return as_text(value)

    return PLACE.sub(replace, template)


def build_request(
    prompt: str | Sequence[Mapping[str, str]] | None,
    params: Mapping[str, Any] | None,
    columns: Mapping[str, Any] | None = None,
    repeats: int = 1,
) -> Request:
    """Split ``prompt=`` and ``params=`` of `evaluate` into template, system, rest.

    Raises:
        ConfigurationError: the prompt is neither text nor messages that end with the
            user's, the system message is no text, or the repeats are no number of them.
    """
    rest = dict(params or {})
    system = rest.pop("system", None)
    if system is not None and not isinstance(system, str):
        raise ConfigurationError(f'params["system"] must be text, got {system!r:.100}')
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ConfigurationError(
            f"repeats={repeats!r} must be a whole number, at least 1"
        )
    return Request(
        prompt=_check_prompt(prompt),
        system=system,
        params=rest,
        columns=columns or {},
        repeats=repeats,
    )


def _check_prompt(
    prompt: str | Sequence[Mapping[str, str]] | None,
) -> str | tuple[Mapping[str, str], ...] | None:
    if prompt is None or isinstance(prompt, str):
        return prompt
    if isinstance(prompt, Mapping) or not isinstance(prompt, Sequence):
        raise ConfigurationError(
            f"prompt={prompt!r:.100} is neither text nor a list of messages"
        )
    messages: Sequence[object] = prompt
    for turn in messages:
        if not isinstance(turn, Mapping):
            raise ConfigurationError(
                f"prompt= has {turn!r:.100} where a message with role and content is "
                "expected"
            )
    turns = tuple(dict(turn) for turn in prompt if isinstance(turn, Mapping))
    for turn in turns:
        if turn.get("role") not in ("user", "assistant"):
            raise ConfigurationError(
                f"prompt= has a message with the role {turn.get('role')!r}; the roles "
                'are user and assistant; the system message goes to params["system"]'
            )
        content: object = turn.get("content")
        if not isinstance(content, str) or len(turn) > 2:
            raise ConfigurationError(
                f"prompt= has the message {turn!r:.100}; a message holds a role and a "
                "content that is text"
            )
    if not turns or turns[-1]["role"] != "user":
        raise ConfigurationError("the messages of prompt= must end with the user's")
    return turns
