"""The HTML report in Chromium: what it shows, and what it never does."""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

import pytest
from selenium.webdriver.common.keys import Keys

from .conftest import Browser
from .suites import HOSTILE
from .suites import hostile_suite
from .suites import support_suite


pytestmark = pytest.mark.browser
OPENS_WITHIN_S = 2.0
SEARCHES_WITHIN_S = 0.2
MOST_BYTES = 30_000_000
WIDER = "return document.documentElement.scrollWidth - innerWidth"


class Reports(NamedTuple):
    passed: Path
    """Of the first version, by itself."""
    failed: Path
    """Of the second version, beside the first."""


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> Reports:
    suite = support_suite(tmp_path_factory.mktemp("support"))
    assert suite.run("evals", "--llmeval-html", "passed.html").ret == 0
    first = suite.run_directory.name
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SUPPORT_VERSION", "2")
        assert suite.run().ret == 1
    options = ("--html", "failed.html", "--baseline", first)
    assert suite.llmeval("report", "last", *options).ret == 0
    return Reports(suite.path / "passed.html", suite.path / "failed.html")


def test_page_asks_for_nothing_and_complains_of_nothing(
    chromium: Browser, reports: Reports
) -> None:
    for path in reports:
        chromium.open(path)
        assert chromium.requests == [path.as_uri()]
        assert chromium.complaints == []


def test_policy_stops_a_script_that_is_not_ours(
    chromium: Browser, reports: Reports, tmp_path: Path
) -> None:
    page = reports.passed.read_text(encoding="utf-8")
    added = "<script>document.title = 'run'</script><img src='https://example.org/a'>"
    path = tmp_path / "changed.html"
    path.write_text(page.replace("</main>", f"{added}</main>"), encoding="utf-8")
    chromium.open(path)

    assert chromium.driver.title != "run"
    complaints = chromium.complaints
    assert len(complaints) == 2
    for complaint in complaints:
        assert "violates the following Content Security Policy" in complaint
    # What the other tests rest on: the log has also what the policy stops.
    assert chromium.requests == [path.as_uri(), "https://example.org/a"]


def test_verdict_and_gates_are_told(chromium: Browser, reports: Reports) -> None:
    chromium.open(reports.failed)

    assert chromium.one("h2").text == "✗ Verdict: fail"
    assert chromium.driver.title.startswith("fail: evaluation ")
    decisions = [cell.text for cell in chromium.all(".gates tbody td:first-child")]
    assert decisions == ["✓ pass", "✗ fail"]
    (missed,) = chromium.all(".missed pre")
    assert missed.text.startswith("exact_match 0.842 (95 % upper bound 0.894, n=120,")
    pictures = chromium.all(".gates svg")
    assert "needed >= 0.950" in (pictures[1].get_attribute("aria-label") or "")


def test_picture_shows_the_interval_left_of_the_bar_it_misses(
    chromium: Browser, reports: Reports
) -> None:
    chromium.open(reports.failed)

    def place(picture: int, shape: str) -> tuple[float, float]:
        (box,) = chromium.run(
            "return [...document.querySelectorAll('.gates svg')[arguments[0]]"
            ".querySelectorAll(arguments[1])].slice(0, 1)"
            ".map(e => e.getBoundingClientRect()).map(r => [r.left, r.right])",
            picture,
            shape,
        )
        return box[0], box[1]

    assert place(0, ".interval")[0] > place(0, ".threshold")[1]
    assert place(1, ".interval")[1] < place(1, ".threshold")[0]


def test_rows_sort_in_both_directions_and_say_so(
    chromium: Browser, reports: Reports
) -> None:
    chromium.open(reports.failed)
    chromium.header("exact_match").click()
    lowest = chromium.column("exact_match")
    chromium.header("exact_match").click()
    highest = chromium.column("exact_match")

    assert lowest[:18] == ["0.000"] * 18 != lowest[18:36]
    assert set(highest) == {"1.000"}
    (head,) = chromium.all("#head [aria-sort=descending]")
    assert head.get_attribute("textContent") == "exact_match"
    assert chromium.run("return document.activeElement.textContent") == "exact_match"


def test_rows_are_searched_in_all_their_texts(
    chromium: Browser, reports: Reports
) -> None:
    chromium.open(reports.failed)
    chromium.search("QUESTION 77 ABOUT")
    assert chromium.ids == ["q77"]
    chromium.search("timeouterror")
    assert chromium.ids == ["q13"]
    chromium.search("nothing says this")
    assert chromium.shown == "No row of 120 is like that."


def test_rows_are_filtered(chromium: Browser, reports: Reports) -> None:
    chromium.open(reports.failed)
    chromium.choose("only", "in error")
    assert chromium.ids == ["q13"]

    chromium.one("#clear").click()
    chromium.choose("slice", "topic = returns")
    assert chromium.shown == "Rows 1 to 40 of 40, out of 120."
    chromium.choose("metric", "exact_match")
    chromium.one("#most").send_keys("0.5")
    assert chromium.ids == ["q14", "q35", "q56", "q77", "q98", "q119"]


def test_rows_that_changed_stand_beside_the_baseline(
    chromium: Browser, reports: Reports
) -> None:
    chromium.open(reports.failed)
    chromium.all("td .show")[1].click()

    fives, sevens = set(range(0, 120, 5)), set(range(0, 120, 7))
    worse, better = sorted(sevens - fives), sorted(fives - sevens)
    assert chromium.ids == [f"q{at}" for at in worse + better]
    assert chromium.column("change of exact_match")[0] == "-1.000"
    chromium.one(".open").click()
    detail = chromium.one(".detail").text
    assert "baseline's output\nThe answer to shipping 7" in detail
    assert "output\nno idea" in detail
    assert "exact_match  1.000 → 0.000" in detail


def test_page_works_by_keyboard(chromium: Browser, reports: Reports) -> None:
    chromium.open(reports.passed)
    row = chromium.one(".open")
    row.send_keys(Keys.ENTER)
    assert row.get_attribute("aria-expanded") == "true"
    assert "The answer to billing 0" in chromium.one(".detail").text
    row.send_keys(Keys.SPACE)
    assert row.get_attribute("aria-expanded") == "false"
    assert chromium.all(".detail") == []

    chromium.one("#next").send_keys(Keys.ENTER)
    assert chromium.ids[0] == "q50"
    assert chromium.shown == "Rows 51 to 100 of 120, out of 120."


def test_page_has_landmarks_labels_and_headers(
    chromium: Browser, reports: Reports
) -> None:
    chromium.open(reports.failed)
    chromium.one(".open").click()
    unnamed = chromium.run(
        "return [...document.querySelectorAll('input, select')]"
        ".filter(e => !e.labels.length).map(e => e.id)"
    )
    ids = chromium.run("return [...document.querySelectorAll('[id]')].map(e => e.id)")

    assert unnamed == []
    assert len(ids) == len(set(ids))
    assert chromium.all("th:not([scope])") == []
    assert chromium.all("svg:not([role=img][aria-label])") == []
    for landmark in ("header", "main", "nav[aria-label]", "footer", "[role=search]"):
        assert chromium.all(landmark), landmark
    assert chromium.one("html").get_attribute("lang") == "en"


CONTRASTS = """
const light = (c) => c.slice(0, 3).map((v) => v / 255)
  .map((v) => v <= .04045 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, at) => sum + v * [.2126, .7152, .0722][at], 0);
const parts = (text) => text.match(/[\\d.]+/g).map(Number);
const ground = (e) => {
  for (; e; e = e.parentElement) {
    const c = parts(getComputedStyle(e).backgroundColor);
    if (c.length === 3 || c[3] === 1) return c;
  }
  return [255, 255, 255];
};
const texts = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
const found = [];
while (texts.nextNode()) {
  const e = texts.currentNode.parentElement;
  if (!texts.currentNode.data.trim() || !e.checkVisibility()) continue;
  const style = getComputedStyle(e);
  const ink = e.closest("svg") ? style.fill : style.color;
  const pair = [light(parts(ink)), light(ground(e))].sort((a, b) => b - a);
  found.push([(pair[0] + .05) / (pair[1] + .05), texts.currentNode.data.trim()]);
}
return found;
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(
    chromium: Browser, reports: Reports, scheme: str
) -> None:
    for path in reports:
        chromium.open(path)
        chromium.look(scheme=scheme)
        chromium.one(".open").click()
        contrasts = chromium.run(CONTRASTS)

        assert len(contrasts) > 200
        assert [found for found in contrasts if found[0] < 4.5] == []


def test_verdict_has_its_colour_and_the_page_two_schemes(
    chromium: Browser, reports: Reports
) -> None:
    pictures = {}
    for path in reports:
        chromium.open(path)
        for scheme in ("light", "dark"):
            chromium.look(scheme=scheme)
            pictures[path, scheme] = chromium.picture()
    chromium.look()
    box = chromium.one(".verdict").rect
    corner = (int(box["x"]) + 12, int(box["y"]) + 12)

    for (path, scheme), picture in pictures.items():
        red, green, _ = picture.getpixel(corner)
        assert (green > red + 50) == (path == reports.passed)
        assert (red > green + 50) == (path == reports.failed)
        ground = sum(picture.getpixel((3, 880)))
        assert ground > 700 if scheme == "light" else ground < 100
        colors = picture.getcolors(maxcolors=1_000_000) or []
        assert len(colors) > 100, "the page is blank"


def test_page_fits_a_narrow_window(chromium: Browser, reports: Reports) -> None:
    chromium.open(reports.failed)
    chromium.look(width=400)

    assert chromium.run(WIDER) <= 0


def test_paper_has_the_content_and_no_controls(
    chromium: Browser, reports: Reports
) -> None:
    chromium.open(reports.failed)
    assert chromium.one("#controls").is_displayed()
    chromium.look(media="print", scheme="dark")

    assert not chromium.one("#controls").is_displayed()
    assert "Verdict: fail" in chromium.text
    color = chromium.run("return getComputedStyle(document.body).backgroundColor")
    assert color == "rgb(255, 255, 255)"
    chromium.look(media="print", width=1_030)  # of A4, between its margins
    assert chromium.run(WIDER) <= 0
    assert chromium.print().startswith(b"%PDF")


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    suite = hostile_suite(tmp_path_factory.mktemp("hostile"))
    assert suite.run("evals", "--llmeval-html", "report.html").ret == 1
    return suite.path / "report.html"


def test_hostile_texts_change_nothing_and_run_nothing(
    chromium: Browser, hostile: Path
) -> None:
    chromium.open(hostile)
    chromium.choose("evaluation", "all")
    for button in chromium.all(".open"):
        button.click()
    chromium.all(".show")[0].click()

    assert chromium.requests == [hostile.as_uri()]
    assert chromium.complaints == []
    assert chromium.run("return window.broken") is None
    assert chromium.all("script:not(#data)")[1:] == []
    foreign = "img, iframe, object, link, base, b, main a[href], svg [onload]"
    assert chromium.all(foreign) == []
    text = hostile.read_text(encoding="utf-8")
    assert not re.search(
        "[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text
    )
    assert len(text) < 1_000_000


def test_hostile_texts_are_shown_as_they_are(chromium: Browser, hostile: Path) -> None:
    chromium.open(hostile)
    shown = chromium.column("output")

    printable = [text for text in HOSTILE if text.isprintable()]
    assert [text for text in printable if text in shown] == printable
    assert r"\x1b[31mred\x1b]0;title\x07 and \x00 nothing \x9b" in shown
    assert r"lone \ud800 surrogate \udfff" in shown
    chromium.search("characters, sha256")
    assert chromium.ids == ["long"]
    chromium.one(".open").click()
    detail = chromium.one(".detail").text
    assert re.search(r"x … \[10000000 characters, sha256 [0-9a-f]{16}\] … y", detail)


def test_ten_thousand_rows_stay_usable(chromium: Browser, tmp_path: Path) -> None:
    suite = support_suite(tmp_path, rows=10_000)
    assert suite.run("evals", "--llmeval-html", "report.html").ret == 0
    path = tmp_path / "report.html"
    assert path.stat().st_size < MOST_BYTES
    assert min(chromium.opening_s(path) for _ in range(3)) < OPENS_WITHIN_S
    assert chromium.shown == "Rows 1 to 50 of 10,000, out of 10,000."

    search = (
        "const box = document.getElementById('search');"
        "box.value = arguments[0];"
        "box.dispatchEvent(new Event('input', { bubbles: true }))"
    )
    assert chromium.quickest_s(search, "question 7777 about") < SEARCHES_WITHIN_S
    assert chromium.ids == ["q7777"]
    assert len(chromium.all("#body tr")) == 1
