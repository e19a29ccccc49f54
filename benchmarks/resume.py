"""What is asked again: after kill -9 in the middle, and in a replay of a finished run.

The run is killed when the endpoint has seen a random number of requests around the
half, and the same command is run again.
"""

import random
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

from benchmarks.workload import CONCURRENCY
from benchmarks.workload import ENVIRONMENT
from benchmarks.workload import QUICK_ROUNDS
from benchmarks.workload import ROUNDS
from benchmarks.workload import Figure
from benchmarks.workload import Server
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import run
from benchmarks.workload import scratch
from benchmarks.workload import serving
from benchmarks.workload import suite_command
from benchmarks.workload import write_suite


SEED = 20_261_125
ROWS = 300
LATENCY_MS = 20.0
POLL_S = 0.005
LONGEST_S = 60.0


def main() -> None:
    options = parser(__doc__).parse_args()
    points = random.Random(SEED)
    rounds = QUICK_ROUNDS if options.quick else ROUNDS
    replayed_rows = 1_000 if options.quick else 10_000
    with scratch() as folder:
        suite = write_suite(folder, ROWS)
        figures = [
            killed(suite, points.randint(ROWS // 4, 3 * ROWS // 4))
            for _ in range(rounds)
        ]
        figures += replay(
            write_suite(folder / "stored", replayed_rows), replayed_rows, rounds
        )
    print_table(f"resume, {ROWS} rows", figures)


def killed(suite: Path, point: int) -> Figure:
    """Kill a run at a point, run it again, and count what was asked twice."""
    home = Path(tempfile.mkdtemp(dir=suite))
    with serving(LATENCY_MS) as server:
        command = suite_command(server.url, home)
        process = subprocess.Popen(
            command, cwd=suite, env=ENVIRONMENT, stdout=subprocess.DEVNULL
        )
        wait_for(server, point, process)
        process.send_signal(signal.SIGKILL)
        process.wait()
        run(command, suite)
        repeated = server.stats()["requests"] - ROWS
    return Figure(
        name=f"asked again after kill -9 at {point}",
        value=repeated,
        unit="requests",
        ratio=repeated / CONCURRENCY,
        most=CONCURRENCY,
    )


def wait_for(server: Server, requests: int, process: subprocess.Popen) -> None:
    """Wait until the endpoint has seen so many requests.

    Raises:
        SystemExit: the run ended, or a minute passed, before it did.
    """
    deadline = time.monotonic() + LONGEST_S
    while server.stats()["requests"] < requests:
        if process.poll() is not None or time.monotonic() > deadline:
            process.kill()
            raise SystemExit(f"the run sent fewer than {requests} requests")
        time.sleep(POLL_S)


def replay(suite: Path, rows: int, rounds: int) -> list[Figure]:
    """Run a suite, then judge its stored replies again; the last must ask nothing."""
    home = Path(tempfile.mkdtemp(dir=suite))
    with serving() as server:
        first = run(suite_command(server.url, home), suite)
        command = suite_command(server.url, home, "--llmeval-cache", "only")
        again = [run(command, suite).cpu_s for _ in range(rounds)]
        asked = server.stats()["requests"] - rows
    cpu_s = statistics.median(again)
    return [
        Figure(
            name=f"replay of {rows:,} stored rows; ratio to the first run",
            value=cpu_s,
            unit="CPU s",
            ratio=cpu_s / first.cpu_s,
            most=1.5,
        ),
        Figure(name="asked in the replays", value=asked, unit="requests", exactly=0),
    ]


if __name__ == "__main__":
    main()
