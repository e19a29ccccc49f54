"""The queries of the Databricks dashboard, on Spark and DuckDB, against pandas."""

import datetime

import pandas as pd
import pyarrow as pa
import pytest

from pytest_llmeval.backends.databricks.dashboards.content import dashboard_content
from pytest_llmeval.backends.databricks.dashboards.content import dataset_query
from pytest_llmeval.backends.databricks.dashboards.content import read_content
from pytest_llmeval.backends.databricks.dashboards.pages import DATASETS

from .synthetic import synthetic_history
from .warehouse import sail_tables


pytestmark = pytest.mark.filterwarnings("ignore")
TABLES = ("runs", "evaluations", "metrics", "gates", "deployments")
SCHEMA = "eval`s"


@pytest.fixture(scope="module")
def history():
    """110 days of three suites: gates of slices and upper bounds, errors, free runs.

    The last run has a second evaluation of the same name, with other values.
    """
    tables = synthetic_history(runs=220, metrics=2, slices=3, every_h=12)
    gates = tables["gates"].to_pylist()
    more = [
        {**gate, "gate": 2, "metric": "token_f1", "op": "<=", "threshold": 0.9}
        for gate in gates[::2]
    ]
    more += [{**gate, "gate": 3, "threshold": 0.3} for gate in gates]
    more += [
        {**gate, "gate": 4, "slice_by": "language", "slice_value": "de"}
        | {"decision": "inconclusive", "threshold": 0.99}
        for gate in gates[-7:]
    ]
    more += [
        {**gate, "gate": 5, "slice_by": None, "slice_value": None}
        | {"kind": "change", "decision": "error", "value": None, "threshold": 0.7}
        for gate in gates[-2:]
    ]
    tables["gates"] = pa.Table.from_pylist(gates + more, tables["gates"].schema)
    evaluations = tables["evaluations"].to_pylist()
    evaluations[3] |= {"rows_asked": 0, "cost_usd": None}
    evaluations.append({**evaluations[-1], "evaluation": 2})
    tables["evaluations"] = pa.Table.from_pylist(
        evaluations, tables["evaluations"].schema
    )
    metrics = tables["metrics"].to_pylist()
    metrics += [
        {**metric, "evaluation": 2, "value": metric["value"] / 2, "n": 7}
        for metric in metrics[-6:]
    ]
    tables["metrics"] = pa.Table.from_pylist(metrics, tables["metrics"].schema)
    deployments = tables["deployments"].to_pylist()
    deployments[-1] |= {"run_id": None, "step": "rollback", "ended_at": None}
    tables["deployments"] = pa.Table.from_pylist(
        deployments, tables["deployments"].schema
    )
    return tables


@pytest.fixture(scope="module")
def spark(history, tmp_path_factory):
    tables = {name: history[name] for name in TABLES}
    folder = tmp_path_factory.mktemp("warehouse")
    with sail_tables(tables, folder, SCHEMA) as (spark, catalog):
        yield lambda name: spark.sql(dataset_query(name, catalog, SCHEMA)).toPandas()


@pytest.fixture(scope="module")
def duck(history):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'UTC'")
    connection.execute('CREATE SCHEMA "eval`s"')
    for name in TABLES:
        connection.register("given", history[name])
        connection.execute(f'CREATE TABLE "eval`s".{name} AS SELECT * FROM given')

    def ask(name):
        query = dataset_query(name, "memory", SCHEMA)
        return connection.execute(
            query.replace("`memory`.`eval``s`", '"memory"."eval`s"')
        ).df()

    yield ask
    connection.close()


@pytest.fixture(params=["spark", "duck"])
def ask(request):
    """Runs the query of a dataset, and returns what it gives."""
    return request.getfixturevalue(request.param)


@pytest.fixture(scope="module")
def frames(history):
    return {name: history[name].to_pandas() for name in TABLES}


def same(found, expected):
    """Assert that two frames hold the same rows in the same order."""
    pd.testing.assert_frame_equal(
        plain(found), plain(expected), check_dtype=False, rtol=1e-12
    )


def plain(frame):
    """Return a frame whose times are naive UTC, and whose gaps are of one kind."""
    frame = frame.reset_index(drop=True)
    for name in frame:
        column = frame[name]
        if isinstance(column.dtype, pd.DatetimeTZDtype):
            column = column.dt.tz_convert("UTC").dt.tz_localize(None)
        if pd.api.types.is_datetime64_any_dtype(column):
            column = column.astype("datetime64[us]")
            if name == "day":
                column = column.dt.date
        if not pd.api.types.is_numeric_dtype(column):
            column = column.astype(object)
        frame[name] = column.where(column.notna(), None)
    return frame


def newest(gates):
    """Return the gates of the newest run of each test."""
    at = gates.groupby("test")["run_id"].transform("max")  # ids begin with the time
    return gates[gates["run_id"] == at]


def test_now_counts_the_newest_gates(ask, frames):
    gates, runs = newest(frames["gates"]), frames["runs"]
    passed = int((gates["decision"] == "pass").sum())
    expected = {
        "gates_pass": [passed],
        "gates_not_pass": [len(gates) - passed],
        "runs": [220],
        "last_run_at": [runs["started_at"].max()],
    }
    assert 0 < passed < len(gates)
    same(ask("now"), pd.DataFrame(expected))


def test_gates_that_did_not_pass_come_first(ask, frames):
    gates = newest(frames["gates"]).merge(frames["runs"][["run_id", "model"]])
    assert sorted(gates["gate"].unique()) == [1, 2, 3, 4, 5]
    gates["slice"] = [
        f"{by} = {value}" if by == "language" else "all rows"
        for by, value in zip(gates["slice_by"], gates["slice_value"], strict=True)
    ]
    gates["is_passed"] = gates["decision"] == "pass"
    gates = gates.sort_values(["is_passed", "suite", "test", "run_id", "gate"])
    columns = ["suite", "test", "metric", "slice", "decision", "value", "lower"]
    columns += ["upper", "op", "threshold", "n", "model", "started_at", "run_id"]
    same(ask("gates"), gates[columns])


def test_heat_map_has_the_share_of_gates_passed_of_90_days(ask, frames):
    gates = frames["gates"]
    first = max(gates["day"]) - datetime.timedelta(days=90)
    gates = gates[gates["day"] > first]
    assert gates["day"].nunique() == 90
    passed = (gates["decision"] == "pass").groupby([gates["suite"], gates["day"]])
    expected = passed.agg(passed_share="mean", gates="size").reset_index()
    assert 0 < expected["passed_share"].mean() < 1
    same(ask("gate_history"), expected)


def test_trends_have_the_strictest_gate_of_each_side(ask, frames):
    metrics = frames["metrics"]
    points = metrics[metrics["slice_by"] == ""].merge(
        frames["evaluations"][["run_id", "evaluation", "name", "model"]]
    )
    points = points.rename(columns={"evaluation": "number", "name": "evaluation"})
    points["series"] = points["evaluation"] + " / " + points["metric"]
    even = {
        run for number, run in enumerate(frames["runs"]["run_id"]) if not number % 2
    }
    first = points["number"] == 1
    points["at_least"] = points["metric"].map({"rouge1": 0.6}).where(first)
    bounded = points["run_id"].isin(even) & (points["metric"] == "token_f1") & first
    points["at_most"] = bounded.map({True: 0.9, False: None})
    points = points.sort_values(["started_at", "run_id", "number", "metric"])
    columns = ["started_at", "day", "evaluation", "metric", "series", "value", "lower"]
    columns += ["upper", "at_least", "at_most", "n", "errors", "model", "run_id"]
    found = ask("trends")
    same(found, points[columns])
    assert len(found) == 442


def test_slices_of_the_newest_evaluations_are_set_beside_all_rows(ask, frames):
    metrics, evaluations = frames["metrics"], frames["evaluations"]
    in_order = evaluations.sort_values(["run_id", "evaluation"])
    last = in_order.groupby("name").tail(1)[["run_id", "evaluation", "name"]]
    cells = metrics.merge(last)
    whole = cells[cells["slice_by"] == ""].set_index(["name", "metric"])["value"]
    cells = cells[cells["slice_by"] != ""].copy()
    keys = pd.MultiIndex.from_frame(cells[["name", "metric"]])
    cells["from_all_rows"] = cells["value"].to_numpy() - whole.loc[keys].to_numpy()
    cells["slice"] = cells["slice_by"] + " = " + cells["slice_value"]
    cells["evaluation"] = cells["name"]
    cells = cells.sort_values(["evaluation", "metric", "slice_by", "slice_value"])
    columns = ["evaluation", "metric", "slice_by", "slice_value", "slice", "value"]
    columns += ["lower", "upper", "from_all_rows", "n", "errors", "started_at"]
    assert len(cells) == 3 * 2 * 2
    same(ask("slices"), cells[columns])


def test_cost_of_1000_answers_is_empty_where_none_was_asked_for(ask, frames):
    rows = frames["evaluations"].sort_values(["started_at", "run_id", "evaluation"])
    rows = rows.drop(columns="evaluation").rename(columns={"name": "evaluation"})
    asked = rows["rows_asked"].where(rows["rows_asked"] > 0)
    rows["cost_per_1000_usd"] = rows["cost_usd"] / asked * 1000
    columns = ["started_at", "day", "evaluation", "model", "latency_p50_ms"]
    columns += ["latency_p95_ms", "queue_p95_ms", "requests", "rows_asked"]
    columns += ["prompt_tokens", "output_tokens", "cost_usd", "cost_per_1000_usd"]
    columns += ["duration_s", "run_id"]
    assert rows["cost_per_1000_usd"].isna().sum() == 1
    same(ask("effort"), rows[columns])


def test_deployments_have_the_verdict_that_they_rest_on(ask, frames):
    verdicts = dict(
        zip(frames["runs"]["run_id"], frames["runs"]["status"], strict=True)
    )
    rows = frames["deployments"].sort_values("began_at", ascending=False)
    rows["verdict"] = rows["run_id"].map(verdicts)
    columns = ["began_at", "ended_at", "day", "target", "step", "traffic", "model"]
    columns += ["reason", "is_live", "message", "actor", "run_id", "verdict"]
    assert rows["verdict"].isna().sum() == 1
    same(ask("deployments"), rows[columns])


@pytest.mark.parametrize("name", DATASETS)
def test_widgets_ask_for_columns_that_their_queries_give(ask, name):
    content = read_content(dashboard_content("main", "evals"))
    asked = {
        field["expression"].partition("`")[2].partition("`")[0]
        for page in content["pages"]
        for item in page["layout"]
        for query in item["widget"].get("queries", [])
        if query["query"]["datasetName"] == name
        for field in query["query"]["fields"]
    }
    assert asked
    assert asked <= set(ask(name).columns)
