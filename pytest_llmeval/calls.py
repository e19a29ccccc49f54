"""The one loop that asks a model: concurrency, time-outs and retries."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from collections.abc import Iterable
from dataclasses import dataclass

from pytest_llmeval.errors import CallError
from pytest_llmeval.records import Ask
from pytest_llmeval.records import Model
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import RowError


FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard a model may be asked."""

    concurrency: int
    timeout_s: float
    attempts: int


async def ask_all(
    model: Model,
    prompts: Iterable[tuple[int, Prompt]],
    limits: Limits,
    done: Callable[[int, Prediction], None],
) -> None:
    """Ask for every prompt, so many at once, and hand over each prediction as it comes.

    Args:
        model: Who is asked.
        prompts: Prompts with their position.
        limits: How many at once, how long and how often.
        done: Called in this loop with position and prediction before the slot takes
            its next prompt.

    Raises:
        ModelError: the model must not be asked on, for example without credentials.
    """
    queue = iter(prompts)
    slots = min(limits.concurrency, model.concurrency or limits.concurrency)

    async def work(ask: Ask) -> None:
        for position, prompt in queue:
            done(position, await _predict(ask, prompt, limits))

    try:
        async with model.session() as ask, asyncio.TaskGroup() as tasks:
            for _ in range(slots):
                tasks.create_task(work(ask))
    except BaseExceptionGroup as group:  # one reason to stop is enough
        raise group.exceptions[0] from None


async def _predict(ask: Ask, prompt: Prompt, limits: Limits) -> Prediction:
    attempt = 0
    while True:
        attempt += 1
        started = time.perf_counter()
        try:
            async with asyncio.timeout(limits.timeout_s):
                reply = await ask(prompt)
        except TimeoutError:
            error = CallError(
                "timeout", f"no reply within {limits.timeout_s:g} s", retry=True
            )
        except CallError as raised:
            error = raised
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # the run is over
            error = CallError("cancelled", "the model cancelled its own call")
        else:
            latency_ms = 1e3 * (time.perf_counter() - started)
            return Prediction(reply=reply, latency_ms=latency_ms, attempts=attempt)
        if not error.retry or attempt >= limits.attempts:
            row_error = RowError(
                id=prompt.example.id,
                kind=error.kind,
                message=str(error),
                attempts=attempt,
            )
            return Prediction(error=row_error, attempts=attempt)
        await asyncio.sleep(_wait_s(attempt, error.retry_after_s))


def _wait_s(attempt: int, retry_after_s: float | None) -> float:
    """Return the server's wait, or an exponential back-off with jitter."""
    if retry_after_s is not None:
        return min(retry_after_s, LONGEST_WAIT_S)
    longest = min(FIRST_WAIT_S * 2.0 ** (attempt - 1), LONGEST_WAIT_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # not for secrets
