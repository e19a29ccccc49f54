"""Time the export of a large MLflow store, and of the next export that finds no news.

python -m benchmarks.export --runs 10000 --metrics 20

The store is filled through its own tables, because 10,000 uploads would take an hour;
one run is uploaded by the plugin itself, and all others are like it.
"""

import argparse
import datetime
import json
import random
import subprocess
import sys
import tempfile
import time
import uuid
from pathlib import Path

import sqlalchemy

from pytest_llmeval.backends.mlflow.tracker import MlflowTracker
from pytest_llmeval.text import utc


FIRST = datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC).timestamp()
HOUR_S = 3_600


def verdict_of(number: int, metrics: int) -> dict:
    """Return a verdict with one evaluation, as a run writes it."""
    rng, at = random.Random(number), FIRST + number * HOUR_S
    test = f"evals/test_{number % 3}.py::test_answers"
    identity = {"dataset_digest": "sha256:d", "request_digest": "sha256:r"}
    values = {}
    for index in range(metrics):
        value = rng.uniform(0.6, 0.8)
        values[f"metric_{index}"] = {
            "value": value,
            "lower": value - 0.05,
            "upper": value + 0.05,
            "n": 400,
            "errors": 0,
        }
    return {
        "schema": 1,
        "run_id": f"{number:08d}-bench",
        "status": "pass",
        "reason": "OK",
        "detail": "every gate passed",
        "exit_status": 0,
        "started_at": at,
        "finished_at": at + 60.0,
        "model": {"scheme": "models", "name": "qa", "version": "3", "pinned": True},
        "gates": [
            {
                "test": test,
                "metric": "metric_0",
                "op": ">=",
                "threshold": 0.5,
                "confidence": 0.95,
                "method": "gaffke",
                "dataset": "qa",
                "rows": 400,
                "decision": "pass",
                "reason": "OK",
                "text": "metric_0 is >= 0.5",
                **identity,
                **values["metric_0"],
            }
        ],
        "datasets": [{"name": "qa", "digest": "sha256:d", "rows": 400}],
        "evaluations": [
            {
                "number": 1,
                "name": "qa",
                "test": test,
                "model": "models:/qa/3",
                "rows": 400,
                "repeats": 1,
                "predictions_digest": f"blake2b-sum:{number}",
                "rows_digest": "sha256:0",
                "rows_span": [0, 0],
                "early_stopped": False,
                "started_at": at,
                "duration_s": 50.0,
                "confidence": 0.95,
                "metrics": values,
                "definitions": {
                    name: {"source": "", "higher_is_better": True, "range": [0, 1]}
                    for name in values
                },
                "usage": {"requests": 400, "rows": 400, "latency_p50_ms": 80.0},
                **identity,
            }
        ],
        "commit": "0" * 40,
        "branch": "main",
        "dirty": False,
        "versions": {"pytest-llmeval-gate": "0.1.0"},
        "mlflow_run_id": None,
    }


def fill(folder: Path, runs: int, metrics: int) -> str:
    """Make a store with so many runs; return its URI."""
    uri = f"sqlite:///{folder / 'mlflow.db'}"
    (folder / "rows.jsonl").touch()
    tracker = MlflowTracker(uri, folder)
    upload(tracker, folder, verdict_of(0, metrics))
    engine = sqlalchemy.create_engine(uri)
    tables = sqlalchemy.MetaData()
    tables.reflect(engine)
    with engine.begin() as connection:
        model = {
            name: connection.execute(tables.tables[name].select()).mappings().all()
            for name in ("runs", "tags", "latest_metrics", "params")
        }
        for at in range(1, runs, 500):
            numbers = range(at, min(at + 500, runs))
            copies = [copied(model, n, metrics, folder) for n in numbers]
            for name in model:
                rows = [row for copy in copies for row in copy[name]]
                connection.execute(tables.tables[name].insert(), rows)
    engine.dispose()
    return uri


def upload(tracker: MlflowTracker, folder: Path, verdict: dict) -> None:
    """Upload one run in the way of the plugin."""
    from pytest_llmeval.tracking import _pending

    entry = verdict["evaluations"][0]
    kept = {**entry, "dataset": verdict["datasets"][0], "mlflow_run_id": None}
    kept["params"] = {"model": entry["model"], "dataset_digest": "sha256:d"}
    verdict = {**verdict, "ci_url": None}
    document = _pending(verdict, [kept], "")
    path = folder / "verdict.json"
    path.write_text(json.dumps(verdict))
    tracked = tracker.log_run(document, folder / "rows.jsonl")
    tracker.log_verdict(tracked, document, path)


def copied(model: dict, number: int, metrics: int, folder: Path) -> dict[str, list]:
    """Return the store's rows of the model run for another number, with its verdict."""
    ids = {row["run_uuid"]: uuid.uuid4().hex for row in model["runs"]}
    run_id, verdict = f"{number:08d}-bench", verdict_of(number, metrics)
    changed = utc(verdict["finished_at"])

    def renamed(row: dict) -> dict:
        row = {**row, "run_uuid": ids[row["run_uuid"]]}
        if row.get("key") == "llmeval.run_id":
            row["value"] = run_id
        if row.get("key") == "llmeval.changed_at":
            row["value"] = changed
        if row.get("key") == "mlflow.parentRunId":
            row["value"] = ids[row["value"]]
        return row

    copies = {name: [renamed(row) for row in rows] for name, rows in model.items()}
    for before, row in zip(model["runs"], copies["runs"], strict=True):
        uri = before["artifact_uri"]
        row["artifact_uri"] = uri.replace(before["run_uuid"], row["run_uuid"])
        row["start_time"] = int(verdict["started_at"] * 1000)
        place = Path(row["artifact_uri"].removeprefix("file://"))
        if row["name"] == "00000000-bench":
            row["name"] = run_id
            place.mkdir(parents=True)
            (place / "verdict.json").write_text(json.dumps(verdict))
    return copies


def timed(arguments: list[str], folder: Path) -> tuple[float, str]:
    """Run an export as a user does; return its seconds and what it says."""
    began = time.perf_counter()
    command = [sys.executable, "-c", "from pytest_llmeval.cli import main; main()"]
    done = subprocess.run(
        [*command, "export", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return time.perf_counter() - began, done.stdout.strip()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--metrics", type=int, default=20)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="llmeval-") as name:
        folder = Path(name)
        began = time.perf_counter()
        uri = fill(folder, options.runs, options.metrics)
        print(f"filled the store in {time.perf_counter() - began:.1f} s")
        for place in ("history", f"sqlite:///{folder / 'history.db'}", "csv:csv"):
            for _ in range(2):
                took, said = timed(["--from-mlflow", uri, "--to", place], folder)
                print(f"{place.partition(':')[0]:<8} {took:5.1f} s  {said}")


if __name__ == "__main__":
    main()
