"""The way to a Databricks workspace: the SDK's own credentials, bounded retries."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.errors import optional
from pytest_llmeval.text import one_line


LONGEST_REQUEST_S = 60.0
"""For one answer, and for the SDK's own repeats after 429, 503 and lost answers."""
HINTS = {
    "Unauthenticated": "log in again, or give a valid token in DATABRICKS_TOKEN",
    "PermissionDenied": "these credentials need CAN MANAGE on the endpoint",
    "ResourceConflict": "wait until the update that is on its way has ended",
}


class WorkspaceError(LLMEvalError, RuntimeError):
    """The workspace refuses a request, or does not answer it."""


class Workspace:
    """Asks for serving endpoints as they are in JSON, fields that are new included.

    Args:
        settings: Of the run.

    Raises:
        ConfigurationError: no workspace is configured.
        MissingDependency: the SDK is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        sdk = optional("databricks.sdk")
        logging.getLogger("databricks.sdk").setLevel(logging.ERROR)
        bound_s = max(1, int(min(LONGEST_REQUEST_S, settings.deploy_timeout_s)))
        try:
            config = sdk.core.Config(
                retry_timeout_seconds=bound_s, http_timeout_seconds=bound_s
            )
            self._client = sdk.WorkspaceClient(config=config)
        except ValueError as error:  # the SDK's word for missing credentials
            raise ConfigurationError(
                f"no Databricks workspace is configured: {one_line(error, 300)}; set "
                "DATABRICKS_HOST and DATABRICKS_TOKEN, or use: databricks configure"
            ) from None
        self.host = str(config.host).rstrip("/")

    def authorize(self) -> Mapping[str, str]:
        """Return the headers that authorize a request now."""
        headers: dict[str, str] = self._client.config.authenticate()
        return headers

    def find_endpoint(self, name: str) -> dict[str, Any] | None:
        """Return a serving endpoint, or None when there is none of that name."""
        from databricks.sdk.errors import NotFound

        try:
            return self._do("GET", endpoint_path(name))
        except WorkspaceError as error:
            if isinstance(error.__cause__, NotFound):
                return None
            raise

    def write(self, method: str, path: str, body: Mapping[str, Any] | None) -> None:
        """Send one request that changes something."""
        self._do(method, path, body)

    def _do(
        self, method: str, path: str, body: Mapping[str, Any] | None = None
    ) -> dict[str, Any]:
        try:
            answer = self._client.api_client.do(
                method, path, body=None if body is None else dict(body)
            )
        except (OSError, ValueError) as error:  # the SDK's own are of the first kind
            kind = type(error).__name__
            said = str(error).partition(". Config: ")[0]  # it adds what it is set to
            hint = f"; {HINTS[kind]}" if kind in HINTS else ""
            raise WorkspaceError(
                f"{method} {path}: {kind}: {one_line(said, 300)}{hint}"
            ) from error
        return answer if isinstance(answer, dict) else {}


def endpoint_path(name: str, part: str = "") -> str:
    """Return the path of a serving endpoint, or of a part of it."""
    return f"/api/2.0/serving-endpoints/{quote(name, safe='')}{part}"
