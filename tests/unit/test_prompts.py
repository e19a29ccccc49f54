import datetime

import pytest

from pytest_llmeval import Example
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.models import build_request
from pytest_llmeval.models import renderer
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Request


MOMENT = datetime.datetime(2026, 1, 2, 3, 4)  # noqa: DTZ001  # as files have it


def dataset_of(example):
    columns = {"input": "input", "context": "context"}
    return Dataset(
        name="d", digest="", examples=(example,), ids=(example.id,), columns=columns
    )


@pytest.mark.parametrize(
    ("template", "metadata", "text"),
    [
        (None, {}, "in"),
        ("{input}", {}, "in"),
        ("{context}: {input} {input}", {}, "con: in in"),
        ("{who} {n}", {"who": "é", "n": 3}, "é 3"),
        ("{{input}}", {}, "{input}"),
        ("{{{input}}}", {}, "{in}"),
        ('{"a": [1]} {} { input }', {}, '{"a": [1]} {} { input }'),
        ("{a}", {"a": "{b} {{c}}"}, "{b} {{c}}"),
        ("{input.__class__}", {}, "{input.__class__}"),
        ("{on}", {"on": MOMENT}, "2026-01-02T03:04:00"),
        ("{zero}{no}", {"zero": 0, "no": False}, "0False"),
    ],
)
def test_a_template_is_filled_with_columns(template, metadata, text):
    example = Example(id="r1", input="in", context="con", metadata=metadata)
    request = Request(prompt=template, system="sys", params={"n": 1})

    prompt = renderer(request, dataset_of(example))(example)

    assert prompt.user == text
    assert prompt.messages == [
        {"role": "system", "content": "sys"},
        {"role": "user", "content": text},
    ]
    assert (prompt.params, prompt.example) == ({"n": 1}, example)


@pytest.mark.parametrize("value", [None, float("nan")])
def test_a_column_that_a_row_lacks_is_an_error_before_any_call(run, value):
    def model(prompt):
        raise AssertionError("the model was asked")

    rows = [{"id": "r0", "input": "a", "topc": "x"}, {"id": "r1", "input": "b"}]
    rows[1]["topc"] = value

    with pytest.raises(ConfigurationError) as caught:
        run(model, rows, ["json_valid"], prompt="{topc}")
    assert "the prompt names {topc}, which row 'r1' of data does not have" in str(
        caught.value
    )
    with pytest.raises(ConfigurationError) as caught:
        run(model, rows, ["json_valid"], prompt="{topic}")
    assert str(caught.value) == (
        "the prompt names {topic}, which row 'r0' of data does not have; it has: id, "
        "input, topc; did you mean 'topc'?; write {{topic}} for the braces"
    )


def test_system_is_split_from_the_parameters():
    params = {"system": "be brief", "max_tokens": 5}

    request = build_request("{input}", params)

    assert request == Request(
        prompt="{input}", system="be brief", params={"max_tokens": 5}
    )
    assert params == {"system": "be brief", "max_tokens": 5}
    assert build_request(None, None) == Request()
    digests = {
        build_request(*given).digest
        for given in [(None, None), ("{input}", None), ("{input}", params)]
    }
    assert len(digests) == 3


TURNS = [
    {"role": "user", "content": "say {{x}}"},
    {"role": "assistant", "content": "{hint}"},
    {"role": "user", "content": "{input}?"},
]


def test_earlier_messages_are_filled_and_sent_before_the_users():
    example = Example(id="r1", input="in", metadata={"hint": "h"})
    request = build_request(TURNS, {"system": "sys"})

    prompt = renderer(request, dataset_of(example))(example)

    assert prompt.messages == [
        {"role": "system", "content": "sys"},
        {"role": "user", "content": "say {x}"},
        {"role": "assistant", "content": "h"},
        {"role": "user", "content": "in?"},
    ]
    assert prompt.text == "sys\n\nsay {x}\n\nh\n\nin?"


@pytest.mark.parametrize(
    ("prompt", "params", "message"),
    [
        (None, {"system": ["x"]}, "params[\"system\"] must be text, got ['x']"),
        (3, None, "prompt"),
        (["hello"], None, "prompt"),
        ({"role": "user", "content": "x"}, None, "prompt"),
        ([], None, "the messages of prompt= must end with the user's"),
        (TURNS[:2], None, "the messages of prompt= must end with the user's"),
        (
            [{"role": "system", "content": "x"}, *TURNS],
            None,
            "prompt= has a message with the role 'system'; the roles are user and "
            'assistant; the system message goes to params["system"]',
        ),
        (
            [{"role": "user", "content": None}],
            None,
            "prompt= has the message {'role': 'user', 'content': None}; a message "
            "holds a role and a content that is text",
        ),
        ([{"role": "user"}], None, "a message holds a role and a content"),
        ([{**TURNS[2], "name": "x"}], None, "a message holds a role and a content"),
    ],
)
def test_a_prompt_that_is_neither_text_nor_messages_is_refused(prompt, params, message):
    with pytest.raises(ConfigurationError) as caught:
        build_request(prompt, params)

    assert message in str(caught.value)
