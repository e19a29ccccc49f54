"""A task that scores answers, which asks nobody and may be repeated."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Callable
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.backends.spark.asking import read_example
from pytest_llmeval.backends.spark.records import SUMMED
from pytest_llmeval.backends.spark.records import to_batch
from pytest_llmeval.backends.spark.shipping import Unpacked
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.results import answer_digest
from pytest_llmeval.scoring import Scorer
from pytest_llmeval.text import redactor
from pytest_llmeval.threads import Beside


if TYPE_CHECKING:
    from pytest_llmeval.backends.spark.records import Batches
    from pytest_llmeval.backends.spark.records import MapBatches


FIXED = (
    "id string, repeat int, row string, reply string, errors string, kinds string, "
    "attempts int, latency_ms double, queue_ms double, prompt_tokens bigint, "
    "output_tokens bigint, cost_usd double, asked_at double, run_id string, "
    "answer_high bigint, answer_low bigint, score_high bigint, score_low bigint"
)
KINDS_END = " "
"""Between the kinds of a row's errors, none of which has a space in it."""


def scored_schema(metrics: Sequence[str]) -> str:
    """Return the schema of scored rows: `FIXED`, and a column for each metric."""
    return ", ".join(
        [FIXED, *(f"{score_column(at)} double" for at in range(len(metrics)))]
    )


def score_column(number: int) -> str:
    """Return the column of a metric: names of metrics may be no names of columns."""
    return f"score_{number}"


def scoring(packed: bytes) -> MapBatches:
    """Return what makes scored rows of `ANSWERED` ones."""

    def map_batches(batches: Batches) -> Batches:
        unpacked = Unpacked.of(packed)
        schema = scored_schema(_names(unpacked))
        for batch in batches:
            if batch.num_rows:
                rows = batch.to_pylist()
                yield to_batch(schema, _score(unpacked, rows))

    return map_batches


def _names(unpacked: Unpacked) -> list[str]:
    metrics = unpacked.shipment.metrics.values()
    return [metric.name for metric in metrics if metric.score]


def _score(
    unpacked: Unpacked, answers: Sequence[dict[str, Any]]
) -> list[tuple[Any, ...]]:
    shipment = unpacked.shipment
    names, rows = _names(unpacked), list[Row]()

    async def score_all() -> None:
        settings = shipment.settings
        scorer = Scorer(
            shipment.metrics.values(), settings.timeout_s, settings.concurrency
        )
        for answer in answers:
            example = read_example(shipment.columns, answer["id"], answer["row"])
            rows.append(scorer.score(example, read_prediction(answer)))
        more = [at for at, row in enumerate(rows) if scorer.has_more(row)]
        scored = await asyncio.gather(*(scorer.score_more(rows[at]) for at in more))
        for at, row in zip(more, scored, strict=True):
            rows[at] = row

    beside = Beside(score_all)
    beside.ended.wait()
    if beside.failure is not None:
        raise beside.failure
    redact = redactor()
    return [
        _scored(row, answer, names, redact)
        for row, answer in zip(rows, answers, strict=True)
    ]


def read_prediction(answer: dict[str, Any]) -> Prediction:
    """Return the prediction that an answered row holds."""
    reply = error = None
    if answer["reply"] is not None:
        reply = Reply(
            text=json.loads(answer["reply"]),
            prompt_tokens=answer["prompt_tokens"],
            output_tokens=answer["output_tokens"],
            cost_usd=answer["cost_usd"],
        )
    elif answer.get("kind") is not None:
        error = RowError(
            id=answer["id"],
            kind=answer["kind"],
            message=json.loads(answer["message"]),
            attempts=answer["attempts"],
        )
    return Prediction(
        reply=reply,
        error=error,
        latency_ms=answer["latency_ms"],
        queue_ms=answer["queue_ms"],
        attempts=answer["attempts"],
    )


def _scored(
    row: Row,
    answer: dict[str, Any],
    names: Sequence[str],
    redact: Callable[[str], str],
) -> tuple[Any, ...]:
    reply = row.prediction.reply
    errors = [[one.kind, redact(one.message), one.attempts] for one in row.errors]
    digest = answer_digest(answer["id"], answer["repeat"], reply, row.errors)
    scores = [row.scores.get(name) for name in names]
    return (
        answer["id"],
        answer["repeat"],
        answer["row"],
        answer["reply"],
        json.dumps(errors) if errors else None,
        KINDS_END.join(one.kind for one in row.errors) or None,
        answer["attempts"],
        answer["latency_ms"],
        answer["queue_ms"],
        answer["prompt_tokens"],
        answer["output_tokens"],
        answer["cost_usd"],
        answer["asked_at"],
        answer["run_id"],
        *halves(digest),
        *halves(score_digest(answer["id"], answer["repeat"], scores)),
        *scores,
    )


def halves(number: int) -> tuple[int, int]:
    """Return the upper and lower 32 bits, sums of which fit into Spark's integers."""
    return number >> 32, number & 0xFFFFFFFF


def score_digest(row_id: str, repeat: int, scores: Sequence[float | None]) -> int:
    """Return a hash below 2^64 of a row and its scores."""
    content = json.dumps([row_id, repeat, *scores]).encode()
    return int.from_bytes(hashlib.blake2b(content, digest_size=8).digest())


def digesting(batches: Batches) -> Batches:
    """Sum the `score_digest` of scored rows: one total for each partition."""
    total = 0
    for batch in batches:
        for row_id, repeat, *scores in zip(
            *(column.to_pylist() for column in batch.columns), strict=True
        ):
            total += score_digest(row_id, repeat, scores)
    yield to_batch(SUMMED, [(f"{total:x}",)])
