"""Supplies the predictions of one evaluation: from the store, or else from the model.

Apart from `asking`, which goes through all rows, and from `ahead`, which serves single
ones: both ask in the same way.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import nullcontext
from dataclasses import replace

from pytest_llmeval.budget import Budget
from pytest_llmeval.budget import cost_of
from pytest_llmeval.budget import find_price
from pytest_llmeval.calls import Done
from pytest_llmeval.calls import Limits
from pytest_llmeval.calls import Take
from pytest_llmeval.calls import ask_all
from pytest_llmeval.config import Settings
from pytest_llmeval.models import renderer
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.predictions import Taken
from pytest_llmeval.predictions import key_maker
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Example
from pytest_llmeval.records import Model
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Request
from pytest_llmeval.records import digest_of


class Supply:
    """Renders and keys the questions of one evaluation, and looks up or asks for them.

    Args:
        settings: Concurrency, time-outs, what stored replies are used for.
        model: Who is asked.
        dataset: Whose rows are asked about.
        request: How they are asked.
        store: Keeps predictions; None to keep none.
        budget: What may be spent; None for no limit.
        guard: Held while the loop writes to the store; for a store that another thread
            uses too.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        model: Model,
        dataset: Dataset,
        request: Request,
        store: Predictions | None,
        budget: Budget | None,
        guard: AbstractContextManager[object] | None = None,
    ) -> None:
        self._settings, self._model = settings, model
        self._store, self._budget = store, budget
        self._guard = guard or nullcontext()
        self.evaluation = evaluation_key(model.ref, request, dataset)
        self._render = renderer(request, dataset)
        self._key = key_maker(
            model.ref,
            request,
            generation_of(model, self.evaluation, store, settings),
            sees_example=model.sees_example,
        )
        self._under_way: set[bytes] = set()
        self._unstored: set[bytes] = set()
        self._committing = False

    def finish(self) -> None:
        """Note that an unpinned model's replies have served for every row."""
        if self._store is not None and not self._model.ref.pinned:
            self._store.finish(self.evaluation)

    def question(self, example: Example, repeat: int = 0) -> tuple[Prompt, bytes]:
        """Return the prompt about an example, and the key of its prediction."""
        prompt = self.prompt(example, repeat)
        return prompt, self._key(prompt)

    def prompt(self, example: Example, repeat: int = 0) -> Prompt:
        """Return the prompt about an example."""
        prompt = self._render(example)
        return replace(prompt, repeat=repeat) if repeat else prompt

    def find(self, keys: Sequence[bytes]) -> dict[bytes, Prediction]:
        """Return the stored predictions that may serve."""
        if self._store is None:
            return {}
        return self._store.find(keys, own_run_only=self._settings.cache == "refresh")

    def take(self, keys: Sequence[bytes], *, most: int | None = None) -> Taken:
        """Return what is stored, and which keys are ours to ask for; see `begin`.

        Args:
            keys: Any number.
            most: Claim so many, the first ones; None for all.
        """
        if self._store is None:
            return Taken({}, set(keys))
        if self._settings.cache == "only":
            return Taken(self.find(keys), set())
        refreshing = self._settings.cache == "refresh"
        return self._store.take(keys, own_run_only=refreshing, most=most)

    def begin(self, key: bytes) -> bool:
        """Note that a key of ours is asked for; return False if it is so already.

        Equal requests are asked once, as far as the reply to the first can be stored.
        """
        if key in self._under_way:
            return False
        if self._store is not None and key not in self._unstored:
            self._under_way.add(key)
        return True

    async def ask(
        self,
        take: Take,
        answered: Done,
        *,
        committed: Callable[[Exception | None], None],
        is_stopping: Callable[[], bool],
    ) -> None:
        """Ask the model for all that is taken, see `ask_all`.

        Args:
            take: Gives prompts one by one.
            answered: Called with each prediction; puts it into the store by `keep`.
            committed: Called once for all that was kept in one turn of the loop, when
                it outlives the process, or with the reason why it does not.
            is_stopping: Asked before each request.
        """
        self._committed = committed
        settings, name = self._settings, self._model.ref
        price = find_price(
            settings.prices,
            *(name.requested, str(name), name.name.rpartition("#")[2]),
        )
        limits = Limits(
            concurrency=settings.share,
            timeout_s=settings.timeout_s,
            attempts=settings.attempts,
            requests_per_minute=_shared(settings.requests_per_minute, settings),
            tokens_per_minute=_shared(settings.tokens_per_minute, settings),
        )
        await ask_all(
            self._model,
            take,
            limits,
            answered,
            budget=self._budget,
            cost_usd=cost_of(price) if price is not None else None,
            is_stopping=is_stopping,
        )

    def keep(self, key: bytes, prediction: Prediction) -> bool:
        """Store a prediction when this turn of the loop ends; return whether it can be.

        Its slot takes the next prompt after that, so at most a slot's request is lost.
        """
        stored = self._store is not None and self._store.add(key, prediction)
        self._under_way.discard(key)
        if self._store is not None and not stored:
            self._unstored.add(key)
        if not self._committing:
            self._committing = True
            asyncio.get_running_loop().call_soon(self._commit)
        return stored

    def _commit(self) -> None:
        self._committing, failure = False, None
        if self._store is not None:
            try:
                with self._guard:
                    self._store.commit()
            except Exception as error:  # noqa: BLE001  # handed over
                failure = error
        self._committed(failure)

    def release(self) -> None:
        """End the claims."""
        if self._store is not None:
            self._store.release()


def _shared(limit: float | None, settings: Settings) -> float | None:
    return None if limit is None else limit / settings.workers


def evaluation_key(model: ModelRef, request: Request, dataset: Dataset) -> str:
    """Return what names an evaluation in the store, whatever it is scored by."""
    return digest_of([model.identity(), request.digest, dataset.digest])


def generation_of(
    model: Model, evaluation: str, store: Predictions | None, settings: Settings
) -> str | None:
    """Return which stored replies of an unpinned model may serve."""
    if store is None or model.ref.pinned:
        return None
    replayed = settings.cache == "only" or settings.gates is not None
    return store.generation(evaluation, model.ref.instance, latest=replayed)
