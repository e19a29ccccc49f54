"""What the dashboard is told, by hand: the same from files and from a database."""

from __future__ import annotations

import dataclasses
import datetime
import json
import sqlite3
from pathlib import Path

import pandas as pd
import pytest

from pytest_llmeval.dashboard import drill
from pytest_llmeval.dashboard import queries
from pytest_llmeval.dashboard.answers import Answers
from pytest_llmeval.dashboard.answers import to_json
from pytest_llmeval.dashboard.choice import Choice
from pytest_llmeval.dashboard.choice import read_choice
from pytest_llmeval.dashboard.source import History
from pytest_llmeval.dashboard.source import open_history
from pytest_llmeval.errors import ConfigurationError
from tests.history import small
from tests.history.synthetic import write_synthetic


CHOICE = Choice(suite=small.SUITE, name=small.NAME, metric="f1")


@pytest.fixture(scope="module", params=["files", "sqlite", "postgresql"])
def place(request: pytest.FixtureRequest, tmp_path_factory) -> str:
    folder = tmp_path_factory.mktemp("history")
    if request.param == "files":
        return str(small.write_folder(folder / "a [b] 'c'", small.records()))
    url = f"sqlite:///{folder / 'history.db'}"
    if request.param == "postgresql":
        pytest.importorskip("psycopg")
        url = request.getfixturevalue("postgres")
    return small.write_database(url, small.records())


@pytest.fixture(scope="module")
def history(place: str) -> History:
    return open_history(place)


@pytest.fixture(scope="module")
def answers(history: History, tmp_path_factory) -> Answers:
    return Answers(history, tmp_path_factory.mktemp("no runs"))


def choose(**changes: object) -> Choice:
    return dataclasses.replace(CHOICE, **changes)


def test_each_run_is_a_point_with_its_interval_and_the_threshold_it_met(history):
    points = queries.trend(history, CHOICE)["points"]
    assert [point["value"] for point in points] == list(small.VALUES)
    assert [point["decision"] for point in points] == list(small.DECISIONS)
    assert [round(point["threshold"], 2) for point in points] == [
        0.6, 0.61, 0.62, 0.63, 0.64, 0.65,
    ]  # fmt: skip
    assert {point["op"] for point in points} == {">="}
    assert (points[1]["lower"], points[1]["upper"]) == pytest.approx((0.5, 0.7))
    assert [point["run_id"] for point in points] == [
        small.run_id(at) for at in range(6)
    ]


def test_runs_that_share_a_point_show_the_last_and_the_extremes(history):
    points = queries.trend(history, choose(points=2))["points"]
    told = [(p["value"], p["least"], p["most"], p["runs"], p["worst"]) for p in points]
    # 0.8, 0.6, 0.9 pass, fail, pass; 0.7, 0.5, 0.75 inconclusive, error, pass.
    assert told == [(0.9, 0.6, 0.9, 3, "fail"), (0.75, 0.5, 0.75, 3, "error")]


def test_a_span_of_time_has_its_beginning_and_not_its_end(history):
    hour = datetime.timedelta(hours=1)
    span = choose(since=small.START + hour, until=small.START + 3 * hour)
    points = queries.trend(history, span)["points"]
    assert [point["value"] for point in points] == [0.6, 0.9]
    assert len(queries.calls(history, span)["points"]) == 2


def test_a_slice_is_a_series_of_its_own_without_the_gate_of_all_rows(history):
    cut = choose(slice_by="language", slice_value="de")
    points = queries.trend(history, cut)["points"]
    assert points[0]["value"] == pytest.approx(0.6)
    assert points[0]["threshold"] is None


def test_a_release_is_where_the_model_becomes_another(history):
    found = queries.trend(history, CHOICE)
    assert [(r["run_id"], r["model"]) for r in found["releases"]] == [
        (small.run_id(4), "models:/qa/2")
    ]
    assert [d["target"] for d in found["deployments"]] == ["registry:qa@champion"]


def test_heat_counts_the_decisions_of_each_part_of_the_time(history):
    cells = queries.heat(history, CHOICE)["cells"]
    assert [cell["part"] for cell in cells] == [1, 2, 3, 4, 5, 6]
    counts = [
        tuple(
            int(cell[name]) for name in ("passed", "failed", "inconclusive", "errors")
        )
        for cell in cells
    ]
    assert counts[:2] == [(1, 0, 0, 0), (0, 1, 0, 0)]
    assert counts[3:5] == [(0, 0, 1, 0), (0, 0, 0, 1)]
    assert [cell["missed"] for cell in cells[:2]] == [None, small.run_id(1)]


def test_latency_and_cost_are_those_of_the_runs(history):
    points = queries.calls(history, choose(points=2))["points"]
    assert [(p["p50"], p["p95"], p["cost"], p["total"]) for p in points] == [
        (200.0, 300.0, 0.5, 1.5),
        (500.0, 300.0, 0.5, 1.5),
    ]


def test_slices_stand_beside_those_of_the_run_before(history):
    whole, cut = queries.slices(history, CHOICE)["slices"]
    assert (whole["slice_by"], whole["value"], whole["before"]) == ("", 0.75, 0.5)
    assert (cut["slice_value"], cut["value"], cut["before"]) == pytest.approx(
        ("de", 0.55, 0.3)
    )


def test_lists_name_what_there_is_and_the_metric_that_is_gated(history):
    found = queries.lists(history, Choice())
    assert found["evaluations"] == [{"key": [small.SUITE, small.NAME], "runs": 6}]
    assert (found["metrics"], found["gated"]) == (["f1"], "f1")
    assert found["slices"] == [["", ""], ["language", "de"]]
    assert found["runs"][0]["run_id"] == small.run_id(5)


def test_worst_rows_begin_with_those_in_error(history, tmp_path):
    found = drill.worst(history, choose(run=small.run_id(5)), tmp_path)
    assert [(row["id"], row["score"]) for row in found["rows"]] == [
        ("breaks", None),
        ("falls", 0.5),
        ("rises", 0.5),
    ]
    assert found["rows"][0]["error"] == "timeout: asleep"
    assert found["of"] == 3


def test_two_runs_are_compared_row_by_row(history, tmp_path):
    runs = {"run": small.run_id(4), "other": small.run_id(1)}
    found = drill.compare(history, choose(**runs), tmp_path)
    told = [
        (r["id"], round(r["change"], 6), r["before"]["output"]) for r in found["rows"]
    ]
    assert told == [("falls", -0.3, "falls 1"), ("rises", 0.3, "rises 1")]
    assert (found["worse"], found["better"], found["same"]) == (1, 1, 1)


def test_rows_in_error_are_compared_and_counted_apart(history, tmp_path):
    runs = {"run": small.run_id(5), "other": small.run_id(4)}
    found = drill.compare(history, choose(**runs), tmp_path)
    assert (found["rows"][0]["id"], found["rows"][0]["change"]) == ("breaks", None)
    assert (found["unscored"], found["of"]) == (1, 3)


def test_rows_that_are_nowhere_are_said_to_be(history, tmp_path):
    made = small.records()
    made["rows"] = []
    bare = open_history(str(small.write_folder(tmp_path / "bare", made)))
    found = drill.worst(bare, choose(run=small.run_id(0)), tmp_path)
    assert found["rows"] == []
    assert "llmeval export --rows" in found["source"]


def test_a_run_that_is_not_there_is_named(history):
    with pytest.raises(ConfigurationError, match="the history has no run 'other'"):
        drill.run(history, choose(run="other"))


def test_answers_are_json_with_times_in_seconds(answers):
    for name in answers.names:
        given = {
            "evaluation": json.dumps([small.SUITE, small.NAME]),
            "metric": "f1",
            "run": small.run_id(5),
            "other": small.run_id(4),
        }
        found = json.loads(to_json(answers.answer(name, given)))
        assert found
    point = answers.answer("trend", given)["points"][0]
    assert point["started_at"] == small.START.timestamp()


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"evaluation": "no json"}, "evaluation must be a JSON list of two texts"),
        ({"slice": "[1]"}, "slice must be a JSON list of two texts"),
        ({"since": "yesterday"}, "since must be a time in seconds since 1970"),
        ({"since": "1e300"}, "since must be a time in seconds since 1970"),
        ({"run": "../../etc/passwd"}, "run must be the id of a run"),
        ({"other": ".."}, "other must be the id of a run"),
        ({"run": "a/b"}, "run must be the id of a run"),
        ({"points": "1000000"}, "points must be a number from 1 to 2,000"),
        ({"points": "-1"}, "points must be a number from 1 to 2,000"),
    ],
)
def test_a_choice_that_the_page_does_not_give_is_refused(given, said):
    with pytest.raises(ConfigurationError, match=f"^{said}$"):
        read_choice(given)


def test_texts_of_a_choice_are_values_and_no_sql(history):
    for text in ("f1'; drop table runs; --", "f1' or '1'='1", "\x01", ":metric"):
        assert queries.trend(history, choose(metric=text))["points"] == []
    assert len(queries.trend(history, CHOICE)["points"]) == 6


def test_numbers_are_those_that_pandas_finds(tmp_path):
    made = write_synthetic(tmp_path, runs=3_000, metrics=2, slices=2, seed=3)
    metrics = made["metrics"].to_pandas()
    joined = metrics.merge(
        made["evaluations"].to_pandas()[["run_id", "suite"]], on="run_id"
    )
    wanted = joined[
        (joined.suite == "evals/test_support.py")
        & (joined.metric == "token_f1")
        & (joined.slice_value == "de")
    ].sort_values("started_at")
    # 1,000 runs in 300 parts: the first 100 of four, the others of three.
    sizes = [4] * 100 + [3] * 200
    part = pd.Series(range(300)).repeat(sizes).to_numpy()
    expected = wanted.groupby(part).value.agg(["last", "min", "max", "count"])

    choice = Choice(
        suite="evals/test_support.py",
        name="support",
        metric="token_f1",
        slice_by="language",
        slice_value="de",
        points=300,
    )
    points = queries.trend(open_history(str(tmp_path)), choice)["points"]
    found = pd.DataFrame(points)[["value", "least", "most", "runs"]]
    assert (found.to_numpy() == expected.to_numpy()).all()


def test_new_and_changed_and_dropped_files_are_taken_in(tmp_path):
    small.write_folder(tmp_path, small.records(2))
    history = open_history(str(tmp_path))
    before = history.refresh()
    assert history.refresh() == before
    small.write_folder(tmp_path, small.records(5))
    assert history.refresh() != before
    assert len(queries.trend(history, CHOICE)["points"]) == 5
    for name in ("runs", "evaluations", "metrics", "gates"):
        (tmp_path / name / "day=2026-11-01" / "part.parquet").unlink()
    history.refresh()
    assert queries.trend(history, CHOICE)["points"] == []


def test_a_file_that_is_being_written_is_not_looked_at(tmp_path):
    small.write_folder(tmp_path, small.records())
    (tmp_path / "runs" / "day=2026-11-01" / ".part.parquet").write_bytes(b"half a")
    assert len(queries.trend(open_history(str(tmp_path)), CHOICE)["points"]) == 6


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path):
    inside = small.write_folder(tmp_path / "inside", small.records(2))
    outside = small.write_folder(tmp_path / "outside", small.records(6))
    for name in ("runs", "evaluations", "metrics", "gates"):
        part = outside / name / "day=2026-11-01" / "part.parquet"
        (inside / name / "day=2026-11-02").symlink_to(part.parent)
        (inside / name / "linked.parquet").symlink_to(part)
    assert len(queries.trend(open_history(str(inside)), CHOICE)["points"]) == 2


def test_duckdb_reads_nothing_outside_the_folder(tmp_path):
    history = open_history(str(small.write_folder(tmp_path / "in", small.records())))
    (tmp_path / "secret.csv").write_text("a\n1\n")
    for sql in (
        f"select * from read_csv('{tmp_path / 'secret.csv'}')",
        "select * from '/etc/passwd'",
        f"copy runs to '{tmp_path / 'stolen.csv'}'",
        "set enable_external_access = true",
    ):
        with pytest.raises(ConfigurationError):
            history.ask(sql)
    assert not (tmp_path / "stolen.csv").exists()


def test_a_database_is_only_read(tmp_path):
    path = tmp_path / "history.db"
    history = open_history(small.write_database(f"sqlite:///{path}", small.records()))
    before = path.read_bytes()
    for name in ("lists", "trend", "heat"):
        getattr(queries, name)(history, CHOICE)
    with pytest.raises(ConfigurationError, match="readonly"):
        history.ask("delete from runs")
    assert path.read_bytes() == before


def test_a_query_that_would_change_a_database_is_refused_by_it(place, history):
    if "://" in place:
        for sql in ("delete from runs", "drop table runs", "create table t (a int)"):
            with pytest.raises(ConfigurationError, match=r"read-?only"):
                history.ask(sql)


def test_a_new_run_in_a_database_is_seen(tmp_path):
    url = f"sqlite:///{tmp_path / 'history.db'}"
    small.write_database(url, small.records(2))
    history = open_history(url)
    before = history.refresh()
    small.write_database(url, small.records(3))
    assert history.refresh() != before


def test_a_place_without_a_history_is_refused_and_not_made(tmp_path):
    with pytest.raises(ConfigurationError, match="write it with: llmeval export"):
        open_history(str(tmp_path))
    with pytest.raises(ConfigurationError, match="it is no file; write it with"):
        open_history(f"sqlite:///{tmp_path / 'none.db'}")
    sqlite3.connect(tmp_path / "other.db").close()
    with pytest.raises(ConfigurationError, match="no such table: runs"):
        open_history(f"sqlite:///{tmp_path / 'other.db'}")
    with pytest.raises(ConfigurationError, match="cannot use the database URL"):
        open_history("nonsense://here")
    assert [path.name for path in tmp_path.iterdir()] == ["other.db"]


def test_a_password_is_not_said(tmp_path):
    with pytest.raises(ConfigurationError) as raised:
        open_history("postgresql://me:hunter2hunter2@127.0.0.1:9/none")
    assert "hunter2" not in str(raised.value)


def test_a_broken_file_is_named_and_the_rest_stays(tmp_path):
    history = open_history(str(small.write_folder(tmp_path, small.records())))
    Path(tmp_path / "gates" / "broken.parquet").write_bytes(b"nothing")
    with pytest.raises(ConfigurationError, match=r"broken\.parquet"):
        history.refresh()
    assert len(queries.trend(history, CHOICE)["points"]) == 6
