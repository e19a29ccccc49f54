"""What others implement: models, recorders, trackers, targets."""

from __future__ import annotations

from collections.abc import Awaitable
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import AbstractAsyncContextManager
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import BinaryIO
from typing import Protocol

from pytest_llmeval.records.gates import Decision
from pytest_llmeval.records.rows import ModelRef
from pytest_llmeval.records.rows import Prompt
from pytest_llmeval.records.rows import Reply
from pytest_llmeval.records.rows import Row


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredRun:
    """A run that has ended, with what it left behind."""

    verdict: Mapping[str, Any]
    """The content of its ``verdict.json``."""
    open_rows: Callable[[int], BinaryIO]
    """Opens a file of JSON lines that holds the rows of an evaluation, given by its
    number in the run, from 1."""
    origin: str
    """Where it was found, for people."""
    model: str | None = None
    """The model version that it has to be of; None where a run itself was named."""


class Model(Protocol):
    """A language model, or a whole application around one."""

    @property
    def ref(self) -> ModelRef:
        """Its resolved identity."""

    @property
    def concurrency(self) -> int | None:
        """The most requests it can work on at once; None when it sets no limit."""

    @property
    def sees_example(self) -> bool:
        """Whether it reads more of the example than the prompt."""

    def session(self) -> AbstractAsyncContextManager[Ask]:
        """Open it for one evaluation, inside that evaluation's event loop."""

    def close(self) -> None:
        """Free what it holds; called once, at the end of the run."""


Ask = Callable[[Prompt], Awaitable[Reply]]
"""Asks once and returns the reply, or raises `CallError`."""


class Recorder(Protocol):
    """Takes note of decisions; a pytest session has one, a notebook none."""

    @property
    def raises(self) -> bool:
        """Whether a gate that does not pass raises."""

    def record(self, decision: Decision, fields: Mapping[str, Any]) -> Decision:
        """Keep the decision and return it as it may be shown, with its test.

        Args:
            decision: How a gate came out.
            fields: Which column of the data is which, see `Dataset.columns`.
        """


class RowSource(Protocol):
    """Asks for rows of an evaluation that stops when its gates are decided."""

    @property
    def seed(self) -> str:
        """What the order of the rows follows from."""

    @property
    def begun(self) -> bool:
        """Whether a gate or a reader has asked for rows."""

    def begin(self) -> None:
        """Note that a gate has come: who reads rows now finds those that are there."""

    def ask(self, enough: Callable[[Sequence[Row]], bool] | None = None) -> None:
        """Ask for rows in their order, until there are enough or none is left.

        Args:
            enough: Called with the rows of one example, one for each repeat, and then
                of the next; those that are there already come first. Without it, every
                row is asked for.

        Raises:
            EarlyStopped: further rows are needed, and the source is closed.
            LLMEvalError: the model must not be asked on, or the data changed.
        """

    def close(self) -> None:
        """Ask no more: the test that evaluated is over."""


class Progress(Protocol):
    """Shows how an evaluation gets on."""

    def __call__(self, done: int, total: int, errors: int) -> None:
        """Say that `done` of `total` rows are answered, `errors` of them in error."""


class Tracker(Protocol):
    """Keeps runs where a team looks them up.

    A run is the mapping in ``tracking.json``. Its uploads may break off at any point
    and begin again, in another process: each step leaves alone what is there already.
    """

    def child(self, name: str, run: Mapping[str, Any]) -> AbstractContextManager[Any]:
        """Open a child run now, for a test that logs to it.

        Args:
            name: The child's name.
            run: Of the mapping only ``run_id``, ``experiment``, ``experiment_id`` and
                ``started_at``.
        """

    def log_run(self, run: Mapping[str, Any], rows: Path) -> str:
        """Write a finished run and its evaluations; return the run's id there.

        Args:
            run: What to write.
            rows: The file of which each evaluation has the bytes ``rows_span``.
        """

    def log_verdict(self, run_id: str, run: Mapping[str, Any], verdict: Path) -> None:
        """Add the verdict file to the run that `log_run` gave, and end that run."""

    def find_predictions(
        self, run: Mapping[str, Any], test: str, params: Mapping[str, str]
    ) -> set[tuple[str, str]]:
        """Return run id and digest of the predictions that complete runs have made.

        Args:
            run: Of the mapping only ``experiment`` and ``experiment_id``.
            test: The test whose evaluations count.
            params: The parameters that they have.
        """

    def log_deployment(
        self, run_id: str, deployment: Path, tags: Mapping[str, str]
    ) -> None:
        """Add what a deployment did to the run that `log_run` gave; ended or not."""
