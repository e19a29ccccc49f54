"""Blocking calls beside an event loop, and an event loop beside a blocking caller.

Threads are daemons: an executor's are joined at exit, and a call that hangs would hang
pytest.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable
from collections.abc import Coroutine
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any
from typing import TypeVar

from pytest_llmeval.errors import CallError


T = TypeVar("T")

AT_ONCE = 256
"""The most calls that whoever uses threads should make at once."""
MOST_THREADS = 512
"""Calls that hang keep their thread: beyond this many the next call is refused."""
IDLE_S = 5.0
POLL_S = 0.1
QUICK_S = 0.1
MOST_ITEMS = 256
GRACE_S = 5.0
"""How long requests that are on their way may take after Ctrl-C."""


_Call = Callable[[], Callable[[], None]]
"""Runs in a thread, and returns what hands over how it came out."""


class Threads:
    """Runs blocking calls, each in a thread, and keeps idle threads for the next."""

    def __init__(self) -> None:
        self._calls: queue.SimpleQueue[_Call] = queue.SimpleQueue()
        self._lock = threading.Lock()
        self._threads = self._idle = 0

    async def run(self, function: Callable[..., T], *args: Any) -> T:
        """Await the result of a blocking call.

        Raises:
            CallError: so many calls hang that no thread is left.
        """
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()

        def call() -> Callable[[], None]:
            try:
                return partial(deliver, future.set_result, function(*args))
            except StopIteration as error:  # no future can hold one
                failure: BaseException = RuntimeError(f"StopIteration: {error}")
            except BaseException as error:  # noqa: BLE001  # handed to the waiting task
                failure = error
            return partial(deliver, future.set_exception, failure)

        def deliver(setter: Callable[[Any], None], value: object) -> None:
            def when_waited_for() -> None:
                if not future.done():
                    setter(value)

            # The loop is gone when the call came back long after its time-out.
            with suppress(RuntimeError):
                loop.call_soon_threadsafe(when_waited_for)

        self._submit(call)
        return await future

    def _submit(self, call: _Call) -> None:
        with self._lock:
            if self._idle:
                self._idle -= 1
            elif self._threads >= MOST_THREADS:
                raise CallError("hanging", f"{self._threads} calls hang; none is made")
            else:
                self._threads += 1
                threading.Thread(
                    target=self._work, daemon=True, name="llmeval-call"
                ).start()
        self._calls.put(call)

    def _work(self) -> None:
        while True:
            try:
                call = self._calls.get(timeout=IDLE_S)
            except queue.Empty:
                with self._lock:
                    if self._idle:  # else a call is on its way to this thread
                        self._idle -= 1
                        self._threads -= 1
                        return
                continue
            deliver = call()
            with self._lock:  # first, so that what comes next finds this thread idle
                self._idle += 1
            deliver()
            del call, deliver  # they hold a row while the thread idles


class Batches:
    """Calls a blocking function on lists: of what waits at the same moment.

    The first calls are for one item each. While calls are quick, lists double; so slow
    functions are asked item by item in several threads, and quick ones all at once. A
    list that fails is asked again item by item, so that the error has a name.

    Args:
        function: Takes a list and returns a list of the same length.
        threads: Where it runs.
    """

    def __init__(
        self, function: Callable[[list[Any]], Sequence[Any]], threads: Threads
    ) -> None:
        self._function, self._threads = function, threads
        self._waiting: list[tuple[Any, asyncio.Future[Any]]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._size = 1

    async def run(self, item: Any) -> Any:
        """Await the function's answer to one item."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        if not self._waiting:
            loop.call_soon(self._send)
        self._waiting.append((item, future))
        return await future

    def _send(self) -> None:
        waiting, self._waiting = self._waiting, []
        for start in range(0, len(waiting), self._size):
            batch = waiting[start : start + self._size]
            task = asyncio.ensure_future(self._call(batch))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _call(self, batch: list[tuple[Any, asyncio.Future[Any]]]) -> None:
        started = time.perf_counter()
        try:
            items = [item for item, _ in batch]
            answers = await self._threads.run(self._function, items)
            if len(answers) != len(items):
                message = f"{len(answers)} answers to a list of {len(items)}"
                raise CallError("malformed", message)
        except BaseException as error:  # noqa: BLE001  # handed to whoever waits
            if isinstance(error, Exception) and len(batch) > 1:
                for pair in batch:
                    await self._call([pair])
                return
            for _, future in batch:
                if not future.done():
                    future.set_exception(error)
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)
        if len(batch) == self._size:
            took_s = time.perf_counter() - started
            quick, slow = took_s < QUICK_S, took_s > 4.0 * QUICK_S
            self._size = min(2 * self._size, MOST_ITEMS) if quick else self._size
            self._size = max(self._size // 2, 1) if slow else self._size


class Beside:
    """A coroutine that runs from now on, in a loop and a daemon thread of its own.

    So it works in notebooks, whose own loop runs already. `ended` is set when it is
    over, and `failure` is what it raised then.

    Args:
        work: Gives the coroutine; called in the thread.
    """

    def __init__(self, work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        self.failure: BaseException | None = None
        # Not Thread.join: Ctrl-C in it makes CPython 3.11 take the thread for ended.
        self.ended = threading.Event()
        self._work, self._loop = work, asyncio.new_event_loop()
        self._tasks: list[asyncio.Task[None]] = []
        threading.Thread(target=self._run, name="llmeval-loop", daemon=True).start()

    def _run(self) -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
                runner.run(self._main())
        except BaseException as error:  # noqa: BLE001  # for whoever waits
            self.failure = error
        finally:
            self.ended.set()

    async def _main(self) -> None:
        self._tasks.append(asyncio.ensure_future(self._work()))
        await self._tasks[0]

    def call_soon(self, function: Callable[[], object]) -> None:
        """Call it in the loop, unless that has ended."""
        with suppress(RuntimeError):  # the loop may have ended just now
            self._loop.call_soon_threadsafe(function)

    def finish(self) -> None:
        """Give the coroutine a few seconds to end by itself, then cancel it.

        Ctrl-C meanwhile cancels it at once.
        """
        try:
            self.ended.wait(GRACE_S)
        finally:
            for task in self._tasks:
                self.call_soon(task.cancel)
            self.ended.wait(GRACE_S)


def run_beside(
    work: Callable[[], Coroutine[Any, Any, None]],
    *,
    meanwhile: Callable[[], None],
    stop: Callable[[], None],
) -> None:
    """Run a coroutine to its end beside the calling thread.

    Args:
        work: Gives the coroutine.
        meanwhile: Called in the calling thread, several times a second, and when the
            coroutine has ended after Ctrl-C.
        stop: Called in the calling thread on Ctrl-C: the coroutine has a few seconds to
            end by itself, then it is cancelled. A second Ctrl-C cancels it at once.

    Raises:
        BaseException: whatever the coroutine raised, or KeyboardInterrupt.
    """
    beside = Beside(work)
    try:
        while not beside.ended.wait(POLL_S):
            meanwhile()
    except BaseException:
        stop()
        beside.finish()
        meanwhile()
        raise
    if beside.failure is not None:
        raise beside.failure
