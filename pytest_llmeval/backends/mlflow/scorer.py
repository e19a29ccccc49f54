"""MLflow's GenAI scorers as metrics: one score for each row, and no row left out."""

from __future__ import annotations

import inspect
import sys
from typing import TYPE_CHECKING
from typing import Any
from typing import get_args

from pytest_llmeval.errors import MetricError
from pytest_llmeval.records import Example
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import is_number


if TYPE_CHECKING:
    from mlflow.genai.scorers import Scorer


EXPECTATIONS = ("expected_response", "expected_facts", "guidelines")
"""Columns that scorers look for among the expectations."""
RATINGS = {"yes": True, "no": False}


def metric_of(item: object) -> Metric | None:
    """Return an MLflow scorer as a metric, and None for anything else.

    A scorer that gives yes or no, or true or false, and says so, has the range 0 to 1.

    Raises:
        MetricError: the scorer needs a trace or a session, which a row is not.
    """
    # Whoever has a scorer has imported its module; nobody else should have to.
    base = sys.modules.get("mlflow.genai.scorers.base")
    if base is None or not isinstance(item, base.Scorer):
        return None
    scorer: Scorer = item
    _check_arguments(scorer)

    def score(prediction: Prediction, example: Example) -> float | bool:
        result = scorer.run(
            inputs=_inputs(example),
            outputs=prediction.text,
            expectations=_expectations(example),
        )
        return _score_of(result)

    return Metric(
        name=scorer.name,
        score=score,
        range=(0.0, 1.0) if _is_binary(scorer) else None,
        source=f"{type(scorer).__module__}.{type(scorer).__name__}",
    )


def _check_arguments(scorer: Scorer) -> None:
    parameters = inspect.signature(scorer.__call__).parameters
    trace = parameters.get("trace")
    needs_trace = trace is not None and trace.default is inspect.Parameter.empty
    if needs_trace or "session" in parameters or scorer.is_session_level_scorer:
        raise MetricError(
            f"the MLflow scorer {scorer.name!r} scores traces or sessions; here a "
            "scorer gets inputs, outputs and expectations of one row"
        )


def _is_binary(scorer: Scorer) -> bool:
    returns = inspect.signature(scorer.__call__).return_annotation
    rating = getattr(scorer, "feedback_value_type", returns)
    return rating in (bool, "bool") or bool(
        get_args(rating) and set(get_args(rating)) <= set(RATINGS)
    )


def _inputs(example: Example) -> dict[str, Any]:
    """Return the row's columns but for id and answers, which no judge should see."""
    hidden = {example.id, *example.references}
    columns = {
        str(name): value
        for name, value in example.metadata.items()
        if name not in EXPECTATIONS and hidden.isdisjoint(_texts(value))
    }
    if example.input in columns.values():
        return columns
    return {"input": example.input, **columns}  # a reference says the same


def _texts(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list) else [str(value)]


def _expectations(example: Example) -> dict[str, Any]:
    """Return what MLflow calls the answers: the first one, all, and further columns."""
    found = {name: example.metadata.get(name) for name in EXPECTATIONS}
    expected = {name: value for name, value in found.items() if value is not None}
    if not example.references:
        return expected
    return {
        "expected_response": example.references[0],
        "references": list(example.references),
        **expected,
    }


def _score_of(result: object) -> float | bool:
    """Return a scorer's result as a number.

    Raises:
        MetricError: the scorer reports an error, or what it gives is no score.
    """
    error = getattr(result, "error", None)
    if error is not None:
        raise MetricError(f"{error.error_code}: {error.error_message}")
    value = getattr(result, "value", result)
    if isinstance(value, str) and value.lower() in RATINGS:
        return RATINGS[value.lower()]
    if isinstance(value, bool) or is_number(value):
        return value
    raise MetricError(
        f"it gave {value!r:.100}, which is no score; a score is a number, a bool, yes "
        "or no, alone or as the value of one Feedback"
    )
