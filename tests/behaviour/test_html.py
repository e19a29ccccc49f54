"""The HTML report as a file: when it is written, of what, and what is refused."""

from __future__ import annotations

import json
import re
import shutil

import pytest

from .conftest import ModelServer
from .conftest import Suite


CHANGED = """\
from pytest_llmeval import assert_no_regression


def test_change(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert_no_regression(results, {baseline!r}, "exact_match", max_drop=0.2)
"""
REPEATED = """\
from pytest_llmeval import assert_metric


def test_each_time(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"], repeats=2)
    assert_metric(results, "exact_match/pass^2", ">=", 0.99)
"""
HTML = ("evals", "--llmeval-html", "report.html")


def page(suite: Suite, name: str = "report.html") -> str:
    return (suite.path / name).read_text(encoding="utf-8")


def data(text: str) -> dict:
    found = re.search(r'<script type="application/json" id="data">(.*?)</script>', text)
    assert found
    return json.loads(found[1])


def facts(text: str) -> list[tuple[str, str]]:
    return re.findall(r"<dt>(.*?)</dt><dd>(.*?)</dd>", text)


def test_page_of_a_run_has_its_verdict_gates_and_rows(suite: Suite) -> None:
    done = suite.run(*HTML)

    assert done.ret == 0
    done.stdout.fnmatch_lines(["HTML report: report.html"])
    text = page(suite)
    assert "Verdict: pass" in text
    assert ("Run", suite.verdict["run_id"]) in facts(text)
    rows = data(text)["rows"]
    assert [row["id"] for row in rows] == [row["id"] for row in suite.rows]
    assert {row["output"] for row in rows} == {row["prediction"] for row in suite.rows}


def test_page_is_written_for_a_run_that_fails(suite: Suite) -> None:
    suite.set_ini(llmeval_html="reports/run.html")
    suite.write("evals/conftest.py", "")
    suite.write(
        "evals/test_qa.py",
        "from pytest_llmeval import assert_metric\n"
        "def test_wrong(evaluate):\n"
        "    results = evaluate(lambda prompt: 'no', 'data.jsonl', ['exact_match'])\n"
        "    assert_metric(results, 'exact_match', '>=', 0.9)\n",
    )
    assert suite.run().ret == 1

    text = page(suite, "reports/run.html")
    assert "Verdict: fail" in text
    assert "exact_match 0.000 (95 % upper bound 0.072, n=40) is below 0.900" in text


def test_gate_on_repeats_leads_to_the_rows_of_its_metric(suite: Suite) -> None:
    suite.write("evals/test_qa.py", REPEATED)
    assert suite.run(*HTML).ret == 1
    button = 'data-evaluation="0" data-metric="exact_match" data-sort="score"'
    assert button in page(suite)


def test_page_that_cannot_be_written_fails_the_run_and_says_why(suite: Suite) -> None:
    (suite.path / "report.html").mkdir()
    done = suite.run(*HTML)

    assert done.ret == 1
    expected = (
        f"no HTML report: cannot write {suite.path}/report.html: Is a directory;*"
    )
    done.stdout.fnmatch_lines([expected])
    assert suite.verdict["status"] == "pass"
    assert list(suite.path.glob("report.html*")) == [suite.path / "report.html"]


def test_nothing_is_written_when_nobody_asks(suite: Suite) -> None:
    done = suite.run()

    assert done.ret == 0
    assert "HTML" not in done.stdout.str()
    assert list(suite.path.rglob("*.html")) == []


def test_command_writes_the_page_of_a_run_that_is_over(suite: Suite) -> None:
    suite.run()
    first = suite.run_directory
    suite.run()

    assert suite.llmeval("report", first.name).ret == 0
    assert ("Run", first.name) in facts((first / "report.html").read_text())
    done = suite.llmeval("report", "last", "--html", "last.html")
    done.stdout.fnmatch_lines(["wrote last.html"])
    assert ("Run", suite.run_directory.name) in facts(page(suite, "last.html"))


def test_command_writes_markdown_in_place_of_the_page_or_beside_it(suite) -> None:
    suite.run("evals", "--llmeval-markdown", "run.md")
    done = suite.llmeval("report", "last", "--markdown", "new/late.md")
    assert done.outlines == ["wrote new/late.md"]
    late = (suite.path / "new/late.md").read_text(encoding="utf-8")
    assert late == page(suite, "run.md")
    assert not (suite.run_directory / "report.html").exists()

    both = ("--markdown", "late.md", "--html", "late.html")
    done = suite.llmeval("report", "last", *both)
    assert done.outlines == ["wrote late.md", "wrote late.html"]
    done = suite.llmeval("report", "last", "--markdown", "late.md/no.md")
    assert done.ret == 1
    done.stderr.fnmatch_lines(["llmeval: cannot write late.md/no.md: *"])


def test_run_from_before_undecided_gates_were_listed_is_reported(suite: Suite) -> None:
    suite.run()
    verdict = suite.verdict
    del verdict["undecided"]
    suite.write(f".llmeval/runs/{verdict['run_id']}/verdict.json", json.dumps(verdict))
    both = ("--markdown", "run.md", "--html", "run.html")
    assert suite.llmeval("report", "last", *both).ret == 0
    assert "ot decided" not in page(suite, "run.md") + page(suite, "run.html")


def test_run_stands_beside_the_run_its_gates_compared_with(suite: Suite) -> None:
    suite.run()
    first = suite.run_directory.name
    suite.write("evals/test_qa.py", CHANGED.format(baseline=first))
    assert suite.run(*HTML).ret == 0

    assert suite.verdict["gates"][0]["compared"]["run_id"] == first
    text = page(suite)
    assert "Beside the baseline" in text
    assert data(text)["rows"][0]["before"] == {"output": "WORD 0", "scores": [1.0]}

    shutil.rmtree(suite.run_directory.parent / first)
    assert suite.llmeval("report", "last", "--html", "report.html").ret == 0
    assert "Beside the baseline" not in page(suite)


def test_baseline_is_a_folder_wherever_it_lies(suite: Suite) -> None:
    suite.run()
    kept = suite.path / "kept"
    suite.run_directory.rename(kept)
    suite.run()
    suite.llmeval("report", "last", "--html", "report.html", "--baseline", "./kept")

    assert "before" in data(page(suite))["rows"][0]


def test_baseline_of_other_rows_is_not_compared(suite: Suite) -> None:
    suite.run()
    first = suite.run_directory.name
    suite.write_rows("evals/data.jsonl", [{"input": "a", "answer": "A"}] * 40)
    suite.run()
    options = ("--html", "report.html", "--baseline", first)
    assert suite.llmeval("report", "last", *options).ret == 0

    text = page(suite)
    assert "there is nothing to compare" in text
    assert "before" not in data(text)["rows"][0]


def test_page_of_a_run_that_was_killed_says_so(
    suite: Suite, model_server: ModelServer
) -> None:
    suite.ask(model_server)
    model_server.answer = model_server.hang
    run = suite.start()
    model_server.call_at(1, run.kill)
    run.communicate()
    assert suite.llmeval("report", "last", "--html", "report.html").ret == 0

    text = page(suite)
    assert "Verdict: incomplete" in text
    assert "the run is under way, or was cut off before its end" in text
    assert ("Finished", "not finished") in facts(text)


def test_page_of_a_run_that_evaluated_nothing_says_so(suite: Suite) -> None:
    suite.write("evals/test_qa.py", "def test_other(): pass\n")
    suite.run(*HTML, "--llmeval-require")

    text = page(suite)
    assert "<strong>NO_GATES</strong>: no gate was decided" in text
    assert "Nothing was evaluated in this run." in text
    assert "No gate was decided in this run." in text
    assert data(text) == {"evaluations": [], "rows": []}


def test_secrets_are_not_in_the_page(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SOME_API_KEY", "CANARY-7C1F")
    monkeypatch.setenv("BUILD_URL", "https://user:CANARY-PASS@ci.example.org/1")
    suite.write_rows("evals/data.jsonl", [{"input": "canary-7c1f", "answer": "a"}] * 40)
    suite.run(*HTML)

    text = page(suite)
    assert "[redacted]" in text
    assert "CANARY" not in text
    link = 'href="https://[redacted]@ci.example.org/1"'
    assert link in text


def test_what_became_a_secret_after_the_run_is_not_in_the_page(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    suite.run()
    monkeypatch.setenv("SOME_TOKEN", "exact_match")
    assert suite.llmeval("report", "last", "--html", "report.html").ret == 0

    assert "[redacted]" in page(suite)
    assert "exact_match" not in page(suite)


def damage(suite: Suite, name: str, change: str) -> None:
    path = suite.run_directory / name
    if change == "remove":
        path.unlink()
    elif change == "cut":
        path.write_text(path.read_text()[:-30])
    else:
        path.write_text(path.read_text().replace("WORD 7", change))


@pytest.mark.parametrize(
    ("name", "change", "message"),
    [
        ("verdict.json", "remove", "there is no run '*': *verdict.json is missing; *"),
        ("verdict.json", "cut", "cannot read *verdict.json: JSONDecodeError: *"),
        ("results.jsonl", "remove", "cannot read the rows in *: FileNotFoundError: *"),
        ("results.jsonl", "cut", "cannot read the rows in *results.jsonl: *"),
        (
            "results.jsonl",
            "WORD 8",
            "*they are not the rows that the verdict is about*",
        ),
    ],
)
def test_run_that_was_damaged_is_refused(
    suite: Suite, name: str, change: str, message: str
) -> None:
    suite.run()
    damage(suite, name, change)
    done = suite.llmeval("report", "last")

    assert done.ret == 1
    done.stderr.fnmatch_lines([f"llmeval: {message}"])
    assert not (suite.run_directory / "report.html").exists()


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ([], "*it lacks 'run_id'; this version reads verdicts of schema 1, whole"),
        ({"schema": 2}, "*its schema is another; this version reads *"),
    ],
)
def test_verdict_that_is_another_is_refused(
    suite: Suite, document: object, message: str
) -> None:
    suite.run()
    known = suite.verdict
    whole = {**known, **document} if isinstance(document, dict) else document
    (suite.run_directory / "verdict.json").write_text(json.dumps(whole))
    done = suite.llmeval("report", "last")

    assert done.ret == 1
    done.stderr.fnmatch_lines([f"llmeval: cannot use {message}"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["last"], "there is no last run in .llmeval: No such file or directory; *"),
        (["20990101"], "there is no run '20990101': *verdict.json is missing; *"),
    ],
)
def test_run_that_is_not_there_is_named(
    suite: Suite, arguments: list[str], message: str
) -> None:
    done = suite.llmeval("report", *arguments)

    assert done.ret == 1
    done.stderr.fnmatch_lines([f"llmeval: {message}"])
