"""A task that asks: the same loop as on one machine, over the rows of a partition."""

from __future__ import annotations

import json
import time
from collections import deque
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.backends.spark.records import to_batch
from pytest_llmeval.backends.spark.shipping import Unpacked
from pytest_llmeval.budget import open_budget
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.examples import ColumnNames
from pytest_llmeval.examples import to_example
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Example
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import RowError
from pytest_llmeval.supply import Supply
from pytest_llmeval.text import redactor
from pytest_llmeval.threads import run_beside


if TYPE_CHECKING:
    from pytest_llmeval.backends.spark.records import Batches
    from pytest_llmeval.backends.spark.records import MapBatches


ANSWERED = (
    "id string, repeat int, row string, reply string, kind string, message string, "
    "attempts int, latency_ms double, queue_ms double, prompt_tokens bigint, "
    "output_tokens bigint, cost_usd double, asked_at double, run_id string"
)
"""What `asking` makes: a row, and the reply to it as JSON text or the kind and message
of an error."""
OVER_BUDGET = "this task's share of the run's budget is spent"
REFUSED = "refused"
"""Kind of error of rows whose task could not ask at all; they stop the evaluation."""


def asking(packed: bytes) -> MapBatches:
    """Return what makes `ANSWERED` rows of the columns id, repeat and row.

    Args:
        packed: A `Shipment`, for the share of one task.
    """

    def map_batches(batches: Batches) -> Batches:
        rows = [
            pair
            for batch in batches
            for pair in zip(*(one.to_pylist() for one in batch.columns), strict=True)
        ]
        if rows:
            yield to_batch(ANSWERED, _ask(Unpacked.of(packed), rows))

    return map_batches


def _ask(
    unpacked: Unpacked, rows: Sequence[tuple[str, int, str]]
) -> list[tuple[Any, ...]]:
    shipment, redact = unpacked.shipment, redactor()
    questions = [
        (read_example(shipment.columns, row_id, row), repeat)
        for row_id, repeat, row in rows
    ]
    predictions: dict[int, Prediction] = {}
    try:
        _ask_all(unpacked, questions, predictions)
    except LLMEvalError as error:
        _refuse_rest(questions, predictions, str(error))
    now = time.time()
    return [
        (
            *row,
            *_answer(predictions[at], redact),
            now,
            shipment.run_id,
        )
        for at, row in enumerate(rows)
    ]


def read_example(columns: Mapping[str, Any], row_id: str, row: str) -> Example:
    """Return a row as an example.

    Args:
        columns: Which column is which, see `Dataset.columns`.
        row_id: The row's id.
        row: Its columns, as JSON.
    """
    names = ColumnNames(
        id=columns["id"],
        input=columns["input"],
        references=tuple(columns["references"]),
        context=columns["context"],
    )
    return to_example(row_id, json.loads(row), names, f"row {row_id!r}")


def _ask_all(
    unpacked: Unpacked,
    questions: Sequence[tuple[Example, int]],
    predictions: dict[int, Prediction],
) -> None:
    shipment, examples = unpacked.shipment, [example for example, _ in questions]
    settings = shipment.settings
    supply = Supply(
        settings=settings,
        model=unpacked.model(),
        dataset=Dataset(
            name=shipment.dataset,
            digest="",
            examples=examples,
            ids=[example.id for example in examples],
            columns=shipment.columns,
        ),
        request=shipment.request,
        store=None,
        budget=open_budget(settings, None, time.monotonic()),
    )
    left = deque(range(len(questions)))
    is_stopping = False

    async def take() -> tuple[int, Prompt] | None:
        if not left:
            return None
        position = left.popleft()
        return position, supply.prompt(*questions[position])

    def stop() -> None:
        nonlocal is_stopping
        is_stopping = True

    # Beside this thread, which may have a loop of its own.
    run_beside(
        lambda: supply.ask(
            take,
            predictions.__setitem__,
            committed=lambda failure: None,
            is_stopping=lambda: is_stopping,
        ),
        meanwhile=lambda: None,
        stop=stop,
    )


def _refuse_rest(
    questions: Sequence[tuple[Example, int]],
    predictions: dict[int, Prediction],
    message: str,
) -> None:
    for position, (example, _) in enumerate(questions):
        if position not in predictions:
            error = RowError(id=example.id, kind=REFUSED, message=message, attempts=0)
            predictions[position] = Prediction(error=error, attempts=0)


def _answer(prediction: Prediction, redact: Any) -> tuple[Any, ...]:
    reply, error = prediction.reply, prediction.error
    if error is not None and error.kind == "budget":
        error = replace(error, message=OVER_BUDGET)
    return (
        # As JSON, because a reply may hold what is no valid text.
        None if reply is None else json.dumps(redact(reply.text)),
        None if error is None else error.kind,
        None if error is None else json.dumps(redact(error.message)),
        prediction.attempts,
        prediction.latency_ms,
        prediction.queue_ms,
        None if reply is None else reply.prompt_tokens,
        None if reply is None else reply.output_tokens,
        None if reply is None else reply.cost_usd,
    )
