"""Uses the metric of the conftest.py beside it, and a message of several turns."""

from pytest_llmeval import assert_metric


PROMPT = [
    {"role": "user", "content": "Name a colour."},
    {"role": "assistant", "content": "red"},
    {"role": "user", "content": "Name {what}."},
]


def test_answers_are_short(evaluate):
    results = evaluate(
        model=lambda prompt: prompt.rpartition("Name ")[2].rstrip("."),
        data=[{"input": "1", "what": "a fruit"}, {"input": "2", "what": "a tree"}],
        prompt=PROMPT,
        metrics=["total_words"],
    )
    assert_metric(results, "total_words", "<=", 10, confidence="point")
