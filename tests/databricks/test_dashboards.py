"""Dashboards through the real SDK: what the server does as a workspace does it."""

import json

import pytest
from databricks.sdk.errors import Aborted
from databricks.sdk.errors import AlreadyExists
from databricks.sdk.errors import InvalidParameterValue
from databricks.sdk.errors import NotFound
from databricks.sdk.service.dashboards import Dashboard
from databricks.sdk.service.workspace import ObjectType

from .storage import HOME


pytestmark = pytest.mark.filterwarnings("ignore")
CONTENT = {"pages": [{"name": "first"}]}


@pytest.fixture
def create(client):
    def create(name="Evals", content=CONTENT, **fields):
        serialized = json.dumps(content)
        return client.lakeview.create(
            Dashboard(
                **{
                    "display_name": name,
                    "parent_path": HOME,
                    "serialized_dashboard": serialized,
                    **fields,
                }
            )
        )

    return create


def test_a_dashboard_lies_at_a_path_and_is_told_with_what_the_server_adds(
    client, create
):
    made = create(warehouse_id="w1")
    assert made.path == "/Users/somebody@example.org/Evals.lvdash.json"
    found = client.lakeview.get(made.dashboard_id)
    assert json.loads(found.serialized_dashboard) == {
        "pages": [{"name": "first", "pageType": "PAGE_TYPE_CANVAS"}]
    }
    assert found.warehouse_id == "w1"
    status = client.workspace.get_status(f"{HOME}/Evals.lvdash.json")
    assert status.object_type is ObjectType.DASHBOARD
    assert status.resource_id == made.dashboard_id


def test_a_path_is_taken_once_until_the_dashboard_is_in_the_trash(client, create):
    first = create()
    with pytest.raises(AlreadyExists, match=r"Node named 'Evals.lvdash.json' already"):
        create()
    client.lakeview.trash(first.dashboard_id)
    with pytest.raises(NotFound):
        client.workspace.get_status(f"{HOME}/Evals.lvdash.json")
    assert create().dashboard_id != first.dashboard_id


def test_a_folder_that_is_not_there_is_refused(create):
    with pytest.raises(NotFound, match=r"Path \(/Nowhere\) doesn't exist"):
        create(parent_path="/Workspace/Nowhere")


def test_content_that_is_not_json_is_refused(create):
    with pytest.raises(InvalidParameterValue, match="is not JSON"):
        create(serialized_dashboard="{")


def test_an_old_etag_is_refused_and_none_is_taken(client, create):
    made = create()
    changed = client.lakeview.update(made.dashboard_id, Dashboard(etag=made.etag))
    assert changed.etag != made.etag
    with pytest.raises(Aborted, match="was modified since"):
        client.lakeview.update(made.dashboard_id, Dashboard(etag=made.etag))
    client.lakeview.update(made.dashboard_id, Dashboard(warehouse_id="w2"))
    assert client.lakeview.get(made.dashboard_id).warehouse_id == "w2"


def test_viewers_see_what_was_published_and_not_the_draft(workspace, client, create):
    made = create()
    with pytest.raises(NotFound):
        client.lakeview.get_published(made.dashboard_id)
    client.lakeview.publish(made.dashboard_id, embed_credentials=False)
    workspace.dashboards.edit(made.dashboard_id, {"pages": []})
    published = workspace.dashboards.published[made.dashboard_id]
    assert json.loads(published["content"])["pages"][0]["name"] == "first"
    told = client.lakeview.get_published(made.dashboard_id)
    assert told.embed_credentials is False
    assert (
        told.revision_create_time < client.lakeview.get(made.dashboard_id).update_time
    )


def test_lists_come_in_pages_and_leave_out_contents_and_trash(
    workspace, client, create
):
    workspace.dashboards.page_size = 2
    made = [create(f"Evals {number}").dashboard_id for number in range(5)]
    client.lakeview.trash(made[0])
    found = list(client.lakeview.list())
    assert [one.dashboard_id for one in found] == made[1:]
    assert {one.serialized_dashboard for one in found} == {None}
    assert len(list(client.lakeview.list(show_trashed=True))) == 5
