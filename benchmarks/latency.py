"""How well the latency of the endpoint is used: 1,000 rows at 50 ms, 32 at once.

The time from the first to the last request, as the endpoint saw them; the ratios are to
the aiohttp floor of the same rounds.
"""

import statistics
from functools import partial

from benchmarks.workload import CONCURRENCY
from benchmarks.workload import QUICK_ROUNDS
from benchmarks.workload import ROUNDS
from benchmarks.workload import Figure
from benchmarks.workload import Run
from benchmarks.workload import check_means
from benchmarks.workload import contend
from benchmarks.workload import interleave
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import scratch
from benchmarks.workload import write_suite


CONTENDERS = ("floor_aiohttp", "ours", "floor_openai")
LATENCY_MS = 50.0


def main() -> None:
    options = parser(__doc__).parse_args()
    count = 320 if options.quick else 1_000
    with scratch() as folder:
        suite = write_suite(folder, count)
        runs = interleave(
            QUICK_ROUNDS if options.quick else ROUNDS,
            {name: partial(contend, name, suite, LATENCY_MS) for name in CONTENDERS},
        )
    check_means([one for name in CONTENDERS for one in runs[name]])
    print_table(f"latency, {count} rows", figures(runs, count))


def figures(runs: dict[str, list[Run]], count: int) -> list[Figure]:
    taken_s = {
        name: statistics.median(one.first_to_last_s for one in done)
        for name, done in runs.items()
    }
    floor_s = taken_s["floor_aiohttp"]
    ideal_s = count / CONCURRENCY * LATENCY_MS / 1000
    in_flight = min(one.stats["most_in_flight"] for one in runs["ours"])
    return [
        Figure(name="ideal", value=ideal_s, unit="s", ratio=ideal_s / floor_s),
        *(
            Figure(
                name=name,
                value=value_s,
                unit="s first to last request",
                ratio=value_s / floor_s,
                most_ratio=1.06 if name == "ours" else None,
            )
            for name, value_s in taken_s.items()
        ),
        Figure(
            name="ours, most in flight (the worst run)",
            value=in_flight,
            unit="requests",
            exactly=CONCURRENCY,
        ),
    ]


if __name__ == "__main__":
    main()
