"""Run directories and MLflow stores of made-up runs, in the form that runs leave."""

import json
from pathlib import Path

from pytest_llmeval.backends.mlflow.tracker import MlflowTracker
from pytest_llmeval.tracking import _pending


MONDAY = 1_796_000_000.0
DAY_S = 86_400


def verdict_of(number: int = 1, **changes) -> dict:
    """Return the verdict of a run that took a minute, a run an hour."""
    at, test = MONDAY + number * 3_600, "evals/test_qa.py::test_answers"
    asked = {"dataset_digest": "sha256:d", "request_digest": "sha256:r"}
    value = {"value": 0.75, "lower": 0.61, "upper": 0.86, "n": 40, "errors": 1}
    gate = {
        "test": test,
        "metric": "rouge1",
        "op": ">=",
        "threshold": 0.5,
        "confidence": 0.95,
        "method": "gaffke",
        "dataset": "qa",
        "rows": 40,
        "decision": "pass",
        "reason": "OK",
        "text": "rouge1 0.750 is >= 0.500\nworst rows:\n    input: private",
        **asked,
        **value,
    }
    sliced = {"where": {"language": "de"}, "value": 0.5, "lower": None, "n": 20}
    failed = {"threshold": 0.9, "decision": "fail", "reason": "GATE_FAILED"}
    return {
        "schema": 1,
        "run_id": f"20261130-0000{number:02d}-aaaaaa",
        "status": "fail",
        "reason": "GATE_FAILED",
        "detail": "rouge1 where {'language': 'de'}",
        "exit_status": 1,
        "started_at": at,
        "finished_at": at + 60.0,
        "model": {"scheme": "models", "name": "qa", "version": "3", "pinned": True},
        "gates": [gate, {**gate, **sliced, **failed}],
        "datasets": [{"name": "qa", "digest": "sha256:d", "rows": 40}],
        "evaluations": [
            {
                "number": 1,
                "name": "qa",
                "test": test,
                "model": "models:/qa/3",
                "rows": 40,
                "repeats": 2,
                "predictions_digest": f"blake2b-sum:{number}",
                "rows_digest": "sha256:0",
                "rows_span": [0, 0],
                "early_stopped": False,
                "started_at": at + 1,
                "duration_s": 50.0,
                "confidence": 0.95,
                "metrics": {"rouge1": value, "length": {**value, "value": 12.5}},
                "definitions": {"rouge1": {"higher_is_better": True}},
                "usage": {
                    "requests": 81,
                    "rows": 80,
                    "prompt_tokens": 800,
                    "output_tokens": 160,
                    "cost_usd": 0.25,
                    "latency_p50_ms": 80.0,
                    "latency_p95_ms": 120.0,
                    "queue_p95_ms": 3.0,
                },
                **asked,
            }
        ],
        "commit": "0" * 40,
        "branch": "main",
        "dirty": False,
        "ci_url": None,
        "versions": {"pytest-llmeval-gate": "0.1.0"},
        "mlflow_run_id": None,
        **changes,
    }


def row_of(number: int, **changes) -> dict:
    return {
        "evaluation": 1,
        "id": f"r{number}",
        "input": f"question {number}",
        "references": ["yes"],
        "context": None,
        "metadata": {"language": "de"},
        "prediction": "yes",
        "errors": [],
        "scores": {"rouge1": 1.0},
        "latency_ms": 80.5,
        "queue_ms": 0.1,
        "attempts": 1,
        "stored_at": None,
        "prompt_tokens": 10,
        "output_tokens": 2,
        "cost_usd": None,
        **changes,
    }


def attempt_of(verdict: dict, name: str = "d1", **changes) -> dict:
    return {
        "schema": 2,
        "id": name,
        "target": "registry:qa@champion",
        "step": "deploy",
        "traffic": 100,
        "run_id": verdict["run_id"],
        "who": "ci",
        "reason": "DEPLOYED",
        "message": "version 2 -> version 3",
        "began_at": verdict["finished_at"] + 5,
        "ended_at": verdict["finished_at"] + 9,
        **changes,
    }


def leave_run(home: Path, verdict: dict, rows=(), attempts=()) -> Path:
    """Write a run as a session leaves it; return its directory."""
    folder = home / "runs" / verdict["run_id"]
    folder.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    (folder / "results.jsonl").write_text(lines)
    for entry in verdict["evaluations"]:
        entry["rows_span"] = [0, len(lines)]
    (folder / "verdict.json").write_text(json.dumps(verdict))
    for attempt in attempts:
        deploy(home, attempt)
    return folder


def deploy(home: Path, attempt: dict) -> None:
    """Add a deployment to the books, and to its run where there is one."""
    with (home / "deployments.jsonl").open("a") as file:
        file.write(json.dumps(attempt) + "\n")
    folder = home / "runs" / str(attempt["run_id"])
    if folder.exists():
        (folder / "deployment.json").write_text(json.dumps(attempt))


def track(uri: str, folder: Path, home: Path) -> str:
    """Upload a run as `llmeval sync` does; return the id of its MLflow run."""
    verdict = json.loads((folder / "verdict.json").read_bytes())
    kept = [
        {
            **entry,
            "dataset": verdict["datasets"][0],
            "params": {"model": entry["model"]},
            "mlflow_run_id": None,
        }
        for entry in verdict["evaluations"]
    ]
    document = _pending(verdict, kept, "")
    tracker = MlflowTracker(uri, home)
    tracked = tracker.log_run(document, folder / "results.jsonl")
    tracker.log_verdict(tracked, document, folder / "verdict.json")
    return tracked
