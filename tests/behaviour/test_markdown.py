"""The Markdown report and the job summary, at the end of real runs."""

import json
import re
import signal

import pytest

from .conftest import PASSING
from .conftest import ROWS


HALF = [{**row, "answer": "other"} if i % 2 else row for i, row in enumerate(ROWS)]
HOSTILE = "::error::@user ##[add-mask]x\n::stop-commands::y\n\t::group::z"
COMMAND = re.compile(r"^\s*::|##\w*\[")


@pytest.fixture
def summary(suite, monkeypatch):
    """The file of the job summary, which GitHub makes before the step."""
    path = suite.path / "summary.md"
    path.touch()
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(path))
    return path


def test_in_github_actions_the_summary_is_written_without_being_asked(suite, summary):
    assert suite.run().ret == 0

    text = summary.read_text(encoding="utf-8")
    assert text.startswith("## Verdict: pass\n\nBecause: every gate passed\n")
    assert "| `test_qa.py::test_quality` | `exact_match` | 1.000 |" in text
    assert f"- run: `{suite.verdict['run_id']}`\n" in text
    assert "- usage: 40 requests\n" in text
    assert f"- rows: `{suite.run_directory.relative_to(suite.path)}/results.jsonl`" in (
        text
    )


def test_the_report_goes_to_the_file_of_the_option_or_the_ini_value(suite, summary):
    suite.write_rows("evals/data.jsonl", HALF)
    result = suite.run("evals", "--llmeval-markdown", "out/report.md")

    assert result.ret == 1
    result.stdout.fnmatch_lines(["Markdown report: out/report.md", "see *; repeat*"])
    text = (suite.path / "out/report.md").read_text(encoding="utf-8")
    assert text == summary.read_text(encoding="utf-8")
    assert text.startswith("## Verdict: fail, gate failed\n")
    assert "Row `r1`: score 0.000\n" in text
    suite.set_ini(llmeval_markdown="ini.md")
    suite.run()
    assert (suite.path / "ini.md").read_text(encoding="utf-8").startswith("## Verdict")


def test_a_report_that_cannot_be_written_fails_the_run_and_a_summary_does_not(
    suite, summary, monkeypatch
):
    monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(suite.path))
    result = suite.run()
    assert result.ret == 0
    result.stdout.fnmatch_lines([f"no Markdown report: cannot write {suite.path}: *"])
    monkeypatch.delenv("GITHUB_STEP_SUMMARY")
    result = suite.run("evals", "--llmeval-markdown", "pytest.ini/a.md")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [f"no Markdown report: cannot write {suite.path}/pytest.ini/a.md: *", "see *"]
    )
    assert suite.verdict["status"] == "pass"


def test_runs_that_keep_no_verdict_write_nothing(suite, summary):
    suite.write("evals/test_plain.py", "def test_plain():\n    pass\n")
    suite.run("evals/test_plain.py", "--llmeval-markdown", "report.md")
    assert suite.llmeval("gates", "update").ret == 0

    assert summary.read_bytes() == b""
    assert not (suite.path / "report.md").exists()


def test_an_interrupted_run_says_that_it_is_incomplete(suite, summary, model_server):
    model_server.answer = model_server.slowly
    suite.ask(model_server)
    suite.set_ini(llmeval_concurrency=1)
    process = suite.start()
    model_server.call_at(3, lambda: process.send_signal(signal.SIGINT))
    process.communicate(timeout=60)

    text = summary.read_text(encoding="utf-8")
    assert text.startswith("## Verdict: incomplete\n")
    assert "- model: none was gated\n" in text


def test_a_deployment_that_is_refused_is_said(suite, summary):
    suite.run("evals", "--llmeval-deploy", "registry:qa@champion")

    text = summary.read_text(encoding="utf-8")
    assert "- deployment to `registry:qa@champion`: not deployed, `NO_MANIFEST`:" in (
        text
    )


def test_the_tracked_run_is_named_with_how_to_open_it(suite, summary):
    suite.run("evals", "--llmeval-tracking", "auto")

    tracked = suite.verdict["mlflow_run_id"]
    command = "mlflow ui `--backend-store-uri sqlite:///mlflow.db`"
    line = f"- MLflow run: `{tracked}` (open with: {command})\n"
    assert line in summary.read_text(encoding="utf-8")


def test_no_secret_is_in_report_or_summary(suite, summary, monkeypatch):
    monkeypatch.setenv("MY_API_TOKEN", "canary-7f3a9b")
    monkeypatch.setenv("BUILD_URL", "https://user:canary-7f3a9b@ci.example/1")
    suite.write(
        "evals/conftest.py",
        "import os, pytest\n"
        "@pytest.fixture\n"
        "def llmeval_model():\n"
        "    def model(example):\n"
        "        if example.id == 'r3':\n"
        "            raise RuntimeError(os.environ['MY_API_TOKEN'])\n"
        "        return os.environ['MY_API_TOKEN']\n"
        "    return model\n",
    )
    source = PASSING.replace("0.9)", '0.9, on_error="worst")')
    suite.write("evals/test_qa.py", source)
    suite.run("evals", "--llmeval-markdown", "canary-7f3a9b.md")

    text = summary.read_text(encoding="utf-8")
    assert "[redacted]" in text
    assert "Rows in error" in text
    assert "Worst rows" in text
    assert "canary" not in text
    assert "canary" not in (suite.path / "canary-7f3a9b.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("style", ["auto", "long", "short", "line", "native"])
def test_no_line_of_the_log_is_a_workflow_command(suite, style):
    suite.write(
        "evals/conftest.py",
        "import json, pytest\n"
        "@pytest.fixture\n"
        "def llmeval_model():\n"
        f"    return lambda prompt: json.loads({json.dumps(json.dumps(HOSTILE))})\n",
    )
    rows = [
        {"id": f"{HOSTILE}{i}", "input": HOSTILE, "answer": HOSTILE * 2} for i in "ab"
    ]
    suite.write_rows("evals/data.jsonl", rows)
    suite.write_rows("evals/twice.jsonl", [rows[0], rows[0]])
    suite.write(
        "evals/test_log.py",
        "import pytest\n"
        "from pytest_llmeval import Metric, assert_each_slice, assert_metric\n"
        f"NAME = {HOSTILE!r}\n"
        "METRIC = Metric(name=NAME, score=lambda p, e: 0.0, range=(0, 1))\n"
        "@pytest.mark.parametrize('x', ['a/::error::b'])\n"
        "def test_metric(evaluate, x):\n"
        "    results = evaluate(data='data.jsonl', metrics=[METRIC])\n"
        "    assert_metric(results, NAME, '>=', 0.9)\n"
        "def test_unknown(evaluate):\n"
        "    results = evaluate(data='data.jsonl', metrics=[METRIC], name=NAME)\n"
        "    results[NAME + 'x']\n"
        "def test_data(evaluate):\n"
        "    evaluate(data='twice.jsonl', metrics=[METRIC])\n"
        "def test_slices(evaluate):\n"
        "    results = evaluate(data='data.jsonl', metrics=[METRIC])\n"
        "    assert_each_slice(results, NAME, '>=', 0.9, by='id')\n",
    )
    result = suite.run("evals", f"--tb={style}", "-rA", "--show-capture=no")

    assert result.ret == 1
    quoted = list(source_lines(suite))
    lines = [line for line in result.outlines if not any(q in line for q in quoted)]
    assert [line for line in lines if COMMAND.search(line)] == []
    assert r"\x3a:error::@user \x23#[add-mask]x" in result.stdout.str()


def source_lines(suite):
    """Lines of the suite, which pytest quotes as they are."""
    for path in (suite.path / "evals").glob("*.py"):
        yield from filter(None, path.read_text().splitlines())
