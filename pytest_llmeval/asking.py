"""Looks through the rows of one evaluation, and asks and scores what is missing.

Stored replies are scored as the rows are read. What is not stored is claimed in the
store and asked; what another process has claimed is looked at again later. Apart from
`runner`, which says what there is to evaluate, and from `calls`, which knows no rows.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractContextManager
from contextlib import contextmanager
from contextlib import nullcontext
from itertools import chain
from itertools import islice

from pytest_llmeval.budget import Budget
from pytest_llmeval.calls import INTERRUPTED
from pytest_llmeval.config import Settings
from pytest_llmeval.datasets import in_order
from pytest_llmeval.errors import ModelError
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Example
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Model
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Progress
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Request
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.rows import RowLog
from pytest_llmeval.scoring import Scorer
from pytest_llmeval.scoring import score_row
from pytest_llmeval.supply import Supply
from pytest_llmeval.text import first_few
from pytest_llmeval.threads import run_beside


FIRST_LOOK_S = 0.05
LAST_LOOK_S = 2.0
"""How long to wait before looking again for rows that another process asks."""


class Asking:
    """One evaluation on its way; `run` returns when every row is in the log.

    Args:
        settings: Concurrency, time-outs, what stored replies are used for.
        model: Who is asked.
        dataset: Its rows.
        request: How they are asked.
        metrics: What they are scored by.
        log: Takes the rows; those that it has are not asked.
        order: Positions of the examples in the order of asking; None for the dataset's.
        store: Keeps predictions; None to keep none.
        budget: What may be spent; None for no limit.
        progress: Shows how it gets on.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        model: Model,
        dataset: Dataset,
        request: Request,
        metrics: Mapping[str, Metric],
        log: RowLog,
        order: Sequence[int] | None,
        store: Predictions | None,
        budget: Budget | None,
        progress: Progress | None,
    ) -> None:
        self._settings, self._model, self._dataset = settings, model, dataset
        self._log, self._order, self._progress = log, order, progress
        self._repeats = request.repeats
        self._scorer = Scorer(metrics.values(), settings.timeout_s, settings.share)
        self._supply = Supply(
            settings=settings,
            model=model,
            dataset=dataset,
            request=request,
            store=store,
            budget=budget,
        )
        self._begun = bytearray(map(log.has, range(len(log))))
        self._unread: Iterator[tuple[int, Example]] = self._rows()
        self._ready: deque[tuple[int, Prompt]] = deque()
        self._asked: dict[int, tuple[Example, bytes, int]] = {}
        self._taken = 0
        self._missing: list[str] = []
        self._wait_s, self._later = FIRST_LOOK_S, False
        self._put_back: list[tuple[int, Example]] = []
        self._answers: list[tuple[int, Example, Prediction]] = []
        self._stopping = self._enough = False
        self._failure: Exception | None = None
        self._scoring: set[asyncio.Task[None]] = set()

    def _rows(self) -> Iterator[tuple[int, Example]]:
        """Yield position and example of each row, the repeats of one in succession."""
        repeats = range(self._repeats)
        examples: Iterable[tuple[int, Example]]
        if self._order is None:
            examples = enumerate(self._dataset.examples)
        else:
            examples = in_order(self._dataset, self._order)
        for at, example in examples:
            for repeat in repeats:
                yield at * self._repeats + repeat, example

    def run(self, is_enough: Callable[[], bool] = lambda: False) -> None:
        """Ask and score.

        Args:
            is_enough: Asked after each row, in the loop's thread; once it says so, no
                request is sent any more. Without it, every row is asked.

        Raises:
            LLMEvalError: the model must not be asked on, the data changed, or a stored
                prediction is missing and must not be asked for.
        """
        self._is_enough = is_enough
        self._show()
        with self._turn():
            run_beside(self._work, meanwhile=self._show, stop=self._stop)
        self._show()
        if self._enough:
            return
        if self._missing:
            raise ModelError(
                f"--llmeval-cache only: {len(self._missing)} of {len(self._log)} rows "
                f"of {self._dataset.name} have no stored prediction of "
                f"{self._model.ref}: {first_few(self._missing)}"
            )
        self._name_unanswered()
        if self._log.done == len(self._log):
            self.finish()

    def finish(self) -> None:
        """Note that an unpinned model's replies have served, unless a row failed."""
        if not self._log.columns.failed:
            self._supply.finish()

    def _name_unanswered(self) -> None:
        """Add an error for each row that nothing came back for: it must not vanish."""
        if self._log.done == len(self._log):
            return
        for position, example in self._rows():
            if not self._log.has(position):
                message = "no reply and no error"
                error = RowError(id=example.id, kind="missing", message=message)
                prediction = Prediction(error=error, attempts=0)
                self._log.add(position, score_row(example, prediction, ()))

    def _show(self) -> None:
        if self._progress is not None:
            done, errors = self._log.done, len(self._log.columns.failed)
            self._progress(done, done if self._enough else len(self._log), errors)

    def _turn(self) -> AbstractContextManager[object]:
        """Wait for a turn where more workers than requests are allowed."""
        path = self._settings.turn_path
        if path is None:
            return nullcontext()
        from filelock import FileLock

        path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    def _stop(self) -> None:
        self._stopping = True

    async def _work(self) -> None:
        self._reading, self._replied = asyncio.Lock(), asyncio.Event()
        try:
            async with asyncio.TaskGroup() as self._tasks:
                first = await self._take()
                if first is not None:  # a model that need not be asked is not opened
                    self._ready.appendleft(first)
                    await self._supply.ask(
                        self._take,
                        self._answered,
                        committed=self._committed,
                        is_stopping=lambda: self._stopping or self._enough,
                    )
                self._score_answers()
        except BaseExceptionGroup as group:
            raise group.exceptions[0] from None
        finally:
            self._supply.release()
        if self._failure is not None:
            raise self._failure

    async def _take(self) -> tuple[int, Prompt] | None:
        """Give the next prompt to ask, or None when there is none left."""
        while not (self._stopping or self._enough):
            if self._failure is not None:
                raise self._failure
            if self._ready:
                return self._ready.popleft()
            async with self._reading:
                if not self._ready and not await self._read():
                    return None
            await asyncio.sleep(0)  # replies come in while stored rows are read
        return None

    async def _read(self) -> bool:
        """Look at the next rows; return whether there may be more to ask."""
        while len(self._scoring) >= self._settings.share:  # slow metrics lag behind
            await asyncio.wait(self._scoring, return_when=asyncio.FIRST_COMPLETED)
        while self._is_far_ahead():
            self._replied.clear()
            await self._replied.wait()
        if self._put_back:  # what comes after them counts only when they are there
            return await self._begin_again()
        unread = (item for item in self._unread if not self._begun[item[0]])
        block = list(islice(unread, self._settings.share))
        if not block:
            return await self._begin_again()
        questions = [
            self._supply.question(example, position % self._repeats)
            for position, example in block
        ]
        found, ours = self._supply.take([key for _, key in questions])
        for (position, example), (prompt, key) in zip(block, questions, strict=True):
            if key in found:
                self._begun[position] = True
                self._score(position, example, found[key])
            elif self._settings.cache == "only":
                self._missing.append(example.id)
            elif key in ours and self._supply.begin(key):
                self._begun[position] = True
                self._asked[position] = (example, key, self._taken)
                self._taken += 1
                self._ready.append((position, prompt))
            elif self._order is None:
                self._later = True
            else:
                self._put_back.append((position, example))
        return True

    def _is_far_ahead(self) -> bool:
        """Return whether an early row is slow: later ones count only after it.

        So far that requests are saved, and not so little that slots often stand idle.
        """
        if self._order is None or not self._asked:
            return False
        *_, number = next(iter(self._asked.values()))
        return self._taken - number > self._settings.share

    async def _begin_again(self) -> bool:
        """Go back to rows that somebody else was asking, after a while."""
        if not self._later and not self._put_back:
            return False
        await asyncio.sleep(self._wait_s)
        if self._later:
            self._wait_s, self._later = min(2.0 * self._wait_s, LAST_LOOK_S), False
            self._unread = self._rows()
        self._unread = chain(self._put_back, self._unread)
        self._put_back = []
        return True

    def _answered(self, position: int, prediction: Prediction) -> None:
        """Take a reply over: commit it now, score it when the next request is out."""
        example, key, _ = self._asked.pop(position)
        self._replied.set()
        if self._enough and prediction.error and prediction.error.kind == INTERRUPTED:
            return  # it was not sent, and is not needed
        self._supply.keep(key, prediction)
        self._answers.append((position, example, prediction))

    def _committed(self, failure: Exception | None) -> None:
        self._failure = failure or self._failure
        asyncio.get_running_loop().call_soon(self._score_answers)

    def _score_answers(self) -> None:
        answers, self._answers = self._answers, []
        with self._noting_failure():
            for answer in answers:
                self._score(*answer)

    @contextmanager
    def _noting_failure(self) -> Iterator[None]:
        """Keep what is raised for whoever takes a row next."""
        try:
            yield
        except Exception as error:  # noqa: BLE001  # raised again
            self._failure = error

    def _score(self, position: int, example: Example, prediction: Prediction) -> None:
        row = self._scorer.score(example, prediction)
        if not self._scorer.has_more(row):
            self._add(position, row)
            return
        task = self._tasks.create_task(self._score_beside(position, row))
        self._scoring.add(task)
        task.add_done_callback(self._scoring.discard)

    def _add(self, position: int, row: Row) -> None:
        self._log.add(position, row)
        self._enough = self._enough or self._is_enough()

    async def _score_beside(self, position: int, row: Row) -> None:
        """Add what slow metrics say."""
        with self._noting_failure():
            self._add(position, await self._scorer.score_more(row))
