"""What a job does on its machine: environment, secrets, Spark, and its end."""

import json
import os
import sys
from pathlib import Path

import pytest

from pytest_llmeval.backends.databricks.cluster import worker_environment
from pytest_llmeval.backends.spark.session import open_session
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.job import JobFailed
from pytest_llmeval.job import main
from pytest_llmeval.provenance import SOURCE


TESTS = """\
import json
import os

def test_environment():
    with open({seen!r}, "w") as file:
        json.dump([os.getcwd(), dict(os.environ)], file)
    os.environ["LEFT_BEHIND"] = "1"
    os.chdir("/")
"""


@pytest.fixture
def suite(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("GITHUB_SHA", raising=False)
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    folder = tmp_path / "suite"
    (folder / "evals").mkdir(parents=True)
    (folder / "pytest.ini").write_text("[pytest]\nllmeval_tracking = off\n")
    text = TESTS.format(seen=str(tmp_path / "seen.json"))
    (folder / "evals/test_environment.py").write_text(text)
    yield folder
    for name in ("test_environment", "test_red"):
        sys.modules.pop(name, None)


def _seen(suite):
    return json.loads((suite.parent / "seen.json").read_text())


def _files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


def test_job_leaves_environment_folder_and_suite_as_they_were(suite, tmp_path):
    place = {"GITHUB_RUN_ID": "7", "GITHUB_REPOSITORY": "a/b"}
    source = {"commit": "abc", "branch": "main", "dirty": False, "place": place}
    (suite / SOURCE).write_text(json.dumps(source))
    before, where, files = dict(os.environ), Path.cwd(), _files(suite)
    streams = sys.stdout, sys.stderr
    out = tmp_path / "out"
    main(["--suite", str(suite), "--out", str(out), "--", "evals", "-q"])
    assert (dict(os.environ), Path.cwd()) == (before, where)
    assert (sys.stdout, sys.stderr) == streams
    assert _files(suite) == files
    cwd, environment = _seen(suite)
    assert not Path(cwd).exists()
    assert environment["GITHUB_RUN_ID"] == "7"
    assert environment["PYTHONDONTWRITEBYTECODE"] == "1"
    assert _files(out) == ["junit.xml", "pytest.log", "result.json", "results.tar.gz"]
    result = json.loads((out / "result.json").read_text())
    assert result == {"exit_status": 0, "run_id": None}


def test_red_job_raises_when_its_results_are_there(suite, tmp_path):
    (suite / "evals/test_red.py").write_text("def test_red():\n    assert 0\n")
    out = tmp_path / "out"
    with pytest.raises(JobFailed, match="ended with exit status 1; its results are in"):
        main(["--suite", str(suite), "--out", str(out), "--", "evals"])
    result = json.loads((out / "result.json").read_text())
    assert result["exit_status"] == 1
    assert "test_red" in (out / "pytest.log").read_text()
    assert "test_red" in (out / "junit.xml").read_text()


def test_job_without_suite_or_with_unknown_parameters_says_so(tmp_path, suite):
    out = tmp_path / "out"
    with pytest.raises(ConfigurationError, match="cannot read the suite /none"):
        main(["--suite", "/none", "--out", str(out)])
    assert "cannot read the suite" in (out / "pytest.log").read_text()
    assert json.loads((out / "result.json").read_text())["exit_status"] is None
    for given in ([], ["--suite", "x"], ["--suite", "x", "--out", "y", "--other"]):
        with pytest.raises(ConfigurationError, match="it takes --suite and --out"):
            main(given)


def test_workers_get_the_way_to_workspace_and_spark_on_databricks_only(monkeypatch):
    for name in list(os.environ):
        if name.startswith(("DATABRICKS_", "SPARK_")):
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_HOST", "https://x.example.org")
    monkeypatch.setenv("DATABRICKS_TOKEN", "dapi-0123456789")
    assert worker_environment() == {}
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "client.4.9")
    monkeypatch.setenv("SPARK_REMOTE", "sc://localhost")
    assert worker_environment() == {"SPARK_LOCAL_REMOTE": "sc://localhost"}


def test_worker_on_a_classic_cluster_opens_no_session_of_its_own(monkeypatch, tmp_path):
    monkeypatch.delenv("SPARK_REMOTE", raising=False)
    monkeypatch.setenv("DATABRICKS_RUNTIME_VERSION", "16.4")
    monkeypatch.setenv("PYTEST_XDIST_WORKER", "gw0")
    with pytest.raises(ConfigurationError, match="run what needs Spark without -n"):
        open_session(Settings(rootdir=tmp_path))
