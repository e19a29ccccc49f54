"""Whether cost stays linear and memory bounded: 1,000, 10,000 and 100,000 rows.

CPU time per further row and peak memory. With --mlflow, what a tracked run costs
beyond the same run untracked and beyond MLflow's own import and fresh store.
"""

import statistics
from collections.abc import Sequence
from functools import partial

from benchmarks.workload import QUICK_ROUNDS
from benchmarks.workload import ROUNDS
from benchmarks.workload import Figure
from benchmarks.workload import Usage
from benchmarks.workload import interleave
from benchmarks.workload import module_command
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import run
from benchmarks.workload import run_suite
from benchmarks.workload import scratch
from benchmarks.workload import serving
from benchmarks.workload import write_suite


SIZES = (1_000, 10_000, 100_000)
QUICK_SIZES = (200, 1_000, 3_000)


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--mlflow", action="store_true", help="measure tracked runs")
    options = made.parse_args()
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    sizes = QUICK_SIZES if options.quick else SIZES
    if options.mlflow:
        print_table("scale, tracked in MLflow", tracked(sizes, rounds))
    else:
        print_table("scale", untracked(sizes, rounds))


def untracked(sizes: Sequence[int], rounds: int) -> list[Figure]:
    with scratch() as folder, serving() as server:
        runs = interleave(
            rounds,
            {
                size: partial(run_suite, write_suite(folder, size), server.url)
                for size in sizes
            },
        )
    few, some, many = sizes
    cpu_s = {size: median_cpu_s(done) for size, done in runs.items()}
    near_ms = 1000 * (cpu_s[some] - cpu_s[few]) / (some - few)
    far_ms = 1000 * (cpu_s[many] - cpu_s[some]) / (many - some)
    unit = "CPU ms per further row"
    return [
        Figure(name=f"{few:,} to {some:,} rows", value=near_ms, unit=unit),
        Figure(
            name=f"{some:,} to {many:,} rows",
            value=far_ms,
            unit=unit,
            ratio=far_ms / near_ms,
            most_ratio=1.15,
        ),
        *memory(runs, most=120.0),
    ]


def memory(runs: dict[int, list[Usage]], most: float) -> list[Figure]:
    """Return the peak memory of each size; the largest has the aim."""
    rss_mb = {size: median_rss_mb(done) for size, done in runs.items()}
    least = min(rss_mb.values())
    return [
        Figure(
            name=f"peak memory, {size:,} rows",
            value=value,
            unit="MB",
            ratio=value / least,
            most=most if size == max(rss_mb) else None,
        )
        for size, value in rss_mb.items()
    ]


def tracked(sizes: Sequence[int], rounds: int) -> list[Figure]:
    _, some, many = sizes
    with scratch() as folder, serving() as server:
        suites = {size: write_suite(folder, size) for size in (some, many)}
        store = partial(run, module_command("floor_mlflow"), folder)
        runs = interleave(
            rounds,
            {
                "store": store,
                "off": partial(run_suite, suites[some], server.url),
                "on": partial(run_suite, suites[some], server.url, tracked=True),
            },
        )
        # One run: it is long, and memory hardly varies.
        largest = run_suite(suites[many], server.url, tracked=True)
    store_s, store_mb = median_cpu_s(runs["store"]), median_rss_mb(runs["store"])
    logging_s = median_cpu_s(runs["on"]) - median_cpu_s(runs["off"]) - store_s
    return [
        Figure(name="MLflow's import and store", value=store_s, unit="CPU s"),
        Figure(
            name=f"{some:,} rows logged, beyond that",
            value=logging_s,
            unit="CPU s",
            ratio=logging_s / store_s,
            most=1.0,
        ),
        Figure(name="MLflow's peak memory", value=store_mb, unit="MB"),
        Figure(
            name=f"{many:,} rows, above that",
            value=largest.max_rss_mb - store_mb,
            unit="MB",
            ratio=largest.max_rss_mb / store_mb,
            most=80.0,
        ),
    ]


def median_cpu_s(runs: Sequence[Usage]) -> float:
    return statistics.median(one.cpu_s for one in runs)


def median_rss_mb(runs: Sequence[Usage]) -> float:
    return statistics.median(one.max_rss_mb for one in runs)


if __name__ == "__main__":
    main()
