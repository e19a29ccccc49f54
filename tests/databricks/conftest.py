"""A workspace for each test, and the real SDK's client of it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest

from .workspace import TOKEN
from .workspace import Workspace


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient


@pytest.fixture
def workspace() -> Iterator[Workspace]:
    server = Workspace()
    yield server
    server.close()


@pytest.fixture
def client(workspace: Workspace) -> WorkspaceClient:
    """A client that gives up after seconds, and not after five minutes."""
    from databricks.sdk import WorkspaceClient
    from databricks.sdk.core import Config

    return WorkspaceClient(
        config=Config(host=workspace.url, token=TOKEN, retry_timeout_seconds=8)
    )
