"""The way to a Databricks workspace: the SDK's own credentials, bounded retries."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING
from typing import Any
from urllib.parse import quote

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.errors import optional
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient


LONGEST_REQUEST_S = 60.0
"""For one answer, and for the SDK's own repeats after 429, 503 and lost answers."""
HINTS = {
    "Unauthenticated": "log in again, or give a valid token in DATABRICKS_TOKEN",
    "PermissionDenied": "these credentials need CAN MANAGE on an endpoint, job or "
    "dashboard, and WRITE VOLUME on a volume",
    "ResourceConflict": "wait until the update that is on its way has ended",
}


PASSING = (
    "ConnectionError",
    "DeadlineExceeded",
    "InternalError",
    "TemporarilyUnavailable",
    "TimeoutError",
    "TooManyRequests",
)
"""What may be over at the next try."""


class WorkspaceError(LLMEvalError, RuntimeError):
    """The workspace refuses a request, or does not answer it."""

    @property
    def is_passing(self) -> bool:
        """Whether the same request may succeed later."""
        return is_one_of(self.__cause__, PASSING)


def is_one_of(error: BaseException | None, kinds: Sequence[str]) -> bool:
    """Return whether an error of the SDK's is one of these, by their names."""
    return any(kind.__name__ in kinds for kind in type(error).__mro__)


def open_client(bound_s: float) -> WorkspaceClient:
    """Return the SDK's client for the workspace that is configured.

    Args:
        bound_s: How long one answer may take, and the SDK's own repeats after 429, 503
            and lost answers; in seconds.

    Raises:
        ConfigurationError: no workspace is configured.
        MissingDependency: the SDK is not installed.
    """
    sdk = optional("databricks.sdk")
    logging.getLogger("databricks.sdk").setLevel(logging.ERROR)
    bound = max(1, int(bound_s))
    try:
        config = sdk.core.Config(
            retry_timeout_seconds=bound, http_timeout_seconds=bound
        )
        return sdk.WorkspaceClient(config=config)
    except ValueError as error:  # the SDK's word for missing credentials
        raise ConfigurationError(
            f"no Databricks workspace is configured: {one_line(error, 300)}; set "
            "DATABRICKS_HOST and DATABRICKS_TOKEN, or use: databricks configure"
        ) from None


@contextmanager
def telling(what: str) -> Iterator[None]:
    """Turn whatever the SDK raises into an error that names the request.

    Raises:
        WorkspaceError: the request failed.
    """
    try:
        yield
    except (OSError, ValueError) as error:  # the SDK's own are of the first kind
        kind = type(error).__name__
        said = str(error).partition(". Config: ")[0]  # it adds what it is set to
        hint = f"; {HINTS[kind]}" if kind in HINTS else ""
        raise WorkspaceError(f"{what}: {kind}: {one_line(said, 300)}{hint}") from error


class Workspace:
    """Asks for serving endpoints as they are in JSON, fields that are new included.

    Args:
        settings: Of the run.

    Raises:
        ConfigurationError: no workspace is configured.
        MissingDependency: the SDK is not installed.
    """

    def __init__(self, settings: Settings) -> None:
        bound_s = min(LONGEST_REQUEST_S, settings.deploy_timeout_s)
        self._client = open_client(bound_s)
        self.host = str(self._client.config.host).rstrip("/")

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
        with telling(f"{method} {path}"):
            answer = self._client.api_client.do(
                method, path, body=None if body is None else dict(body)
            )
        return answer if isinstance(answer, dict) else {}


def endpoint_path(name: str, part: str = "") -> str:
    """Return the path of a serving endpoint, or of a part of it."""
    return f"/api/2.0/serving-endpoints/{quote(name, safe='')}{part}"
