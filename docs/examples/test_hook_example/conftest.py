"""Metrics for every suite below this folder."""

from pytest_llmeval import Metric
from pytest_llmeval import hookimpl


def total_words(predictions, examples):
    return sum(len(prediction.text.split()) for prediction in predictions)


@hookimpl
def pytest_llmeval_metrics():
    return [Metric(name="total_words", aggregate=total_words, higher_is_better=False)]
