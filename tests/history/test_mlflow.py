"""The history is rebuilt from MLflow: from a store, from a server, from a copy."""

import datetime
import json
import shutil

import pytest

from pytest_llmeval.backends.mlflow.archive import _queries
from pytest_llmeval.backends.mlflow.tracker import CHANGED_TAG
from pytest_llmeval.backends.mlflow.tracker import MlflowTracker
from pytest_llmeval.cli import main
from pytest_llmeval.config import Settings
from pytest_llmeval.history.sources import export_mlflow
from pytest_llmeval.history.sources import export_runs
from pytest_llmeval.hooks import headless_manager
from tests.behaviour.mlflow_server import MlflowServer
from tests.behaviour.mlflow_server import Proxy

from .lived import attempt_of
from .lived import deploy
from .lived import leave_run
from .lived import row_of
from .lived import track
from .lived import verdict_of
from .test_interrupted import contents
from .test_places import all_of


# MLflow warns in many places.
pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def fresh_store(tmp_path_factory):
    """A store with its tables, which take seconds to make."""
    path = tmp_path_factory.mktemp("fresh") / "mlflow.db"
    MlflowTracker(f"sqlite:///{path}", path.parent)
    return path


@pytest.fixture
def store(fresh_store, tmp_path):
    folder = tmp_path / "store"
    folder.mkdir()
    shutil.copy(fresh_store, folder / "mlflow.db")
    return folder / "mlflow.db"


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def rebuild(tmp_path):
    def rebuild(uri, place, **options):
        settings = Settings(rootdir=tmp_path, tracking=uri)
        return export_mlflow(headless_manager().hook, settings, place, **options)

    return rebuild


def lived(home, count=3):
    """Leave runs of which the second one is deployed; return their folders."""
    folders = []
    for number in range(count):
        verdict = verdict_of(number)
        attempts = [attempt_of(verdict)] if number == 1 else []
        folders.append(leave_run(home, verdict, [row_of(1), row_of(2)], attempts))
    return folders


def upload(uri, home, folders):
    tracker = MlflowTracker(uri, home)
    for folder in folders:
        tracked = track(uri, folder, home)
        if (folder / "deployment.json").exists():
            tags = {"llmeval.deployment": "DEPLOYED registry:qa@champion"}
            tracker.log_deployment(tracked, folder / "deployment.json", tags)


def without_mlflow(history):
    """Leave out what only a run in MLflow has."""
    own = ("mlflow_run_id", "digest")
    for run in history["runs"]:
        for name in own:
            del run[name]
    return history


def test_a_store_gives_back_what_the_folder_of_the_runs_has(
    store, home, open_at, rebuild
):
    folders = lived(home)
    upload(f"sqlite:///{store}", home, folders)
    here, there = open_at("here"), open_at("there")
    export_runs(home, here, with_rows=True)
    done = rebuild(f"sqlite:///{store}", there, with_rows=True)
    assert (done.new, done.left_out) == (3, [])
    assert without_mlflow(contents(there)) == without_mlflow(contents(here))
    assert len(all_of(there, "rows")) == 6


def test_the_next_export_sees_what_is_new_and_what_was_deployed(
    store, home, open_at, rebuild
):
    uri, place = f"sqlite:///{store}", open_at("history")
    folders = lived(home, 4)
    upload(uri, home, folders[:2])
    assert rebuild(uri, place).new == 2
    assert rebuild(uri, place).same == 2
    verdict = json.loads((folders[0] / "verdict.json").read_bytes())
    deploy(home, attempt_of(verdict, "d2"))
    tracker = MlflowTracker(uri, home)
    (run,) = (
        run
        for run in tracker._client.search_runs(["1"])
        if run.info.run_name in verdict["run_id"]
    )
    tags = {"llmeval.deployment": "DEPLOYED registry:qa@champion"}
    tracker.log_deployment(run.info.run_id, folders[0] / "deployment.json", tags)
    upload(uri, home, folders[2:])
    done = rebuild(uri, place)
    assert (done.new, done.changed, done.same) == (2, 1, 1)
    assert len(all_of(place, "deployments")) == 2


def test_what_was_not_changed_for_days_is_not_asked_for(store, home, open_at, rebuild):
    uri, place = f"sqlite:///{store}", open_at("history")
    upload(uri, home, lived(home))
    rebuild(uri, place)
    tracker = MlflowTracker(uri, home)
    for run in tracker._client.search_runs(["1"], f"tags.`{CHANGED_TAG}` LIKE '20%'"):
        tracker._client.set_tag(run.info.run_id, CHANGED_TAG, "2020-01-01T00:00:00Z")
    done = rebuild(uri, place)
    assert (done.new, done.changed, done.same) == (0, 0, 0)
    assert rebuild(uri, place, again=True).changed == 3


def test_a_run_whose_verdict_is_missing_is_tried_again(store, home, open_at, rebuild):
    uri, place = f"sqlite:///{store}", open_at("history")
    folders = lived(home)
    upload(uri, home, folders)
    (file, *_) = store.parent.rglob("verdict.json")
    away = file.rename(file.with_name("away.json"))
    done = rebuild(uri, place)
    assert done.new == 2
    assert [left.why for left in done.left_out] == [
        "its verdict is not there: FileNotFoundError"
    ]
    assert place.note(f"read {uri}") is None  # the next export reads all again
    away.rename(file)
    done = rebuild(uri, place)
    assert (done.new, done.same, done.left_out) == (1, 2, [])
    assert place.note(f"read {uri}") is not None


def test_runs_of_others_are_left_alone(store, home, open_at, rebuild):
    uri, place = f"sqlite:///{store}", open_at("history")
    client = MlflowTracker(uri, home)._client
    plain = client.create_run("0")
    client.log_metric(plain.info.run_id, "accuracy", 0.5)
    fake = client.create_run("0", tags={"llmeval.run_id": "it's"})
    client.log_metric(fake.info.run_id, "gates/pass", 1)
    upload(uri, home, lived(home, 1))
    done = rebuild(uri, place)
    assert (done.new, [left.run_id for left in done.left_out]) == (1, ["it's"])


def test_a_store_that_was_copied_from_elsewhere_brings_its_artifacts(
    store, home, open_at, rebuild, tmp_path
):
    upload(f"sqlite:///{store}", home, lived(home))
    elsewhere = store.parent.rename(tmp_path / "elsewhere")
    done = rebuild(f"sqlite:///{elsewhere / 'mlflow.db'}", open_at("history"))
    assert (done.new, done.left_out) == (3, [])


def test_a_server_is_asked_once_for_a_page_and_once_for_a_verdict(
    server, home, open_at, rebuild
):
    upload(server.url, home, lived(home))
    proxy = Proxy(server.port)
    try:
        here, there = open_at("here"), open_at("there")
        assert rebuild(proxy.url, there).new == 3
        first = list(proxy.requests)
        assert rebuild(proxy.url, there).same == 3
    finally:
        proxy.close()
    export_runs(home, here)
    assert without_mlflow(contents(there)) == without_mlflow(contents(here))
    fetched = [request for request in first if "/artifacts/" in request]
    searched = [request for request in first if "runs/search" in request]
    assert len(fetched) == 4  # three verdicts and a deployment
    assert len(searched) == 1
    assert not any("runs/get" in request for request in first)


def test_the_command_says_what_it_did(store, home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    uri = f"sqlite:///{store}"
    upload(uri, home, lived(home))
    assert main(["export", "--from-mlflow", uri]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"wrote 3 runs (3 new, 0 changed) to {tmp_path / '.llmeval' / 'history'}"
    ]
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    assert main(["export", "--from-mlflow"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        f"wrote 0 runs to {tmp_path / '.llmeval' / 'history'}",
        "3 runs stood there already",
    ]


def test_days_are_asked_for_one_by_one_and_many_of_them_by_the_month():
    today = datetime.datetime.now(datetime.UTC).date()
    few = list(_queries(today - datetime.timedelta(days=2)))
    assert len(few) == 4  # tomorrow too, because clocks differ
    assert few[0].endswith(f"LIKE '{today - datetime.timedelta(days=2)}%'")
    many = list(_queries(today - datetime.timedelta(days=365)))
    assert 13 <= len(many) <= 14
    assert many[-1].endswith(f"LIKE '{today + datetime.timedelta(days=1):%Y-%m}%'")
