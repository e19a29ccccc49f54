"""An alias in Unity Catalog, through MLflow's own client for it."""

import time

import pytest

from pytest_llmeval.backends.mlflow.registry import RegistryTarget
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.records import Move
from tests.databricks.workspace import Workspace
from tests.unit.file_target import passing_verdict


pytestmark = pytest.mark.filterwarnings("ignore")
NAME = "main.qa.bot"
TAGS = {"llmeval.run_id": "run-1", "llmeval.deployed_at": "2026-11-25T08:00:00Z"}


@pytest.fixture
def catalog(monkeypatch):
    workspace = Workspace()
    for name, value in workspace.environment.items():
        monkeypatch.setenv(name, value)
    workspace.catalog.versions[NAME] = ["1", "2"]
    yield workspace.catalog
    workspace.close()


@pytest.fixture
def target(catalog, tmp_path):
    return RegistryTarget(
        NAME, "champion", Settings(rootdir=tmp_path, tracking="databricks")
    )


def verdict(version, **seen):
    model = passing_verdict()["model"]
    model |= {"name": NAME, "version": version, "aliases": seen}
    return passing_verdict(model=model, started_at=time.time())


def carry_out(target, about, step="deploy"):
    plan = target.plan(about, Move(step=step), target.read())
    tags = TAGS if about is not None else {}
    target.write(plan.before, plan.after, tags, lambda line: None)
    assert target.read().live == plan.after
    return plan


def test_alias_moves_and_comes_back(catalog, target):
    carry_out(target, verdict("1"))
    carry_out(target, verdict("2", champion="1"))
    assert catalog.aliases[NAME] == {"champion": "2"}
    assert catalog.tags[NAME, "2"] == {**TAGS, "llmeval.previous.champion": "1"}
    assert "llmeval.left.champion" in catalog.tags[NAME, "1"]
    assert catalog.tags[NAME, ""] == {}, "nothing announced is left"
    carry_out(target, None, "rollback")
    assert catalog.aliases[NAME] == {"champion": "1"}
    carry_out(target, None, "rollback")
    assert catalog.aliases[NAME] == {}


def test_version_that_is_not_there_and_alias_that_moved_are_refused(catalog, target):
    with pytest.raises(DeploymentRefused) as refused:
        target.plan(verdict("9"), Move(), target.read())
    assert refused.value.reason == "MODEL_MISSING"
    catalog.aliases[NAME]["champion"] = "1"
    with pytest.raises(DeploymentRefused) as refused:
        target.plan(verdict("2"), Move(), target.read())
    assert refused.value.reason == "SUPERSEDED"
    assert catalog.writes == []


def test_announcement_of_somebody_else_goes_first(catalog, target, monkeypatch):
    plan = target.plan(verdict("2"), Move(), target.read())
    answer = catalog.answer

    def announce_too(method, path, given):
        told = answer(method, path, given)
        if given.get("key") == "llmeval.deploying.champion":
            catalog.tags[NAME, ""][given["key"]] = "another"
        return told

    monkeypatch.setattr(catalog, "answer", announce_too)
    with pytest.raises(DeploymentRefused, match="another deployment"):
        target.write(plan.before, plan.after, TAGS, lambda line: None)
    assert catalog.aliases[NAME] == {}
