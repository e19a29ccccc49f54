"""A part of what a query gives, evaluated where Spark holds it."""

from pytest_llmeval import CallableModel
from pytest_llmeval import assert_each_slice
from pytest_llmeval import assert_metric


QUERY = """
SELECT 'q' || id AS id, id || ' + 1' AS question, CAST(id + 1 AS STRING) AS answer,
       CASE WHEN id % 2 = 0 THEN 'even' ELSE 'odd' END AS topic
FROM range(5000)
"""


def add(prompt: str) -> str:
    return str(int(prompt.split(maxsplit=1)[0]) + 1)


MODEL = CallableModel(add, version="1")


def test_adds(evaluate, llmeval_dataset):
    data = llmeval_dataset(QUERY, sample=1000, name="sums")
    results = evaluate(MODEL, data, ["exact_match"], engine="spark")
    assert_metric(results, "exact_match", ">=", 0.99, confidence=0.95)
    assert_each_slice(results, "exact_match", ">=", 0.98, by="topic", confidence=0.95)
