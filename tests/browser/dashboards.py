"""The dashboard of a history, opened in the browser, and the times that it takes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_llmeval.dashboard.answers import Answers
from pytest_llmeval.dashboard.server import Server
from pytest_llmeval.dashboard.source import open_history

from .conftest import Browser


@contextmanager
def serving(folder: Path, home: Path | None = None) -> Iterator[str]:
    """Serve a history; give the address."""
    with Server(Answers(open_history(str(folder)), home or folder)) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        try:
            yield server.url
        finally:
            server.shutdown()
            thread.join()


def wait(done: Callable[[], Any], within_s: float = 15) -> Any:
    until = time.monotonic() + within_s
    while not (found := done()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.02)
    return found


def look_at(browser: Browser, page: Path | str) -> None:
    browser.open(page)
    wait(lambda: browser.all("#run-rows > *"))


def painting_s(browser: Browser) -> float:
    """Return the time from the address to the chart of the page that is open."""
    mark = "return performance.getEntriesByName('llmeval-trend')[0].startTime"
    started_ms: float = browser.run(mark)
    return started_ms / 1_000


def reaction_s(browser: Browser, control: str, option: int) -> float:
    """Return the time from a choice to the picture of the chart that it leads to."""
    took: float = browser.driver.execute_async_script(
        """
        const [control, option, done] = arguments;
        const chart = document.getElementById('trend-chart');
        const select = document.getElementById(control);
        select.selectedIndex = option;
        const began = performance.now();
        new MutationObserver((_, watch) => {
          if (!chart.querySelector('canvas')) return;
          watch.disconnect();
          const end = () => done(performance.now() - began);
          requestAnimationFrame(() => setTimeout(end));
        }).observe(chart, { childList: true });
        select.dispatchEvent(new Event('change', { bubbles: true }));
        """,
        control,
        option,
    )
    wait(lambda: browser.all("#run-rows > *"))
    time.sleep(0.3)
    return took / 1_000
