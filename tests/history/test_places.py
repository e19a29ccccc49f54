"""Every place holds the same history, once, whatever happens on the way."""

import csv
import datetime
import json
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
import sqlalchemy

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.history.export import export
from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.history.schema import TABLES
from pytest_llmeval.history.sources import export_runs

from .lived import MONDAY
from .lived import attempt_of
from .lived import deploy
from .lived import leave_run
from .lived import row_of
from .lived import verdict_of
from .synthetic import synthetic_history


PLACES = ("history", "csv:history", "sqlite:///history.db", "postgresql")


@pytest.fixture(params=PLACES)
def place(request, open_at):
    """A place of each kind, empty."""
    text = request.param
    if text == "postgresql":
        text = request.getfixturevalue("database")
    return open_at(text)


def all_of(place, table):
    columns = list(BY_NAME[table].names)
    keys = [(name, "ascending") for name in BY_NAME[table].keys]
    return place.read(table, columns).sort_by(keys)


def counts(place):
    return {table.name: all_of(place, table.name).num_rows for table in TABLES}


def test_a_place_gives_back_what_was_put_there(place):
    history = synthetic_history(30, 3, slices=2, rows=4)
    place.replace(history)
    for name, table in history.items():
        keys = [(key, "ascending") for key in BY_NAME[name].keys]
        found = all_of(place, name).to_pylist()
        if place.name.startswith("csv:") and name == "gates":  # "" and none are one
            found = [{**gate, "slice_by": "", "slice_value": ""} for gate in found]
        assert found == table.sort_by(keys).to_pylist()


def test_the_same_runs_twice_change_nothing(place, home):
    for number in range(5):
        leave_run(home, verdict_of(number), [row_of(1), row_of(2)])
    first = export_runs(home, place, with_rows=True)
    before = {table.name: all_of(place, table.name) for table in TABLES}
    second = export_runs(home, place, with_rows=True)
    third = export_runs(home, place, with_rows=True, again=True)
    assert (first.new, first.changed, first.same) == (5, 0, 0)
    assert (second.new, second.changed, second.same) == (0, 0, 5)
    assert (third.new, third.changed, third.same) == (0, 5, 0)
    for name, table in before.items():
        assert all_of(place, name).equals(table)


def test_a_run_that_is_deployed_later_is_brought_up_to_date(place, home):
    verdict = verdict_of()
    leave_run(home, verdict, [row_of(1)])
    export_runs(home, place, with_rows=True)
    deploy(home, attempt_of(verdict, reason="APPLYING", ended_at=None))
    assert export_runs(home, place).changed == 1
    deploy(home, attempt_of(verdict))
    assert export_runs(home, place).changed == 1
    (deployment,) = all_of(place, "deployments").to_pylist()
    assert deployment["reason"] == "DEPLOYED"
    assert deployment["is_live"] is True
    assert deployment["model"] == "models:/qa/3"
    assert all_of(place, "runs").column("has_rows").to_pylist() == [True]
    assert counts(place)["rows"] == 1


def test_a_rollback_without_a_run_is_a_deployment_too(place, home):
    verdict = verdict_of()
    leave_run(home, verdict)
    undone = {"run_id": None, "step": "rollback", "reason": "RESTORED"}
    deploy(home, attempt_of(verdict, "d2", **undone))
    export_runs(home, place)
    export_runs(home, place)
    (deployment,) = all_of(place, "deployments").to_pylist()
    assert (deployment["step"], deployment["run_id"]) == ("rollback", None)


def test_rows_come_only_when_they_are_asked_for_and_then_also_later(place, home):
    leave_run(home, verdict_of(), [row_of(1), row_of(2)])
    export_runs(home, place)
    assert counts(place)["rows"] == 0
    done = export_runs(home, place, with_rows=True)
    assert (done.changed, counts(place)["rows"]) == (1, 2)


def test_a_row_is_redacted_before_it_is_written(place, home):
    run = leave_run(home, verdict_of(), [row_of(1, prediction="call 555-0199")])
    rules = {"patterns": ["[0-9]{3}-[0-9]{4}"], "columns": []}
    (run / "redaction.json").write_text(json.dumps(rules))
    export_runs(home, place, with_rows=True)
    assert all_of(place, "rows").column("prediction").to_pylist() == ["call [redacted]"]


def test_a_run_whose_rules_cannot_be_read_is_left_out(place, home):
    run = leave_run(home, verdict_of(), [row_of(1)])
    (run / "redaction.json").write_text("{")
    (left,) = export_runs(home, place, with_rows=True).left_out
    assert "no row leaves the folder" in left.why


def test_hostile_texts_arrive_harmless(place, home, monkeypatch):
    monkeypatch.setenv("MY_TOKEN", "hunter2hunter2")
    hostile = "=1+1\x00\x1b[31m\ud800 hunter2hunter2 '; DROP TABLE runs; --"
    verdict = verdict_of(detail=hostile, branch="@SUM(A1)", commit="-2+3")
    metrics = verdict["evaluations"][0]["metrics"]
    metrics['it\'s "quoted"; DROP TABLE runs; -- :x %s'] = metrics["rouge1"]
    leave_run(home, verdict, [row_of(1, input=hostile, prediction="+1")])
    export_runs(home, place, with_rows=True)
    (run,), (row,) = (
        all_of(place, "runs").to_pylist(),
        all_of(place, "rows").to_pylist(),
    )
    shown = "=1+1\\x00\\x1b[31m\\ud800 [redacted] '; DROP TABLE runs; --"
    assert (run["detail"], row["input"]) == (shown, shown)
    assert (run["git_branch"], row["prediction"]) == ("@SUM(A1)", "+1")
    assert counts(place)["metrics"] == 4


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"finished_at": None}, "it has not come to an end"),
        ({"schema": 9}, "its verdict is none of schema 1"),
        ({"gates": {}}, "its verdict has no usable 'gates'"),
        ({"gates": [7]}, "its verdict has another form: AttributeError"),
        ({"started_at": 1e300}, "its verdict does not say when it began"),
    ],
)
def test_what_is_no_finished_run_is_left_out_with_a_reason(open_at, home, change, why):
    place = open_at("history")
    leave_run(home, verdict_of(1))
    leave_run(home, verdict_of(2, **change))
    done = export_runs(home, place)
    assert done.new == 1
    assert [left.why.startswith(why) for left in done.left_out] == [True]


def test_a_key_that_a_verdict_names_twice_is_written_once(place, home):
    verdict = verdict_of()
    verdict["evaluations"] *= 2
    leave_run(home, verdict, [row_of(1), row_of(1)])
    export_runs(home, place, with_rows=True)
    assert counts(place) == {
        "runs": 1,
        "evaluations": 1,
        "metrics": 3,
        "gates": 2,
        "deployments": 0,
        "rows": 1,
    }


def test_a_note_is_kept_for_the_next_export(place):
    assert place.note("read x") is None
    place.keep_note("read x", "2026-11-30")
    place.keep_note("read x", "2026-12-01")
    assert place.note("read x") == "2026-12-01"


def test_numbers_and_moments_are_those_of_the_verdict(open_at, home):
    place = open_at("history")
    leave_run(home, verdict_of(1))
    export_runs(home, place)
    (run,) = all_of(place, "runs").to_pylist()
    began = datetime.datetime(2026, 11, 30, 1, 53, 20, tzinfo=datetime.UTC)
    assert began.timestamp() == MONDAY + 3_600
    assert run["started_at"] == began
    assert run["day"] == datetime.date(2026, 11, 30)
    assert (run["duration_s"], run["rows"], run["requests"]) == (60.0, 80, 81)
    assert (run["gates_pass"], run["gates_fail"]) == (1, 1)
    (evaluation,) = all_of(place, "evaluations").to_pylist()
    assert evaluation["suite"] == "evals/test_qa.py"
    assert evaluation["latency_p95_ms"] == 120.0
    metrics = {
        (m["metric"], m["slice_by"], m["slice_value"]): m
        for m in all_of(place, "metrics").to_pylist()
    }
    assert set(metrics) == {
        ("rouge1", "", ""),
        ("length", "", ""),
        ("rouge1", "language", "de"),
    }
    sliced = metrics["rouge1", "language", "de"]
    assert (sliced["value"], sliced["lower"], sliced["n"]) == (0.5, None, 20)
    assert sliced["higher_is_better"] is True
    assert metrics["length", "", ""]["value"] == 12.5


def test_no_row_of_the_data_stands_outside_the_table_rows(open_at, home):
    place = open_at("csv:history")
    leave_run(home, verdict_of(), [row_of(1, input="private")])
    export_runs(home, place)
    for file in (home.parent / "history").glob("*.csv"):
        assert "private" not in file.read_text()


def test_a_csv_cell_is_no_formula(open_at, home):
    leave_run(home, verdict_of(branch="=cmd()", commit="-1", detail="@x"))
    export_runs(home, open_at("csv:history"))
    with (home.parent / "history" / "runs.csv").open() as file:
        (run,) = csv.DictReader(file)
    cells = [run[name] for name in ("git_branch", "git_commit", "detail")]
    assert cells == ["'=cmd()", "'-1", "'@x"]


def test_the_columns_of_a_database_say_what_they_mean(open_at, database):
    open_at(database)
    url = database.replace("postgresql:", "postgresql+psycopg:")
    with sqlalchemy.create_engine(url, poolclass=sqlalchemy.NullPool).connect() as one:
        inspected = sqlalchemy.inspect(one)
        for table in TABLES:
            found = {c["name"]: c["comment"] for c in inspected.get_columns(table.name)}
            assert found == {column.name: column.described for column in table.columns}
            keys = inspected.get_pk_constraint(table.name)["constrained_columns"]
            assert keys == list(table.keys)


def wide_in_database(place):
    with place._engine.connect() as connection:
        rows = connection.execute(sqlalchemy.text("SELECT * FROM metrics_wide"))
        return [dict(row) for row in rows.mappings()]


def wide_in_duckdb(place, monkeypatch):
    monkeypatch.chdir(place.name)
    connection = duckdb.connect()
    connection.execute(Path("views.sql").read_text())
    found = connection.execute("SELECT * FROM metrics_wide")
    names = [column[0] for column in found.description]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


@pytest.mark.parametrize("text", [name for name in PLACES if "csv" not in name])
def test_the_wide_view_has_a_column_for_each_metric(
    text, open_at, home, request, monkeypatch
):
    place = open_at(
        request.getfixturevalue("database") if text == "postgresql" else text
    )
    verdict = verdict_of()
    values = verdict["evaluations"][0]["metrics"]
    values["Order By"] = {**values["rouge1"], "value": 3.0}
    values["order-by"] = {**values["rouge1"], "value": 4.0}
    leave_run(home, verdict)
    export_runs(home, place)
    leave_run(home, verdict_of(2, status="pass"))
    export_runs(home, place)
    wide = (
        wide_in_duckdb(place, monkeypatch)
        if text == "history"
        else wide_in_database(place)
    )
    found = {
        (row["run_id"], row["slice_value"]): (
            row["status"],
            row["m_rouge1"],
            row["m_length"],
            row["m_order_by"],
            row["m_order_by_2"],
            row["m_rouge1_upper"],
        )
        for row in wide
    }
    first, second = verdict["run_id"], verdict_of(2)["run_id"]
    assert found == {
        (first, ""): ("fail", 0.75, 12.5, 3.0, 4.0, 0.86),
        (first, "de"): ("fail", 0.5, None, None, None, 0.86),
        (second, ""): ("pass", 0.75, 12.5, None, None, 0.86),
        (second, "de"): ("pass", 0.5, None, None, None, 0.86),
    }


def test_ten_thousand_runs_make_one_file_for_each_day_and_table(open_at):
    place = open_at("history")
    history = synthetic_history(2_000, 2)
    half = history["runs"].column("run_id")[1_000].as_py()
    for keep_first in (True, False):
        part = {
            name: table.filter(
                pa.compute.equal(
                    pa.compute.less(table.column(owner), pa.scalar(half)), keep_first
                )
            )
            for name, table in history.items()
            for owner in ["run_id"]
        }
        place.replace(part)
    days = len(set(history["runs"].column("day").to_pylist()))
    files = list((place._folder.path / "metrics").rglob("*.parquet"))
    assert len(files) == days + 1  # the empty one
    assert all_of(place, "metrics").num_rows == 4_000


@pytest.mark.parametrize("schema", [2, 0, "x"])
@pytest.mark.parametrize("text", PLACES[:3])
def test_a_history_of_another_schema_is_refused(text, schema, open_at, tmp_path):
    place = open_at(text)
    if text.startswith("sqlite"):
        place.keep_note("schema", str(schema))
    else:
        (file,) = tmp_path.glob("history/history.json")
        document = json.loads(file.read_bytes())
        file.write_text(json.dumps({**document, "schema": schema}))
    with pytest.raises(ConfigurationError) as caught:
        open_at(text)
    hint = "update pytest-llmeval-gate" if schema == 2 else "into an empty place"
    assert hint in str(caught.value)
    assert f"schema {schema!r}" in str(caught.value)


def test_a_folder_of_something_else_is_left_alone(open_at, tmp_path):
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.jpg").touch()
    with pytest.raises(ConfigurationError, match=r"holds 'cat\.jpg' and no history"):
        open_at("photos")
    assert [p.name for p in (tmp_path / "photos").glob("[!.]*")] == ["cat.jpg"]


def test_a_folder_is_not_taken_for_another_form(open_at):
    open_at("history")
    with pytest.raises(ConfigurationError, match="as 'parquet', not as csv"):
        open_at("csv:history")


def test_the_tables_of_somebody_else_are_left_alone(open_at, tmp_path):
    url = f"sqlite:///{tmp_path / 'mlflow.db'}"
    with sqlalchemy.create_engine(url).begin() as connection:
        connection.execute(sqlalchemy.text("CREATE TABLE runs (run_uuid TEXT)"))
    with pytest.raises(ConfigurationError, match="a table 'runs' that is not ours"):
        open_at(url)


def test_a_password_is_in_no_message(open_at):
    url = "postgresql://me:hunter2hunter2@127.0.0.1:1/db"
    with pytest.raises(ConfigurationError, match="cannot use the history") as caught:
        open_at(url)
    assert "hunter2" not in str(caught.value)
    assert "me:***@127.0.0.1:1/db" in str(caught.value)


@pytest.mark.parametrize("url", ["nonsense://x", "https://host/x"])
def test_a_url_of_no_database_is_refused(url, open_at):
    with pytest.raises(ConfigurationError, match="is no URL of a database"):
        open_at(url)


def test_a_batch_is_written_before_there_are_too_many(open_at, home, monkeypatch):
    monkeypatch.setattr("pytest_llmeval.history.export.RUNS_AT_ONCE", 2)
    for number in range(5):
        leave_run(home, verdict_of(number))
    place, batches = open_at("history"), []
    replace = place.replace
    place.replace = lambda tables: (
        batches.append(tables["runs"].num_rows),
        replace(tables),
    )
    assert export_runs(home, place).new == 5
    assert batches == [2, 2, 1]
    assert export([], place).new == 0
