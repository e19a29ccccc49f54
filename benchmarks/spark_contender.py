"""One evaluation in a process of its own, by one engine; prints what it came to.

The model answers at once inside the process that asks, so that what is left is ours.
"""

import argparse
import json
import os
import resource
import tempfile
import time
from pathlib import Path

from benchmarks.workload import answer
from benchmarks.workload import row
from pytest_llmeval import CallableModel
from pytest_llmeval import evaluate
from pytest_llmeval.config import Settings


METRICS = ["exact_match", "rouge1"]
BLOCK = 50_000


def ask(prompt: str) -> str:
    return answer(int(prompt.partition(" ")[2].partition(":")[0]))


def write_rows(path: Path, rows: int) -> None:
    """Write the rows as Parquet, block by block."""
    import pyarrow as pa
    from pyarrow.parquet import ParquetWriter

    writer = None
    for start in range(0, rows, BLOCK):
        block = [row(number) for number in range(start, min(start + BLOCK, rows))]
        table = pa.Table.from_pylist(block)
        writer = writer or ParquetWriter(path, table.schema)
        writer.write_table(table)
    writer.close()


def collect(path: Path, engine: str) -> dict[str, float]:
    """Do what the published evaluators do: bring all rows to the driver, ask there."""
    from pytest_llmeval.backends.spark.session import open_session

    spark = open_session(Settings(spark=engine)).spark
    frame = spark.read.parquet(str(path)).toPandas()
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(rootdir=Path(folder), cache="off", concurrency=128)
        model = CallableModel(ask, version="1")
        return evaluate(model, frame, METRICS, settings=settings).metrics


def evaluate_by(path: Path, engine: str) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            rootdir=Path(folder),
            concurrency=128,
            cache="off" if engine == "local" else "on",
            spark=None if engine == "local" else engine,
        )
        by = "local" if engine == "local" else "spark"
        model = CallableModel(ask, version="1")
        return evaluate(model, path, METRICS, engine=by, settings=settings).metrics


def ask_server(url: str, path: Path, engine: str) -> float:
    """Return the seconds that a warm engine takes for all rows of a slow endpoint."""
    with tempfile.TemporaryDirectory() as folder:
        settings = Settings(
            rootdir=Path(folder), spark=engine, concurrency=128, spark_tasks=2
        )
        evaluate(ask, path, METRICS, engine="spark", settings=settings)  # warms it
        started = time.perf_counter()
        evaluate(url, path, METRICS, engine="spark", settings=settings)
        return time.perf_counter() - started


def first_row(engine: str) -> None:
    from pytest_llmeval.backends.spark.session import open_session

    open_session(Settings(spark=engine)).spark.range(1).collect()


def main() -> None:
    made = argparse.ArgumentParser()
    made.add_argument("what", choices=["write", "evaluate", "collect", "ask", "first"])
    made.add_argument("engine")
    made.add_argument("path", type=Path)
    made.add_argument("--rows", type=int)
    made.add_argument("--url")
    given = made.parse_args()
    said: object = None
    started = time.perf_counter()
    if given.what == "write":
        write_rows(given.path, given.rows)
    elif given.what == "evaluate":
        said = evaluate_by(given.path, given.engine)
    elif given.what == "collect":
        said = collect(given.path, given.engine)
    elif given.what == "ask":
        said = ask_server(given.url, given.path, given.engine)
    else:
        first_row(given.engine)
    own = resource.getrusage(resource.RUSAGE_SELF)
    print(
        json.dumps(
            {
                "said": said,
                "wall_s": time.perf_counter() - started,
                "client_cpu_s": own.ru_utime + own.ru_stime,
                "client_rss_mb": own.ru_maxrss / 1024,
            }
        ),
        flush=True,
    )
    if given.what == "first":
        os._exit(0)  # what follows is not measured


if __name__ == "__main__":
    main()
