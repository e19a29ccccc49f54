"""The one loop that asks a model: how many at once, how fast, how often, how long."""

from __future__ import annotations

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable
from collections.abc import Callable
from dataclasses import dataclass
from dataclasses import replace

from pytest_llmeval.budget import Budget
from pytest_llmeval.errors import CallError
from pytest_llmeval.records import Ask
from pytest_llmeval.records import Model
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply
from pytest_llmeval.records import RowError


FIRST_WAIT_S = 0.5
LONGEST_WAIT_S = 60.0
"""Between two attempts; a server that asks for more is not asked again."""
INTERRUPTED = "interrupted"
"""Kind of error of a row whose next request is not sent any more."""
THROTTLED = ("rate_limit", "http_503")
"""Errors that say: fewer at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How hard a model may be asked."""

    concurrency: int
    timeout_s: float
    attempts: int
    requests_per_minute: float | None = None
    tokens_per_minute: float | None = None


Take = Callable[[], Awaitable[tuple[int, Prompt] | None]]
"""Gives the next prompt with its position, or None when there is none left."""
Done = Callable[[int, Prediction], None]


async def ask_all(
    model: Model,
    take: Take,
    limits: Limits,
    done: Done,
    *,
    budget: Budget | None = None,
    cost_usd: Callable[[Reply], float | None] | None = None,
    is_stopping: Callable[[], bool] = lambda: False,
) -> None:
    """Ask for every prompt, so many at once, and hand over each prediction as it comes.

    Args:
        model: Who is asked.
        take: Gives prompts one by one; called when a slot is free.
        limits: How many at once, how long and how often.
        done: Called in this loop with position and prediction. What it puts on the
            loop by ``call_soon``, such as a commit, is over before its slot takes the
            next prompt.
        budget: Asked before each request; a row it refuses is in error.
        cost_usd: Tells what a reply cost.
        is_stopping: Asked before each request; once it says so, none is sent any more.

    Raises:
        ModelError: the model must not be asked on, for example without credentials.
    """
    slots = min(limits.concurrency, model.concurrency or limits.concurrency)
    caller = _Caller(limits, _Window(slots), budget, cost_usd, is_stopping)

    async def work(ask: Ask) -> None:
        while (item := await take()) is not None:
            position, prompt = item
            done(position, await caller.predict(ask, prompt))
            await asyncio.sleep(0)

    try:
        async with model.session() as ask, asyncio.TaskGroup() as tasks:
            for _ in range(slots):
                tasks.create_task(work(ask))
    except BaseExceptionGroup as group:  # one reason to stop is enough
        raise group.exceptions[0] from None


class _Caller:
    """Asks for one row until it has a reply or a reason to give up."""

    def __init__(
        self,
        limits: Limits,
        window: _Window,
        budget: Budget | None,
        cost_usd: Callable[[Reply], float | None] | None,
        is_stopping: Callable[[], bool],
    ) -> None:
        self._limits, self._window, self._is_stopping = limits, window, is_stopping
        self._budget, self._cost_usd = budget, cost_usd
        self._spacing = _Spacing(limits)

    async def predict(self, ask: Ask, prompt: Prompt) -> Prediction:
        taken, attempt = time.perf_counter(), 0
        while True:
            await self._window.enter()
            refusal = await self._permit()
            if refusal is not None:
                self._window.leave()
                return _failed(prompt, attempt, *refusal)
            attempt += 1
            started = time.perf_counter()
            answer = await self._attempt(ask, prompt)
            if isinstance(answer, Reply):
                self._window.leave(succeeded=True)
                return Prediction(
                    reply=self._account(answer),
                    latency_ms=1e3 * (time.perf_counter() - started),
                    queue_ms=1e3 * (started - taken),
                    attempts=attempt,
                )
            self._window.leave(throttled=answer.kind in THROTTLED, started=started)
            wait_s = _wait_s(attempt, answer.retry_after_s)
            if not answer.retry or attempt >= self._limits.attempts:
                return _failed(prompt, attempt, answer.kind, str(answer))
            if wait_s > LONGEST_WAIT_S:
                message = f"{answer}; it asks to wait {wait_s:g} s, which is too long"
                return _failed(prompt, attempt, answer.kind, message)
            await asyncio.sleep(wait_s)

    async def _attempt(self, ask: Ask, prompt: Prompt) -> Reply | CallError:
        """Ask once."""
        try:
            async with asyncio.timeout(self._limits.timeout_s):
                return await ask(prompt)
        except TimeoutError:
            message = f"no reply within {self._limits.timeout_s:g} s"
            return CallError("timeout", message, retry=True)
        except CallError as error:
            return error
        except asyncio.CancelledError:
            task = asyncio.current_task()
            if task is None or task.cancelling():
                raise  # the run is over
            return CallError("cancelled", "the model cancelled its own call")

    async def _permit(self) -> tuple[str, str] | None:
        """Wait for the next turn, or return why there is none: kind and message."""
        await self._spacing.turn(self._is_stopping)
        if self._is_stopping():
            return INTERRUPTED, "the run was interrupted"
        reached = self._budget.take() if self._budget is not None else None
        return None if reached is None else ("budget", reached)

    def _account(self, reply: Reply) -> Reply:
        """Return the reply with its cost, and count what it used."""
        if self._cost_usd is not None:
            reply = replace(reply, cost_usd=self._cost_usd(reply))
        self._spacing.used(reply)
        if self._budget is not None:
            self._budget.spend(reply)
        return reply


def _failed(prompt: Prompt, attempts: int, kind: str, message: str) -> Prediction:
    error = RowError(
        id=prompt.example.id, kind=kind, message=message, attempts=attempts
    )
    return Prediction(error=error, attempts=attempts)


def _wait_s(attempt: int, retry_after_s: float | None) -> float:
    """Return the server's wait, or an exponential back-off with jitter."""
    if retry_after_s is not None:
        return retry_after_s
    longest = min(FIRST_WAIT_S * 2.0 ** (attempt - 1), LONGEST_WAIT_S)
    return longest * random.uniform(0.5, 1.0)  # noqa: S311  # not for secrets


class _Window:
    """How many requests may be in flight: fewer after a 429 or 503, then slowly more.

    Additive increase, multiplicative decrease, as TCP does it: one more for a window of
    successes, half as many when a request that began after the last cut is throttled.
    """

    def __init__(self, most: int) -> None:
        self._most, self._size, self._active = most, float(most), 0
        self._cut_at = 0.0
        self._waiting: deque[asyncio.Future[None]] = deque()

    async def enter(self) -> None:
        while self._active >= int(self._size):
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            await turn
        self._active += 1

    def leave(
        self, *, succeeded: bool = False, throttled: bool = False, started: float = 0.0
    ) -> None:
        self._active -= 1
        if throttled and started > self._cut_at:
            self._size = max(1.0, self._size / 2.0)
            self._cut_at = time.perf_counter()
        elif succeeded and self._size < self._most:
            self._size = min(float(self._most), self._size + 1.0 / self._size)
        free = int(self._size) - self._active
        while self._waiting and free > 0:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                free -= 1


class _Spacing:
    """Spreads requests evenly, so that neither minute limit is passed in any minute."""

    def __init__(self, limits: Limits) -> None:
        self._per_request_s = _seconds_each(limits.requests_per_minute)
        self._per_token_s = _seconds_each(limits.tokens_per_minute)
        self._limited = bool(self._per_request_s or self._per_token_s)
        self._next_at = 0.0
        self._queue = asyncio.Lock()

    async def turn(self, is_stopping: Callable[[], bool]) -> None:
        """Wait for the next turn, first come, first served; not once it is stopping."""
        if not self._limited:
            return
        async with self._queue:
            # Replies that come while this request waits may set the clock forward.
            while (wait_s := self._next_at - time.monotonic()) > 0.0:
                if is_stopping():
                    return
                await asyncio.sleep(wait_s)
            self._next_at = time.monotonic() + self._per_request_s

    def used(self, reply: Reply) -> None:
        if self._per_token_s:
            tokens = (reply.prompt_tokens or 0) + (reply.output_tokens or 0)
            now = time.monotonic()
            self._next_at = max(self._next_at, now) + tokens * self._per_token_s


def _seconds_each(per_minute: float | None) -> float:
    return 60.0 / per_minute if per_minute else 0.0
