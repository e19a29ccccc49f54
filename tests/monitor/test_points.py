"""Days of traffic as runs of the history, in real Parquet and SQLite."""

import datetime
import statistics
from dataclasses import replace

import pyarrow as pa
import pytest

from pytest_llmeval.errors import MetricError
from pytest_llmeval.history.places import open_place
from pytest_llmeval.monitor.calls import Call
from pytest_llmeval.monitor.points import measures
from pytest_llmeval.monitor.points import write_days
from pytest_llmeval.monitor.series import read_series
from pytest_llmeval.stats import lower_bound


MODEL = "models:/docs-qa@champion"


def calls(day, count=50, **more):
    at = datetime.datetime.combine(day, datetime.time(9), datetime.UTC)
    return [
        Call(
            **{
                "id": f"{number:03}",
                "at": at,
                "input": "q",
                "output": "word" if number % 5 else "I'm sorry.",
                "latency_ms": 100.0 + number,
                "cost_usd": 0.25,
                "slices": {"tier": "gold" if number % 2 else "free"},
                **more,
            }
        )
        for number in range(count)
    ]


def write(place, days, **more):
    return write_days(days, place, model=MODEL, source="log.jsonl", **more)


def rows(place, table):
    return place.read(table, list(SHOWN[table])).to_pylist()


SHOWN = {
    "runs": (
        "run_id",
        "day",
        "source",
        "model_requested",
        "status",
        "rows",
        "cost_usd",
    ),
    "evaluations": ("name", "rows", "latency_p50_ms", "latency_p95_ms"),
    "metrics": (
        *("metric", "slice_by", "slice_value", "value", "lower", "upper"),
        *("n", "errors", "higher_is_better", "started_at"),
    ),
}


def test_a_day_is_a_run_without_a_verdict(place, day):
    write(place, {day: calls(day)})
    (run,) = rows(place, "runs")
    assert run.pop("run_id").startswith("traffic-2026-11-20-")
    assert run == {
        "day": day,
        "source": "traffic",
        "model_requested": MODEL,
        "status": None,
        "rows": 50,
        "cost_usd": 12.5,
    }
    assert rows(place, "evaluations") == [
        {
            "name": "log.jsonl",
            "rows": 50,
            "latency_p50_ms": 124.0,
            "latency_p95_ms": 147.0,
        }
    ]


def test_a_metric_is_the_mean_with_the_bounds_of_gates(place, day):
    write(place, {day: calls(day)})
    (refusals,) = (row for row in rows(place, "metrics") if row["metric"] == "refusals")
    assert refusals["value"] == pytest.approx(10 / 50)
    scores = [0.0] * 40 + [1.0] * 10
    assert refusals["lower"] == lower_bound(scores, 0.95, 0.0, 1.0)
    assert (refusals["n"], refusals["errors"]) == (50, 0)
    assert refusals["higher_is_better"] is False
    (length,) = (row for row in rows(place, "metrics") if row["metric"] == "length")
    assert length["value"] == pytest.approx(statistics.fmean([10] * 10 + [4] * 40))
    assert length["higher_is_better"] is None


def test_calls_without_a_score_are_errors_of_the_metric(place, day):
    some = calls(day)
    failed = [replace(some[0], output=None), *some[1:]]
    write(place, {day: failed})
    found = {row["metric"]: row for row in rows(place, "metrics")}
    assert (found["failures"]["value"], found["failures"]["n"]) == (1 / 50, 50)
    assert (found["length"]["n"], found["length"]["errors"]) == (49, 1)
    assert "context_overlap" not in found


def test_slices_have_metrics_of_their_own(place, day):
    write(place, {day: calls(day)}, slices=("tier",))
    found = {
        row["slice_value"]: (row["n"], row["value"])
        for row in rows(place, "metrics")
        if row["metric"] == "refusals" and row["slice_by"] == "tier"
    }
    # Of 0, 5, … 45 the five even ones are free.
    assert found == {"free": (25, 0.2), "gold": (25, 0.2)}


def test_only_the_most_frequent_values_are_slices(place, day):
    many = [
        replace(call, slices={"user": "u0" if number < 9 else f"u{number}"})
        for number, call in enumerate(calls(day, 100))
    ]
    write(place, {day: many}, slices=("user",))
    values = {row["slice_value"] for row in rows(place, "metrics")} - {""}
    assert len(values) == 20
    assert "u0" in values


def test_the_same_day_again_changes_nothing(place, day):
    assert write(place, {day: calls(day)}) == (1, 0, 0)
    before = rows(place, "metrics")
    assert write(place, {day: calls(day)}) == (0, 0, 1)
    assert rows(place, "metrics") == before


def test_labels_that_come_later_change_the_day(place, day):
    write(place, {day: calls(day)}, labelled=["exact_match"])
    late = [replace(c, reference="word") for c in calls(day)[:10]]
    labelled = {day: late + calls(day)[10:]}
    assert write(place, labelled, labelled=["exact_match"]) == (0, 1, 0)
    found = {row["metric"]: row for row in rows(place, "metrics")}
    # Of the first ten answers, two are refusals.
    assert (found["exact_match"]["value"], found["exact_match"]["n"]) == (0.8, 10)
    assert len(rows(place, "runs")) == 1


def test_a_day_whose_log_is_being_removed_stays(place, day):
    write(place, {day: calls(day)})
    assert write(place, {day: calls(day, 7)}) == (0, 0, 1)
    assert rows(place, "runs")[0]["rows"] == 50


def test_the_database_holds_the_same_points(place, hook, settings, day):
    database = open_place("sqlite:///history.db", hook, settings)
    for one in (place, database):
        write(one, {day: calls(day)}, slices=("tier",))

    def key(row):
        return tuple(map(str, row.values()))

    assert sorted(rows(place, "metrics"), key=key) == sorted(
        rows(database, "metrics"), key=key
    )


def test_series_hold_the_points_of_this_model_only(place, day):
    days = {day + datetime.timedelta(days=back): None for back in (2, 0, 1)}
    write(place, {one: calls(one) for one in days}, slices=("tier",))
    write_days({day: calls(day)}, place, model="models:/other@x", source="log.jsonl")
    found = read_series(place, MODEL)
    series = {key.metric: one for key, one in found.items() if not key.slice_by}
    points = series["refusals"].slices[""]
    assert [point.time.date() for point in points] == sorted(days)
    assert [(point.value, point.n) for point in points] == [(0.2, 50)] * 3
    assert series["refusals"].better == "lower"
    assert series["latency_ms"].high == 10_000
    assert series["cost_usd"].high is None
    (tiers,) = (
        s for k, s in found.items() if (k.metric, k.slice_by) == ("refusals", "tier")
    )
    assert list(tiers.slices) == ["free", "gold"]


def test_points_before_a_date_do_not_count(place, day):
    later = day + datetime.timedelta(days=1)
    write(place, {day: calls(day), later: calls(later)})
    since = datetime.datetime.combine(later, datetime.time(), datetime.UTC)
    found = read_series(place, MODEL, since)
    assert {len(s.slices[""]) for s in found.values()} == {1}


def test_hostile_values_become_harmless_keys(place, day, monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "tok-123456789")
    hostile = ["\x1b[31m", "tok-123456789", "x" * 5000, "\ud83d"]
    some = [
        replace(call, slices={"who": hostile[number % 4]})
        for number, call in enumerate(calls(day))
    ]
    write(place, {day: some}, slices=("who",))
    values = {row["slice_value"] for row in rows(place, "metrics")}
    assert {"\\x1b[31m", "[redacted]", "\\ud83d"} < values
    assert max(map(len, values)) <= 600


def test_a_metric_that_needs_no_label_is_refused_by_name():
    with pytest.raises(MetricError, match="'bleu' scores no single answer by a label"):
        measures(["bleu"])


def test_the_tables_have_the_columns_of_the_schema(place, day):
    write(place, {day: calls(day)})
    assert place.read("runs", ["digest"]).schema.field("digest").type == pa.string()
