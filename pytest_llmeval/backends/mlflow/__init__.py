"""MLflow: registered models, scorers, tracked runs, registry aliases.

Importing MLflow and opening its store costs several CPU seconds; nothing here does so
before a hook needs it.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from pytest_llmeval.backends.mlflow.baseline import find_baseline
from pytest_llmeval.backends.mlflow.connection import connect
from pytest_llmeval.backends.mlflow.local import LocalTarget
from pytest_llmeval.backends.mlflow.model import MlflowModel
from pytest_llmeval.backends.mlflow.model import resolve
from pytest_llmeval.backends.mlflow.registry import RegistryTarget
from pytest_llmeval.backends.mlflow.scorer import metric_of
from pytest_llmeval.backends.mlflow.traces import read_traces
from pytest_llmeval.backends.mlflow.tracker import MlflowTracker
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.hooks import hookimpl
from pytest_llmeval.records import Metric
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import StoredRun
from pytest_llmeval.records.traffic import TrafficRef


@hookimpl(trylast=True)
def pytest_llmeval_load_model(model: str, settings: Settings) -> MlflowModel | None:
    """Load ``models:/…`` and ``runs:/…`` as pyfunc models."""
    if not model.startswith(("models:/", "runs:/")):
        return None
    return MlflowModel(resolve(model, connect(settings.tracking_uri, settings.home)))


@hookimpl(trylast=True)
def pytest_llmeval_baseline(
    name: str, model: ModelRef, settings: Settings
) -> StoredRun | None:
    """Give the run of an alias or a version of the model, or a tracked run."""
    is_local = "/" in name or "\\" in name or (settings.home / "runs" / name).is_dir()
    untracked = settings.tracking == "off" and model.scheme != "models"
    if is_local or untracked:
        return None
    client = connect(settings.tracking_uri, settings.home)
    return find_baseline(client, name, model, settings.home)


@hookimpl(trylast=True)
def pytest_llmeval_metric(item: Any) -> Metric | None:
    """Take MLflow's GenAI scorers as metrics."""
    return metric_of(item)


@hookimpl(trylast=True)
def pytest_llmeval_traffic(
    ref: TrafficRef, settings: Settings
) -> Iterator[dict[str, Any]] | None:
    """Give the traces of ``traces:EXPERIMENT``."""
    if not ref.source.startswith("traces:"):
        return None
    return read_traces(connect(settings.tracking_uri, settings.home), ref)


@hookimpl(trylast=True)
def pytest_llmeval_tracker(uri: str, settings: Settings) -> MlflowTracker:
    """Track runs in the MLflow store at any URI."""
    return MlflowTracker(uri, settings.home)


@hookimpl(trylast=True)
def pytest_llmeval_deploy_target(
    target: str, settings: Settings
) -> RegistryTarget | LocalTarget | None:
    """Give ``registry:NAME@ALIAS`` and ``local:PORT``."""
    if target.startswith("local:"):
        port = target.removeprefix("local:")
        if not port.isdecimal() or not 1 <= int(port) <= 65_535:
            raise ConfigurationError(
                f"{target!r} is not of the form local:PORT, for example local:8080"
            )
        return LocalTarget(int(port), settings)
    if not target.startswith("registry:"):
        return None
    name, _, alias = target.removeprefix("registry:").rpartition("@")
    if not name or not alias:
        raise ConfigurationError(
            f"{target!r} is not of the form registry:NAME@ALIAS, for example "
            "registry:docs-qa@champion"
        )
    return RegistryTarget(name, alias, settings)
