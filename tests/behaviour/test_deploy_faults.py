"""Whatever fails on the way, production is as before, or the outcome says that not.

A Databricks endpoint (the real SDK against a server that keeps state) and an alias in a
real `mlflow server` go live together, or neither does.
"""

import json
import shutil
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException

from tests.databricks.workspace import TOKEN
from tests.databricks.workspace import Workspace

from .mlflow_server import MlflowServer
from .mlflow_server import Proxy
from .registry import REGISTRY


pytestmark = pytest.mark.filterwarnings("ignore")
OLD = {"name": "qa-1", "entity_name": "qa", "entity_version": "1"}
BOTH = f"{REGISTRY},serving:docs"
CONFIG = ("PUT", "/docs/config")
SET_ALIAS = "POST /api/2.0/mlflow/registered-models/alias"


@pytest.fixture(scope="module")
def mlflow_server(both, tmp_path_factory):
    folder = tmp_path_factory.mktemp("server")
    shutil.copy(both.path / "mlflow.db", folder / "server.db")
    server = MlflowServer(folder)
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()
    server.kill()


class World:
    """Version 1 is served at ``docs``, no alias is set, and version 2 has passed."""

    def __init__(self, project, proxy):
        import mlflow

        self.project, self.proxy, self.workspace = project, proxy, Workspace()
        self._client = mlflow.MlflowClient(proxy.url)
        self.workspace.serve("docs", OLD)
        proxy.refuse = lambda request: 0
        with suppress(MlflowException):  # it is not set
            self._client.delete_registered_model_alias("qa", "champion")
        proxy.requests.clear()

    @property
    def live(self):
        """What is served, and the version that the alias names."""
        aliases = self._client.get_registered_model("qa").aliases
        champion = aliases.get("champion")
        return self.workspace.serves("docs"), champion and str(champion)

    def apply(self, target=BOTH):
        self.project.target = target
        return self.project.apply(2)

    def reason(self):
        return self.project.outcome_of(2)


@pytest.fixture
def world(evaluated, mlflow_server, monkeypatch):
    world = World(evaluated, mlflow_server)
    for name, value in world.workspace.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", mlflow_server.url)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    monkeypatch.setenv("PYTEST_ADDOPTS", "-o llmeval_deploy_timeout=6")
    yield world
    world.workspace.close()
    everything = b"".join(
        path.read_bytes()
        for path in world.project.path.rglob("*")
        if path.is_file() and path.suffix != ".db"
    )
    assert TOKEN.encode() not in everything


BEFORE = ({"qa/1": 100}, None)
AFTER = ({"qa/2": 100}, "2")


def test_endpoint_and_alias_go_live_in_this_order(world):
    result = world.apply()
    assert result.ret == 0
    assert world.live == AFTER
    calls = [call["call"] for call in world.project.deployment_of(2)["calls"]]
    assert calls == [
        "PUT /api/2.0/serving-endpoints/docs/config",
        "PATCH /api/2.0/serving-endpoints/docs/tags",
        "tag version 2 of qa",
        "announce the move of qa@champion",
        "set alias champion of qa to version 2",
    ]
    writes = len(world.workspace.writes)
    assert world.apply().ret == 0
    assert world.reason() == "NOOP"
    assert len(world.workspace.writes) == writes
    world.project.deploy("rollback", "--yes")
    assert world.live == BEFORE
    assert TOKEN not in result.stdout.str() + result.stderr.str()


def test_plan_writes_nothing(world):
    world.project.target = BOTH
    result = world.project.deploy("plan")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "serving:docs",
            "  ~ endpoint docs: qa version 1 (100 %) -> qa version 2 (100 %)",
            "registry:qa@champion",
            "  ~ alias champion of qa: nothing -> version 2",
        ]
    )
    assert world.workspace.writes == []
    assert all(request.startswith("GET ") for request in world.proxy.requests)


@pytest.mark.parametrize("status", [401, 403, 409, 500])
def test_endpoint_that_refuses_leaves_everything(world, status):
    world.workspace.faults[CONFIG] = [status]
    result = world.apply()
    assert result.ret == 11
    assert world.reason() == "ROLLED_BACK"
    assert world.live == BEFORE
    assert world.workspace.deploys == []
    result.stdout.fnmatch_lines([f"*a fault of {status}*is as before: qa version 1*"])


def test_credentials_that_are_refused_at_once_change_nothing(world, monkeypatch):
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-another-token-0123456789")
    result = world.apply()
    assert result.ret == 11
    assert world.reason() == "DEPLOY_FAILED"
    result.stdout.fnmatch_lines(["*log in again, or give a valid token*nothing was*"])
    assert world.live == BEFORE
    assert world.workspace.writes == []


@pytest.mark.parametrize("fault", [429, 503, "lose", "drop"])
def test_busy_endpoint_and_lost_answers_are_got_over(world, fault):
    world.workspace.faults[CONFIG] = [fault]
    assert world.apply().ret == 0
    assert world.reason() == "DEPLOYED"
    assert world.live == AFTER


def test_endpoint_that_does_not_answer_in_time_leaves_everything(world):
    world.workspace.faults[CONFIG] = ["hang"]
    result = world.apply()
    assert result.ret == 11
    assert world.reason() == "ROLLED_BACK"
    result.stdout.fnmatch_lines(["*imeout*is as before: qa version 1*"])
    assert world.live == BEFORE


def test_endpoint_that_does_not_start_leaves_the_old_version(world):
    world.workspace.fate = "fail"
    result = world.apply()
    assert result.ret == 11
    assert world.reason() == "ROLLED_BACK"
    result.stdout.fnmatch_lines(["*UPDATE_FAILED: the container did not start*"])
    assert world.live == BEFORE


def test_endpoint_that_is_never_ready_is_brought_back(world):
    world.workspace.fate, world.workspace.patient = "never", True
    began = time.monotonic()
    assert world.apply().ret == 11
    assert time.monotonic() - began < 60
    assert world.reason() == "ROLLED_BACK"
    assert world.live == BEFORE


def test_endpoint_that_cannot_be_brought_back_is_said_with_state_and_command(world):
    """An update that is on its way cannot be taken back, and may still come."""
    world.workspace.fate = "never"
    result = world.apply()
    assert result.ret == 12
    assert world.reason() == "ROLLBACK_FAILED"
    result.stdout.fnmatch_lines(
        [f"*NOT as before: serving:docs: *llmeval deploy rollback --target {BOTH}*"]
    )
    status = world.project.deploy("status")
    status.stdout.fnmatch_lines(["serving:docs*, changing right now", "*broke off*"])

    world.workspace.fate = "ready"
    assert world.project.deploy("rollback", "--yes").ret == 0
    assert world.live == BEFORE
    assert [entry["reason"] for entry in world.project.attempts] == [
        "ROLLBACK_FAILED",
        "ROLLED_BACK",
    ]


@pytest.mark.parametrize("status", [403, 500])
def test_alias_that_cannot_be_set_brings_the_endpoint_back(world, status):
    world.proxy.refuse = lambda request: status if request == SET_ALIAS else 0
    assert world.apply().ret == 11
    assert world.reason() == "ROLLED_BACK"
    assert world.live == BEFORE
    assert len(world.workspace.deploys) == 2, "one way and back"


def test_alias_whose_answer_is_lost_is_read_back(world):
    world.proxy.before_answer = lambda number: (
        world.proxy.requests[number - 1] != SET_ALIAS
    )
    assert world.apply().ret == 0
    assert world.live == AFTER
    world.proxy.before_answer = lambda number: True


def test_failing_roll_back_of_the_endpoint_is_its_own_status(world):
    def refuse(request):
        if request != SET_ALIAS:
            return 0
        world.workspace.faults[CONFIG] = [500]
        return 500

    world.proxy.refuse = refuse
    assert world.apply().ret == 12
    assert world.reason() == "ROLLBACK_FAILED"
    assert world.live == ({"qa/2": 100}, None)
    world.proxy.refuse = lambda request: 0
    assert world.apply().ret == 0, "it is brought back, then deployed"
    assert world.live == AFTER


def test_second_endpoint_that_fails_brings_the_first_one_back(world):
    world.workspace.serve("more", OLD)
    world.workspace.faults["PUT", "/more/config"] = [500]
    assert world.apply("serving:docs,serving:more").ret == 11
    assert world.reason() == "ROLLED_BACK"
    assert world.workspace.serves("docs") == world.workspace.serves("more")
    assert world.live == BEFORE


def test_somebody_elses_deployment_in_between_is_left_alone(world):
    def act(request):
        if "registered-models/set-tag" in request:  # the announcement of ours
            world.proxy.refuse = lambda request: 0
            world._client.set_registered_model_alias("qa", "champion", "1")
        return 0

    world.proxy.refuse = act
    assert world.apply().ret == 10
    assert world.reason() == "SUPERSEDED"
    assert world.live == ({"qa/1": 100}, "1")


@pytest.mark.parametrize("at", [1, 2])
def test_killed_deployment_is_ended_by_the_same_command(world, at):
    """kill -9 while the endpoint is written, and before the alias is."""
    llmeval = str(Path(sys.executable).with_name("llmeval"))
    command = (llmeval, "deploy", "apply", "--yes", "--target", BOTH)
    process = subprocess.Popen(
        (*command, "--verdict", world.project.verdict_of(2)),
        cwd=world.project.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    world.workspace.on_write = lambda number: number == at and process.kill()
    assert process.wait(60) == -9
    assert world.reason() == "APPLYING"
    world.workspace.on_write = lambda number: None
    assert world.live[1] is None
    assert world.apply().ret == 0
    assert world.live == AFTER


def test_challenger_is_evaluated_where_it_is_served_and_promoted(world):
    project = world.project
    project.target = BOTH
    assert project.apply(2, "--challenger", "--traffic", "20").ret == 0
    assert world.live == ({"qa/1": 80, "qa/2": 20}, None)
    assert project.deploy("promote", "--yes").ret == 10, "not on the endpoint"

    model = ("--llmeval-model", "endpoints:/docs@challenger")
    assert project.run("evals", *model).ret == 0
    assert {entity for entity, _ in world.workspace.asked} == {"qa-2"}
    assert project.verdict["model"]["version"] == "qa/2"
    result = project.deploy("promote", "--yes")
    assert result.ret == 0
    assert world.live == AFTER
    assert project.deploy("rollback", "--yes").ret == 0
    assert world.live == BEFORE


def test_roll_back_takes_the_challenger_away_and_nothing_else(world):
    project = world.project
    assert world.apply().ret == 0
    world._client.delete_registered_model_alias("qa", "champion")
    assert project.run("evals", "--llmeval-model", "models:/qa/1").ret == 0
    world._client.set_registered_model_alias("qa", "champion", "2")
    assert project.deploy("apply", "--yes", "--challenger").ret == 0
    assert world.live == ({"qa/2": 90, "qa/1": 10}, "2")
    tags = world._client.get_model_version("qa", "2").tags
    assert tags["llmeval.run_id"] == project.runs[2], "those of the version itself"
    assert project.deploy("rollback", "--yes").ret == 0
    assert world.live == AFTER
    assert project.deploy("rollback", "--yes").ret == 0
    assert world.live == BEFORE


def test_run_deploys_to_both_by_itself(world):
    result = world.project.run(
        *("evals", "--llmeval-model", "models:/qa/2", "--llmeval-deploy", BOTH)
    )
    assert result.ret == 0
    assert world.live == AFTER
    result.stdout.fnmatch_lines(["deployed: serving:docs: qa version 1 (100 %) -> *"])
    json.dumps(world.project.deployment)
