"""Gates on a change, on a quantile and on slices."""

from pytest_llmeval import CallableModel
from pytest_llmeval import assert_each_slice
from pytest_llmeval import assert_improved
from pytest_llmeval import assert_no_regression
from pytest_llmeval import assert_quantile


ROWS = [
    {
        "id": f"q{number}",
        "input": f"{number} + 1",
        "reference": str(number + 1),
        "topic": "small" if number < 100 else "large",
    }
    for number in range(200)
]


def guess(prompt):
    return prompt.split()[0]


def add(prompt):
    return str(int(prompt.split()[0]) + 1)


GUESSES = CallableModel(guess, version="1")
ADDS = CallableModel(add)  # without a version it is asked afresh in every run
REQUEST = {"data": ROWS, "metrics": ["exact_match", "latency_ms"]}


def test_is_no_worse_and_better(evaluate):
    before = evaluate(model=GUESSES, **REQUEST)
    results = evaluate(model=ADDS, **REQUEST)
    assert_no_regression(results, before, "exact_match", max_drop=0.02)
    assert_improved(results, before, "exact_match", min_gain=0.5)


def test_is_right_on_every_topic(evaluate):
    results = evaluate(model=ADDS, **REQUEST)
    assert_each_slice(results, "exact_match", ">=", 0.9, by="topic", confidence=0.95)


def test_answers_quickly(evaluate):
    results = evaluate(model=ADDS, **REQUEST)
    assert_quantile(results, "latency_ms", 0.95, "<=", 5_000, confidence=0.95)
