"""How quick the dashboard is in Chromium: its first chart, and a choice of the reader.

Beside the page, each answer is timed by itself; the history is synthetic, in Parquet
files by day.
"""

import argparse
import shutil
import statistics
import tempfile
import time
from pathlib import Path

from benchmarks.workload import Figure
from benchmarks.workload import print_table
from pytest_llmeval.dashboard.answers import Answers
from pytest_llmeval.dashboard.build import build_page
from pytest_llmeval.dashboard.source import open_history
from tests.browser.conftest import BROWSERS
from tests.browser.conftest import Browser
from tests.browser.dashboards import look_at
from tests.browser.dashboards import painting_s
from tests.browser.dashboards import reaction_s
from tests.browser.dashboards import serving
from tests.history.synthetic import write_synthetic


SLICES = 4
ROUNDS = 7
CONTROLS = {"metric": 2, "slice": 2, "time": 4}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--runs", type=int, default=10_000)
    options.add_argument("--metrics", type=int, default=25)
    given = options.parse_args()
    points = given.runs * given.metrics * SLICES
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        write_synthetic(folder, runs=given.runs, metrics=given.metrics, slices=SLICES)
        figures = [*in_python(folder), *in_browser(folder)]
    print_table(f"dashboard, {given.runs:,} runs, {points:,} metric points", figures)


def in_python(folder: Path) -> list[Figure]:
    """Time what happens before a page is there."""
    began = time.perf_counter()
    history = open_history(str(folder))
    figures = [timed("history taken in", began)]
    began = time.perf_counter()
    history.refresh()
    figures.append(timed("look for new runs", began))
    began = time.perf_counter()
    built = build_page(Answers(history, folder))
    figures.append(timed("page as one file", began))
    size = len(built.text) / 1e6
    figures.append(Figure(name="the same, its size", value=size, unit="MB", most=10.5))
    return figures


def timed(name: str, began: float) -> Figure:
    """Return the time since a moment."""
    return Figure(name=name, value=time.perf_counter() - began, unit="s")


def median(name: str, times: list[float], most: float) -> Figure:
    """Return the median of some times."""
    return Figure(name=name, value=statistics.median(times), unit="s", most=most)


def in_browser(folder: Path) -> list[Figure]:
    """Time what the reader waits for."""
    browser = Browser(
        next(filter(None, map(shutil.which, BROWSERS))), shutil.which("chromedriver")
    )
    try:
        with serving(folder) as url:
            painted = []
            for _ in range(ROUNDS):
                look_at(browser, url)
                painted.append(painting_s(browser))
            figures = [median("address to first chart", painted, 1.5)]
            for control, options in CONTROLS.items():
                took = [
                    reaction_s(browser, control, 1 + at % options)
                    for at in range(ROUNDS)
                ]
                figures.append(median(f"{control} to its chart", took, 0.2))
            return figures
    finally:
        browser.driver.quit()


if __name__ == "__main__":
    main()
