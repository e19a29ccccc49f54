"""Files of a workspace: in Volumes, and beside notebooks in /Workspace."""

from __future__ import annotations

import io
import re
import shutil
import time
from collections.abc import Callable
from collections.abc import Sequence
from contextlib import closing
from typing import TYPE_CHECKING
from typing import BinaryIO
from typing import TypeVar

from pytest_llmeval.backends.databricks.workspace import PASSING
from pytest_llmeval.backends.databricks.workspace import is_one_of
from pytest_llmeval.backends.databricks.workspace import telling
from pytest_llmeval.errors import ConfigurationError


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient


VOLUME = re.compile(r"/Volumes/[^/]+/[^/]+/[^/]+(/[^/]+)*")
PAUSES_S = (0.5, 1.0, 2.0)
"""After an answer of 500, which the SDK does not repeat."""
T = TypeVar("T")


def check_volume(path: str) -> str:
    """Return a folder in a Volume, without a slash at its end.

    Raises:
        ConfigurationError: it is none.
    """
    path = path.rstrip("/")
    if not VOLUME.fullmatch(path) or ".." in path.split("/"):
        raise ConfigurationError(
            f"{path!r:.200} is not a folder in a Volume, such as "
            "/Volumes/main/default/llmeval; name one with --volume, or in the ini "
            "value llmeval_databricks_volume"
        )
    return path


def check_files(path: str) -> str:
    """Return a folder for what a job is given, without a slash at its end.

    Raises:
        ConfigurationError: it is neither in a Volume nor in the workspace.
    """
    path = path.rstrip("/")
    if path.startswith("/Workspace/") and ".." not in path.split("/"):
        return path
    if not path.startswith("/Volumes/"):
        raise ConfigurationError(
            f"{path!r:.200} is no folder that a job can read; give one in /Workspace/ "
            "or in a Volume, such as /Workspace/Shared/llmeval"
        )
    return check_volume(path)


def upload(client: WorkspaceClient, path: str, content: bytes) -> None:
    """Write a file, whatever was there; its folders are made.

    Raises:
        WorkspaceError: it cannot be written.
    """
    folder = path.rpartition("/")[0]
    with telling(f"writing {path}"):
        if path.startswith("/Workspace/"):
            _write_workspace_file(client, folder, path, content)
        else:
            patiently(lambda: client.files.create_directory(folder))
            patiently(
                lambda: client.files.upload(path, io.BytesIO(content), overwrite=True)
            )


def _write_workspace_file(
    client: WorkspaceClient, folder: str, path: str, content: bytes
) -> None:
    from databricks.sdk.service.workspace import ImportFormat

    # Without RAW a Python file becomes a notebook, and an archive is refused.
    patiently(lambda: client.workspace.mkdirs(folder))
    patiently(
        lambda: client.workspace.upload(
            path, io.BytesIO(content), format=ImportFormat.RAW, overwrite=True
        ),
        PASSING,  # the SDK repeats no request with form data
    )


def download(client: WorkspaceClient, path: str, file: BinaryIO) -> bool:
    """Copy a file of a Volume into an open one; return whether it is there.

    Raises:
        WorkspaceError: it cannot be read.
    """
    from databricks.sdk.errors import NotFound

    def copy() -> None:
        file.seek(0)
        file.truncate()
        with closing(client.files.download(path).contents) as contents:
            shutil.copyfileobj(contents, file)

    with telling(f"reading {path}"):
        try:
            patiently(copy)
        except NotFound:
            return False
    return True


def read(client: WorkspaceClient, path: str) -> bytes | None:
    """Return the content of a small file of a Volume, or None when there is none.

    Raises:
        WorkspaceError: it cannot be read.
    """
    content = io.BytesIO()
    return content.getvalue() if download(client, path, content) else None


def patiently(ask: Callable[[], T], kinds: Sequence[str] = ("InternalError",)) -> T:
    """Ask for what may be asked twice, and again after failures that may pass.

    Args:
        ask: Sends the request.
        kinds: Names of errors after which it is sent again; the SDK itself does so
            after 429, 503 and lost answers, but not after 500.
    """
    for pause_s in PAUSES_S:
        try:
            return ask()
        except OSError as error:
            if not is_one_of(error, kinds):
                raise
            time.sleep(pause_s)
    return ask()
