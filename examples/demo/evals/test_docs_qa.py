"""Gate for the demo's model: does it answer from the passage it is given?"""

from pytest_llmeval import assert_metric


def test_answers_from_the_passage(evaluate):
    results = evaluate(
        data="data/questions.jsonl",
        metrics=["contains", "token_f1"],
        prompt="{context}###{question}",
    )
    assert_metric(results, "contains", ">=", 0.5)
