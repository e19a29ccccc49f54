"""A history that was never lived: as large as a test or a benchmark wants it.

python -m tests.history.synthetic DIR --runs 1000 --metrics 20

Three suites take turns, one run each an hour; every 50th run is deployed; the metrics
wander a little, and the last tenth of the runs is worse by five points.
"""

import argparse
import datetime
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pytest_llmeval.history.arrow import arrow_schema
from pytest_llmeval.history.schema import BY_NAME


FIRST = datetime.datetime(2026, 1, 1, 0, 30, tzinfo=datetime.UTC)
SUITES = ("evals/test_docs_qa.py", "evals/test_support.py", "evals/test_safety.py")
SLICES = (("", ""), ("language", "de"), ("language", "en"), ("topic", "billing"))
NAMES = ("rouge1", "token_f1", "exact_match", "length", "refusals", "json_valid")
THRESHOLD = 0.6
N = 400


def metric_names(count: int) -> list[str]:
    """Return names of metrics, the known ones first."""
    return [*NAMES, *(f"metric_{number}" for number in range(count))][:count]


def synthetic_history(
    runs: int = 100,
    metrics: int = 5,
    *,
    slices: int = 1,
    rows: int = 0,
    every_h: float = 1.0,
    seed: int = 0,
) -> dict[str, pa.Table]:
    """Return a history as Arrow tables, the same one for the same arguments.

    Args:
        runs: How many; each has one evaluation and a gate on the first metric.
        metrics: How many each evaluation has.
        slices: How many of `SLICES` each metric has, all rows included.
        rows: How many of the table `rows` each run has.
        every_h: Hours from one run to the next.
        seed: Of all numbers.
    """
    rng = np.random.default_rng(seed)
    at = [FIRST + datetime.timedelta(hours=every_h * number) for number in range(runs)]
    ids = [f"{time:%Y%m%dT%H%M%SZ}-{number:06x}" for number, time in enumerate(at)]
    run = {"run_id": ids, "day": [time.date() for time in at], "started_at": at}
    values = _values(rng, runs, metrics, slices)
    first = values[:, 0, 0]
    half = 1.96 * np.sqrt(first * (1 - first) / N)
    passed = first - half >= THRESHOLD
    suites = [SUITES[number % len(SUITES)] for number in range(runs)]
    versions = [str(1 + number // 50) for number in range(runs)]
    took = rng.gamma(9, 5, runs)
    shared = {
        "model": [f"models:/docs-qa/{version}" for version in versions],
        "rows": [N] * runs,
        "requests": rng.integers(N, N + 20, runs),
        "prompt_tokens": rng.integers(90, 110, runs) * N,
        "output_tokens": rng.integers(20, 40, runs) * N,
        "cost_usd": rng.uniform(0.02, 0.05, runs),
        "duration_s": took,
    }
    return {
        "runs": _table(
            "runs", runs, {**run, **shared, **_verdicts(at, took, passed, versions)}
        ),
        "evaluations": _table(
            "evaluations",
            runs,
            {**run, **shared, **_evaluations(rng, runs, suites)},
        ),
        "metrics": _metrics(run, values),
        "gates": _table("gates", runs, {**run, **_gates(suites, first, half, passed)}),
        "deployments": _deployments(run, at, versions),
        "rows": _rows(rng, run, rows),
    }


def write_synthetic(directory: Path, **arguments: float) -> dict[str, pa.Table]:
    """Write a synthetic history as the Parquet directory that an export makes."""
    history = synthetic_history(**arguments)  # type: ignore[arg-type]  # they are whole
    for name, table in history.items():
        days = table.column("day").to_pylist()
        starts = [i for i, day in enumerate(days) if i == 0 or day != days[i - 1]]
        write_part(directory, name, "day=1970-01-01/empty", table.slice(0, 0))
        for start, stop in zip(starts, [*starts, len(days)][1:], strict=True):
            part = table.slice(start, stop - start)
            write_part(directory, name, f"day={days[start]}/part", part)
    return history


def write_part(directory: Path, name: str, part: str, table: pa.Table) -> None:
    path = directory / name / f"{part}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(table.drop_columns("day"), path)


def _values(rng, runs: int, metrics: int, slices: int) -> np.ndarray:
    level = rng.uniform(0.62, 0.8, (1, metrics, slices))
    noise = rng.normal(0, 0.02, (runs, metrics, slices))
    drop = np.where(np.arange(runs) >= runs * 0.9, 0.05, 0.0)[:, None, None]
    return np.clip(level + noise - drop, 0.0, 1.0)


def _verdicts(at, took, passed, versions) -> dict[str, object]:
    count = len(at)
    return {
        "finished_at": [
            time + datetime.timedelta(seconds=float(s))
            for time, s in zip(at, took, strict=True)
        ],
        "status": np.where(passed, "pass", "fail"),
        "reason": np.where(passed, "OK", "GATE_FAILED"),
        "exit_status": np.where(passed, 0, 1),
        "model_scheme": ["models"] * count,
        "model_name": ["docs-qa"] * count,
        "model_version": versions,
        "model_pinned": [True] * count,
        "git_commit": [f"{number // 3:040x}" for number in range(count)],
        "git_branch": ["main"] * count,
        "dirty": [False] * count,
        "gates_pass": passed.astype(int),
        "gates_fail": (~passed).astype(int),
        "gates_inconclusive": [0] * count,
        "gates_error": [0] * count,
        "has_rows": [False] * count,
        "digest": [f"{number:064x}" for number in range(count)],
    }


def _evaluations(rng, runs: int, suites: list[str]) -> dict[str, object]:
    return {
        "evaluation": [1] * runs,
        "name": [Path(suite).stem.removeprefix("test_") for suite in suites],
        "suite": suites,
        "test": [f"{suite}::test_answers" for suite in suites],
        "dataset": [f"{Path(suite).stem}.jsonl" for suite in suites],
        "dataset_digest": [f"sha256:{suite}" for suite in suites],
        "request_digest": ["sha256:1"] * runs,
        "repeats": [1] * runs,
        "early_stopped": [False] * runs,
        "confidence": [0.95] * runs,
        "rows_asked": [N] * runs,
        "latency_p50_ms": rng.gamma(20, 20, runs),
        "latency_p95_ms": rng.gamma(20, 60, runs),
        "queue_p95_ms": rng.gamma(3, 5, runs),
    }


def _metrics(run: Mapping[str, list], values: np.ndarray) -> pa.Table:
    runs, metrics, slices = values.shape
    each = metrics * slices
    flat = values.reshape(-1)
    half = 1.96 * np.sqrt(np.maximum(flat * (1 - flat), 1e-6) / N)
    names = np.repeat(metric_names(metrics), slices)
    repeated = {
        name: pa.array(column, arrow_schema(BY_NAME["metrics"]).field(name).type).take(
            pa.array(np.repeat(np.arange(runs), each))
        )
        for name, column in run.items()
    }
    return _table(
        "metrics",
        len(flat),
        {
            **repeated,
            "evaluation": np.ones(len(flat), dtype=int),
            "metric": np.tile(names, runs),
            "slice_by": np.tile([by for by, _ in SLICES[:slices]], runs * metrics),
            "slice_value": np.tile([of for _, of in SLICES[:slices]], runs * metrics),
            "value": flat,
            "lower": np.maximum(flat - half, 0),
            "upper": np.minimum(flat + half, 1),
            "confidence": np.full(len(flat), 0.95),
            "n": np.full(len(flat), N),
            "errors": np.zeros(len(flat), dtype=int),
            "higher_is_better": np.ones(len(flat), dtype=bool),
        },
    )


def _gates(suites, first, half, passed) -> dict[str, object]:
    count = len(suites)
    return {
        "gate": [1] * count,
        "evaluation": [1] * count,
        "suite": suites,
        "test": [f"{suite}::test_answers" for suite in suites],
        "metric": ["rouge1"] * count,
        "kind": ["metric"] * count,
        "slice_by": [""] * count,
        "slice_value": [""] * count,
        "op": [">="] * count,
        "threshold": [THRESHOLD] * count,
        "confidence": [0.95] * count,
        "method": ["gaffke"] * count,
        "decision": np.where(passed, "pass", "fail"),
        "reason": np.where(passed, "OK", "GATE_FAILED"),
        "value": first,
        "lower": first - half,
        "upper": first + half,
        "n": [N] * count,
        "errors": [0] * count,
    }


def _deployments(run, at, versions) -> pa.Table:
    chosen = range(0, len(at), 50)
    began = [at[number] + datetime.timedelta(minutes=10) for number in chosen]
    return _table(
        "deployments",
        len(began),
        {
            "deployment_id": [f"{number:016x}" for number in chosen],
            "run_id": [run["run_id"][number] for number in chosen],
            "day": [time.date() for time in began],
            "target": ["registry:docs-qa@champion"] * len(began),
            "step": ["deploy"] * len(began),
            "traffic": [100] * len(began),
            "model": [f"models:/docs-qa/{versions[number]}" for number in chosen],
            "began_at": began,
            "ended_at": [time + datetime.timedelta(seconds=30) for time in began],
            "reason": ["DEPLOYED"] * len(began),
            "is_live": [True] * len(began),
            "actor": ["ci"] * len(began),
        },
    )


def _rows(rng, run, rows: int) -> pa.Table:
    count = len(run["run_id"]) * rows
    scores = rng.uniform(0, 1, count)
    return _table(
        "rows",
        count,
        {
            "run_id": np.repeat(run["run_id"], rows),
            "evaluation": np.ones(count, dtype=int),
            "id": [f"row-{number % max(rows, 1)}" for number in range(count)],
            "repeat": np.zeros(count, dtype=int),
            "day": [day for day in run["day"] for _ in range(rows)],
            "input": [f"Question {number % max(rows, 1)}?" for number in range(count)],
            "expected": ['["the answer"]'] * count,
            "prediction": [f"Answer {number}." for number in range(count)],
            "metadata": ['{"language": "en"}'] * count,
            "scores": [f'{{"rouge1": {score:.4f}}}' for score in scores],
            "latency_ms": rng.gamma(20, 20, count),
        },
    )


def _table(name: str, length: int, columns: Mapping[str, object]) -> pa.Table:
    schema = arrow_schema(BY_NAME[name])
    arrays = [
        pa.nulls(length, field.type)
        if field.name not in columns
        else pa.array(columns[field.name], field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(arrays, schema=schema)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", type=Path)
    for name in ("runs", "metrics", "slices", "rows"):
        parser.add_argument(f"--{name}", type=int)
    given = {k: v for k, v in vars(parser.parse_args()).items() if v is not None}
    for name, table in write_synthetic(**given).items():
        print(f"{name:<12} {table.num_rows:>9,} rows")


if __name__ == "__main__":
    main()
