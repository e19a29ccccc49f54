"""Every exception that the package raises on purpose.

LLMEvalError
├── ConfigurationError (ValueError)   an option, ini value or argument is wrong
├── DataError (ValueError)            a dataset cannot be read as examples
├── ModelError (RuntimeError)         a model cannot be loaded, or must not be asked on
│   ├── ModelRefused                  it refuses our credentials; nobody asks it again
│   └── CallError                     one request failed; becomes the error of its row
├── MetricError (ValueError)          a metric is unknown or cannot be used here
├── BaselineError (LookupError)       there is no baseline, or it cannot be used
├── ServiceError (RuntimeError)       what a run's workers share cannot be started
├── EarlyStopped (RuntimeError)       an evaluation has stopped, and rows are missing
├── GateNotPassed (AssertionError)    a gate failed, is inconclusive or in error
├── DeploymentRefused (RuntimeError)  the verdict may not go live; `reason` says why
└── MissingDependency (ImportError)   an optional package is not installed
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.text import sanitize


if TYPE_CHECKING:
    from types import ModuleType

    from pytest_llmeval.records import Decision


class LLMEvalError(Exception):
    """Base of the tree above; its text is harmless, whatever data it quotes."""

    def __str__(self) -> str:
        return sanitize(super().__str__())


class ConfigurationError(LLMEvalError, ValueError):
    """An option, ini value or argument is wrong."""


class DataError(LLMEvalError, ValueError):
    """A dataset cannot be read as examples.

    Args:
        message: What is wrong, where, and what is allowed.
        reason: The verdict's word for it, for example ``ZERO_ROWS``.
    """

    def __init__(self, message: str, reason: str = "BAD_DATA") -> None:
        super().__init__(message)
        self.reason = reason


class ModelError(LLMEvalError, RuntimeError):
    """A model cannot be loaded, or must not be asked any more."""

    reason = "MODEL_ERROR"


class ModelRefused(ModelError):
    """A model refuses our credentials, so that no request of this run can succeed."""


class CallError(ModelError):
    """One request failed.

    Args:
        kind: Short name of the cause: ``timeout``, ``http_500``, ``malformed`` …
        message: What the model or the network said.
        retry: Whether asking again may help.
        retry_after_s: How long the server asked to wait, in seconds.
    """

    def __init__(
        self,
        kind: str,
        message: str,
        *,
        retry: bool = False,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry = retry
        self.retry_after_s = retry_after_s


class MetricError(LLMEvalError, ValueError):
    """A metric is unknown, or cannot be used with this data or this gate."""

    reason = "METRIC_ERROR"


class BaselineError(LLMEvalError, LookupError):
    """There is no baseline, or it cannot be used.

    Args:
        reason: ``BASELINE_MISSING`` or ``BASELINE_UNUSABLE``.
        message: Why, and the command that makes one.
        is_first: Whether there is none because no version of the model has the alias.
    """

    def __init__(self, reason: str, message: str, *, is_first: bool = False) -> None:
        super().__init__(message)
        self.reason = reason
        self.is_first = is_first


class ServiceError(LLMEvalError, RuntimeError):
    """A process that the workers of a run share cannot be started."""


class EarlyStopped(LLMEvalError, RuntimeError):
    """An evaluation stopped when its gates were decided, and a later one needs rows."""

    reason = "EARLY_STOPPED"


class GateNotPassed(LLMEvalError, AssertionError):
    """A gate did not pass; `decision` says how it came out."""

    def __init__(self, message: str, decision: Decision) -> None:
        super().__init__(message)
        self.decision = decision


class DeploymentRefused(LLMEvalError, RuntimeError):
    """The verdict may not go live.

    Args:
        reason: The word for it in ``deployment.json``, for example ``UNPINNED_MODEL``.
        message: Why, and what to do next.
    """

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


class MissingDependency(LLMEvalError, ImportError):
    """An optional package is not installed."""


EXTRAS = {
    "databricks.sdk": "databricks",
    "duckdb": "dashboard",
    "psycopg": "postgres",
    "py3langid": "data",
    "re2": "privacy",
    "sacrebleu": "metrics",
    "uplot": "dashboard",
    "xllamacpp": "local",
}


def optional(package: str) -> ModuleType | Any:
    """Import an optional package, or say which extra brings it."""
    try:
        return importlib.import_module(package)
    except ModuleNotFoundError as error:
        # Other packages may bring `databricks`, and not its `sdk`.
        if not f"{package}.".startswith(f"{error.name}."):
            raise
        extra = EXTRAS[package]
        raise MissingDependency(
            f"the package {package!r} is not installed; "
            f'install it with: pip install "pytest-llmeval-gate[{extra}]"'
        ) from None
