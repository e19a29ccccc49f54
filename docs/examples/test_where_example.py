"""Gates on a slice, on clusters, and with rows in error."""

from pytest_llmeval import CallableModel
from pytest_llmeval import assert_metric


ROWS = [
    {
        "id": f"q{number}",
        "input": f"{number} + 1",
        "reference": str(number + 1),
        "topic": "even" if number % 2 == 0 else "odd",
        "conversation": number // 4,
    }
    for number in range(60)
]


def add(example):
    if example.id == "q59":
        raise TimeoutError("the calculator is asleep")
    return str(int(example.input.split()[0]) + 1)


MODEL = CallableModel(add, version="1")


def test_adds(evaluate):
    results = evaluate(model=MODEL, data=ROWS, metrics=["exact_match"])
    assert_metric(
        results, "exact_match", ">=", 0.85, confidence=0.95, where={"topic": "even"}
    )
    assert_metric(
        results,
        "exact_match",
        ">=",
        0.8,
        confidence=0.95,
        on_error="worst",
        cluster="conversation",
        min_rows=60,
    )
    assert_metric(
        results,
        "exact_match",
        ">=",
        0.9,
        confidence=0.95,
        on_error="exclude",
        max_error_rate=0.02,
    )
