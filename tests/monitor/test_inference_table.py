"""An inference table in a real Spark (Sail), with the columns that AI Gateway has."""

import datetime
import json

import pytest

from pytest_llmeval.backends.spark.session import open_session
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DataError
from pytest_llmeval.monitor.traffic import read_traffic
from pytest_llmeval.records.traffic import TrafficRef


DAY = datetime.date(2026, 11, 20)
NEXT = DAY + datetime.timedelta(days=1)
SCHEMA = (
    "request_date date, databricks_request_id string, client_request_id string, "
    "request_time timestamp, status_code int, sampling_fraction double, "
    "execution_duration_ms bigint, request string, response string, "
    "served_entity_id string, logging_error_codes array<string>, requester string"
)


def row(number, day):
    at = datetime.datetime.combine(day, datetime.time(number % 24, 59), datetime.UTC)
    said = {"choices": [{"message": {"content": f"Answer {number}"}}]}
    asked = {"messages": [{"role": "user", "content": f"Question {number}"}]}
    status = 500 if number == 7 else 200
    return (
        *(day, f"q{number}", None, at, status, 1.0, 100 + number),
        *(json.dumps(asked), json.dumps(said), "entity", [], "a@example.org"),
    )


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    made = Settings(rootdir=tmp_path_factory.mktemp("spark"), spark="sail")
    spark = open_session(made).spark
    rows = [row(number, day) for day in (DAY, NEXT) for number in range(50)]
    frame = spark.createDataFrame(rows, SCHEMA)
    spark.sql("CREATE DATABASE IF NOT EXISTS logs")
    frame.write.mode("overwrite").saveAsTable("logs.docs_qa_payload")
    return made


def read(hook, settings, days, sample=500, source="logs.docs_qa_payload", **columns):
    ref = TrafficRef(source=source, days=days, sample=sample, columns=columns)
    return read_traffic(ref, hook, settings).days


def test_a_row_is_a_call(hook, settings):
    calls = {call.id: call for call in read(hook, settings, [DAY])[DAY]}
    assert len(calls) == 50
    assert calls["q3"].at == datetime.datetime(2026, 11, 20, 3, 59, tzinfo=datetime.UTC)
    assert (calls["q3"].input, calls["q3"].output) == ("Question 3", "Answer 3")
    assert calls["q3"].latency_ms == 103
    assert calls["q7"].output is None


def test_the_sample_of_each_day_is_always_the_same_one(hook, settings):
    first, second = (read(hook, settings, [DAY, NEXT], 10) for _ in range(2))
    assert first == second
    assert [len(calls) for calls in first.values()] == [10, 10]
    assert {c.id for c in first[DAY]} != {c.id for c in first[NEXT]}


def test_days_without_rows_are_left_out(hook, settings):
    before = DAY - datetime.timedelta(days=1)
    assert list(read(hook, settings, [before, DAY])) == [DAY]


def test_a_query_chooses_and_names_columns(hook, settings):
    query = (
        "SELECT databricks_request_id AS key, unix_millis(request_time) AS ms, "
        "'q' AS input, 'a' AS output FROM logs.docs_qa_payload WHERE status_code = 200"
    )
    found = read(hook, settings, [DAY], source=query, id="key", time="ms")
    assert len(found[DAY]) == 49


def test_a_table_without_times_is_refused_with_its_columns(hook, settings):
    query = "SELECT databricks_request_id, request FROM logs.docs_qa_payload"
    with pytest.raises(
        DataError, match=r"no column time or .*; name it with --columns"
    ):
        read(hook, settings, [DAY], source=query)


def test_a_table_that_is_not_there_is_named(hook, settings):
    with pytest.raises(DataError, match=r"logs\.nothing: Spark cannot read it"):
        read(hook, settings, [DAY], source="logs.nothing")
