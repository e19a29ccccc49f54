"""Make the picture of docs/reports.md: the page of a real run, in Chromium."""

import os
import shutil
import tempfile
from pathlib import Path

from tests.browser.conftest import Browser
from tests.browser.suites import support_suite


PICTURE = Path(__file__).with_name("report.png")
HEIGHT = 1_060


def make_page(folder):
    """Return the page of the suite's second version, beside the first."""
    suite = support_suite(folder)
    suite.run()
    baseline = suite.run_directory.name
    os.environ["SUPPORT_VERSION"] = "2"
    suite.run()
    page = folder / "report.html"
    suite.llmeval("report", "last", "--html", str(page), "--baseline", baseline)
    return page


def take_picture(page):
    """Return the top of a page."""
    browser = Browser(shutil.which("chromium"), shutil.which("chromedriver"))
    try:
        browser.open(page)
        browser.look(height=HEIGHT)
        return browser.picture()
    finally:
        browser.driver.quit()


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        picture = take_picture(make_page(Path(folder)))
    picture.save(PICTURE, optimize=True)
