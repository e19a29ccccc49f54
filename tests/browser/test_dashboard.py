"""The dashboard in Chromium: what it shows, where its clicks lead, how quick it is."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.action_chains import ActionChains
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.select import Select

from pytest_llmeval.dashboard.answers import Answers
from pytest_llmeval.dashboard.build import build_page
from pytest_llmeval.dashboard.source import open_history
from tests.history import small
from tests.history.synthetic import write_synthetic

from .conftest import Browser
from .dashboards import look_at
from .dashboards import serving
from .dashboards import wait
from .suites import HOSTILE
from .suites import support_suite
from .test_report import CONTRASTS
from .test_report import WIDER


pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return small.write_folder(tmp_path_factory.mktemp("history"), small.records())


@pytest.fixture(scope="module")
def url(folder: Path) -> Iterator[str]:
    with serving(folder) as address:
        yield address


@pytest.fixture(scope="module")
def built(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("built") / "history.html"
    answers = Answers(open_history(str(folder)), folder)
    path.write_text(build_page(answers).text, encoding="utf-8")
    return path


def chosen(browser: Browser, control: str) -> str:
    value = browser.one(f"#{control}").get_attribute("value")
    return value or ""


def cells(browser: Browser, selector: str) -> list[list[str]]:
    found: list[list[str]] = browser.run(
        "return [...document.querySelectorAll(`${arguments[0]} tbody tr`)]"
        ".map(row => [...row.cells].map(cell => cell.textContent))",
        selector,
    )
    return found


def unfold(browser: Browser, table: str) -> list[list[str]]:
    browser.run(f"document.querySelector('{table}').closest('details').open = true")
    wait(lambda: cells(browser, table))
    return cells(browser, table)


@pytest.mark.parametrize("kind", ["served", "built"])
def test_page_asks_its_own_place_only_and_complains_of_nothing(
    chromium: Browser, url: str, built: Path, kind: str
) -> None:
    page = url if kind == "served" else built
    look_at(chromium, page)
    requests = chromium.requests
    assert chromium.complaints == []
    if kind == "built":
        assert requests == [built.as_uri()]
    else:
        assert len(requests) > 10
        assert all(request.startswith(url) for request in requests)


@pytest.mark.parametrize("kind", ["served", "built"])
def test_trend_is_a_table_too(
    chromium: Browser, url: str, built: Path, kind: str
) -> None:
    look_at(chromium, url if kind == "served" else built)
    told = unfold(chromium, "#trend-table")
    assert [row[1] for row in told] == ["0.75", "0.5", "0.7", "0.9", "0.6", "0.8"]
    assert told[1][:4] == [small.run_id(4), "0.5", "0.4", "0.6"]
    assert told[1][9:] == [">= 0.64", "! error", "models:/qa/2"]
    assert "dashed: threshold (>=)" in chromium.one("#trend-legend").text


def test_keys_move_over_the_points_and_open_a_run(chromium: Browser, url: str) -> None:
    look_at(chromium, url)
    chart = chromium.one("#trend-chart")
    chart.send_keys(Keys.HOME)
    readout = chromium.one("#trend-readout")
    assert readout.text.startswith("2026-11-01 12:00: 0.8 (0.7 to 0.9), n 2, errors 0")
    chart.send_keys(Keys.ARROW_RIGHT)
    assert "0.6 (0.5 to 0.7), n 2, errors 0, gate fail" in readout.text
    assert chart.get_attribute("aria-valuetext") == readout.text
    assert chart.get_attribute("aria-valuenow") == "2"

    chart.send_keys(Keys.ENTER)
    assert chosen(chromium, "run-choice") == small.run_id(1)
    wait(lambda: small.run_id(1) in chromium.one("#run-detail").text)
    assert chromium.run("return document.activeElement.id") == "run"


def test_click_on_a_point_opens_its_run(chromium: Browser, url: str) -> None:
    look_at(chromium, url)
    over = chromium.one("#trend-chart .u-over")
    width = over.size["width"]
    # The points lie 0 to 5 fifths from the left; the offset counts from the middle.
    at = ActionChains(chromium.driver).move_to_element_with_offset(
        over, int(width * (2 / 5 - 1 / 2)), 0
    )
    at.click().perform()
    wait(lambda: chosen(chromium, "run-choice") == small.run_id(2))


def test_drag_enlarges_a_part_of_the_time(chromium: Browser, url: str) -> None:
    look_at(chromium, url)
    over = chromium.one("#trend-chart .u-over")
    width = over.size["width"]
    drag = ActionChains(chromium.driver)
    drag.move_to_element_with_offset(over, int(-width * 0.25), 0).click_and_hold()
    drag.move_by_offset(int(width * 0.5), 0).release().perform()

    wait(lambda: chosen(chromium, "time") == "chosen")
    wait(lambda: "the trend has 2 points" in chromium.one("#status").text)
    assert chosen(chromium, "run-choice") == small.run_id(5), "a drag opens no run"
    Select(chromium.one("#time")).select_by_visible_text("whole history")
    wait(lambda: "the trend has 6 points" in chromium.one("#status").text)


def test_heat_tells_decisions_by_sign_and_word(chromium: Browser, url: str) -> None:
    look_at(chromium, url)
    buttons = chromium.all("#heat button")
    assert [button.text for button in buttons] == ["✓", "✗", "✓", "?", "!", "✓"]
    label = buttons[1].get_attribute("aria-label")
    assert label == f"{small.SUITE}, 2026-11-01 13:00 to 2026-11-01 13:00: 1 failed"
    assert [b.get_attribute("tabindex") for b in buttons] == ["0", *["-1"] * 5]

    buttons[0].send_keys(Keys.ARROW_RIGHT)
    chromium.driver.switch_to.active_element.send_keys(Keys.ENTER)
    wait(lambda: chosen(chromium, "run-choice") == small.run_id(1))


def test_slice_is_chosen_in_its_table(chromium: Browser, url: str) -> None:
    look_at(chromium, url)
    assert cells(chromium, "#slice-table")[1][:6] == [
        "language = de", "0.55", "-", "-", "0.3", "0.25",
    ]  # fmt: skip
    chromium.all("#slice-table .open")[1].click()
    assert json.loads(chosen(chromium, "slice")) == ["language", "de"]
    wait(lambda: "no threshold" in chromium.one("#trend-legend").text)
    assert unfold(chromium, "#trend-table")[0][1] == "0.55"


def test_latency_and_cost_are_tables_too(chromium: Browser, url: str) -> None:
    look_at(chromium, url)
    assert unfold(chromium, "#calls-table")[0][1:] == ["1", "600", "300", "0.5", "0.5"]
    events = unfold(chromium, "#events")
    assert [row[1] for row in events] == ["▲ release", "◆ deploy"]


@pytest.mark.parametrize("kind", ["served", "built"])
def test_two_runs_stand_side_by_side(
    chromium: Browser, url: str, built: Path, kind: str
) -> None:
    look_at(chromium, url if kind == "served" else built)
    assert [row[0] for row in cells(chromium, "#run-rows")] == [
        "breaks", "falls", "rises",
    ]  # fmt: skip
    Select(chromium.one("#run-other")).select_by_value(small.run_id(4))
    counts = wait(lambda: chromium.all("#counts"))[0].text
    assert counts == (
        "1 worse, 1 better, 0 the same, 1 without a score; "
        "0 only in this run, 0 only in the other"
    )
    rows = cells(chromium, "#run-rows")
    assert rows[0][:4] == ["breaks", "1", "-", "-"]
    assert rows[1][:4] == ["falls", "0.6", "0.5", "-0.1"]
    assert rows[1][6:] == ["falls 4", "falls 5"]


def test_new_runs_come_in_by_themselves(chromium: Browser, tmp_path: Path) -> None:
    small.write_folder(tmp_path, small.records(2))
    with serving(tmp_path) as address:
        look_at(chromium, address)
        assert "has 2 points" in chromium.one("#status").text
        assert chosen(chromium, "run-choice") == small.run_id(1)
        small.write_folder(tmp_path, small.records(3))
        wait(lambda: "has 3 points" in chromium.one("#status").text)
        assert chosen(chromium, "run-choice") == small.run_id(2)

        chromium.one("#trend-chart").send_keys(Keys.HOME, Keys.ENTER)
        small.write_folder(tmp_path, small.records(4))
        wait(lambda: "has 4 points" in chromium.one("#status").text)
        assert chosen(chromium, "run-choice") == small.run_id(0), "the reader's own"


def test_page_says_when_its_server_has_ended(chromium: Browser, folder: Path) -> None:
    code = "import sys; from pytest_llmeval.cli import main; sys.exit(main())"
    options = ["dashboard", "--no-open", "--history", str(folder)]
    with subprocess.Popen(
        [sys.executable, "-c", code, *options], stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        look_at(chromium, process.stdout.readline().split()[1])
        process.send_signal(signal.SIGINT)
    wait(lambda: "The server does not answer" in chromium.one("#status").text)
    assert len(cells(chromium, "#run-rows")) == 3, "what was read stays"


def test_rows_of_a_real_run_come_from_its_folder(
    chromium: Browser, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite = support_suite(tmp_path)
    suite.run()
    first = suite.run_directory.name
    monkeypatch.setenv("SUPPORT_VERSION", "2")
    suite.run()
    assert suite.llmeval("export").ret == 0
    home = tmp_path / ".llmeval"
    with serving(home / "history", home) as address:
        look_at(chromium, address)
        chromium.choose("metric", "exact_match")
        title = "Worst rows by exact_match: 20 of 120"
        wait(lambda: title in chromium.one("#run-rows").text)
        assert cells(chromium, "#run-rows")[0][0] == "q13", "which is in error"
        Select(chromium.one("#run-other")).select_by_value(first)
        wait(lambda: chromium.all("#counts"))
        # Every 5th was wrong and is right, every 7th is wrong; both: 0, 35, 70, 105.
        text = chromium.one("#counts").text
        assert text.startswith("14 worse, 20 better, 85 the same, 1 without a score")


def test_page_has_landmarks_labels_and_headers(chromium: Browser, url: str) -> None:
    look_at(chromium, url)
    for table in ("#trend-table", "#events", "#calls-table"):
        unfold(chromium, table)
    unnamed = chromium.run(
        "return [...document.querySelectorAll('input, select')]"
        ".filter(e => !e.labels.length).map(e => e.id)"
    )
    ids = chromium.run("return [...document.querySelectorAll('[id]')].map(e => e.id)")
    assert unnamed == []
    assert len(ids) == len(set(ids))
    assert chromium.all("th:not([scope])") == []
    assert chromium.all("table:not(:has(caption))") == []
    assert chromium.all(".chart:not([tabindex='0'][role=slider][aria-label])") == []
    for landmark in ("header", "main", "nav[aria-label]", "footer", "[role=search]"):
        assert chromium.all(landmark), landmark


def test_focus_is_seen_wherever_it_goes(chromium: Browser, url: str) -> None:
    look_at(chromium, url)
    seen = set()
    for _ in range(60):
        ActionChains(chromium.driver).send_keys(Keys.TAB).perform()
        name, outline = chromium.run(
            "const e = document.activeElement;"
            "const name = e.id || e.textContent.slice(0, 20);"
            "return [name, getComputedStyle(e).outlineStyle]"
        )
        if name in seen and name == "evaluation":
            break
        seen.add(name)
        on_page = chromium.run("return document.activeElement !== document.body")
        assert outline != "none" or not on_page, name
    assert {"evaluation", "metric", "trend-chart", "latency-chart", "run-other"} <= seen


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_its_ground(
    chromium: Browser, url: str, tmp_path: Path, scheme: str
) -> None:
    look_at(chromium, url)
    chromium.look(scheme=scheme, height=2_000)
    for table in ("#trend-table", "#events", "#calls-table"):
        unfold(chromium, table)
    contrasts = chromium.run(CONTRASTS)
    assert len(contrasts) > 200
    assert [found for found in contrasts if found[0] < 4.5] == []

    time.sleep(0.3)  # until the charts have the colours of the scheme
    picture = chromium.picture()
    picture.save(tmp_path / f"{scheme}.png")
    box = chromium.one("#trend-chart canvas").rect
    left, top = int(box["x"]), int(box["y"])
    chart = picture.crop((left, top, left + int(box["width"]), top + 250))
    colors = chart.getcolors(maxcolors=1_000_000) or []
    assert len(colors) > 50, "the chart is blank"
    ground = sum(max(colors)[1])
    assert ground > 700 if scheme == "light" else ground < 150


def test_page_fits_a_narrow_window(chromium: Browser, url: str) -> None:
    look_at(chromium, url)
    chromium.look(width=400)
    time.sleep(0.3)
    assert chromium.run(WIDER) <= 0
    assert chromium.one("#trend-chart canvas").size["width"] <= 400


def hostile_records() -> dict[str, list[dict[str, Any]]]:
    """Return a history in which every name and text is hostile."""
    texts = [text.replace("\ud800", "").replace("\udfff", "") for text in HOSTILE]
    made = small.records()
    for some in made.values():
        for at, record in enumerate(some):
            for name, value in record.items():
                free = name not in ("run_id", "kind", "decision", "scores", "expected")
                if isinstance(value, str) and value and free:
                    record[name] = texts[at % 2]
    for at, row in enumerate(made["rows"]):
        row["prediction"] = row["input"] = row["id"] = texts[at % len(texts)]
        row["scores"] = json.dumps({texts[0]: 0.5, texts[1]: 0.5})
    for name in ("evaluations", "gates"):
        for record in made[name]:
            record["suite"], record["metric"] = texts[0], texts[0]
            record["name"] = texts[8]
    for record in made["evaluations"]:
        record.pop("metric")
    for at, record in enumerate(made["metrics"]):
        record["metric"] = texts[at % 2]
        record["slice_by"], record["slice_value"] = texts[at % 4], texts[at % 3]
    return made


@pytest.mark.parametrize("kind", ["served", "built"])
def test_hostile_texts_change_nothing_and_run_nothing(
    chromium: Browser, tmp_path: Path, kind: str
) -> None:
    folder = small.write_folder(tmp_path / "history", hostile_records())
    file = tmp_path / "history.html"
    answers = Answers(open_history(str(folder)), folder)
    file.write_text(build_page(answers).text, encoding="utf-8")
    with serving(folder) as address:
        look_at(chromium, address if kind == "served" else file)
        for control in ("metric", "slice"):
            for option in Select(chromium.one(f"#{control}")).options:
                option.click()
                time.sleep(0.1)
        if kind == "served":
            Select(chromium.one("#run-other")).select_by_index(1)
            wait(lambda: chromium.all("#counts"))
        unfold(chromium, "#trend-table")
        requests = chromium.requests
        assert all(r.startswith((address, file.as_uri())) for r in requests)
    assert chromium.run("return window.broken") is None
    assert [c for c in chromium.complaints if "ERR_CONNECTION_REFUSED" not in c] == []
    foreign = "img, iframe, object, embed, base, b, svg, main a[href], main script"
    assert chromium.all(foreign) == []
    assert "<img src=x onerror=" in chromium.text
    assert "\x1b" not in chromium.text
    assert "\u202e" not in chromium.text


def test_a_million_points_are_cut_to_what_a_chart_shows(
    chromium: Browser, tmp_path: Path
) -> None:
    made = write_synthetic(tmp_path, runs=10_000, metrics=25, slices=4)
    assert made["metrics"].num_rows == 1_000_000
    with serving(tmp_path) as address:
        look_at(chromium, address)
        assert "the trend has 400 points" in chromium.text
