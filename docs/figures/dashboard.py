"""Make the picture of docs/dashboard.md: a synthetic history, in Chromium."""

import shutil
import tempfile
import time
from pathlib import Path

from tests.browser.conftest import Browser
from tests.browser.dashboards import look_at
from tests.browser.dashboards import serving
from tests.history.synthetic import write_synthetic


PICTURE = Path(__file__).with_name("dashboard.png")
HEIGHT = 1_180
RUNS = 700


def take_picture(folder):
    """Return the top of the page: ten months, the last of them worse."""
    write_synthetic(folder, runs=RUNS, metrics=3, slices=4, every_h=10.0)
    browser = Browser(shutil.which("chromium"), shutil.which("chromedriver"))
    try:
        with serving(folder) as url:
            browser.look(height=HEIGHT)
            look_at(browser, url)
            browser.look(height=HEIGHT)
            time.sleep(1)  # until the charts have been drawn
            return browser.picture()
    finally:
        browser.driver.quit()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as name:
        picture = take_picture(Path(name))
    picture.save(PICTURE, optimize=True)
