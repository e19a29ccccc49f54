"""Rows leave the folder of their run redacted, and by no way as they are."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from pytest_llmeval.backends.mlflow.connection import connect

from .conftest import Suite


# MLflow warns in many places; the runs under test are in processes of their own.
pytestmark = pytest.mark.filterwarnings("ignore")
MAIL = "anna.k@example.org"
RULES = {
    "llmeval_redact": "\n    [\\w.+-]+@[\\w-]+\\.\\w+\n    (?i)case [0-9]+",
    "llmeval_redact_columns": "\n    answer",
}
SECRETS = (MAIL, MAIL.upper(), "CASE 1", "case 1", "sesame")
FAILING = """\
from pytest_llmeval import assert_metric


def test_quality(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.9)


def test_plain(evaluate):
    results = evaluate(data="data.jsonl", metrics=["rouge1"])
    assert results["rouge1"] >= 0.99
"""
COMPARED = """\
from pytest_llmeval import assert_no_regression


def test_quality(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert_no_regression(results, "{run}", "exact_match", max_drop=0.5)
"""


def rows_of(suite: Suite, right: int) -> None:
    """Write rows that hold what nobody may see; so many of them are answered right."""
    rows: list[dict[str, Any]] = [
        {
            "id": f"r{i}",
            "input": f"mail {MAIL} on case 1{i}",
            "answer": f"MAIL {MAIL.upper()} ON CASE 1{i}" if i < right else "sesame",
            "lang": "de" if i % 2 else "fr",
            "who": MAIL,
        }
        for i in range(20)
    ]
    suite.write_rows("evals/data.jsonl", rows)


def leaked(text: str) -> list[str]:
    return [secret for secret in SECRETS if secret in text]


@pytest.fixture
def private(suite: Suite) -> Suite:
    rows_of(suite, 10)
    suite.write("evals/test_qa.py", FAILING)
    suite.set_ini(**RULES)
    return suite


def uploaded(suite: Suite) -> dict[str, str]:
    """Return every artifact's text by its path."""
    folder = suite.path / "mlartifacts"
    files = (path for path in folder.rglob("*") if path.is_file())
    return {str(path): path.read_text("utf-8") for path in files}


def test_reports_log_junit_verdict_and_mlflow_hold_nothing_that_a_rule_hides(
    private: Suite,
) -> None:
    result = private.run(
        "evals",
        "--llmeval-tracking=auto",
        "--llmeval-html=report.html",
        "--llmeval-markdown=report.md",
        "--junitxml=junit.xml",
    )
    result.assert_outcomes(failed=2)
    texts = {
        name: (private.path / name).read_text("utf-8")
        for name in ("report.html", "report.md", "junit.xml")
    }
    texts |= uploaded(private)
    texts["log"] = result.stdout.str()
    texts["verdict"] = json.dumps(private.verdict)
    assert sum("results.jsonl" in name for name in texts) == 2
    assert {name: leaked(text) for name, text in texts.items() if leaked(text)} == {}
    assert all("[redacted]" in text for name, text in texts.items())


def test_the_folder_of_the_run_keeps_the_rows_as_they_are(private: Suite) -> None:
    private.run()
    assert private.rows[0]["input"] == f"mail {MAIL} on case 10"
    assert private.rows[-1]["references"] == ["sesame"]


def test_workers_hide_the_same(private: Suite) -> None:
    result = private.run("evals", "-n2", "--llmeval-markdown=report.md")
    result.assert_outcomes(failed=2)
    markdown = (private.path / "report.md").read_text("utf-8")
    shown = (result.stdout.str(), markdown, json.dumps(private.verdict))
    assert [leaked(text) for text in shown] == [[], [], []]
    assert private.verdict["evaluations"][0]["redacted_digest"].startswith("sha256:")


def test_a_later_report_keeps_to_the_rules_of_the_run(private: Suite) -> None:
    private.run()
    private.set_ini(llmeval_redact="", llmeval_redact_columns="")
    assert private.llmeval("report", "last", "--html", "later.html").ret == 0
    page = (private.path / "later.html").read_text("utf-8")
    assert leaked(page) == []
    assert '"columns":"lang: fr\\nwho: [redacted]"' in page


def test_an_upload_that_comes_later_is_redacted_too(private: Suite) -> None:
    private.run("evals", "--llmeval-tracking=http://127.0.0.1:9")
    private.set_ini(llmeval_redact="", llmeval_redact_columns="")
    uri = f"sqlite:///{private.path / 'mlflow.db'}"
    assert private.llmeval("sync", "--tracking", uri).ret == 0
    texts = uploaded(private)
    assert len(texts) == 3
    assert {name: leaked(text) for name, text in texts.items() if leaked(text)} == {}


def test_uploaded_rows_are_a_baseline_still(suite: Suite) -> None:
    """They have a digest of their own, by which the verdict knows them."""
    rows_of(suite, 20)
    suite.set_ini(**RULES)
    suite.run("evals", "--llmeval-tracking=auto")
    run = suite.run_directory.name
    rows_of(suite, 20)
    suite.write("evals/test_qa.py", COMPARED.format(run=run))
    # Only MLflow has it then.
    suite.run_directory.rename(suite.path / "elsewhere")
    result = suite.run("evals", "--llmeval-tracking=auto")
    result.assert_outcomes(passed=1)
    assert suite.verdict["gates"][0]["compared"]["run_id"] == run


def test_rows_that_were_changed_in_mlflow_are_no_baseline(suite: Suite) -> None:
    rows_of(suite, 20)
    suite.set_ini(**RULES)
    suite.run("evals", "--llmeval-tracking=auto")
    run = suite.run_directory.name
    suite.write("evals/test_qa.py", COMPARED.format(run=run))
    suite.run_directory.rename(suite.path / "elsewhere")
    (artifact,) = (suite.path / "mlartifacts").rglob("results.jsonl")
    artifact.write_text(artifact.read_text("utf-8").replace("1.0", "0.0", 1), "utf-8")
    result = suite.run("evals", "--llmeval-tracking=auto")
    result.assert_outcomes(failed=1)
    assert suite.verdict["gates"][0]["reason"] == "BASELINE_UNUSABLE"


def test_rows_do_not_leave_when_the_rules_cannot_be_read(private: Suite) -> None:
    private.run()
    (private.run_directory / "redaction.json").write_text("{", "utf-8")
    result = private.llmeval("report", "last", "--html", "later.html")
    assert result.ret == 1
    assert re.search(
        r"no\s+row leaves the folder without the rules", result.errlines[0]
    )
    assert not (private.path / "later.html").exists()


def test_a_bad_rule_stops_the_run_before_a_request(suite: Suite) -> None:
    suite.set_ini(llmeval_redact="\n    good\n    (")
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert "llmeval_redact, line 2: ( is no regular expression" in result.stderr.str()
    assert not (suite.path / ".llmeval").exists()


def test_mlflow_parameters_name_no_row(private: Suite) -> None:
    private.run("evals", "--llmeval-tracking=auto")
    uri = f"sqlite:///{private.path / 'mlflow.db'}"
    client = connect(uri, Path(private.path / ".llmeval"))
    (experiment,) = (e for e in client.search_experiments() if e.name == "llmeval")
    runs = client.search_runs([experiment.experiment_id])
    assert len(runs) == 3
    assert leaked(json.dumps([run.to_dictionary() for run in runs])) == []
