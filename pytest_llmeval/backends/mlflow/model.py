"""Registered models and models of runs, resolved to one version and asked as pyfunc."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.records import Ask
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply
from pytest_llmeval.records import digest_of
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe
from pytest_llmeval.threads import AT_ONCE
from pytest_llmeval.threads import Batches
from pytest_llmeval.threads import Threads


if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


def resolve(model: str, client: MlflowClient) -> ModelRef:
    """Resolve a model URI to exactly one version, once."""
    import mlflow
    from mlflow.exceptions import MlflowException

    if model.startswith("runs:/"):
        run_id, _, path = model.removeprefix("runs:/").partition("/")
        return ModelRef(
            scheme="runs", name=path, version=run_id, pinned=True, requested=model
        )
    name, _, version = model.removeprefix("models:/").partition("/")
    name, _, alias = name.partition("@")
    if name.startswith("m-") and not version and not alias:
        return ModelRef(scheme="models", name=name, pinned=True, requested=model)
    try:
        if alias:
            found = client.get_model_version_by_alias(name, alias)
        elif version == "latest":
            found = latest_version(client, name)
        elif version.isdigit():
            found = client.get_model_version(name, version)
        else:
            raise ConfigurationError(
                f"{model!r} names no version; write models:/{name}@ALIAS, "
                f"models:/{name}/3 or models:/{name}/latest"
            )
        aliases = dict(client.get_registered_model(name).aliases)
    except MlflowException as error:
        raise ModelError(
            f"cannot resolve {model} in the registry at "
            f"{safe(mlflow.get_registry_uri())}: {one_line(error.message)}"
        ) from None
    return ModelRef(
        scheme="models",
        name=name,
        version=str(found.version),
        digest=digest_of(
            [found.source, found.run_id, found.creation_timestamp, found.name]
        ),
        pinned=True,
        requested=model,
        aliases={key: str(value) for key, value in sorted(aliases.items())},
    )


def latest_version(client: MlflowClient, name: str) -> ModelVersion:
    """Return the newest version of a registered model."""
    versions = client.search_model_versions(f"name = '{name}'")
    if not versions:
        raise ModelError(f"the registry has no version of {name!r}")
    return max(versions, key=lambda version: int(version.version))


class MlflowModel:
    """A pyfunc model; its code is loaded with the first question.

    One that takes lists or frames is asked in batches, a chat model once per prompt.
    """

    concurrency: int | None = AT_ONCE
    sees_example = False

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self._loaded: Any = None
        self._loading = threading.Lock()
        self._threads = Threads()

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Ask]:
        """Load the model, which runs its code."""
        with self._loading:  # Spark has several sessions in a process
            if self._loaded is None:
                self._loaded = self._load()
        chat = self._chat()
        batches = Batches(self._predict, self._threads)

        async def ask(prompt: Prompt) -> Reply:
            try:
                if chat is None:
                    text = await batches.run(prompt)
                else:
                    text = await self._threads.run(chat, prompt)
            except CallError:
                raise
            except Exception as error:  # the model's own code
                message = f"{type(error).__name__}: {one_line(error, 500)}"
                raise CallError("exception", message) from error
            if not isinstance(text, str):
                kind = type(text).__name__
                raise CallError("malformed", f"predict gave {kind}, expected text")
            return Reply(text=text)

        yield ask

    def _load(self) -> Any:
        import mlflow

        try:
            return mlflow.pyfunc.load_model(self._uri())
        except Exception as error:  # loading runs the model's own code
            raise ModelError(
                f"cannot load {self.ref}: {type(error).__name__}: {error}"
            ) from error

    def close(self) -> None:
        """Forget the loaded model."""
        self._loaded = None

    def _uri(self) -> str:
        if self.ref.scheme == "runs":
            return f"runs:/{self.ref.version}/{self.ref.name}"
        version = f"/{self.ref.version}" if self.ref.version else ""
        return f"models:/{self.ref.name}{version}"

    def _chat(self) -> Callable[[Prompt], Any] | None:
        """Return what asks for one prompt, for models that take chat messages."""
        task = (self._loaded.metadata.metadata or {}).get("task", "")
        if task == "agent/v1/responses":
            return self._ask_responses
        if task in ("llm/v1/chat", "agent/v1/chat", "agent/v2/chat"):
            return self._ask_chat
        return None

    def _ask_responses(self, prompt: Prompt) -> Any:
        body = {"input": prompt.messages, **prompt.params}
        return self._loaded.predict(body)["output"][-1]["content"][-1]["text"]

    def _ask_chat(self, prompt: Prompt) -> Any:
        answer = self._loaded.predict({"messages": prompt.messages, **prompt.params})
        if "choices" in answer:
            return answer["choices"][0]["message"]["content"]
        return answer["messages"][-1]["content"]

    def _predict(self, prompts: Sequence[Prompt]) -> Sequence[Any]:
        """Return the answers to several prompts of one request, in order."""
        texts = [prompt.text for prompt in prompts]
        params = dict(prompts[0].params)
        schema = self._loaded.metadata.get_input_schema()
        if schema is not None and schema.has_input_names():
            import pandas

            frame = pandas.DataFrame({schema.input_names()[0]: texts})
            answers = self._loaded.predict(frame, params)
        else:
            answers = self._loaded.predict(texts, params or None)
        if hasattr(answers, "iloc") and getattr(answers, "ndim", 1) == 2:
            answers = answers.iloc[:, 0]
        if hasattr(answers, "tolist"):
            answers = answers.tolist()
        return answers if isinstance(answers, (list, tuple)) else [answers]
