"""What a tracker is given, and what is written down first."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

from pytest_llmeval.config import Settings
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.hooks import hookimpl
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.tracking import RunTracking
from pytest_llmeval.tracking import is_uploaded


VERDICT = {
    "run_id": "20260101-000000-aaaaaa",
    "status": "fail",
    "reason": "GATE_FAILED",
    "started_at": 100.5,
    "finished_at": 103.0,
    "gates": [{"decision": "pass"}, {"decision": "fail"}, {"decision": "fail"}],
    "commit": "0123abc",
    "branch": "main",
    "ci_url": None,
    "versions": {"python": "3.11.7"},
    "mlflow_run_id": None,
}
EVALUATION = {
    "name": "qa",
    "started_at": 101.0,
    "duration_s": 1.5,
    "test": "evals/test_qa.py::test_qa",
    "dataset": {"name": "qa.jsonl", "digest": "sha256:00", "rows": 2},
    "predictions_digest": "sha256:p",
    "rows_span": (0, 10),
    "mlflow_run_id": None,
    "metrics": {"rouge1": {"value": 0.5, "lower": None, "upper": None, "n": 2}},
    "params": {"model": "http://user:pw@host/v1", "prompt": None},
    "usage": {"requests": 3, "cost_usd": None, "latency_p50_ms": 12.5},
    "early_stop": {"seed": "sha256:00", "asked": 2, "not_needed": 5},
}


class Notebook:
    """A plugin's own tracker, which keeps what it is given."""

    def __init__(self) -> None:
        self.calls = []

    @hookimpl
    def pytest_llmeval_tracker(self, uri):
        self.calls.append(("open", uri))
        return self

    @contextmanager
    def child(self, name, run):
        self.calls.append(("child", name, run))
        yield "a child"

    def log_run(self, run, rows):
        self.calls.append(("log_run", run, rows))
        return "page 7"

    def log_verdict(self, run_id, run, verdict):
        self.calls.append(("log_verdict", run_id, run, verdict))


@pytest.fixture
def notebook():
    return Notebook()


@pytest.fixture
def directory(tmp_path):
    directory = RunDirectory(tmp_path / ".llmeval", VERDICT["run_id"])
    directory.create(VERDICT)
    return directory


@pytest.fixture
def track(notebook, directory, tmp_path):
    def make(uri):
        manager = headless_manager()
        manager.register(notebook)
        settings = Settings(rootdir=tmp_path, tracking=uri)
        return RunTracking(
            settings, manager.hook, directory, started_at=100.5, say=lambda *line: None
        )

    return make


def test_tracker_gets_what_is_written_down(track, notebook, directory):
    written = []
    tracking = track("http://user:pw@host:5000")
    verdict = tracking.upload(VERDICT, [EVALUATION], written.append)
    assert verdict == {**VERDICT, "mlflow_run_id": "page 7"}
    assert written == [verdict]

    opened, (_, run, rows), (_, run_id, same, path) = notebook.calls
    assert opened == ("open", "http://user:pw@host:5000")
    assert (rows, run_id, path) == (directory.results, "page 7", directory.verdict)
    assert run["metrics"] == {
        "gates/pass": 1,
        "gates/fail": 2,
        "gates/inconclusive": 0,
        "gates/error": 0,
    }
    assert run["passed"] is False
    assert run["tags"]["llmeval.reason"] == "GATE_FAILED"
    assert run["tags"]["llmeval.version.python"] == "3.11.7"
    (evaluation,) = run["evaluations"]
    assert evaluation["number"] == 1
    assert evaluation["finished_at"] == 102.5
    assert evaluation["metrics"] == {
        "rouge1": 0.5,
        "rouge1/n": 2,
        "early_stop/asked": 2,
        "early_stop/not_needed": 5,
        "usage/requests": 3,
        "usage/latency_p50_ms": 12.5,
    }
    assert evaluation["params"]["model"] == "http://[redacted]@host/v1"
    assert evaluation["rows_span"] == [0, 10]

    document = json.loads(directory.tracking.read_text())
    assert document == same | {
        "status": "done",
        "mlflow_run_id": "page 7",
        "tracking_uri": "http://host:5000",
    }
    assert same["status"] == "pending"
    assert is_uploaded(directory)


def test_sqlite_file_is_written_down_from_the_root(track, directory, monkeypatch):
    monkeypatch.chdir(directory.path)
    track("sqlite:///runs.db").upload(VERDICT, [EVALUATION], lambda verdict: None)
    document = json.loads(directory.tracking.read_text())
    assert document["tracking_uri"] == f"sqlite:///{directory.path / 'runs.db'}"


def test_experiment_is_written_down_for_a_later_upload(track, directory, monkeypatch):
    monkeypatch.setenv("MLFLOW_EXPERIMENT_NAME", "mine")
    monkeypatch.setenv("MLFLOW_EXPERIMENT_ID", "12")
    track("http://host").upload(VERDICT, [EVALUATION], lambda verdict: None)
    document = json.loads(directory.tracking.read_text())
    assert (document["experiment"], document["experiment_id"]) == ("mine", "12")


def test_run_without_evaluations_is_tracked_only_when_a_test_opened_one(
    track, notebook, directory
):
    tracking = track("http://host")
    assert tracking.upload(VERDICT, [], lambda verdict: None) == VERDICT
    assert not directory.tracking.exists()
    with tracking.child("test_x") as child:
        assert child == "a child"
    assert notebook.calls[1][1:] == (
        "test_x",
        {
            "run_id": VERDICT["run_id"],
            "experiment": "llmeval",
            "experiment_id": None,
            "started_at": 100.5,
        },
    )
    of_another_process = track("http://host")
    named = of_another_process.upload(VERDICT, [], lambda verdict: None)
    assert named["mlflow_run_id"] == "page 7"


def test_children_are_opened_one_by_one_and_are_open_together(
    track, notebook, monkeypatch
):
    parents, together = [], threading.Barrier(4, timeout=20)

    @contextmanager
    def child(name, run):
        if not parents:
            time.sleep(0.2)  # between looking for the parent and making it
            parents.append(name)
        yield name

    monkeypatch.setattr(notebook, "child", child)

    def test(name):
        with track("http://host").child(name):
            together.wait()

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(test, "abcd")) == [None] * 4
    assert len(parents) == 1


def test_tracking_that_is_off_writes_nothing(track, notebook, directory):
    unchanged = track("off").upload(VERDICT, [EVALUATION], lambda verdict: None)
    assert unchanged == VERDICT
    assert not directory.tracking.exists()
    assert notebook.calls == []
    assert not is_uploaded(directory)


def test_file_that_cannot_be_written_ends_no_run(track, notebook, directory):
    Path(directory.tracking).mkdir()
    unchanged = track("http://host").upload(VERDICT, [EVALUATION], lambda verdict: None)
    assert unchanged == VERDICT
    assert notebook.calls == []
