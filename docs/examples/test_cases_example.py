"""Rows as tests of their own, with gates over all of them."""

import pytest

from pytest_llmeval import CallableModel
from pytest_llmeval import Gate


CAPITALS = {"France": "Paris", "Peru": "Lima", "Kenya": "Nairobi", "Japan": "Tokyo"}
ROWS = [
    {"id": f"{country.lower()}-{number}", "input": country, "reference": capital}
    for number in range(10)
    for country, capital in CAPITALS.items()
]
GATES = [
    Gate("pass_rate", ">=", 0.6, confidence=0.95),
    Gate("token_f1", ">=", 0.3, confidence=0.95),
    Gate("brevity", ">=", 0.2, confidence=0.95, bounds=(0, 1)),
]


@pytest.fixture
def llmeval_model():
    known = {**CAPITALS, "Peru": "Cusco"}
    return CallableModel(lambda prompt: f"It is {known[prompt]}.", version="1")


@pytest.mark.llmeval_cases(ROWS, gates=GATES, name="capitals")
def test_capital(llmeval_case):
    llmeval_case.record("brevity", 1 / len(llmeval_case.prediction.split()))
    assert llmeval_case.score("contains") == 1, llmeval_case.prediction
