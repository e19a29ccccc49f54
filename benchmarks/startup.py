"""What the first row costs: a whole pytest run that evaluates one row.

Beyond plain pytest without MLflow, and beyond plain pytest and MLflow's own start with
it. The ratios are to plain pytest.
"""

import statistics
from functools import partial

from benchmarks.workload import QUICK_ROUNDS
from benchmarks.workload import ROUNDS
from benchmarks.workload import Figure
from benchmarks.workload import interleave
from benchmarks.workload import module_command
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import pytest_command
from benchmarks.workload import run
from benchmarks.workload import run_suite
from benchmarks.workload import scratch
from benchmarks.workload import serving
from benchmarks.workload import write_suite


def main() -> None:
    options = parser(__doc__).parse_args()
    with scratch() as folder, serving() as server:
        suite = write_suite(folder, 1)
        (folder / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        plain = pytest_command("test_nothing.py", plugin=False)
        runs = interleave(
            QUICK_ROUNDS if options.quick else ROUNDS,
            {
                "plain pytest": partial(run, plain, folder),
                "one row": partial(run_suite, suite, server.url),
                "MLflow's import and store": partial(
                    run, module_command("floor_mlflow"), folder
                ),
                "one row, tracked": partial(run_suite, suite, server.url, tracked=True),
            },
        )
    cpu_s = {
        name: statistics.median(one.cpu_s for one in done)
        for name, done in runs.items()
    }
    print_table("startup", figures(cpu_s))


def figures(cpu_s: dict[str, float]) -> list[Figure]:
    plain_s, store_s = cpu_s["plain pytest"], cpu_s["MLflow's import and store"]
    tracked_s = cpu_s["one row, tracked"] - plain_s - store_s
    return [
        *(
            Figure(name=name, value=value_s, unit="CPU s", ratio=value_s / plain_s)
            for name, value_s in cpu_s.items()
        ),
        Figure(
            name="one row beyond plain pytest",
            value=cpu_s["one row"] - plain_s,
            unit="CPU s",
            most=0.40,
        ),
        Figure(
            name="one row, tracked, beyond plain pytest and MLflow",
            value=tracked_s,
            unit="CPU s",
            most=0.50,
        ),
    ]


if __name__ == "__main__":
    main()
