"""What a run in Spark leaves behind: files, reports, an MLflow run, a baseline."""

import json
import re

import mlflow
import pyarrow
import pytest
from pyarrow import parquet


pytestmark = pytest.mark.filterwarnings("ignore")  # of MLflow, in many places
SUITE = """\
from pytest_llmeval import CallableModel
from pytest_llmeval import assert_metric
from pytest_llmeval import assert_no_regression

import pytest

QUERY = "SELECT 'q' || id AS id, 'word ' || id AS input, 'WORD ' || id AS answer"


def answer(prompt):
    if prompt == "word 7":
        raise TimeoutError("asleep")
    return "WORD 0" if prompt.endswith(WRONG) else prompt.upper()


WRONG = "1"


@pytest.fixture
def llmeval_model():
    return CallableModel(answer, version=VERSION)


VERSION = "1"


def test_quality(evaluate):
    results = evaluate(
        data=f"{QUERY} FROM range(2000)", metrics=["exact_match"], engine="spark",
        name="words",
    )
    assert_metric(
        results, "exact_match", ">=", 0.8, on_error="exclude", max_error_rate=0.01
    )
"""
CHANGE = """

def test_change(evaluate):
    results = evaluate(
        data=f"{QUERY} FROM range(2000) WHERE id <> 7", metrics=["exact_match"],
        engine="spark", name="change",
    )
"""
FIRST = CHANGE + '    assert_metric(results, "exact_match", ">=", 0.8)\n'
SECOND = (
    CHANGE
    + '    assert_no_regression(results, "BASELINE", "exact_match", max_drop=0.02)\n'
)


@pytest.fixture
def spark_suite(suite):
    suite.write("evals/conftest.py", "")
    suite.write("evals/test_qa.py", SUITE)
    suite.set_ini(llmeval_spark="sail")
    return suite


def test_few_rows_are_kept_and_reports_say_where_the_others_lie(spark_suite):
    result = spark_suite.run(
        "evals", "--llmeval-html", "r.html", "--llmeval-markdown", "r.md"
    )
    assert result.ret == 0, result.stdout.str()
    (evaluation,) = spark_suite.verdict["evaluations"]
    assert evaluation["rows"] == 2000
    table = evaluation["table"]
    assert (table["rows_shown"], table["kinds"]) == (1000, {"exception": 1})
    rows = spark_suite.rows
    assert len(rows) == 1000
    assert [error["kind"] for error in rows[0]["errors"]] == ["exception"]
    assert all(row["scores"]["exact_match"] == 0 for row in rows[1:201])
    page = (spark_suite.path / "r.html").read_text()
    shown = re.sub(r"\s+", " ", page)
    assert f"2,000; all of them lie at {table['place']}, and 1,000 are shown" in shown
    assert "q7" in (spark_suite.path / "r.md").read_text()


def test_verdict_and_mlflow_name_the_query(spark_suite):
    uri = f"sqlite:///{spark_suite.path / 'mlflow.db'}"
    result = spark_suite.run("evals", "--llmeval-tracking", uri)
    assert result.ret == 0, result.stdout.str()
    (data,) = spark_suite.verdict["datasets"]
    assert data["kind"] == "sql"
    assert data["source"].startswith("SELECT 'q' || id AS id")
    client = mlflow.MlflowClient(uri)
    experiment = client.get_experiment_by_name("llmeval").experiment_id
    (child,) = client.search_runs([experiment], "params.dataset_digest LIKE 'sha256%'")
    (used,) = child.inputs.dataset_inputs
    assert used.dataset.source_type == "spark"
    source = json.loads(used.dataset.source)
    assert source["sql"] == data["source"]
    assert source["digest"] == data["digest"]


@pytest.fixture
def changed(spark_suite):
    """A second version that is to be compared with the first one's run."""
    spark_suite.write("evals/test_qa.py", SUITE + FIRST)
    assert spark_suite.run("evals").ret == 0
    run_id = spark_suite.run_directory.name
    second = (SUITE + SECOND).replace("BASELINE", run_id)
    spark_suite.write("evals/test_qa.py", second.replace('"1"', '"2"'))
    return spark_suite


def test_a_run_in_spark_is_the_baseline_of_the_next_one(changed):
    result = changed.run("evals")
    assert result.ret == 0, result.stdout.str()
    gate = changed.verdict["gates"][1]
    assert (gate["value"], gate["decision"], gate["n"]) == (0.0, "pass", 1999)
    compared = gate["compared"]
    # Right and wrong have changed places for the last digits 1 and 2, of 200 each.
    assert (compared["worse"], compared["better"]) == (200, 200)
    assert [flip["id"] for flip in compared["flips"]][:3] == ["q1002", "q1012", "q102"]


@pytest.mark.parametrize("edit", ["score_0", "answer_low", None])
def test_a_baseline_whose_rows_are_others_now_is_refused(changed, edit):
    files = list(changed.path.glob(".llmeval/spark/*/scores/*/*.parquet"))
    assert files
    for file in files:
        table = parquet.read_table(file)
        file.unlink()
        if edit is not None:
            at = table.schema.get_field_index(edit)
            cells = table.column(at).to_pylist()
            cells = [None if one is None else 0 for one in cells]
            cells = pyarrow.array(cells, table.schema.field(at).type)
            parquet.write_table(table.set_column(at, edit, cells), file)
    result = changed.run("evals")
    assert result.ret == 1
    gate = changed.verdict["gates"][1]
    assert (gate["decision"], gate["reason"]) == ("error", "BASELINE_UNUSABLE")
