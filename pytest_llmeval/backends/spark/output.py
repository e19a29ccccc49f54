"""Scored rows as people query them: a row for each answer, always the same columns."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.backends.spark.asking import read_example
from pytest_llmeval.backends.spark.records import column_names
from pytest_llmeval.backends.spark.scoring import score_column
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import canonical
from pytest_llmeval.redaction import NO_RULES
from pytest_llmeval.redaction import Redaction
from pytest_llmeval.sources import spark_kind
from pytest_llmeval.text import one_line
from pytest_llmeval.text import redact


if TYPE_CHECKING:
    import pyarrow
    from pyspark.sql import DataFrame

    from pytest_llmeval.backends.spark.records import Batches


OUTPUT = (
    "run_id string, evaluation string, model string, dataset string, "
    "dataset_digest string, request_digest string, id string, repeat int, "
    "input string, references array<string>, context string, metadata string, "
    "prediction string, error_kind string, error_message string, "
    "scores map<string,double>, attempts int, latency_ms double, "
    "prompt_tokens bigint, output_tokens bigint, cost_usd double, asked_at timestamp"
)
"""The schema of `EvalResults.write`; columns may be added, and none is renamed."""


def output_frame(
    rows: DataFrame,
    names: Sequence[str],
    columns: Mapping[str, Any],
    evaluation: Mapping[str, Any],
    redaction: Redaction = NO_RULES,
) -> DataFrame:
    """Return scored rows with what they are of.

    Args:
        rows: Scored rows.
        names: The metrics, in the order of their columns.
        columns: Which column of the data is which, see `Dataset.columns`.
        evaluation: See `EvalResults.summary`.
        redaction: What is taken out of them.
    """
    head = (
        evaluation["name"],
        evaluation["params"]["model"],
        evaluation["dataset"]["name"],
        evaluation["dataset"]["digest"],
        evaluation["params"]["request_digest"],
    )

    def map_batches(batches: Batches) -> Batches:
        for batch in batches:
            if batch.num_rows:
                yield _to_batch(
                    _line(row, head, names, _content(row, columns, redaction))
                    for row in batch.to_pylist()
                )

    return rows.mapInArrow(map_batches, OUTPUT)


def _line(
    row: Mapping[str, Any],
    head: Sequence[str],
    names: Sequence[str],
    content: Mapping[str, Any],
) -> tuple[Any, ...]:
    error = next(iter(content["errors"]), {"kind": None, "message": None})
    scores = ((name, row[score_column(at)]) for at, name in enumerate(names))
    return (
        row["run_id"],
        *head,
        row["id"],
        row["repeat"],
        _valid(content["input"]),
        [_valid(text) for text in content["references"]],
        _valid(content["context"]),
        content["row"],
        _valid(content["prediction"]),
        error["kind"],
        _valid(error["message"]),
        [(name, score) for name, score in scores if score is not None],
        row["attempts"],
        row["latency_ms"],
        row["prompt_tokens"],
        row["output_tokens"],
        row["cost_usd"],
        datetime.datetime.fromtimestamp(row["asked_at"], datetime.UTC),
    )


def _content(
    row: Mapping[str, Any], columns: Mapping[str, Any], redaction: Redaction
) -> dict[str, Any]:
    """Return what a row says, redacted; ``row`` is the data's row as JSON."""
    example = read_example(columns, row["id"], row["row"])
    content = {
        "input": example.input,
        "references": list(example.references),
        "context": example.context,
        "prediction": None if row["reply"] is None else json.loads(row["reply"]),
        "errors": [
            {"kind": kind, "message": message}
            for kind, message, _ in json.loads(row["errors"] or "[]")
        ],
    }
    if not redaction:
        return {**content, "row": row["row"]}
    content["metadata"] = json.loads(row["row"])
    content = redaction.apply(content, columns)
    return {**content, "row": canonical(content["metadata"]).decode()}


def _valid(text: str | None) -> str | None:
    """Return a text that UTF-8 can hold; what it cannot is escaped."""
    return text and text.encode("utf-8", "backslashreplace").decode()


def _to_batch(lines: Iterator[tuple[Any, ...]]) -> pyarrow.RecordBatch:
    import pyarrow

    text, real, whole = pyarrow.string(), pyarrow.float64(), pyarrow.int64()
    types = {
        "repeat": pyarrow.int32(),
        "references": pyarrow.list_(text),
        "scores": pyarrow.map_(text, real),
        "attempts": pyarrow.int32(),
        "latency_ms": real,
        "prompt_tokens": whole,
        "output_tokens": whole,
        "cost_usd": real,
        "asked_at": pyarrow.timestamp("us", tz="UTC"),
    }
    names = column_names(OUTPUT)
    cells = zip(*lines, strict=True)
    return pyarrow.RecordBatch.from_arrays(
        [
            pyarrow.array(list(column), types.get(name, text))
            for name, column in zip(names, cells, strict=True)
        ],
        names=names,
    )


def write_frame(frame: DataFrame, target: str, mode: str) -> None:
    """Write to a table, a Delta folder, or Parquet files.

    Raises:
        ConfigurationError: the mode is unknown, or Spark cannot write there.
    """
    if mode not in ("append", "overwrite"):
        raise ConfigurationError(f"mode={mode!r:.60} is neither append nor overwrite")
    kind = spark_kind(target)
    try:
        if kind == "delta":
            path = target.removeprefix("delta:")
            frame.write.format("delta").mode(mode).save(path)
        elif kind == "table":
            frame.write.mode(mode).saveAsTable(target)
        else:
            frame.write.mode(mode).parquet(target)
    except Exception as error:  # noqa: BLE001  # Spark's, of whatever kind
        raise ConfigurationError(
            f"Spark cannot write the rows to {one_line(target)}: "
            f"{type(error).__name__}: {one_line(redact(str(error)), 500)}; check the "
            "name, and what this session may write"
        ) from None
