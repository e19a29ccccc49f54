"""Chromium without a window, which opens the reports of real runs."""

from __future__ import annotations

import base64
import io
import json
import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from selenium import webdriver
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select


# In the order of choice: where both are, the driver is that of the first.
BROWSERS = ("google-chrome", "chromium")


class Browser:
    """A page in Chromium: what it shows, what it asks for, what it complains of."""

    def __init__(self, browser: str, driver: str) -> None:
        options = webdriver.ChromeOptions()
        options.binary_location = browser  # so that selenium fetches none
        options.add_argument("--headless=new")
        options.add_argument("--no-sandbox")  # which root cannot have
        options.add_argument("--hide-scrollbars")
        logs = {"browser": "ALL", "performance": "ALL"}
        options.set_capability("goog:loggingPrefs", logs)
        self.driver = webdriver.Chrome(options=options, service=Service(driver))

    def open(self, page: Path | str) -> None:
        """Open a file or an address as if nothing had been open before."""
        self.look()
        self.driver.get("about:blank")
        for log in ("browser", "performance"):
            self.driver.get_log(log)
        self.driver.get(page.as_uri() if isinstance(page, Path) else page)

    def look(
        self,
        *,
        scheme: str = "light",
        media: str = "screen",
        width: int = 1280,
        height: int = 900,
    ) -> None:
        """Set what the page is looked at with."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self._command("Emulation.setEmulatedMedia", media=media, features=features)
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self._command("Emulation.setDeviceMetricsOverride", **size, mobile=False)

    def _command(self, name: str, **arguments: Any) -> dict[str, Any]:
        done: dict[str, Any] = self.driver.execute_cdp_cmd(name, arguments)
        return done

    @property
    def requests(self) -> list[str]:
        """The addresses that were asked for since the page was opened."""
        messages = [
            json.loads(entry["message"])["message"]
            for entry in self.driver.get_log("performance")
        ]
        return [
            message["params"]["request"]["url"]
            for message in messages
            if message["method"] == "Network.requestWillBeSent"
        ]

    @property
    def complaints(self) -> list[str]:
        """Errors, and violations of the page's policy, since the last look."""
        return [entry["message"] for entry in self.driver.get_log("browser")]

    def run(self, script: str, *arguments: object) -> Any:
        return self.driver.execute_script(script, *arguments)

    def all(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    @property
    def text(self) -> str:
        text: str = self.one("body").text
        return text

    @property
    def ids(self) -> list[str]:
        """Ids of the rows in the table, from the top."""
        found: list[str] = self.run(
            "return [...document.querySelectorAll('.open')].map(b => b.textContent)"
        )
        return found

    def column(self, title: str) -> list[str]:
        """What the rows in the table have in a column, from the top."""
        found: list[str] = self.run(
            "const titles = [...document.querySelectorAll('#head th')]"
            ".map(th => th.textContent);"
            "return [...document.querySelectorAll('#body tr:not(.detail)')]"
            ".map(tr => tr.cells[titles.indexOf(arguments[0])].textContent)",
            title,
        )
        return found

    @property
    def shown(self) -> str:
        text: str = self.one("#shown").text
        return text

    def header(self, title: str) -> WebElement:
        """Return the button in the head of a column."""
        buttons = self.all("#head button")
        return next(button for button in buttons if button.text == title)

    def search(self, text: str) -> None:
        self.one("#search").clear()
        self.one("#search").send_keys(text)

    def choose(self, control: str, text: str) -> None:
        Select(self.one(f"#{control}")).select_by_visible_text(text)

    def picture(self) -> Image.Image:
        shot = self._command("Page.captureScreenshot", format="png")
        return Image.open(io.BytesIO(base64.b64decode(shot["data"]))).convert("RGB")

    def print(self) -> bytes:
        return base64.b64decode(self._command("Page.printToPDF")["data"])

    def quickest_s(self, script: str, *arguments: object) -> float:
        """Return what a script takes with the layout after it, at best of five."""
        timed = (
            "const began = performance.now();"
            f"{script};"
            "document.body.offsetHeight;"
            "return performance.now() - began"
        )
        return min(self.run(timed, *arguments) for _ in range(5)) / 1_000

    def opening_s(self, path: Path) -> float:
        """Return the time until a page can be used, the first picture included."""
        began = time.monotonic()
        self.open(path)
        self.picture()
        return time.monotonic() - began


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    driver = shutil.which("chromedriver")
    if browser is None or driver is None:
        reason = "needs Debian's packages chromium and chromium-driver"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    opened = Browser(browser, driver)
    yield opened
    opened.driver.quit()
