"""A history small enough to be reckoned by hand, as files and in a database."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

from pytest_llmeval.history.arrow import to_arrow
from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.history.sql import SqlPlace
from tests.history.synthetic import write_part


START = datetime.datetime(2026, 11, 1, 12, tzinfo=datetime.UTC)
SUITE, NAME = "evals/test_qa.py", "qa"
VALUES = (0.8, 0.6, 0.9, 0.7, 0.5, 0.75)
MODELS = ("models:/qa/1", "models:/qa/1", "models:/qa/2")
DECISIONS = ("pass", "fail", "pass", "inconclusive", "error", "pass")


def run_id(number: int) -> str:
    return f"20261101-{number:06}-aaaaaa"


def records(count: int = len(VALUES)) -> dict[str, list[dict[str, Any]]]:
    """Return one run an hour: an evaluation, a metric with a slice, and a gate."""
    made: dict[str, list[dict[str, Any]]] = {name: [] for name in BY_NAME}
    for at, value in enumerate(VALUES[:count]):
        began = START + datetime.timedelta(hours=at)
        run = {"run_id": run_id(at), "day": began.date(), "started_at": began}
        model = MODELS[min(at // 2, 2)]
        one = {**run, "evaluation": 1, "suite": SUITE, "test": f"{SUITE}::test_qa"}
        metric = {**one, "metric": "f1", "slice_by": "", "slice_value": ""}
        interval = {"lower": value - 0.1, "upper": value + 0.1, "confidence": 0.95}
        made["runs"].append(
            {**run, "status": "pass", "reason": "OK", "model": model, "rows": 2}
        )
        made["evaluations"].append(
            {
                **one,
                "name": NAME,
                "model": model,
                "latency_p50_ms": 100.0 * (at + 1),
                "latency_p95_ms": 300.0,
                "cost_usd": 0.5,
            }
        )
        counts = {"n": 2, "errors": 0, "higher_is_better": True}
        made["metrics"].append({**metric, "value": value, **interval, **counts})
        cut = {"slice_by": "language", "slice_value": "de", "value": value - 0.2}
        made["metrics"].append({**metric, **counts, **cut})
        made["gates"].append(
            {
                **metric,
                **interval,
                "gate": 1,
                "kind": "metric",
                "op": ">=",
                "threshold": 0.6 + 0.01 * at,
                "decision": DECISIONS[at],
                "value": value,
            }
        )
        made["rows"] += rows(run, at)
    made["deployments"].append(
        {
            "deployment_id": "d1",
            "run_id": run_id(2),
            "day": START.date(),
            "model": "models:/qa/1",
            "target": "registry:qa@champion",
            "step": "deploy",
            "began_at": START + datetime.timedelta(hours=2, minutes=5),
            "reason": "DEPLOYED",
            "is_live": True,
        }
    )
    return made


def rows(run: dict[str, Any], at: int) -> list[dict[str, Any]]:
    """Return three: one that falls, one that rises, one in error in the last run."""
    falls, rises = 1.0 - 0.1 * at, 0.1 * at
    shared = {"day": run["day"], "run_id": run["run_id"], "evaluation": 1, "repeat": 0}
    made = []
    for name, score in (("falls", falls), ("rises", rises), ("breaks", 1.0)):
        failed = name == "breaks" and at == len(VALUES) - 1
        made.append(
            {
                **shared,
                "id": name,
                "input": f"{name}?",
                "expected": '["yes"]',
                "prediction": None if failed else f"{name} {at}",
                "error_kind": "timeout" if failed else None,
                "error_message": "asleep" if failed else None,
                "scores": "{}" if failed else f'{{"f1": {score:.1f}}}',
            }
        )
    return made


def write_folder(folder: Path, made: dict[str, list[dict[str, Any]]]) -> Path:
    """Write records as Parquet files, in one day."""
    for name, some in made.items():
        write_part(folder, name, "day=2026-11-01/part", to_arrow(BY_NAME[name], some))
    return folder


def write_database(
    url: str, made: dict[str, list[dict[str, Any]]], rootdir: Path = Path("/")
) -> str:
    """Write records into a database, and return its URL."""
    place = SqlPlace(url, rootdir)
    place.replace({name: to_arrow(BY_NAME[name], some) for name, some in made.items()})
    return url
