"""Each kind of request can be made to fail, with and without being done."""

import io
import time

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.core import Config
from databricks.sdk.errors import BadRequest
from databricks.sdk.errors import InternalError
from databricks.sdk.errors import NotFound
from databricks.sdk.errors import PermissionDenied
from databricks.sdk.errors import TemporarilyUnavailable
from databricks.sdk.errors import TooManyRequests
from databricks.sdk.errors import Unauthenticated
from databricks.sdk.service.workspace import ImportFormat
from requests.exceptions import ConnectionError as NoAnswer

from . import workspace as server
from .storage import HOME
from .storage import VOLUME


pytestmark = pytest.mark.filterwarnings("ignore")
FILE = f"{VOLUME}/a.bin"


def upload(client):
    client.files.upload(FILE, io.BytesIO(b"content"))


def test_wrong_token_is_not_authenticated(workspace):
    stranger = WorkspaceClient(
        config=Config(host=workspace.url, token="wrong", retry_timeout_seconds=1)
    )
    for ask in (stranger.current_user.me, lambda: upload(stranger)):
        with pytest.raises(Unauthenticated):
            ask()
    assert workspace.storage.files(VOLUME) == []


@pytest.mark.parametrize(
    ("status", "kind"),
    [(401, Unauthenticated), (403, PermissionDenied), (500, InternalError)],
)
def test_refusal_reaches_the_caller_at_once(workspace, client, status, kind):
    workspace.faults["PUT", "a.bin"] = [status]
    workspace.faults["POST", "/workspace/import"] = [status]
    with pytest.raises(kind):
        upload(client)
    with pytest.raises(kind):
        client.workspace.upload(f"{HOME}/a", b"x", format=ImportFormat.RAW)
    assert workspace.storage.files("/") == []
    assert [write.status for write in workspace.writes] == [status, status]


@pytest.mark.parametrize("fault", [429, 503, "lose", "drop"])
def test_sdk_asks_again_until_it_is_done(workspace, client, fault):
    faults = {
        "put": ("PUT", "a.bin"),
        "get": ("GET", "a.bin"),
        "json": ("GET", "/scim/v2/Me"),
    }
    for kind in faults.values():
        workspace.faults[kind] = [fault]
    upload(client)
    assert client.files.download(FILE).contents.read() == b"content"
    assert client.current_user.me().id == "1"
    assert all(not workspace.faults[kind] for kind in faults.values())


@pytest.mark.parametrize(
    ("fault", "kind"),
    [(429, TooManyRequests), (503, TemporarilyUnavailable), ("lose", NoAnswer)],
)
def test_sdk_does_not_ask_again_for_an_upload_into_the_workspace(
    workspace, client, fault, kind
):
    workspace.faults["POST", "/workspace/import"] = [fault]
    with pytest.raises(kind):
        client.workspace.upload(f"{HOME}/a", b"x", format=ImportFormat.RAW)
    assert len(workspace.writes) == 1
    assert workspace.storage.local(f"{HOME}/a").exists() == (fault == "lose")


def test_lost_answer_was_done_and_a_dropped_request_was_not(workspace, client):
    for fault, writes in (("lose", 2), ("drop", 1)):
        workspace.writes.clear()
        workspace.faults["PUT", "a.bin"] = [fault]
        upload(client)
        assert [write.body for write in workspace.writes] == [b"content"] * writes


def test_hanging_request_ends_when_its_time_is_over(workspace, client, monkeypatch):
    monkeypatch.setattr(server, "HANG_S", 0.5)
    workspace.faults["GET", "/scim/v2/Me"] = ["hang"]
    started = time.monotonic()
    client.current_user.me()
    assert time.monotonic() - started > 0.5


def test_write_keeps_a_form_with_its_bytes(workspace, client):
    client.workspace.upload(f"{HOME}/a", b"\x00\r\n", format=ImportFormat.RAW)
    (write,) = workspace.writes
    assert write.body == {
        "path": f"{HOME}/a",
        "format": "RAW",
        "content": b"\x00\r\n",
    }


def test_request_that_makes_no_sense_is_refused(client):
    for content, message in ((b"{", "Not JSON"), (b"{}", "Missing required field")):
        with pytest.raises(BadRequest, match=message):
            client.api_client.do("POST", "/api/2.2/jobs/reset", data=content)


def test_unknown_api_is_not_found(client):
    for method, path in (
        ("GET", "/api/2.1/jobs/list"),
        ("GET", "/api/2.2/jobs/create"),
        ("POST", "/api/2.0/workspace/list"),
        ("POST", "/api/2.0/fs/create-download-url"),
        ("GET", "/api/2.0/nothing"),
    ):
        with pytest.raises(NotFound, match="no such API"):
            client.api_client.do(method, path, query={"path": "/a"})
