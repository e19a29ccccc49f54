"""Evaluations of language models as ordinary tests whose outcome gates a deployment.

Names are resolved on first use: importing the package costs nothing, which matters
because the plugin is loaded in every pytest run on the machine.
"""

from __future__ import annotations

from typing import TYPE_CHECKING


if TYPE_CHECKING:
    from pytest_llmeval.assertions import assert_each_slice
    from pytest_llmeval.assertions import assert_improved
    from pytest_llmeval.assertions import assert_metric
    from pytest_llmeval.assertions import assert_no_regression
    from pytest_llmeval.assertions import assert_quantile
    from pytest_llmeval.config import Settings
    from pytest_llmeval.decisions import decide
    from pytest_llmeval.decisions import decide_each_slice
    from pytest_llmeval.decisions import decide_improved
    from pytest_llmeval.decisions import decide_no_regression
    from pytest_llmeval.decisions import decide_quantile
    from pytest_llmeval.errors import DeploymentRefused
    from pytest_llmeval.errors import LLMEvalError
    from pytest_llmeval.hooks import hookimpl
    from pytest_llmeval.metrics import regex_match
    from pytest_llmeval.metrics import rouge
    from pytest_llmeval.models import CallableModel
    from pytest_llmeval.records import DatasetRef
    from pytest_llmeval.records import Example
    from pytest_llmeval.records import Gate
    from pytest_llmeval.records import Metric
    from pytest_llmeval.records import Plan
    from pytest_llmeval.records import Prediction
    from pytest_llmeval.records import State
    from pytest_llmeval.results import EvalResults
    from pytest_llmeval.runner import evaluate


__all__ = [
    "CallableModel",
    "DatasetRef",
    "DeploymentRefused",
    "EvalResults",
    "Example",
    "Gate",
    "LLMEvalError",
    "Metric",
    "Plan",
    "Prediction",
    "Settings",
    "State",
    "assert_each_slice",
    "assert_improved",
    "assert_metric",
    "assert_no_regression",
    "assert_quantile",
    "decide",
    "decide_each_slice",
    "decide_improved",
    "decide_no_regression",
    "decide_quantile",
    "evaluate",
    "hookimpl",
    "regex_match",
    "rouge",
]

_HOME = {
    "CallableModel": "models",
    "DatasetRef": "records",
    "DeploymentRefused": "errors",
    "EvalResults": "results",
    "Example": "records",
    "Gate": "records",
    "LLMEvalError": "errors",
    "Metric": "records",
    "Plan": "records",
    "Prediction": "records",
    "Settings": "config",
    "State": "records",
    "assert_each_slice": "assertions",
    "assert_improved": "assertions",
    "assert_metric": "assertions",
    "assert_no_regression": "assertions",
    "assert_quantile": "assertions",
    "decide": "decisions",
    "decide_each_slice": "decisions",
    "decide_improved": "decisions",
    "decide_no_regression": "decisions",
    "decide_quantile": "decisions",
    "evaluate": "runner",
    "hookimpl": "hooks",
    "regex_match": "metrics",
    "rouge": "metrics",
}


def __getattr__(name: str) -> object:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    import importlib

    value: object = getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
