"""Whether every row is accounted for: 300 rows, some refused at first, one unanswered.

At 20 ms, 5 % of the rows are refused once with 429 and Retry-After 1, 2 % once with
500, and one is never answered; a request may take 5 s and be tried three times.
"""

import json
import tempfile
from pathlib import Path

from benchmarks.workload import HANGING
from benchmarks.workload import Figure
from benchmarks.workload import newest_run
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import read_verdict
from benchmarks.workload import run
from benchmarks.workload import scratch
from benchmarks.workload import serving
from benchmarks.workload import suite_command
from benchmarks.workload import write_suite


ROWS = 300
LATENCY_MS = 20.0
ATTEMPTS = 3
LONGEST_S = 20.0
GATES = 2


def main() -> None:
    options = parser(__doc__).parse_args()
    timeout_s = 1 if options.quick else 5
    limits = (f"--llmeval-timeout={timeout_s}", f"--llmeval-attempts={ATTEMPTS}")
    with scratch() as folder, serving(LATENCY_MS, faults=True) as server:
        suite = write_suite(folder, ROWS)
        home = Path(tempfile.mkdtemp(dir=folder))
        usage = run(suite_command(server.url, home, *limits), suite)
        figures = outcome(home)
    bound_s = ATTEMPTS * timeout_s
    took = Figure(
        name="whole run; ratio to the time-outs of the unanswered row",
        value=usage.wall_s,
        unit="s",
        ratio=usage.wall_s / bound_s,
        most=LONGEST_S,
    )
    print_table(f"faults, {ROWS} rows", [took, *figures])


def outcome(home: Path) -> list[Figure]:
    """Return how the rows came out, in the row file and as the gates saw them."""
    lines = (newest_run(home) / "results.jsonl").read_text().splitlines()
    rows = [json.loads(line) for line in lines]
    errored = [row["id"] for row in rows if row["errors"]]
    gates = read_verdict(home)["gates"]
    exact = sum((gate["n"], gate["errors"]) == (ROWS - 1, 1) for gate in gates)
    counts = {
        "rows scored": (len(rows) - len(errored), ROWS - 1),
        "rows in error": (len(errored), 1),
        "of them the unanswered one": (errored.count(f"q{HANGING}"), 1),
        "gates that saw exactly that": (exact, GATES),
    }
    return [
        Figure(name=name, value=value, unit="", exactly=aim)
        for name, (value, aim) in counts.items()
    ]


if __name__ == "__main__":
    main()
