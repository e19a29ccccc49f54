"""llmeval gc beside real runs: those that go on, and those whose rows are gone."""

import os
import time
from pathlib import Path

import pytest

from .conftest import Suite


DAY = 86_400
WAITING = """\
import time
from pathlib import Path

from pytest_llmeval import assert_metric


def test_quality(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    Path("evaluated").touch()
    while not Path("go").exists():
        time.sleep(0.05)
    assert_metric(results, "exact_match", ">=", 0.9)
"""


def make_old(suite: Suite, days: float) -> Path:
    """Let the newest run have ended so many days ago; return its folder."""
    folder = suite.run_directory
    verdict = folder / "verdict.json"
    ended_at = suite.verdict["finished_at"]
    text = verdict.read_text("utf-8").replace(
        f'"finished_at": {ended_at}', f'"finished_at": {ended_at - days * DAY}'
    )
    verdict.write_text(text, "utf-8")
    return folder


@pytest.mark.parametrize("workers", [(), ("-n2",)])
def test_a_run_that_goes_on_stays_and_ends_as_ever(
    suite: Suite, workers: tuple[str, ...]
) -> None:
    suite.write("evals/test_qa.py", WAITING)
    running = suite.start("evals", *workers)
    deadline = time.monotonic() + 60
    while not (suite.path / "evaluated").exists():
        assert time.monotonic() < deadline
        time.sleep(0.05)
    folder = suite.run_directory
    if not workers:  # the controller of workers opens the run with their first report
        for path in (folder, *folder.rglob("*")):
            os.utime(path, (1, 1))  # as if it ran for days without a sign
    (suite.path / ".llmeval" / "last").write_text("another\n", "utf-8")
    result = suite.llmeval("gc", "--keep", "0", "--older-than", "0d", "--yes")
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"stays *{folder.name} * it is running"])
    (suite.path / "go").touch()
    assert running.communicate(timeout=60)[0]
    assert running.returncode == 0
    assert not (folder / "running").exists()
    assert suite.llmeval("gc", "--keep", "0", "--yes").ret == 0
    assert not folder.exists()


@pytest.mark.parametrize("answer", ["WORD", "else"], ids=["passed", "failed"])
def test_a_run_without_its_rows_is_reported_and_says_so(
    suite: Suite, answer: str
) -> None:
    rows = [
        {"id": f"r{i}", "input": f"word {i}", "answer": f"{answer} {i}"}
        for i in range(40)
    ]
    suite.write_rows("evals/data.jsonl", rows)
    suite.run()
    old = make_old(suite, 31)
    suite.run()
    assert suite.llmeval("gc", "--rows-older-than", "30d", "--yes").ret == 0
    assert not (old / "results.jsonl").exists()
    reports = ("--html", "r.html", "--markdown", "r.md")
    assert suite.llmeval("report", old.name, *reports).ret == 0
    page, text = ((suite.path / name).read_text("utf-8") for name in ("r.html", "r.md"))
    assert "llmeval gc has removed them" in page
    assert "exact_match" in page
    assert "exact_match" in text
    # What explains a gate stands in the verdict.
    assert '"rows":[]' in page
    assert "word 39" not in text
    beside = ("--baseline", old.name, "--html", "b.html")
    assert suite.llmeval("report", "last", *beside).ret == 0
