"""An MLflow scorer as a metric, beside a built-in one."""

from mlflow.genai.scorers import scorer

from pytest_llmeval import assert_metric


ROWS = [{"question": f"What is {n} + {n}?", "answer": str(2 * n)} for n in range(9)]


@scorer
def is_brief(inputs, outputs, expectations) -> bool:
    return len(outputs) <= len(expectations["expected_response"]) + 7


def add(prompt):
    number = int(prompt.split()[2])
    return f"It is {2 * number}."


def test_answers_are_brief(evaluate):
    results = evaluate(model=add, data=ROWS, metrics=["contains", is_brief])
    assert_metric(results, "contains", ">=", 0.7, confidence=0.95)
    assert_metric(results, "is_brief", ">=", 0.7, confidence=0.95)
