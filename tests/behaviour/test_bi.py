"""From runs of pytest to what the Databricks dashboard shows of them, on Spark."""

import pytest

from pytest_llmeval.backends.databricks.dashboards.content import dataset_query
from pytest_llmeval.backends.databricks.dashboards.pages import DATASETS
from pytest_llmeval.history.parquet import ParquetPlace
from pytest_llmeval.history.schema import BY_NAME
from tests.history.warehouse import sail_tables

from .conftest import ROWS


pytestmark = pytest.mark.filterwarnings("ignore")
TABLES = ("runs", "evaluations", "metrics", "gates", "deployments")
SUITE = """\
from pytest_llmeval import assert_each_slice
from pytest_llmeval import assert_metric


def test_quality(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert_each_slice(results, "exact_match", ">=", 0.0, by="topic")
    assert_metric(results, "exact_match", ">=", 0.8)
"""
WORSE = """\
from pytest_llmeval import CallableModel

import pytest


@pytest.fixture
def llmeval_model():
    return CallableModel(
        lambda prompt: prompt.upper() if prompt[-1] in "02468" else "", version="2"
    )
"""


def test_the_dashboard_shows_what_two_runs_have_found(suite, tmp_path):
    rows = [
        {**row, "topic": "even" if number % 2 == 0 else "odd"}
        for number, row in enumerate(ROWS)
    ]
    suite.write_rows("evals/data.jsonl", rows)
    suite.write("evals/test_qa.py", SUITE)
    assert suite.run().ret == 0
    suite.write("evals/conftest.py", WORSE)
    assert suite.run().ret == 1
    worse = suite.verdict["run_id"]
    assert suite.llmeval("export").ret == 0

    place = ParquetPlace(tmp_path / ".llmeval" / "history")
    tables = {name: place.read(name, BY_NAME[name].names) for name in TABLES}
    folder = tmp_path / "warehouse"
    folder.mkdir()
    with sail_tables(tables, folder, "evals") as (spark, catalog):
        shown = {
            name: spark.sql(dataset_query(name, catalog, "evals")).toPandas()
            for name in DATASETS
        }

    (now,) = shown["now"].to_dict("records")
    assert (now["runs"], now["gates_not_pass"]) == (2, 1)
    gates = shown["gates"]
    assert set(gates["run_id"]) == {worse}
    first = gates.iloc[0]
    assert (first["decision"], first["value"], first["threshold"]) == ("fail", 0.5, 0.8)
    assert list(shown["trends"]["value"]) == [1.0, 0.5]
    assert list(shown["trends"]["at_least"]) == [0.8, 0.8]
    slices = shown["slices"].set_index("slice")
    assert slices["value"].to_dict() == {"topic = even": 1.0, "topic = odd": 0.0}
    assert slices["from_all_rows"].to_dict() == {
        "topic = even": 0.5,
        "topic = odd": -0.5,
    }
    assert list(shown["effort"]["requests"]) == [40, 40]
    assert shown["deployments"].empty
