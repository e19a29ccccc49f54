"""Opens MLflow stores: bounded retries, one migration, no chatter."""

from __future__ import annotations

import logging
import os
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


if TYPE_CHECKING:
    from mlflow import MlflowClient


DEFAULTS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_BACKOFF_FACTOR": "1",
}
"""Set where the user has not: MLflow's own try a dead server for many minutes."""


def connect(uri: str, home: Path) -> MlflowClient:
    """Import MLflow, point it at a store, and open the store where it is a file.

    A server is not asked anything yet. A fresh SQLite store is migrated when it is
    opened; processes that share `home` do so one after the other, because two at once
    leave it broken.

    Args:
        uri: The tracking URI.
        home: The ``.llmeval`` folder, for the lock.

    Raises:
        ConfigurationError: the store cannot be opened.
    """
    for name, value in DEFAULTS.items():
        os.environ.setdefault(name, value)
    import mlflow

    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    mlflow.set_tracking_uri(uri)
    is_file = uri.startswith("sqlite:")
    try:
        if is_file:
            home.mkdir(parents=True, exist_ok=True)
        with FileLock(home / "mlflow.lock") if is_file else nullcontext():
            return mlflow.MlflowClient(tracking_uri=uri)
    except Exception as error:  # noqa: BLE001  # whatever the store's driver raises
        raise unreachable(uri, error) from None


def unreachable(uri: str, error: Exception) -> ConfigurationError:
    """Return the error that says which store does not answer, and what it takes."""
    return ConfigurationError(
        f"cannot reach MLflow at {safe(uri)}: {type(error).__name__}: "
        f"{one_line(error, 500)}; start it, or name another with --llmeval-tracking or "
        "MLFLOW_TRACKING_URI"
    )
