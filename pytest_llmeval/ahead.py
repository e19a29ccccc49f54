"""Predictions for tests that want one each, asked ahead of the tests that use them.

Tests come one after the other, so a loop in a thread beside them asks for those that
are next. What tests want and what the model answers meets here, under one lock.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from filelock import FileLock
from filelock import Timeout

from pytest_llmeval.budget import Budget
from pytest_llmeval.config import Settings
from pytest_llmeval.course import Course
from pytest_llmeval.errors import ModelError
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Example
from pytest_llmeval.records import Model
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Request
from pytest_llmeval.records import RowError
from pytest_llmeval.supply import Supply
from pytest_llmeval.threads import POLL_S
from pytest_llmeval.threads import Beside


MOST_AT_ONCE = 256
"""So many rows are looked up at once while all of them are stored."""
FIRST_LOOK_S = 0.005
LAST_LOOK_S = 0.05
"""How long to wait before looking again for a row that another process asks."""
YIELD_S = 0.0001
"""What a test leaves to the loop that need not wait for its row: a busy thread keeps
the interpreter from others for 5 ms at a time."""
TURN_S = 0.003
"""How often to try for the turn among workers that share one request in flight."""


class Ahead:
    """The predictions of one evaluation, for tests that take them one by one.

    Several processes of a run may each serve their part of the tests; no row is asked
    twice, as far as its reply can be stored. At most `Settings.share` rows that this
    process has asked for wait for their tests, in whichever process.

    Args:
        settings: Concurrency, time-outs, what stored replies are used for.
        model: Who is asked; opened when the first row has to be asked for.
        dataset: Its rows.
        examples: The same rows by position.
        request: How they are asked.
        order: Positions of the rows that have tests, in the order of the tests.
        run_id: The run that asks.
        store_path: The predictions store; opened now.
        budget: What may be spent; None for no limit.
        elsewhere: Counts the rows that others like this one have asked for, in this
            process, and that wait for their tests.

    Raises:
        ConfigurationError: the store cannot be used, or the prompt names a column that
            a row does not have.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        model: Model,
        dataset: Dataset,
        examples: Sequence[Example],
        request: Request,
        order: Sequence[int],
        run_id: str,
        store_path: Path,
        budget: Budget | None,
        elsewhere: Callable[[], int] = lambda: 0,
    ) -> None:
        self._elsewhere = elsewhere
        self._settings, self._model, self._dataset = settings, model, dataset
        self._examples, self._course = examples, Course(order)
        self._slots = min(settings.share, model.concurrency or settings.share)
        self._changed = threading.Condition()
        with ExitStack() as stack:
            limit = int(settings.cache_mb * 1e6)
            self._store = stack.enter_context(
                Predictions(store_path, run_id=run_id, limit_bytes=limit)
            )
            self._supply = Supply(
                settings=settings,
                model=model,
                dataset=dataset,
                request=request,
                store=self._store,
                budget=budget,
                guard=self._changed,
            )
            self._opened = stack.pop_all()
        self.evaluation = self._supply.evaluation
        """The key of the evaluation for `Predictions.finish`."""
        self._near: dict[int, Prediction] = {}
        self._most_near = 4 * MOST_AT_ONCE + settings.share
        self._unstored: dict[int, Prediction] = {}
        self._asked: dict[int, bytes] = {}
        self._unused: dict[int, bytes] = {}
        self.given_away: dict[int, int] = {}
        """Attempts at rows that were asked for and not got here, by position."""
        self._ready: deque[tuple[int, Prompt]] = deque()
        self._answers: list[tuple[int, Prediction, bool]] = []
        self._at_once = self._stride = 1
        self._look_at = 0.0
        self._beside: Beside | None = None
        self._woken, self._taking = asyncio.Event(), asyncio.Lock()
        path = settings.turn_path
        self._turn = None if path is None else _Turn(path, self._is_stopping)
        self._stopping = False
        self._failure: tuple[BaseException, TracebackType | None] | None = None

    def get(self, position: int) -> Prediction:
        """Return a row's reply or error; wait for it when it is not there yet.

        Args:
            position: Of the row among the examples.

        Raises:
            LLMEvalError: the model must not be asked on, or the store cannot be used;
                what ended the asking is raised for every row from then on.
        """
        with self._changed:
            self._check()
            self._course.move_to(position)
            expected = self._unused.pop(position, None) is not None
            if expected:
                self._wake()
                if self._is_there(position):
                    self._changed.wait(YIELD_S)
            if not self._is_known(position):
                self._find_from(position)
            self._wait_for(position)
            self._course.begin(position)
            prediction = self._hand_out(position)
            self.given_away.pop(position, None)
            if not expected and self._settings.workers > 1:
                self._let_others_know(position, prediction)
            return prediction

    def close(self) -> None:
        """Stop asking, and free what is held; requests on their way get some seconds.

        Raises:
            ConfigurationError: the store cannot be written.
        """
        with self._changed:
            self._stopping = True
        with self._opened:
            if self._beside is not None:
                self._wake()
                self._beside.finish()

    def _is_stopping(self) -> bool:
        return self._stopping

    def _check(self) -> None:
        if self._failure is not None:
            failure, traceback = self._failure
            raise failure.with_traceback(traceback)  # else it grows with every test
        if self._stopping:
            raise ModelError("no prediction can be had any more: its run is at the end")

    def _is_there(self, position: int) -> bool:
        return position in self._near or position in self._unstored

    def _is_known(self, position: int) -> bool:
        return self._is_there(position) or position in self._asked

    def _note(self, position: int, prediction: Prediction) -> None:
        """Keep what is in the store at hand, but not all of it."""
        self._near[position] = prediction
        if len(self._near) > self._most_near:
            del self._near[next(iter(self._near))]

    def _hand_out(self, position: int) -> Prediction:
        if position not in self._unstored:
            return self._near.pop(position)
        if self._unstored[position].error is not None:  # a test that is rerun asks anew
            return self._unstored.pop(position)
        return self._unstored[position]

    def _find_from(self, position: int) -> None:
        """Look up this row and the next ones; more of them while all are stored."""
        following = self._course.following(position, self._at_once)
        keys = {
            at: self._supply.question(self._examples[at])[1]
            for at in following
            if not self._is_known(at)
        }
        found = self._supply.find(list(keys.values()))
        for at, key in keys.items():
            if key in found:
                self._note(at, found[key])
        all_are = all(key in found for key in keys.values())
        self._at_once = min(2 * self._at_once, MOST_AT_ONCE) if all_are else 1

    def _wait_for(self, position: int) -> None:
        look_s = FIRST_LOOK_S
        while not self._is_there(position):
            wait_s = POLL_S
            if position not in self._asked:
                self._ask_now(position)
                wait_s, look_s = look_s, min(1.5 * look_s, LAST_LOOK_S)
            self._changed.wait_for(lambda: self._is_there(position), wait_s)
            self._check()

    def _ask_now(self, position: int) -> None:
        """Have a row asked before all others, unless another process asks it."""
        example = self._examples[position]
        prompt, key = self._supply.question(example)
        found, ours = self._supply.take([key])
        if key in found:
            self._note(position, found[key])
        elif self._settings.cache == "only":
            self._unstored[position] = self._missing(example)
        elif key in ours and self._supply.begin(key):
            self._course.begin(position)
            self._asked[position] = key
            self._ready.appendleft((position, prompt))
            if self._beside is None:
                self._beside = Beside(self._work)
            self._wake()

    def _missing(self, example: Example) -> Prediction:
        message = (
            f"--llmeval-cache only: row {example.id!r} of {self._dataset.name} has no "
            f"stored prediction of {self._model.ref}"
        )
        error = RowError(id=example.id, kind="missing", message=message, attempts=0)
        return Prediction(error=error, attempts=0)

    def _let_others_know(self, position: int, prediction: Prediction) -> None:
        """End the claim of the process that asked for this row: it may ask for more."""
        if prediction.attempts == 0 and prediction.reply and not prediction.stored_at:
            _, key = self._supply.question(self._examples[position])
            self._store.end_claims([key])

    def _wake(self) -> None:
        if self._beside is not None:
            self._beside.call_soon(self._woken.set)

    async def _work(self) -> None:
        """Ask until the end; what follows here runs in the loop's thread."""
        try:
            await self._supply.ask(
                self._take,
                self._answered,
                committed=self._committed,
                is_stopping=self._is_stopping,
            )
        except BaseException as error:
            self._fail(error)
            raise
        finally:
            if self._turn is not None:
                self._turn.leave()
            with self._changed:
                self._supply.release()

    def _fail(self, error: BaseException) -> None:
        self._failure = self._failure or (error, error.__traceback__)
        self._woken.set()

    async def _take(self) -> tuple[int, Prompt] | None:
        """Give the next prompt, when there is room for it; None at the end."""
        async with self._taking:
            while not self._stopping:
                self._woken.clear()
                with self._changed:
                    if self._failure is not None:
                        raise self._failure[0]
                    looked = bool(self._ready) or self._claim_ahead()
                    item = self._ready.popleft() if self._ready else None
                if item is not None:
                    in_turn = self._turn is None or await self._turn.enter()
                    return item if in_turn else None
                if not looked:
                    await self._woken.wait()
                await asyncio.sleep(0)  # replies come in while stored rows are passed
        return None

    def _claim_ahead(self) -> bool:
        """Claim what can be asked for at once; return whether a row was looked at.

        What was claimed and not sent would keep tests of other processes waiting.
        """
        room = self._room()
        block = self._course.ahead(max(room, self._stride)) if room > 0 else []
        if not block:
            return False
        self._stride = min(2 * self._stride, MOST_AT_ONCE)
        questions = [self._supply.question(self._examples[at]) for at in block]
        found, ours = self._supply.take([key for _, key in questions], most=room)
        for position, (prompt, key) in zip(block, questions, strict=True):
            if len(self._ready) == room:
                break
            self._course.look_past(position)
            if key in found:
                self._course.begin(position)
            elif key in ours and self._supply.begin(key):
                self._course.begin(position)
                self._asked[position] = self._unused[position] = key
                self._ready.append((position, prompt))
                self._stride = 1
        return True

    def _room(self) -> int:
        """Return how many more rows may be asked for before a test uses one."""
        if len(self._unused) >= self._slots and self._settings.workers > 1:
            self._forget_used()
        return self._slots - self.waiting - self._elsewhere()

    @property
    def waiting(self) -> int:
        """Rows that were asked for, and whose tests have not come."""
        return max(len(self._unused), len(self._asked))

    def _forget_used(self) -> None:
        """See which rows tests of other processes have used by now."""
        if time.monotonic() >= self._look_at:
            self._look_at = time.monotonic() + LAST_LOOK_S
            claimed = self._store.claimed(list(self._unused.values()))
            self._unused = {
                at: key for at, key in self._unused.items() if key in claimed
            }

    def _answered(self, position: int, prediction: Prediction) -> None:
        if self._turn is not None:
            self._turn.leave()
        with self._changed:
            self.given_away[position] = prediction.attempts
            stored = self._supply.keep(self._asked[position], prediction)
            self._answers.append((position, prediction, stored))

    def _committed(self, failure: Exception | None) -> None:
        """Give the tests what outlives this process now."""
        if failure is not None:
            self._fail(failure)
        with self._changed:
            for position, prediction, stored in self._answers:
                del self._asked[position]
                if stored:
                    self._note(position, prediction)
                else:
                    self._unstored[position] = prediction
            self._answers.clear()
            self._changed.notify_all()


class _Turn:
    """A turn among the workers that share one request in flight.

    Args:
        path: The lock file that they share.
        is_stopping: Whether to give up.
    """

    def __init__(self, path: Path, is_stopping: Callable[[], bool]) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path, thread_local=False)
        self._is_stopping, self._pause_s = is_stopping, 0.0

    async def enter(self) -> bool:
        """Wait for the turn; return False when there will be none any more."""
        await asyncio.sleep(self._pause_s)  # those who wait come first
        while not self._is_stopping():
            try:
                self._lock.acquire(blocking=False)
            except Timeout:
                await asyncio.sleep(TURN_S)
            else:
                self._pause_s = 2 * TURN_S
                return True
        return False

    def leave(self) -> None:
        """Let the next one have the turn."""
        self._lock.release()
