"""`llmeval dashboard databricks`: one dashboard for each path, whatever happens."""

import json

import pytest

from pytest_llmeval.backends.databricks import storage
from pytest_llmeval.backends.databricks.dashboards.content import dashboard_content
from pytest_llmeval.cli import main
from tests.databricks.workspace import TOKEN


pytestmark = pytest.mark.filterwarnings("ignore")
COMMAND = (
    *("dashboard", "databricks", "--catalog", "main", "--schema", "evals"),
    *("--warehouse", "w1", "--folder", "/Workspace/Shared/qa"),
)
PATH = "/Workspace/Shared/qa/LLM evaluations.lvdash.json"
CREATE = ("POST", "/lakeview/dashboards")
PUBLISH = ("POST", "/published")


@pytest.fixture
def put(workspace, monkeypatch, capsys):
    """Calls the command, and returns what it said."""
    from databricks.sdk.clock import RealClock

    for name, value in workspace.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(storage, "PAUSES_S", (0.01, 0.01, 0.01))
    sleep = RealClock.sleep
    monkeypatch.setattr(RealClock, "sleep", lambda self, s: sleep(self, s / 50))

    def call(*arguments, status=0):
        assert main([*COMMAND, *arguments]) == status
        said = capsys.readouterr()
        assert TOKEN not in said.out + said.err
        return said.out + said.err

    return call


@pytest.fixture
def draft(workspace):
    """Returns the dashboard at the path of the command."""
    return lambda path=PATH: workspace.dashboards.at(path)


def changes(workspace):
    """Return the writes that were done to dashboards, by their kind."""
    return [
        "publish" if write.path.endswith("/published") else write.method
        for write in workspace.writes
        if "/lakeview/" in write.path and write.status == 200
    ]


def patch_of(draft):
    return ("PATCH", f"/{draft()['dashboard_id']}")


def edited(draft):
    content = json.loads(draft()["serialized_dashboard"])
    content["pages"][0]["layout"].pop()
    return content


def test_it_is_created_and_published_once(workspace, put, draft):
    told = put()
    made = draft()
    assert "dashboard LLM evaluations: created, published" in told
    assert f"{workspace.url}/dashboardsv3/{made['dashboard_id']}/published" in told
    assert made["warehouse_id"] == "w1"
    published = workspace.dashboards.published[made["dashboard_id"]]
    assert published["content"] == made["serialized_dashboard"]
    assert published["embed_credentials"] is False
    assert "dashboard LLM evaluations: unchanged" in put()
    assert changes(workspace) == ["POST", "publish"]


def test_another_schema_changes_the_queries_of_the_same_dashboard(
    workspace, put, draft
):
    put()
    before = draft()["dashboard_id"]
    assert ": content, published" in put("--schema", "o`ther")
    after = draft()
    assert after["dashboard_id"] == before
    assert "FROM `main`.`o``ther`.gates" in "".join(
        json.loads(after["serialized_dashboard"])["datasets"][0]["queryLines"]
    )
    assert changes(workspace) == ["POST", "publish", "PATCH", "publish"]


def test_another_warehouse_runs_the_draft_and_what_is_published(workspace, put, draft):
    put()
    assert ": warehouse, published" in put("--warehouse", "w2")
    assert draft()["warehouse_id"] == "w2"
    published = workspace.dashboards.published[draft()["dashboard_id"]]
    assert published["warehouse_id"] == "w2"


def test_another_name_is_another_dashboard(workspace, put, draft):
    put()
    assert "dashboard Nightly: created" in put("--name", "Nightly")
    assert len(workspace.dashboards.drafts) == 2


def test_what_was_edited_is_kept_unless_it_is_to_be_overwritten(workspace, put, draft):
    put()
    workspace.dashboards.edit(draft()["dashboard_id"], edited(draft))
    kept = dict(draft())
    told = put(status=1)
    assert f"the dashboard {PATH} was edited in the workspace" in told
    assert "give --overwrite to replace it" in told
    assert "was edited" in put("--schema", "other", status=1)
    assert draft() == kept
    assert ": content, published" in put("--overwrite")
    assert "unchanged" in put()


def test_fields_that_a_workspace_adds_are_no_edit(workspace, put, draft):
    put()
    content = json.loads(draft()["serialized_dashboard"])
    content["uiSettings"] = {"theme": {}}
    content["pages"][0]["layoutVersion"] = "GRID_V1"
    for dataset in content["datasets"]:
        dataset["query"] = "".join(dataset.pop("queryLines"))
    workspace.dashboards.edit(draft()["dashboard_id"], content)
    assert ": published" in put()
    assert changes(workspace) == ["POST", "publish", "publish"]


def test_a_dashboard_that_is_not_ours_is_never_touched(workspace, client, put):
    from databricks.sdk.service.dashboards import Dashboard

    client.workspace.mkdirs("/Workspace/Shared/qa")
    client.lakeview.create(
        Dashboard(
            display_name="LLM evaluations",
            parent_path="/Workspace/Shared/qa",
            serialized_dashboard='{"pages": []}',
        )
    )
    workspace.writes.clear()
    for arguments in ((), ("--overwrite",)):
        told = put(*arguments, status=1)
        assert f"has a dashboard at {PATH} that llmeval has not made" in told
    assert workspace.writes == []


def test_a_file_in_its_place_is_never_touched(workspace, put):
    file = workspace.storage.local(PATH)
    file.parent.mkdir(parents=True)
    file.write_text("{}")
    assert f"at {PATH} the workspace has a FILE; choose another --name" in put(status=1)
    assert workspace.writes == []


@pytest.mark.parametrize("fault", ["lose", "drop", 503, 429, 500])
def test_a_lost_or_refused_answer_makes_no_second_dashboard(workspace, put, fault):
    workspace.faults[CREATE] = [fault, fault]
    workspace.faults[PUBLISH] = [fault]
    assert "published" in put()
    assert len(workspace.dashboards.drafts) == 1
    assert "unchanged" in put()


@pytest.mark.parametrize("fault", ["lose", "drop", 503, 500])
def test_a_lost_answer_to_a_change_is_no_conflict(workspace, put, draft, fault):
    put()
    workspace.faults[patch_of(draft)] = [fault]
    assert ": content, published" in put("--schema", "other")
    assert "unchanged" in put("--schema", "other")


def test_an_edit_at_the_same_moment_is_kept(workspace, put, draft):
    put()
    dashboard_id, content = draft()["dashboard_id"], edited(draft)

    def somebody_is_faster(number):
        workspace.on_write = lambda number: None
        workspace.dashboards.edit(dashboard_id, content)

    workspace.on_write = somebody_is_faster
    told = put("--schema", "other", status=1)
    assert "was changed by somebody at this moment" in told
    assert len(
        json.loads(draft()["serialized_dashboard"])["pages"][0]["layout"]
    ) == len(content["pages"][0]["layout"])


def test_what_was_never_published_is_published_by_the_next_call(workspace, put, draft):
    workspace.faults[PUBLISH] = [403]
    told = put(status=1)
    assert "publishing the dashboard" in told
    assert "PermissionDenied" in told
    assert workspace.dashboards.published == {}
    assert "dashboard LLM evaluations: published" in put()

    workspace.faults[PUBLISH] = [403]
    put("--schema", "other", status=1)
    assert "dashboard LLM evaluations: published" in put("--schema", "other")
    published = workspace.dashboards.published[draft()["dashboard_id"]]
    assert published["content"] == draft()["serialized_dashboard"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--catalog", ""), "'' is no name of a catalog or schema"),
        (("--schema", "a\nb"), r"'a\nb' is no name of a catalog or schema"),
        (("--folder", "/Shared"), "'/Shared' is no folder of the workspace"),
        (("--folder", "/Workspace/../x"), "is no folder of the workspace"),
        (("--name", "a/b"), "--name 'a/b' is no name of a dashboard"),
        (("--name", " "), "--name ' ' is no name of a dashboard"),
    ],
)
def test_what_cannot_be_is_refused_before_anything_is_sent(
    workspace, put, arguments, message
):
    assert message in put(*arguments, status=1)
    assert workspace.writes == []


def test_a_wrong_token_is_told_as_such(workspace, put, monkeypatch):
    monkeypatch.setenv("DATABRICKS_TOKEN", "wrong")
    told = put(status=1)
    assert "Unauthenticated" in told
    assert "give a valid token in DATABRICKS_TOKEN" in told


def test_widgets_show_only_columns_of_their_datasets_and_have_names_of_their_own():
    content = json.loads(dashboard_content("main", "evals"))
    datasets = {one["name"] for one in content["datasets"]}
    widgets = [item["widget"] for page in content["pages"] for item in page["layout"]]
    names = [widget["name"] for widget in widgets]
    assert len(set(names)) == len(names)
    assert not datasets & set(names)
    for widget in widgets:
        for query in widget.get("queries", []):
            assert query["query"]["datasetName"] in datasets
            fields = {field["name"] for field in query["query"]["fields"]}
            assert set(shown(widget["spec"]["encodings"])) == fields


def shown(encodings):
    """Yield the fields that a widget shows."""
    if isinstance(encodings, dict):
        if "fieldName" in encodings:
            yield encodings["fieldName"]
        encodings = list(encodings.values())
    for part in encodings if isinstance(encodings, list) else ():
        yield from shown(part)


def test_no_two_widgets_of_a_page_overlap():
    content = json.loads(dashboard_content("main", "evals"))
    for page in content["pages"]:
        cells = [
            (x, y)
            for place in (item["position"] for item in page["layout"])
            for x in range(place["x"], place["x"] + place["width"])
            for y in range(place["y"], place["y"] + place["height"])
        ]
        assert len(set(cells)) == len(cells)
        assert max(x for x, _ in cells) < 6
