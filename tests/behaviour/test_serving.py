"""A Databricks endpoint through the real SDK, against a server that keeps state."""

import copy
import time

import pytest

from pytest_llmeval.backends.databricks.serving import ServingTarget
from pytest_llmeval.backends.databricks.workspace import WorkspaceError
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.errors import ModelError
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.models import load_model
from pytest_llmeval.records import Move
from pytest_llmeval.runner import evaluate
from tests.databricks.workspace import TOKEN
from tests.databricks.workspace import Workspace
from tests.unit.file_target import passing_verdict


CHAMPION = {
    "name": "qa-2",
    "entity_name": "qa",
    "entity_version": "2",
    "workload_size": "Large",
    "scale_to_zero_enabled": False,
    "environment_vars": {"API_KEY": "plain-secret-canary"},
    "a_field_of_next_year": {"kept": True},
}
GUARD = {"name": "guard", "entity_name": "guard", "entity_version": "9"}
CAPTURE = {"catalog_name": "main", "schema_name": "logs", "enabled": True}
TAGS = {"llmeval.run_id": "run-1", "llmeval.deployed_at": "2026-11-25T08:00:00Z"}
CHALLENGE = Move(step="challenge", traffic=10)
PROMOTE = Move(step="promote")
ROLLBACK = Move(step="rollback")
WITHDRAW = Move(step="withdraw")


@pytest.fixture
def workspace(monkeypatch):
    server = Workspace()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    server.serve("docs", CHAMPION, auto_capture_config=CAPTURE)
    yield server
    server.close()


@pytest.fixture
def target(workspace, tmp_path):
    return ServingTarget("docs", Settings(rootdir=tmp_path, deploy_timeout_s=10))


def verdict(version="3", **changes):
    model = passing_verdict()["model"]
    model |= {"name": "qa", "version": version, "requested": f"models:/qa/{version}"}
    return passing_verdict(model={**model, **changes}, started_at=time.time())


def served_verdict(version="3"):
    return verdict(scheme="endpoints", name="docs", version=f"qa/{version}")


def ready(target):
    """Wait until the target is not busy any more."""
    for _ in range(50):
        state = target.read()
        if not state.busy:
            return state
    raise AssertionError("it is busy for ever")


def carry_out(target, about, move):
    """Plan, write and wait; return the plan and the writes that were noted."""
    notes = []
    plan = target.plan(about, move, target.read())
    target.write(plan.before, plan.after, TAGS, notes.append)
    assert ready(target).live == plan.after
    return plan, notes


def refusal(target, about, move):
    with pytest.raises(DeploymentRefused) as caught:
        target.plan(about, move, target.read())
    return caught.value.reason


def test_deploy_replaces_the_version_and_keeps_all_that_is_not_ours(workspace, target):
    workspace.serve("docs", CHAMPION, GUARD, auto_capture_config=CAPTURE)
    routes = workspace.endpoints["docs"]["config"]["traffic_config"]["routes"]
    routes[0]["traffic_percentage"], routes[1]["traffic_percentage"] = 80, 20
    before = copy.deepcopy(workspace.endpoints["docs"]["config"])
    plan, notes = carry_out(target, verdict(), Move())
    assert plan.summary == (
        "serving:docs: guard version 9 (20 %), qa version 2 (80 %) -> "
        "guard version 9 (20 %), qa version 3 (80 %)"
    )
    assert plan.notes == ("stays as it is: guard version 9 (20 %)",)
    assert notes == [
        "PUT /api/2.0/serving-endpoints/docs/config",
        "PATCH /api/2.0/serving-endpoints/docs/tags",
    ]
    after = workspace.endpoints["docs"]["config"]
    new = {**before["served_entities"][0], "name": "qa-3", "entity_version": "3"}
    guard = before["served_entities"][1]
    assert after["served_entities"] == [guard, new]
    assert after["auto_capture_config"] == before["auto_capture_config"]
    assert workspace.serves("docs") == {"guard/9": 20, "qa/3": 80}
    assert workspace.tags("docs") == TAGS | {
        "llmeval.model": "qa",
        "llmeval.version": "3",
        "llmeval.previous": "2",
    }


def test_state_holds_no_secret(workspace, target):
    state = target.read()
    assert "plain-secret-canary" not in repr(state)
    assert TOKEN not in repr(vars(target))
    plan, notes = carry_out(target, verdict(), Move())
    assert "plain-secret-canary" not in repr((plan, notes))


def test_same_version_is_no_change(workspace, target):
    plan = target.plan(verdict("2"), Move(), target.read())
    assert plan.changes == ()
    assert plan.before == plan.after


def test_endpoint_is_created_and_taken_away_again(workspace, target):
    del workspace.endpoints["docs"]
    plan, notes = carry_out(target, verdict(), Move())
    assert plan.changes == ("create endpoint docs: qa version 3 (100 %)",)
    assert notes[0] == "POST /api/2.0/serving-endpoints"
    (entity,) = workspace.endpoints["docs"]["config"]["served_entities"]
    assert (entity["workload_size"], entity["scale_to_zero_enabled"]) == ("Small", True)
    target.write(plan.after, plan.before, {}, notes.append)
    assert notes[-1] == "DELETE /api/2.0/serving-endpoints/docs"
    assert target.read().live == plan.before
    assert workspace.endpoints == {}


def test_challenger_gets_its_share_and_is_promoted_or_taken_away(workspace, target):
    carry_out(target, verdict(), CHALLENGE)
    assert workspace.serves("docs") == {"qa/2": 90, "qa/3": 10}
    sizes = {
        entity["workload_size"]
        for entity in workspace.endpoints["docs"]["config"]["served_entities"]
    }
    assert sizes == {"Large"}
    assert refusal(target, verdict("4"), CHALLENGE) == "CHALLENGER_THERE"

    assert target.read().challenger
    carry_out(target, None, WITHDRAW)
    assert workspace.serves("docs") == {"qa/2": 100}
    assert not target.read().challenger
    carry_out(target, verdict(), CHALLENGE)
    assert refusal(target, verdict(), PROMOTE) == "MODEL_MISMATCH"
    assert refusal(target, served_verdict("4"), PROMOTE) == "MODEL_MOVED"
    carry_out(target, served_verdict(), PROMOTE)
    assert workspace.serves("docs") == {"qa/3": 100}
    again = target.plan(served_verdict(), PROMOTE, target.read())
    assert again.changes == ()
    carry_out(target, None, ROLLBACK)
    assert workspace.serves("docs") == {"qa/2": 100}


def test_challenger_is_promoted_with_the_settings_it_was_evaluated_with(
    workspace, target
):
    carry_out(target, verdict(), CHALLENGE)
    served = workspace.endpoints["docs"]["config"]["served_entities"]
    (challenger,) = (entity for entity in served if entity["name"] == "qa-3")
    challenger["environment_vars"] = {"K": "new"}
    carry_out(target, served_verdict(), PROMOTE)
    (live,) = workspace.endpoints["docs"]["config"]["served_entities"]
    assert live["environment_vars"] == {"K": "new"}


def test_only_entity_without_routes_has_all_the_traffic(workspace, target):
    workspace.endpoints["docs"]["config"]["traffic_config"] = {}
    assert target.read().text == "qa version 2 (100 %)"


def test_challenger_gets_less_than_half(target):
    half = Move(step="challenge", traffic=50)
    assert refusal(target, verdict(), half) == "TRAFFIC_TOO_LARGE"


def test_nothing_to_roll_back_is_refused(target):
    assert refusal(target, None, ROLLBACK) == "NOTHING_TO_ROLL_BACK"


def test_endpoint_of_other_models_is_refused(workspace, target):
    workspace.serve("docs", GUARD)
    assert refusal(target, verdict(), Move()) == "MODEL_MISMATCH"


def test_deployment_in_between_is_superseded(workspace, target):
    late = {**TAGS, "llmeval.deployed_at": "2126-01-01T00:00:00Z"}
    plan = target.plan(verdict("3"), Move(), target.read())
    target.write(plan.before, plan.after, late, lambda line: None)
    ready(target)
    assert refusal(target, verdict("4"), Move()) == "SUPERSEDED"


def test_write_is_refused_where_neither_state_is_live(workspace, target):
    plan = target.plan(verdict(), Move(), target.read())
    workspace.serve("docs", {**CHAMPION, "name": "qa-7", "entity_version": "7"})
    with pytest.raises(DeploymentRefused, match="somebody else"):
        target.write(plan.before, plan.after, TAGS, lambda line: None)
    assert workspace.writes == []


def test_update_on_its_way_is_busy_and_a_failed_one_says_why(workspace, target):
    workspace.looks, workspace.fate = 3, "fail"
    plan = target.plan(verdict(), Move(), target.read())
    target.write(plan.before, plan.after, TAGS, lambda line: None)
    assert target.read().busy
    state = ready(target)
    assert state.live == plan.before
    assert state.problem == "UPDATE_FAILED: the container did not start"


def test_missing_tags_do_not_undo_a_deployment(workspace, target):
    workspace.faults["PATCH", "/tags"] = [500]
    _, notes = carry_out(target, verdict(), Move())
    assert notes[-1].startswith("the tags are missing: PATCH /api/2.0/")
    assert workspace.serves("docs") == {"qa/3": 100}


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (401, "Unauthenticated: a fault of 401; log in again, or give a valid token"),
        (403, "PermissionDenied: a fault of 403; these credentials need CAN MANAGE"),
        (409, "ResourceConflict: a fault of 409; wait until the update"),
        (500, "InternalError: a fault of 500"),
    ],
)
def test_refusal_says_what_and_what_to_do(workspace, target, status, words):
    plan = target.plan(verdict(), Move(), target.read())
    workspace.faults["PUT", "/config"] = [status]
    with pytest.raises(WorkspaceError) as caught:
        target.write(plan.before, plan.after, TAGS, lambda line: None)
    assert f"PUT /api/2.0/serving-endpoints/docs/config: {words}" in str(caught.value)
    assert TOKEN not in str(caught.value)
    assert workspace.serves("docs") == {"qa/2": 100}


def test_no_credentials_is_an_error_with_the_way_out(monkeypatch, tmp_path):
    for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    with pytest.raises(ConfigurationError, match="set DATABRICKS_HOST"):
        ServingTarget("docs", Settings(rootdir=tmp_path))


def test_busy_workspace_is_asked_again_by_the_sdk(workspace, target):
    workspace.faults["GET", "/docs"] = [429]
    began = time.monotonic()
    assert target.read().text == "qa version 2 (100 %)"
    assert time.monotonic() - began >= 1, "Retry-After"


def test_served_entity_is_a_pinned_model_asked_alone(workspace, target, tmp_path):
    carry_out(target, verdict(), CHALLENGE)
    settings = Settings(rootdir=tmp_path, tracking="off", cache="off")
    rows = [{"input": f"word {n}", "answer": f"WORD {n}"} for n in range(5)]
    manager = headless_manager()
    names = {
        "endpoints:/docs@challenger": "qa-3",
        "endpoints:/docs@champion": "qa-2",
        "endpoints:/docs#qa-3": "qa-3",
    }
    for name, served in names.items():
        workspace.asked.clear()
        model = load_model(name, manager.hook, settings)
        assert model.ref.pinned
        assert model.ref.version == f"qa/{served[-1]}"
        assert str(model.ref) == f"endpoints:docs/qa/{served[-1]}"
        results = evaluate(model, rows, ["exact_match"], settings=settings)
        assert results["exact_match"].value == 1.0
        assert {entity for entity, _ in workspace.asked} == {served}
    workspace.serve("more", CHAMPION, GUARD)  # GUARD without any traffic
    assert load_model("endpoints:/more", manager.hook, settings).ref.version == "qa/2"
    with pytest.raises(ConfigurationError, match="does not name one of what"):
        load_model("endpoints:/docs", manager.hook, settings)
    with pytest.raises(ModelError, match="has no serving endpoint 'nobody'"):
        load_model("endpoints:/nobody", manager.hook, settings)
