"""A metric that the suite uses by name, from the fixture llmeval_metrics."""

import pytest

from pytest_llmeval import Metric
from pytest_llmeval import assert_metric


def is_polite(prediction, example):
    return "please" in prediction.text.lower()


@pytest.fixture
def llmeval_metrics():
    return [Metric(name="polite", score=is_polite, range=(0.0, 1.0))]


def test_is_polite(evaluate):
    results = evaluate(
        model=lambda prompt: f"Please note: {prompt}",
        data=[{"input": f"message {number}"} for number in range(30)],
        metrics=["polite"],
    )
    assert_metric(results, "polite", ">=", 0.9, confidence=0.95)
