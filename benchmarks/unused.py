"""What the plugin costs a pytest run that evaluates nothing.

CPU time of an empty run with the plugin as a ratio to the same run without it: the
median over pairs, each pair run back to back.
"""

import statistics
from functools import partial

from benchmarks.workload import Figure
from benchmarks.workload import interleave
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import pytest_command
from benchmarks.workload import run
from benchmarks.workload import scratch


ROUNDS = 15  # the difference is near the noise of one run
QUICK_ROUNDS = 5


def main() -> None:
    options = parser(__doc__).parse_args()
    with scratch() as folder:
        (folder / "test_nothing.py").write_text("def test_nothing():\n    pass\n")
        one = {
            plugin: partial(run, pytest_command(plugin=plugin), folder)
            for plugin in (False, True)
        }
        interleave(1, one)  # compiles the byte code of the test
        runs = interleave(QUICK_ROUNDS if options.quick else ROUNDS, one)
    plain, loaded = ([usage.cpu_s for usage in runs[key]] for key in (False, True))
    ratio = statistics.median(b / a for a, b in zip(plain, loaded, strict=True))
    print_table(
        "unused",
        [
            Figure(name="plain pytest", value=statistics.median(plain), unit="CPU s"),
            Figure(
                name="with the plugin",
                value=statistics.median(loaded),
                unit="CPU s",
                ratio=ratio,
                most_ratio=1.05,
            ),
        ],
    )


if __name__ == "__main__":
    main()
