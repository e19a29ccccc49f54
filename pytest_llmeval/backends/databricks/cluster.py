"""What is asked on a cluster itself: secrets, and the way for other processes."""

from __future__ import annotations

import base64
import os
import re
from collections.abc import Iterable
from typing import Any

from pytest_llmeval.backends.databricks.workspace import open_client
from pytest_llmeval.backends.databricks.workspace import telling
from pytest_llmeval.errors import ConfigurationError


SECRET = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=([^/=\s]+)/([^/\s]+)")
LONGEST_ANSWER_S = 60.0


def check_secrets(given: Iterable[str]) -> None:
    """Refuse what is not ``NAME=SCOPE/KEY``.

    Raises:
        ConfigurationError: names the first that is not; a value is not shown.
    """
    for text in given:
        if not SECRET.fullmatch(text):
            name = text.partition("=")[0]
            raise ConfigurationError(
                f"--secret {name!r:.60} is not of the form NAME=SCOPE/KEY, which names "
                "an environment variable of the job and a Databricks secret for it; "
                "make one with: databricks secrets put-secret SCOPE KEY"
            )


def read_secrets(given: Iterable[str]) -> dict[str, str]:
    """Return environment variables with the values of Databricks secrets.

    Args:
        given: ``NAME=SCOPE/KEY`` for each.

    Raises:
        WorkspaceError: one of them cannot be read.
    """
    given = list(given)
    check_secrets(given)
    client, values = open_client(LONGEST_ANSWER_S), {}
    for text in given:
        name, scope, key = SECRET.fullmatch(text).groups()  # type: ignore[union-attr]
        with telling(f"the secret {scope}/{key}"):
            found = client.secrets.get_secret(scope=scope, key=key)
        values[name] = base64.b64decode(found.value).decode()
    return values


def worker_environment() -> dict[str, str]:
    """Return what another process on this cluster needs to reach workspace and Spark.

    Empty anywhere but on Databricks. What the environment has already is left out.
    """
    if "DATABRICKS_RUNTIME_VERSION" not in os.environ:
        return {}
    found: dict[str, Any] = {}
    if "DATABRICKS_TOKEN" not in os.environ:
        config = open_client(LONGEST_ANSWER_S).config
        kind, _, token = config.authenticate().get("Authorization", "").partition(" ")
        if kind == "Bearer":
            found |= {"DATABRICKS_HOST": config.host, "DATABRICKS_TOKEN": token}
    if "SPARK_REMOTE" in os.environ:  # serverless; as MLflow does it for its workers
        found.setdefault("SPARK_LOCAL_REMOTE", os.environ["SPARK_REMOTE"])
    return {name: str(value) for name, value in found.items()}
