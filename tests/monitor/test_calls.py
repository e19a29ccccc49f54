"""From a record of a log, a trace or an inference table to a call."""

import datetime
import json

import pytest

from pytest_llmeval.monitor.calls import read_call
from pytest_llmeval.monitor.envelopes import answer_of
from pytest_llmeval.monitor.envelopes import question_of
from pytest_llmeval.records.traffic import TrafficRef


DAY = datetime.date(2026, 11, 20)
NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)
REQUEST = {
    "messages": [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "First?"},
        {"role": "assistant", "content": "Yes."},
        {"role": "user", "content": "Second?"},
    ],
    "max_tokens": 20,
}
RESPONSE = {
    "choices": [{"message": {"role": "assistant", "content": "No."}}],
    "usage": {"prompt_tokens": 11, "completion_tokens": 3},
}


def call(record, slices=(), **columns):
    ref = TrafficRef(source="x", days=[DAY], sample=9, columns=columns)
    return read_call(record, ref, slices)


def test_a_row_of_an_inference_table_is_a_call():
    # Columns as Databricks documents them for AI Gateway.
    found = call(
        {
            "request_date": DAY,
            "databricks_request_id": "q-1",
            "client_request_id": None,
            "request_time": NOON.replace(tzinfo=None),
            "status_code": 200,
            "sampling_fraction": 1.0,
            "execution_duration_ms": 840,
            "request": json.dumps(REQUEST),
            "response": json.dumps(RESPONSE),
            "served_entity_id": "e",
            "logging_error_codes": [],
            "requester": "a@example.org",
        }
    )
    assert (found.id, found.at, found.input, found.output) == (
        "q-1",
        NOON,
        "Second?",
        "No.",
    )
    assert (found.latency_ms, found.prompt_tokens, found.output_tokens) == (840, 11, 3)


@pytest.mark.parametrize(
    "time",
    [
        NOON,
        "2026-11-20T12:00:00Z",
        "2026-11-20T13:00:00+01:00",
        "2026-11-20 12:00:00",
        NOON.timestamp(),
        NOON.timestamp() * 1000,
        str(int(NOON.timestamp())),
    ],
)
def test_a_time_is_read_however_it_is_written(time):
    assert call({"time": time, "input": "q", "output": "a"}).at == NOON


@pytest.mark.parametrize("time", [None, "yesterday", "", [], 1e30, float("nan"), True])
def test_a_record_without_a_usable_time_is_none(time):
    found = call({"time": time, "input": "q", "output": "a"})
    assert found is None or found.at.year == 1970


@pytest.mark.parametrize(
    "wrong",
    [
        {"status_code": 503},
        {"status": "ERROR"},
        {"error": "timeout"},
        {"output": None},
        {"status": "429"},
    ],
)
def test_a_call_that_failed_has_no_answer(wrong):
    assert call({"time": NOON, "input": "q", "output": "a", **wrong}).output is None


@pytest.mark.parametrize("fine", [{"status": "OK"}, {"error": ""}, {"status": 200}])
def test_a_call_that_went_well_has_its_answer(fine):
    assert call({"time": NOON, "input": "q", "output": "a", **fine}).output == "a"


def test_columns_have_the_names_that_are_given():
    found = call(
        {"ts": NOON, "q": "Why?", "a": "So.", "key": 7},
        time="ts",
        input="q",
        output="a",
        id="key",
    )
    assert (found.id, found.input, found.output) == ("7", "Why?", "So.")


def test_a_record_without_an_id_has_that_of_its_content():
    one = {"time": "2026-11-20", "input": "q", "output": "a"}
    assert call(one).id == call(dict(reversed(one.items()))).id
    assert call(one).id != call({**one, "output": "b"}).id


def test_json_that_the_model_was_to_write_stays_as_it_is():
    said = '{"output": "x", "ok": true}'
    assert answer_of(said) == said
    assert answer_of('{"choices": []}') == ""


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"output": [{"content": [{"type": "output_text", "text": "Hi"}]}]}, "Hi"),
        ({"predictions": ["Hi"]}, "Hi"),
        ({"choices": [{"text": "Hi"}]}, "Hi"),
        ({"choices": [{"message": {"content": None}}]}, ""),
        ({"messages": [{"role": "assistant", "content": "Hi"}]}, "Hi"),
        ("Hi", "Hi"),
        (["a"], '["a"]'),
        (3, "3"),
    ],
)
def test_an_answer_is_found_in_its_envelope(value, text):
    assert answer_of(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ({"input": [{"role": "user", "content": "Hi?"}]}, "Hi?"),
        ({"prompt": "Hi?"}, "Hi?"),
        ({"inputs": {"question": "Hi?"}}, "Hi?"),
        ({"args": "Hi?"}, "Hi?"),
        ({"a": 1, "b": 2}, '{"a": 1, "b": 2}'),
        ({"messages": [{"role": "user", "content": [{"text": "Hi?"}]}]}, "Hi?"),
        ({"messages": ["?", 3]}, ""),
        (
            {
                "messages": [
                    {"role": "user", "content": "Hi?"},
                    {"role": "assistant", "content": "Hi, I"},
                ]
            },
            "Hi?",
        ),
    ],
)
def test_a_question_is_found_in_its_envelope(value, text):
    assert question_of(value) == text


@pytest.mark.parametrize(
    "hostile",
    ["[" * 100_000, '{"a":' * 50_000, '{"messages": 3}', "{", '{"choices": [3]}'],
)
def test_hostile_json_is_text(hostile):
    found = call({"time": NOON, "input": hostile, "output": hostile})
    assert isinstance(found.input, str)
    assert isinstance(found.output, str)
