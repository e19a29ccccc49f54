"""Traces of production: which there are of a day, and those of the sample as calls."""

from __future__ import annotations

import datetime
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.errors import DataError
from pytest_llmeval.examples import sample_place
from pytest_llmeval.records.traffic import TrafficRef
from pytest_llmeval.records.traffic import midnight
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Trace


PAGE = 500
LABEL = "expected_response"
"""MLflow's name for the answer that was expected."""
A_DAY_MS = 86_400_000


def read_traces(client: MlflowClient, ref: TrafficRef) -> Iterator[dict[str, Any]]:
    """Yield the calls of the sample; only their spans are loaded.

    Raises:
        DataError: there is no such experiment, or the store does not answer.
    """
    name = ref.source.removeprefix("traces:")
    with _naming(name):
        experiment = client.get_experiment_by_name(name)
    if experiment is None:
        raise DataError(
            f"traces:{name}: no such experiment in this MLflow; name its store with "
            "--tracking, and the experiment as its list shows it"
        )
    for day in ref.days:
        with _naming(name):
            chosen = _chosen(client, experiment.experiment_id, day, ref.sample)
            calls = [_call(client.get_trace(trace_id)) for trace_id in chosen]
        yield from calls


@contextmanager
def _naming(name: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # noqa: BLE001  # whatever the store's driver raises
        raise DataError(
            f"traces:{name}: MLflow does not give them: {type(error).__name__}: "
            f"{one_line(error, 500)}"
        ) from None


def _chosen(
    client: MlflowClient, experiment: str, day: datetime.date, most: int
) -> list[str]:
    """Return the ids of a day's traces whose hashes are the smallest."""
    seed = day.toordinal()
    return heapq.nsmallest(
        most,
        _ids(client, experiment, day),
        key=lambda trace_id: (sample_place(trace_id, seed), trace_id),
    )


def _ids(client: MlflowClient, experiment: str, day: datetime.date) -> Iterator[str]:
    start, token = int(midnight(day).timestamp() * 1000), None
    during = (
        f"trace.timestamp_ms >= {start} AND trace.timestamp_ms < {start + A_DAY_MS}"
    )
    while True:
        page = client.search_traces(
            locations=[experiment],
            filter_string=during,
            max_results=PAGE,
            order_by=["timestamp_ms ASC"],
            page_token=token,
            include_spans=False,
        )
        yield from (trace.info.trace_id for trace in page)
        token = page.token
        if not token:
            return


def _call(trace: Trace) -> dict[str, Any]:
    info, spans = trace.info, trace.data.spans
    root = next((span for span in spans if span.parent_id is None), None)
    usage = info.token_usage or {}
    cost = getattr(info, "cost", None) or {}
    own = {k: v for k, v in info.tags.items() if not k.startswith("mlflow.")}
    return {
        **own,
        "id": info.trace_id,
        "time": info.request_time,
        "input": root.inputs if root else info.request_preview,
        "output": root.outputs if root else info.response_preview,
        "status": str(getattr(info.state, "value", info.state)),
        "context": _context(spans),
        "reference": _label(info.assessments or ()),
        "latency_ms": info.execution_duration,
        "prompt_tokens": usage.get("input_tokens"),
        "output_tokens": usage.get("output_tokens"),
        "cost_usd": cost.get("total_cost"),
    }


def _context(spans: Any) -> str | None:
    """Return the texts that retrievers have found, one after another."""
    from mlflow.entities import SpanType

    found = [
        document
        for span in spans
        if span.span_type == SpanType.RETRIEVER and isinstance(span.outputs, list)
        for document in span.outputs
        if isinstance(document, dict)
    ]
    texts = [str(document.get("page_content") or "") for document in found]
    return "\n".join(texts) or None


def _label(assessments: Any) -> str | None:
    """Return what people have said later that the answer should have been."""
    values = [
        one.expectation.value
        for one in assessments
        if one.name == LABEL and getattr(one, "expectation", None) is not None
    ]
    return str(values[-1]) if values else None
