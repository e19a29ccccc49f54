"""Suites whose rows are tests, and what they are run with."""

CASES = """\
import pytest

from pytest_llmeval import Gate


@pytest.mark.llmeval_cases("data.jsonl")
def test_word(llmeval_case):
    assert llmeval_case.prediction == llmeval_case.references[0]
"""
GATED = """\
import pytest

from pytest_llmeval import Gate

GATES = [
    Gate("pass_rate", ">=", 0.8, confidence=0.95),
    Gate("token_f1", ">=", 0.5),
    Gate("tone", ">=", 0.2, bounds=(0, 1)),
]


@pytest.mark.llmeval_cases("data.jsonl", gates=GATES)
def test_word(llmeval_case):
    llmeval_case.record("tone", len(llmeval_case.input) / 10)
    assert llmeval_case.score("exact_match") == 1
"""
WRONG = {"r3", "r17"}
"""Rows that the model answers wrong."""
MODEL = """\
import pytest

from pytest_llmeval import CallableModel


def answer(example):
    wrong = example.id in {wrong}
    return "no" if wrong else example.input.upper()


@pytest.fixture
def llmeval_model():
    return CallableModel(answer, version="1")
"""
