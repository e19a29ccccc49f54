"""What one further row costs: our CPU time against the floors and a peer.

The slope between a short and a long run, each in a fresh process, so that the start
does not count. The ratios are to the aiohttp floor of the same rounds.
"""

import argparse
from functools import partial
from pathlib import Path

from benchmarks.workload import QUICK_ROUNDS
from benchmarks.workload import ROUNDS
from benchmarks.workload import Figure
from benchmarks.workload import check_means
from benchmarks.workload import contend
from benchmarks.workload import interleave
from benchmarks.workload import median_cpu_s
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import scratch
from benchmarks.workload import write_suite


CONTENDERS = ("floor_aiohttp", "ours", "floor_openai")
FEW, MANY = 1_000, 10_000
MANY_WAITING = 5_000  # with a latency, more rows add minutes but no precision
QUICK_FEW, QUICK_MANY = 200, 1_000
PEER_ROWS = (10, 100)
MOST = {0.0: 0.30}
"""The aims, in CPU milliseconds per further row, by latency in milliseconds."""
MOST_ABOVE_FLOOR = {50.0: 0.20}


def slopes_ms(
    contenders: tuple[str, ...],
    sizes: tuple[int, int],
    latency_ms: float,
    rounds: int,
    folder: Path,
) -> dict[str, float]:
    """Return CPU milliseconds per further row of each contender."""
    suites = {size: write_suite(folder, size) for size in sizes}
    runs = interleave(
        rounds,
        {
            (contender, size): partial(contend, contender, suites[size], latency_ms)
            for size in sizes
            for contender in contenders
        },
    )
    few, many = sizes
    for size in sizes:
        check_means([run for name in contenders for run in runs[name, size]])
    return {
        name: 1000
        * (median_cpu_s(runs[name, many]) - median_cpu_s(runs[name, few]))
        / (many - few)
        for name in contenders
    }


def main() -> None:
    made = parser(__doc__)
    made.add_argument(
        "--latency-ms",
        type=float,
        nargs="+",
        default=[0.0, 10.0, 50.0],
        metavar="MS",
        help="latencies of the endpoint (default: 0 10 50)",
    )
    made.add_argument(
        "--peer",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="measure mlflow.genai.evaluate too, once, at 0 ms",
    )
    options = made.parse_args()
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    for latency_ms in options.latency_ms:
        sizes = (FEW, MANY_WAITING if latency_ms else MANY)
        if options.quick:
            sizes = (QUICK_FEW, QUICK_MANY)
        with scratch() as folder:
            cost = slopes_ms(CONTENDERS, sizes, latency_ms, rounds, folder)
            if options.peer and latency_ms == 0:
                cost |= slopes_ms(("peer_mlflow",), PEER_ROWS, 0, 1, folder)
        print_table(f"overhead at {latency_ms:g} ms", figures(cost, latency_ms))


def figures(cost: dict[str, float], latency_ms: float) -> list[Figure]:
    floor, unit = cost["floor_aiohttp"], "CPU ms per further row"
    return [
        *(
            Figure(
                name=name,
                value=value,
                unit=unit,
                ratio=value / floor,
                most=MOST.get(latency_ms) if name == "ours" else None,
            )
            for name, value in cost.items()
        ),
        Figure(
            name="ours above the aiohttp floor",
            value=cost["ours"] - floor,
            unit=unit,
            most=MOST_ABOVE_FLOOR.get(latency_ms),
        ),
    ]


if __name__ == "__main__":
    main()
