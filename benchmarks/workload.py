"""One workload for all benchmarks: its rows, its runs, and how figures are printed.

Imports the standard library only: a child's peak memory begins with its parent's.
"""

import argparse
import compileall
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from typing import NamedTuple
from typing import TypeVar


ROOT = Path(__file__).resolve().parents[1]
CONCURRENCY = 32
HANGING = 150
"""The question that is never answered where faults are asked for."""
ROUNDS = 5
QUICK_ROUNDS = 2
PLUGIN = "pytest_llmeval.pytest_plugin"
WORDS = [a + b + c for a in "bdfgklmnprst" for b in "aeiou" for c in "lnr"]
FILLER = ["quite", "another", "matter", "besides", "and", "indeed"]
ENVIRONMENT = {
    **{
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("LLMEVAL_", "MLFLOW_", "PYTEST_"))
    },
    "PYTHONPATH": str(ROOT),  # this tree is measured, whatever is installed
    "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",  # other plugins are not ours to measure
    "PYTHONDONTWRITEBYTECODE": "",  # an installed package has its byte code
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
SUITE = """\
from pytest_llmeval import assert_metric


def test_quality(evaluate):
    results = evaluate(data="rows.jsonl", metrics=["exact_match", "rouge1"])
    for metric in ("exact_match", "rouge1"):
        assert_metric(
            results,
            metric,
            ">=",
            0.5,
            on_error="exclude",
            max_error_rate=0.01,
        )
"""
T = TypeVar("T")


def reference(number: int) -> str:
    """Return the right answer to a question: eight words, the same in every run."""
    return " ".join(WORDS[(number * (k + 3) + k) % len(WORDS)] for k in range(8))


def answer(number: int) -> str:
    """Return what the endpoint answers: right for 7 in 10, else with wrong words."""
    wrong = max(0, number % 10 - 6) * 2
    words = reference(number).split()[: 8 - wrong] + FILLER[:wrong]
    return f"The {' '.join(words)}."


def row(number: int) -> dict[str, str]:
    """Return one example of the dataset."""
    first, last = reference(number).split()[::7]
    question = f"Question {number}: which words go from {first} to {last}?"
    return {"id": f"q{number}", "question": question, "answer": reference(number)}


def write_suite(folder: Path, count: int) -> Path:
    """Write a suite with so many rows and return its folder."""
    suite = folder / f"rows{count}"
    evals = suite / "evals"
    evals.mkdir(parents=True)
    (evals / "test_quality.py").write_text(SUITE, encoding="ascii")
    with (evals / "rows.jsonl").open("w", encoding="ascii") as file:
        file.writelines(json.dumps(row(number)) + "\n" for number in range(count))
    (suite / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
    return suite


@contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder that is removed afterwards; compile what the runs import."""
    for package in ("benchmarks", "pytest_llmeval"):
        compileall.compile_dir(ROOT / package, quiet=1)
    with tempfile.TemporaryDirectory(prefix="bench-") as folder:
        yield Path(folder)


class Usage(NamedTuple):
    """What one process cost, its children included."""

    cpu_s: float
    wall_s: float
    max_rss_mb: float
    output: str


def run(command: Sequence[str], folder: Path) -> Usage:
    """Run one process to its end and return what it cost.

    Raises:
        SystemExit: it failed; the message holds what it printed.
    """
    with tempfile.TemporaryFile("w+") as output, tempfile.TemporaryFile("w+") as errors:
        started = time.perf_counter()
        process = subprocess.Popen(
            command, cwd=folder, env=ENVIRONMENT, stdout=output, stderr=errors
        )
        _, status, used = os.wait4(process.pid, 0)
        wall_s = time.perf_counter() - started
        process.returncode = os.waitstatus_to_exitcode(status)
        texts = [file.seek(0) or file.read() for file in (output, errors)]
    if process.returncode != 0:
        said = "\n".join(text[-4000:] for text in texts)
        raise SystemExit(f"exit {process.returncode}: {' '.join(command)}\n{said}")
    cpu_s = used.ru_utime + used.ru_stime
    return Usage(cpu_s, wall_s, used.ru_maxrss / 1024, texts[0])


class Server:
    """The running endpoint."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}/v1"
        self._stats = f"http://127.0.0.1:{port}/stats"

    def stats(self) -> dict[str, Any]:
        """Return requests, most_in_flight, and first_s and last_s (monotonic)."""
        with urllib.request.urlopen(self._stats) as response:
            return json.load(response)


@contextmanager
def serving(latency_ms: float = 0.0, *, faults: bool = False) -> Iterator[Server]:
    """Run an endpoint in a process of its own, so that its cost is not counted."""
    command = [sys.executable, "-m", "benchmarks.server", f"--latency-ms={latency_ms}"]
    process = subprocess.Popen(
        command + ["--faults"] * faults, env=ENVIRONMENT, stdout=subprocess.PIPE
    )
    try:
        yield Server(int(process.stdout.readline()))
    finally:
        process.kill()
        process.communicate()


def pytest_command(*options: str, plugin: bool = True) -> list[str]:
    """Return pytest with our plugin and no other, or with none."""
    loaded = ["-p", PLUGIN] if plugin else []
    cache = ["-p", "no:cacheprovider"]
    return [sys.executable, "-m", "pytest", "-q", *cache, *loaded, *options]


def module_command(name: str, *arguments: str) -> list[str]:
    """Return a module of this folder as a command."""
    return [sys.executable, "-m", f"benchmarks.{name}", *arguments]


def suite_command(url: str, home: Path, *options: str) -> list[str]:
    """Return the command of our suite; nothing is tracked unless `options` say so."""
    ours = f"--llmeval-model={url}", f"--llmeval-dir={home}", "--llmeval-tracking=off"
    return pytest_command("evals/", *ours, *options)


def read_verdict(home: Path) -> dict[str, Any]:
    """Return the verdict of the newest run."""
    return json.loads((newest_run(home) / "verdict.json").read_text())


def newest_run(home: Path) -> Path:
    return home / "runs" / (home / "last").read_text().strip()


class Run(NamedTuple):
    """What one contender cost, what it computed, and what the endpoint saw."""

    usage: Usage
    means: dict[str, float]
    stats: dict[str, Any]

    @property
    def first_to_last_s(self) -> float:
        return self.stats["last_s"] - self.stats["first_s"]


@contextmanager
def home_in(suite: Path) -> Iterator[Path]:
    """Give a fresh ``--llmeval-dir`` that is removed afterwards."""
    with tempfile.TemporaryDirectory(dir=suite) as folder:
        yield Path(folder)


def run_suite(suite: Path, url: str, *, tracked: bool = False) -> Usage:
    """Run our suite with nothing stored, tracked in a fresh MLflow store or not."""
    with home_in(suite) as home:
        tracking = f"sqlite:///{home}/mlflow.db" if tracked else "off"
        command = suite_command(url, home, f"--llmeval-tracking={tracking}")
        return run(command, suite)


def contend(contender: str, suite: Path, latency_ms: float) -> Run:
    """Run ``"ours"`` or a module of this folder against a fresh endpoint."""
    with serving(latency_ms) as server, home_in(suite) as home:
        if contender == "ours":
            usage = run(suite_command(server.url, home), suite)
            gates = read_verdict(home)["gates"]
            means = {gate["metric"]: gate["value"] for gate in gates}
        else:
            rows = str(suite / "evals" / "rows.jsonl")
            usage = run(module_command(contender, server.url, rows), suite)
            means = json.loads(usage.output.splitlines()[-1])
        return Run(usage, means, server.stats())


def interleave(rounds: int, runs: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """Do all runs in turn, so many times, so that noise meets them alike."""
    done: dict[str, list[T]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, one in runs.items():
            done[name].append(one())
    return done


def check_means(runs: Sequence[Run]) -> None:
    """Stop unless all runs computed the same, or they did not do the same work.

    Raises:
        SystemExit: two runs differ.
    """
    for one in runs:
        for metric, mean in runs[0].means.items():
            if not math.isclose(one.means[metric], mean, rel_tol=1e-9):
                raise SystemExit(f"means differ: {runs[0].means} and {one.means}")


def median_cpu_s(runs: Sequence[Run]) -> float:
    return statistics.median(one.usage.cpu_s for one in runs)


@dataclass(frozen=True, kw_only=True)
class Figure:
    """One line of a table."""

    name: str
    value: float
    unit: str
    ratio: float | None = None
    """To the yardstick of its table."""
    most: float | None = None
    """The largest value that is aimed at."""
    most_ratio: float | None = None
    exactly: float | None = None

    def aim(self) -> str:
        aims = {"<=": self.most, "ratio <=": self.most_ratio, "=": self.exactly}
        return ", ".join(f"{op} {x:g}" for op, x in aims.items() if x is not None)

    def reached(self) -> str:
        if not self.aim():
            return ""
        good = (
            (self.most is None or self.value <= self.most)
            and (self.most_ratio is None or self.ratio <= self.most_ratio)
            and (self.exactly is None or self.value == self.exactly)
        )
        return "yes" if good else "no"

    def cells(self) -> list[str]:
        value = f"{self.value:.4g}" if self.value < 1000 else f"{self.value:.0f}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        return [self.name, value, self.unit, ratio, self.aim(), self.reached()]


def print_table(title: str, figures: Sequence[Figure]) -> None:
    """Print figures as a Markdown table."""
    head = [title, "value", "unit", "ratio", "aim", "reached"]
    lines = [head, *(figure.cells() for figure in figures)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(head))]
    lines.insert(1, ["-" * width for width in widths])
    for line in lines:
        cells = (cell.ljust(width) for cell, width in zip(line, widths, strict=True))
        print(f"| {' | '.join(cells)} |")
    print(flush=True)


def parser(description: str) -> argparse.ArgumentParser:
    """Return the command line that the benchmarks share."""
    made = argparse.ArgumentParser(
        description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument(
        "--quick",
        action="store_true",
        help="fewer rows and rounds, to try things out; the aims are for the full run",
    )
    return made
