"""What it costs to take predictions one by one: 1,000 cases at 50 ms, 32 at once.

Each test takes half a millisecond of CPU time. The ratio is to the ideal, in which all
32 requests are in flight all the time. Then all cases again from stored replies.
"""

import argparse
import asyncio
import json
import statistics
import time
from functools import partial
from pathlib import Path

from benchmarks.workload import CONCURRENCY
from benchmarks.workload import QUICK_ROUNDS
from benchmarks.workload import ROUNDS
from benchmarks.workload import Figure
from benchmarks.workload import home_in
from benchmarks.workload import interleave
from benchmarks.workload import module_command
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import run
from benchmarks.workload import scratch
from benchmarks.workload import serving
from benchmarks.workload import write_suite


LATENCY_MS = 50.0
TEST_S = 0.0005
STORED = 10_000


def main() -> None:
    made = parser(__doc__)
    made.add_argument("--take", nargs=3, help=argparse.SUPPRESS)
    options = made.parse_args()
    if options.take:
        url, home, test_s = options.take
        print(json.dumps(take(url, Path(home), float(test_s))))
        return
    cases = 320 if options.quick else 1_000
    stored = 2_000 if options.quick else STORED
    with scratch() as folder:
        asked_in = write_suite(folder, cases)
        stored_in = write_suite(folder / "stored", stored)
        runs = interleave(
            QUICK_ROUNDS if options.quick else ROUNDS,
            {"asked": partial(asked, asked_in), "stored": partial(replayed, stored_in)},
        )
    print_table(f"ahead, {cases} cases", figures(runs, cases, stored))


def take(url: str, home: Path, test_s: float) -> tuple[float, float]:
    """Take the prediction of each row in turn; return seconds and CPU seconds."""
    from pytest_llmeval.ahead import Ahead
    from pytest_llmeval.config import Settings
    from pytest_llmeval.datasets import load_dataset
    from pytest_llmeval.hooks import headless_manager
    from pytest_llmeval.models import build_request
    from pytest_llmeval.models import load_model

    hook, settings = headless_manager().hook, Settings(concurrency=CONCURRENCY)
    model = load_model(url, hook, settings)
    dataset = load_dataset("evals/rows.jsonl", hook, settings)
    asyncio.run(open_once(model))
    examples, order = list(dataset.examples), range(len(dataset.ids))
    began_s, began_cpu_s = time.perf_counter(), time.process_time()
    ahead = Ahead(
        settings=settings,
        model=model,
        dataset=dataset,
        examples=examples,
        request=build_request(None, None),
        order=order,
        run_id="1",
        store_path=home / "predictions.db",
        budget=None,
    )
    for position in order:
        if not ahead.get(position).text:
            raise SystemExit(f"no reply for {position}")
        spin(test_s)
    ahead.close()
    return time.perf_counter() - began_s, time.process_time() - began_cpu_s


async def open_once(model: object) -> None:
    """Import what asking imports: `startup` measures that."""
    async with model.session():
        pass


def spin(seconds: float) -> None:
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        pass


def taken(suite: Path, url: str, home: Path, test_s: float) -> tuple[float, float]:
    command = module_command("ahead", "--take", url, str(home), str(test_s))
    return json.loads(run(command, suite).output)


def asked(suite: Path) -> tuple[float, int]:
    """Return seconds, and the most requests in flight, with nothing stored."""
    with serving(LATENCY_MS) as server, home_in(suite) as home:
        seconds, _ = taken(suite, server.url, home, TEST_S)
        return seconds, server.stats()["most_in_flight"]


def replayed(suite: Path) -> float:
    """Return the CPU seconds of taking replies that are all stored."""
    with serving() as server, home_in(suite) as home:
        taken(suite, server.url, home, 0.0)
        asked_once = server.stats()["requests"]
        _, cpu_s = taken(suite, server.url, home, 0.0)
        if server.stats()["requests"] != asked_once:
            raise SystemExit("stored rows were asked again")
        return cpu_s


def figures(runs: dict[str, list], cases: int, stored: int) -> list[Figure]:
    taken_s = statistics.median(seconds for seconds, _ in runs["asked"])
    ideal_s = cases / CONCURRENCY * LATENCY_MS / 1000
    cpu_s = statistics.median(runs["stored"])
    return [
        Figure(name="ideal", value=ideal_s, unit="s", ratio=1.0),
        Figure(
            name="ours",
            value=taken_s,
            unit="s",
            ratio=taken_s / ideal_s,
            most_ratio=1.15,
        ),
        Figure(
            name="most in flight (the worst run)",
            value=min(most for _, most in runs["asked"]),
            unit="requests",
            exactly=CONCURRENCY,
        ),
        Figure(
            name=f"{stored:,} stored rows",
            value=cpu_s,
            unit="CPU s",
            most=0.25 * stored / STORED,
        ),
        Figure(name="one stored row", value=1e6 * cpu_s / stored, unit="CPU µs"),
    ]


if __name__ == "__main__":
    main()
