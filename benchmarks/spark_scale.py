"""Spark against one process: rows per second, memory of the driver, growth, overhead.

A model that answers at once, two metrics, 100,000 and 1,000,000 rows. Sail and JVM
Spark serve from a child process: memory and CPU time are the client's, which is what
grows where a driver collects. Then 2,000 rows at 50 ms, and the time to a first row.
"""

import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.workload import ENVIRONMENT
from benchmarks.workload import ROUNDS
from benchmarks.workload import Figure
from benchmarks.workload import interleave
from benchmarks.workload import module_command
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import scratch
from benchmarks.workload import serving


JVM = f"local[{os.cpu_count()}]"
CONTENDERS = {
    "local": ("evaluate", "local"),
    "collect to pandas": ("collect", "sail"),
    "Sail": ("evaluate", "sail"),
    "JVM": ("evaluate", JVM),
}
IDEAL_S = 2_000 * 0.05 / 128


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--rounds", type=int, help="how often each is run (default: 5)")
    made.add_argument(
        "--only", choices=["scale", "latency", "start"], help="one part (default: all)"
    )
    options = made.parse_args()
    rounds = options.rounds or (1 if options.quick else ROUNDS)
    sizes = (2_000, 20_000) if options.quick else (100_000, 1_000_000)
    with scratch() as folder:
        if options.only in (None, "scale"):
            print_table("spark, rows per second", scale(folder, sizes, rounds))
        if options.only in (None, "latency"):
            print_table("spark, 2,000 rows at 50 ms", latency(folder, rounds))
        if options.only in (None, "start"):
            print_table("spark, first row", start(folder, rounds))


def child(what: str, engine: str, path: Path, *more: str) -> dict[str, Any]:
    """Run a contender to its end and return what it printed.

    Raises:
        SystemExit: it failed.
    """
    command = module_command("spark_contender", what, engine, str(path), *more)
    started = time.perf_counter()
    done = subprocess.run(
        command, env=ENVIRONMENT, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)}\n{done.stderr[-4000:]}")
    found = json.loads(done.stdout.splitlines()[-1])
    return {**found, "process_s": time.perf_counter() - started}


def scale(folder: Path, sizes: Sequence[int], rounds: int) -> list[Figure]:
    figures, seconds, memory = [], {}, {}
    for rows in sizes:
        path = folder / f"{rows}.parquet"
        child("write", "none", path, f"--rows={rows}")
        runs = {
            name: partial(child, what, engine, path)
            for name, (what, engine) in CONTENDERS.items()
        }
        done = interleave(rounds, runs)
        check_means(done)
        floor = median(done["local"], "wall_s")
        for name, found in done.items():
            seconds[name, rows] = wall_s = median(found, "wall_s")
            memory[name, rows] = median(found, "client_rss_mb")
            figures.append(
                Figure(
                    name=f"{name}, {rows:,} rows",
                    value=rows / wall_s,
                    unit="rows/s",
                    ratio=wall_s / floor,
                )
            )
            figures.append(
                Figure(
                    name=f"{name}, {rows:,} rows, driver",
                    value=1e6 * median(found, "client_cpu_s") / rows,
                    unit="CPU µs per row",
                )
            )
    return [*figures, *growth(sizes, seconds, memory)]


def growth(
    sizes: Sequence[int],
    seconds: Mapping[tuple[str, int], float],
    memory: Mapping[tuple[str, int], float],
) -> list[Figure]:
    few, many = sizes
    figures = []
    for name in CONTENDERS:
        ours = name in ("Sail", "JVM")
        per_million = {rows: 1e6 * seconds[name, rows] / rows for rows in sizes}
        figures.append(
            Figure(
                name=f"{name}, seconds per million rows",
                value=per_million[many],
                unit="s",
                ratio=per_million[many] / per_million[few],
                most_ratio=1.2 if ours else None,
            )
        )
        figures.append(
            Figure(
                name=f"{name}, driver's memory at {many:,}",
                value=memory[name, many],
                unit="MB",
                ratio=memory[name, many] / memory[name, few],
                most=400 if ours else None,
                most_ratio=1.2 if ours else None,
            )
        )
    return figures


def check_means(done: Mapping[str, Sequence[Mapping[str, Any]]]) -> None:
    """Stop unless all came to the same means."""
    first = done["local"][0]["said"]
    for name, found in done.items():
        for one in found:
            for metric, mean in first.items():
                if abs(one["said"][metric] - mean) > 1e-9:
                    raise SystemExit(f"{name}: {one['said']} and {first}")


def latency(folder: Path, rounds: int) -> list[Figure]:
    path = folder / "latency.parquet"
    child("write", "none", path, "--rows=2000")

    def ask(engine: str) -> tuple[float, int]:
        with serving(50.0) as server:
            found = child("ask", engine, path, f"--url={server.url}")
            return found["said"], server.stats()["requests"]

    done = interleave(rounds, {"Sail": partial(ask, "sail"), "JVM": partial(ask, JVM)})
    figures = []
    for name, found in done.items():
        wall_s = statistics.median(seconds for seconds, _ in found)
        figures.append(
            Figure(
                name=f"{name}, warm, 2 tasks of 64",
                value=wall_s,
                unit="s",
                ratio=wall_s / IDEAL_S,
                most_ratio=2.5 if name == "Sail" else None,
            )
        )
        figures.append(
            Figure(
                name=f"{name}, calls",
                value=max(requests for _, requests in found),
                unit="",
                exactly=2_000,
            )
        )
    return figures


def start(folder: Path, rounds: int) -> list[Figure]:
    runs = {
        "Sail": partial(child, "first", "sail", folder),
        "JVM": partial(child, "first", JVM, folder),
    }
    done = interleave(rounds, runs)
    sail_s = median(done["Sail"], "process_s")
    return [
        Figure(
            name=f"{name}, process start to first row",
            value=median(found, "process_s"),
            unit="s",
            ratio=median(found, "process_s") / sail_s,
            most=4.0 if name == "Sail" else None,
        )
        for name, found in done.items()
    ]


def median(runs: Sequence[Mapping[str, Any]], name: str) -> float:
    return statistics.median(one[name] for one in runs)


if __name__ == "__main__":
    sys.exit(main())
