"""What cases cost beside the same number of parametrised tests without any fixture.

CPU time of 10,000 cases whose predictions are stored, alone, with three scores each and
junit, in two xdist workers, and with every plugin that is installed, as people run
them; as ratios to plain tests: the median over rounds, each of which runs all of them
back to back.
"""

import json
import statistics
from collections.abc import Mapping
from functools import partial
from pathlib import Path

from benchmarks.workload import Figure
from benchmarks.workload import Usage
from benchmarks.workload import interleave
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import pytest_command
from benchmarks.workload import run
from benchmarks.workload import scratch


CASES = 10_000
QUICK_CASES = 1_000
ROUNDS = 5
QUICK_ROUNDS = 2
SUITES = {
    "test_plain.py": """\
import pytest


@pytest.mark.parametrize("case", range({cases}))
def test_case(case):
    assert case >= 0
""",
    "test_cases.py": """\
import pytest


@pytest.mark.llmeval_cases("rows.jsonl")
def test_case(llmeval_case):
    assert llmeval_case.prediction
""",
    "test_scored.py": """\
import pytest


@pytest.mark.llmeval_cases("rows.jsonl")
def test_case(llmeval_case):
    llmeval_case.score("exact_match")
    llmeval_case.score("token_f1")
    llmeval_case.record("length", len(llmeval_case.prediction))
""",
    "conftest.py": """\
import pytest

from pytest_llmeval import CallableModel


@pytest.fixture
def llmeval_model():
    return CallableModel(str.upper, version="1")
""",
    "pytest.ini": "[pytest]\nllmeval_tracking = off\n",
}
XDIST = ("-p", "xdist.plugin", "-n", "2")
RUNS: Mapping[str, tuple[str, ...]] = {
    "plain": ("test_plain.py",),
    "cases": ("test_cases.py",),
    "scored": ("test_scored.py", "--junitxml=junit.xml"),
    "plain -n 2": ("test_plain.py", *XDIST),
    "cases -n 2": ("test_cases.py", *XDIST),
}
INSTALLED = ("env", "-u", "PYTEST_DISABLE_PLUGIN_AUTOLOAD")
"""Lets pytest load every plugin that is installed."""


def write_suites(folder: Path, cases: int) -> None:
    """Write the tests and their rows."""
    for name, text in SUITES.items():
        (folder / name).write_text(text.replace("{cases}", str(cases)))
    rows = (
        {"id": f"r{at}", "input": f"what is word {at}", "answer": f"WHAT IS WORD {at}"}
        for at in range(cases)
    )
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


def main() -> None:
    options = parser(__doc__).parse_args()
    cases = QUICK_CASES if options.quick else CASES
    with scratch() as folder:
        write_suites(folder, cases)
        one = {
            name: partial(run, pytest_command(*arguments), folder)
            for name, arguments in RUNS.items()
        }
        for name in ("plain", "cases"):
            command = [*INSTALLED, *pytest_command(*RUNS[name], plugin=False)]
            one[f"{name}, all plugins"] = partial(run, command, folder)
        interleave(1, one)  # stores the predictions and compiles the byte code
        runs = interleave(QUICK_ROUNDS if options.quick else ROUNDS, one)
    print_table(f"{cases:,} cases", figures(runs))


def figures(runs: Mapping[str, list[Usage]]) -> list[Figure]:
    """Return a line for each kind of run."""
    cpu = {name: [usage.cpu_s for usage in all_] for name, all_ in runs.items()}

    def ratio(name: str, to: str) -> float:
        pairs = zip(cpu[name], cpu[to], strict=True)
        return statistics.median(one / other for one, other in pairs)

    def figure(name: str, to: str = "", most: float | None = None) -> Figure:
        return Figure(
            name=name,
            value=statistics.median(cpu[name]),
            unit="CPU s",
            ratio=ratio(name, to) if to else None,
            most_ratio=most,
        )

    added = statistics.median(
        one - other for one, other in zip(cpu["scored"], cpu["cases"], strict=True)
    )
    return [
        figure("plain"),
        figure("cases", "plain", 1.2),
        figure("scored"),
        Figure(name="three scores and junit add", value=added, unit="CPU s", most=2),
        figure("plain -n 2"),
        figure("cases -n 2", "plain -n 2", 1.3),
        figure("plain, all plugins"),
        figure("cases, all plugins", "plain, all plugins", 1.2),
    ]


if __name__ == "__main__":
    main()
