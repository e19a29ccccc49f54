"""Files in volumes and in the workspace through the real SDK."""

import base64
import io

import pytest
from databricks.sdk.errors import AlreadyExists
from databricks.sdk.errors import BadRequest
from databricks.sdk.errors import InvalidParameterValue
from databricks.sdk.errors import NotFound
from databricks.sdk.errors import ResourceAlreadyExists
from databricks.sdk.service import workspace as objects

from .storage import HOME
from .storage import VOLUME


pytestmark = pytest.mark.filterwarnings("ignore")
BYTES = bytes(range(256)) + b"\r\n--\r\n\n"


def upload(client, path, content=BYTES, **options):
    client.files.upload(path, io.BytesIO(content), **options)


def read(client, path):
    return client.files.download(path).contents.read()


@pytest.mark.parametrize("content", [BYTES, b"", b"\x00" * 3_000_000])
def test_volume_gives_back_the_bytes_that_it_got(workspace, client, content):
    upload(client, f"{VOLUME}/a b.bin", content)
    assert read(client, f"{VOLUME}/a b.bin") == content
    about = client.files.get_metadata(f"{VOLUME}/a b.bin")
    assert about.content_length == len(content)
    assert workspace.storage.local(f"{VOLUME}/a b.bin").read_bytes() == content
    assert workspace.storage.files(VOLUME) == [f"{VOLUME}/a b.bin"]


def test_file_is_downloaded_to_a_path(client, tmp_path):
    upload(client, f"{VOLUME}/a.bin")
    client.files.download_to(f"{VOLUME}/a.bin", str(tmp_path / "a.bin"))
    assert (tmp_path / "a.bin").read_bytes() == BYTES


def test_file_is_replaced_unless_that_is_forbidden(client):
    upload(client, f"{VOLUME}/a.bin", b"1")
    upload(client, f"{VOLUME}/a.bin", b"2")
    with pytest.raises(AlreadyExists):
        upload(client, f"{VOLUME}/a.bin", b"3", overwrite=False)
    assert read(client, f"{VOLUME}/a.bin") == b"2"


def test_directory_must_be_made_before_a_file_in_it(client):
    with pytest.raises(NotFound, match="is not there"):
        upload(client, f"{VOLUME}/runs/1/a.bin")
    client.files.create_directory(f"{VOLUME}/runs/1")
    client.files.create_directory(f"{VOLUME}/runs/1")
    upload(client, f"{VOLUME}/runs/1/a.bin")
    client.files.get_directory_metadata(f"{VOLUME}/runs/1")
    with pytest.raises(BadRequest, match="not empty"):
        client.files.delete_directory(f"{VOLUME}/runs")
    client.files.delete(f"{VOLUME}/runs/1/a.bin")
    client.files.delete_directory(f"{VOLUME}/runs/1")
    with pytest.raises(NotFound):
        client.files.get_directory_metadata(f"{VOLUME}/runs/1")


def test_directory_is_listed_in_pages(workspace, client):
    workspace.storage.page_size = 2
    for name in ("b", "a", "c"):
        upload(client, f"{VOLUME}/{name}")
    client.files.create_directory(f"{VOLUME}/d")
    found = list(client.files.list_directory_contents(VOLUME))
    assert [(entry.name, entry.is_directory, entry.file_size) for entry in found] == [
        ("a", False, len(BYTES)),
        ("b", False, len(BYTES)),
        ("c", False, len(BYTES)),
        ("d", True, None),
    ]
    assert found[0].path == f"{VOLUME}/a"
    with pytest.raises(NotFound):
        list(client.files.list_directory_contents(f"{VOLUME}/gone"))


@pytest.mark.parametrize(
    ("path", "kind", "message"),
    [
        ("/Volumes/main/qa/gone/a", NotFound, "Volume 'main.qa.gone' does not exist"),
        ("/Volumes/main/a", BadRequest, "is in no volume"),
        ("/elsewhere/a", BadRequest, "is in no volume"),
        (f"{VOLUME}/../../a", BadRequest, "is in no volume"),
    ],
)
def test_path_in_no_volume_is_refused(client, path, kind, message):
    with pytest.raises(kind, match=message):
        client.api_client.do(
            "PUT",
            f"/api/2.0/fs/files{path}",
            headers={"Content-Type": "application/octet-stream"},
            data=b"content",
        )


def test_volume_may_be_added(workspace, client):
    workspace.storage.add_volume("/Volumes/dev/qa/more")
    upload(client, "/Volumes/dev/qa/more/a.bin")
    assert read(client, "/Volumes/dev/qa/more/a.bin") == BYTES


def test_missing_file_is_not_found(client):
    for ask in (client.files.download, client.files.get_metadata, client.files.delete):
        with pytest.raises(NotFound):
            ask(f"{VOLUME}/gone.bin")


def test_python_file_becomes_a_notebook_unless_it_is_uploaded_raw(client):
    code, text = b"# Databricks notebook source\n", objects.ImportFormat.RAW
    client.workspace.upload(f"{HOME}/one.py", code)
    client.workspace.upload(f"{HOME}/two.py", code, format=text)
    one, two = (client.workspace.get_status(f"{HOME}/{n}.py") for n in ("one", "two"))
    assert (one.object_type, one.language) == (
        objects.ObjectType.NOTEBOOK,
        objects.Language.PYTHON,
    )
    assert (two.object_type, two.language) == (objects.ObjectType.FILE, None)
    assert two.path == f"{HOME}/two.py".removeprefix("/Workspace")
    assert two.size == len(code)


def test_workspace_gives_back_the_bytes_that_it_got(client):
    raw = objects.ImportFormat.RAW
    client.workspace.upload(f"{HOME}/a.bin", BYTES, format=raw)
    encoded = base64.b64encode(BYTES).decode()
    client.workspace.import_(f"{HOME}/b.bin", content=encoded, format=raw)
    for name in ("a.bin", "b.bin"):
        assert client.workspace.download(f"{HOME}/{name}").read() == BYTES
        exported = client.workspace.export(f"{HOME}/{name}").content
        assert base64.b64decode(exported) == BYTES


def test_workspace_object_is_replaced_only_when_that_is_said(client):
    raw = objects.ImportFormat.RAW
    client.workspace.upload(f"{HOME}/a.bin", b"1", format=raw)
    with pytest.raises(ResourceAlreadyExists):
        client.workspace.upload(f"{HOME}/a.bin", b"2", format=raw)
    client.workspace.upload(f"{HOME}/a.bin", b"3", format=raw, overwrite=True)
    assert client.workspace.download(f"{HOME}/a.bin").read() == b"3"


def test_source_without_a_language_is_refused(client):
    with pytest.raises(Exception, match="language is required"):
        client.workspace.upload(f"{HOME}/data.jsonl", b"{}")


def test_workspace_folders_are_made_listed_and_deleted(client):
    raw, folder = objects.ImportFormat.RAW, f"{HOME}/suite/evals"
    with pytest.raises(NotFound, match="parent folder"):
        client.workspace.upload(f"{folder}/a.py", b"", format=raw)
    client.workspace.mkdirs(folder)
    client.workspace.upload(f"{folder}/a.py", b"x", format=raw)
    seen = folder.removeprefix("/Workspace")
    found = [entry.path for entry in client.workspace.list(seen)]
    assert found == [f"{seen}/a.py"], "with and without /Workspace it is the same"
    with pytest.raises(BadRequest, match="is not empty"):
        client.workspace.delete(f"{HOME}/suite")
    client.workspace.delete(f"{HOME}/suite", recursive=True)
    with pytest.raises(NotFound):
        client.workspace.get_status(folder)


def test_path_must_be_absolute(client):
    with pytest.raises(InvalidParameterValue, match="doesn't start with '/'"):
        client.workspace.get_status("evals")
