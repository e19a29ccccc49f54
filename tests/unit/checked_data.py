"""Rows for `llmeval data check`, and what it says of them."""

from pytest_llmeval.config import Settings
from pytest_llmeval.data_check import check_data
from pytest_llmeval.datasets import load_dataset
from pytest_llmeval.hooks import headless_manager


LONG = "one two three four five six seven eight nine ten eleven twelve"
HOOK = headless_manager().hook


def load(rows, **options):
    return load_dataset(rows, HOOK, Settings(), **options)


def check(rows, train=None, **options):
    return check_data(load(rows), train and load(train), **options)


def found(report, subject):
    """Return the findings on a subject that are not ok."""
    return [
        finding
        for finding in report.findings
        if finding.subject == subject and finding.status != "ok"
    ]


def rows_of(*inputs, **columns):
    return [
        {"id": f"r{at}", "input": text, "reference": f"answer {at}", **columns}
        for at, text in enumerate(inputs)
    ]


def same(*inputs, answers=None):
    answers = answers or ["x"] * len(inputs)
    return [
        {"id": f"r{at}", "input": text, "reference": answer}
        for at, (text, answer) in enumerate(zip(inputs, answers, strict=True))
    ]


# Copies and contradictions.
