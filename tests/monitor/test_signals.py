"""Label-free metrics, against values by hand."""

import datetime

import pytest

from pytest_llmeval.monitor.calls import Call
from pytest_llmeval.monitor.signals import signals
from pytest_llmeval.monitor.words import WORD


NOON = datetime.datetime(2026, 11, 20, 12, tzinfo=datetime.UTC)


def score(name, output="x", **more):
    call = Call(**{"id": "1", "at": NOON, "input": "q", "output": output, **more})
    return signals()[name].score(call)


def test_a_call_that_failed_counts_by_its_failure_and_its_question():
    scores = {name: score(name, None) for name in signals()}
    assert scores.pop("failures") == 1
    assert scores.pop("input_length") == 1
    assert set(scores.values()) == {None}
    assert score("failures") == 0


def test_length_ends_where_its_range_ends():
    assert score("length", "four") == 4
    assert score("length", "a" * 5000) == 4000 == signals()["length"].high


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I\u2019m sorry.",
        "As an AI language model, I have no opinions.",
        "I cannot assist with this request.",
        "I am unable to provide that.",
        "Es tut mir leid, das geht nicht.",
        "Lo siento, no puedo.",
        "Je suis désolé.",
        "  ",
    ],
)
def test_a_refusal_is_seen(text):
    assert score("refusals", text) == 1


@pytest.mark.parametrize(
    "text",
    [
        "Refunds take thirty days.",
        "The form can't be sent twice.",
        "I can help with that.",
        "x" * 300 + " I'm sorry",
        "You will not get it.",
    ],
)
def test_an_answer_is_no_refusal(text):
    assert score("refusals", text) == 0


def test_language_match_compares_question_and_answer():
    english = "Where can I return the shoes that I have bought last week?"
    german = "Sie können die Schuhe innerhalb von dreißig Tagen zurückgeben."
    assert score("language_match", english, input=english) == 1
    assert score("language_match", german, input=english) == 0
    assert score("language_match", "Yes.", input=english) is None


@pytest.mark.parametrize(
    ("text", "expected"),
    [('{"a": 1}', 1), ("NaN", 0), ("{a}", 0), ("[" * 99_999, 0), ("9" * 9_999, 1)],
)
def test_json_is_valid_or_not(text, expected):
    assert score("json_valid", text) == expected


def test_toxicity_sees_whole_words_in_any_case():
    assert score("toxicity", "You ASSHOLE!") == 1
    assert score("toxicity", "The bassoon class in Scunthorpe is a classic.") == 0


def test_words_of_a_hostile_text_can_be_hashed():
    assert score("toxicity", "\ud83d \x00 " + "a" * 100_000) == 0
    assert WORD.findall("a_b c3d") == ["a", "b", "c", "d"]


def test_context_overlap_is_the_share_of_words_that_stand_in_the_context():
    # "the" is an article: of "refunds take nine days", "refunds" and "days" are there.
    found = score(
        "context_overlap", "Refunds take nine the days", context="days of refunds, the"
    )
    assert found == pytest.approx(2 / 4)
    assert score("context_overlap", "word word", context="word") == 0.5
    assert score("context_overlap", "word") is None
    assert score("context_overlap", "?!", context="word") is None


def test_latency_ends_where_its_range_ends():
    assert score("latency_ms", latency_ms=80.5) == 80.5
    assert score("latency_ms", latency_ms=99_999.0) == 10_000


def test_tokens_and_cost_are_kept_and_not_watched():
    assert score("output_tokens", output_tokens=7) == 7
    assert score("cost_usd", cost_usd=0.25) == 0.25
    assert signals()["cost_usd"].high is signals()["output_tokens"].high is None
