"""Several processes of one run open tracked runs at once, in a store that is new."""

import json
import subprocess
import sys

import mlflow
import pytest

from pytest_llmeval.config import Settings
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.tracking import RunTracking
from pytest_llmeval.tracking import is_uploaded


pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow, in many places
PARENT_TAG = "mlflow.parentRunId"
PROCESSES, CHILDREN, METRICS = 4, 2, 40
VERDICT = {
    "run_id": "20260101-000000-aaaaaa",
    "status": "pass",
    "reason": "OK",
    "started_at": 100.5,
    "finished_at": 103.0,
    "gates": [],
    "commit": "0123abc",
    "branch": "main",
    "ci_url": None,
    "versions": {},
    "mlflow_run_id": None,
}
WORKER = f"""\
import json
import sys
from pathlib import Path

import alembic.command
import mlflow

from pytest_llmeval.config import Settings
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.tracking import RunTracking

root, run_id, name = Path(sys.argv[1]), *sys.argv[2:]
upgrade, migrations = alembic.command.upgrade, []


def counted(*arguments, **options):
    migrations.append(name)
    upgrade(*arguments, **options)


alembic.command.upgrade = counted
settings = Settings(rootdir=root)
directory = RunDirectory(settings.home, run_id)
hook = headless_manager().hook
tracking = RunTracking(settings, hook, directory, started_at=100.5, say=print)
print("ready", flush=True)
input()
children = []
for number in range({CHILDREN}):
    with tracking.child(f"{{name}} {{number}}") as child:
        for metric in range({METRICS}):
            mlflow.log_metric(f"m{{metric}}", metric)
    children.append(child.info.run_id)
print(json.dumps([children, len(migrations)]))
"""
IN_WORKERS = """\
import os
import time
from pathlib import Path

import mlflow

HERE = Path(__file__).parent


def test_own_run(mlflow_run):
    mlflow.log_metric("mine", {part})
    (HERE / "run{part}").write_text(
        f"{{os.environ['PYTEST_XDIST_WORKER']}} {{mlflow_run.info.run_id}}"
    )
    while not all((HERE / f"run{{part}}").exists() for part in (0, 1)):
        time.sleep(0.05)
"""


def start_worker(root, name):
    return subprocess.Popen(
        (sys.executable, "-c", WORKER, str(root), VERDICT["run_id"], name),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def evaluation_of(child, number):
    return {
        "name": f"evaluation {number}",
        "started_at": 101.0,
        "duration_s": 1.0,
        "test": f"evals/test_{number}.py::test_x",
        "dataset": {"name": "qa.jsonl", "digest": "sha256:00", "rows": 1},
        "predictions_digest": "sha256:p",
        "rows_span": (0, 3),
        "mlflow_run_id": child,
        "metrics": {},
        "params": {},
    }


def runs_in(path):
    """Return parents and children, by their ids."""
    client = mlflow.MlflowClient(tracking_uri=f"sqlite:///{path / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'llmeval'")
    found = client.search_runs([experiment.experiment_id])
    children = {run.info.run_id: run for run in found if PARENT_TAG in run.data.tags}
    return {run.info.run_id for run in found} - children.keys(), children


def test_four_processes_at_once_share_a_parent_in_a_fresh_store(tmp_path):
    workers = [start_worker(tmp_path, f"gw{number}") for number in range(PROCESSES)]
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:  # all are imported, and now begin together
        worker.stdin.write("\n")
        worker.stdin.flush()
    ended = [worker.communicate(timeout=300) for worker in workers]
    assert [worker.returncode for worker in workers] == [0] * PROCESSES, ended
    assert not [said for _, said in ended if "locked" in said.lower()]
    told = [json.loads(out) for out, _ in ended]
    assert sum(migrations for _, migrations in told) == 1

    opened = {child for children, _ in told for child in children}
    assert len(opened) == PROCESSES * CHILDREN
    (parent,), children = runs_in(tmp_path)
    assert children.keys() == opened
    logged = {f"m{metric}": float(metric) for metric in range(METRICS)}
    for child in children.values():
        assert child.data.metrics == logged
        assert child.data.tags[PARENT_TAG] == parent

    directory = upload(tmp_path, told)
    assert is_uploaded(directory)
    (same,), children = runs_in(tmp_path)
    assert (same, children.keys()) == (parent, opened)
    evaluated = {
        child.info.run_id: child.data.tags["llmeval.evaluation"]
        for child in children.values()
        if "llmeval.evaluation" in child.data.tags
    }
    assert evaluated == {first: str(n) for n, ((first, *_), _) in enumerate(told, 1)}


def upload(root, told):
    """Upload the run in another process than those that opened its children."""
    settings = Settings(rootdir=root)
    directory = RunDirectory(settings.home, VERDICT["run_id"])
    directory.create(VERDICT)
    directory.results.write_text("{}\n")
    tracking = RunTracking(
        settings,
        headless_manager().hook,
        directory,
        started_at=100.5,
        say=lambda *line: None,
    )
    evaluations = [
        evaluation_of(first, number) for number, ((first, *_), _) in enumerate(told, 1)
    ]
    tracking.upload(VERDICT, evaluations, lambda verdict: None)
    return directory


def test_tests_in_two_workers_have_runs_of_one_parent(suite):
    (suite.path / "evals/test_qa.py").unlink()
    for part in (0, 1):
        suite.write(f"evals/test_{part}.py", IN_WORKERS.format(part=part))
    result = suite.run("evals", "-n", "2", "--llmeval-tracking", "auto")
    result.assert_outcomes(passed=2)
    names = [suite.path / f"evals/run{part}" for part in (0, 1)]
    workers, opened = zip(*(name.read_text().split() for name in names), strict=True)
    assert set(workers) == {"gw0", "gw1"}
    (parent,), children = runs_in(suite.path)
    assert [children[child].data.metrics for child in opened] == [
        {"mine": 0.0},
        {"mine": 1.0},
    ]
    assert {child.data.tags[PARENT_TAG] for child in children.values()} == {parent}
