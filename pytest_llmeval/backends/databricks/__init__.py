"""Databricks: serving endpoints, as models under test and as targets of a deployment.

The SDK is imported when a hook needs it, because that takes seconds.
"""

from __future__ import annotations

from pytest_llmeval.backends.databricks.model import load_endpoint
from pytest_llmeval.backends.databricks.serving import ServingTarget
from pytest_llmeval.chat import ChatModel
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.hooks import hookimpl


@hookimpl(trylast=True)
def pytest_llmeval_load_model(model: str, settings: Settings) -> ChatModel | None:
    """Load ``endpoints:/NAME``, one served entity of it."""
    return load_endpoint(model, settings) if model.startswith("endpoints:/") else None


@hookimpl(trylast=True)
def pytest_llmeval_deploy_target(
    target: str, settings: Settings
) -> ServingTarget | None:
    """Give ``serving:ENDPOINT``."""
    if not target.startswith("serving:"):
        return None
    endpoint = target.removeprefix("serving:")
    if not endpoint or "/" in endpoint:
        raise ConfigurationError(
            f"{target!r} is not of the form serving:ENDPOINT, for example "
            "serving:docs-qa"
        )
    return ServingTarget(endpoint, settings)
