"""Suites whose runs the browser is shown."""

from __future__ import annotations

import json
from pathlib import Path

from tests.behaviour.conftest import Suite


SUPPORT = """\
import os

import pytest

from pytest_llmeval import CallableModel

VERSION = os.environ.get("SUPPORT_VERSION", "1")


def answer(example):
    number = int(example.id[1:])
    if number == 13 and VERSION == "2":
        raise TimeoutError("asleep")
    wrong = number % 5 == 0 if VERSION == "1" else number % 7 == 0
    return "no idea" if wrong else example.references[0]


@pytest.fixture
def llmeval_model():
    return CallableModel(answer, version=VERSION)
"""
GATED = """\
import os

from pytest_llmeval import assert_metric

BAR = {"1": 0.7, "2": 0.95}[os.environ.get("SUPPORT_VERSION", "1")]


def test_answers(evaluate):
    results = evaluate(data="data.jsonl", metrics=["token_f1", "exact_match"])
    assert_metric(results, "token_f1", ">=", 0.5, on_error="worst")
    assert_metric(results, "exact_match", ">=", BAR, on_error="worst")
"""


def support_suite(path: Path, rows: int = 120) -> Suite:
    """Return a suite on three topics, with two versions of a model.

    The first is wrong in every 5th row and passes; the second, which is evaluated when
    SUPPORT_VERSION is 2, is wrong in every 7th and fails, with row 13 in error.
    """
    suite = Suite(path)
    topics = ("billing", "shipping", "returns")
    suite.write_rows(
        "evals/data.jsonl",
        [
            {
                "id": f"q{at}",
                "question": f"Question {at} about {topics[at % 3]}?",
                "answer": f"The answer to {topics[at % 3]} {at}",
                "topic": topics[at % 3],
            }
            for at in range(rows)
        ],
    )
    suite.write("evals/conftest.py", SUPPORT)
    suite.write("evals/test_qa.py", GATED)
    return suite


HOSTILE = (
    "<img src=x onerror=\"window.broken='img'\">",
    "</script><script>window.broken='end'</script>",
    "<!--<script>window.broken='comment'</script>",
    "</title></style><svg onload=\"window.broken='svg'\">",
    "javascript:window.broken='url'",
    "{{ 7 * 7 }} {% raw %} ${window.broken='template'}",
    '"><iframe srcdoc="<script>parent.broken=1</script>"></iframe>',
    "\u202eright to left\u2066",
    "\x1b[31mred\x1b]0;title\x07 and \x00 nothing \x9b",
    "lone \ud800 surrogate \udfff",
    "separators \u2028 and \u2029",
    "https://example.org/picture.png",
    "__proto__",
)
LONG = "x" * 5_000_000 + "<b>" + "y" * 4_999_997
ECHO = """\
import pytest

from pytest_llmeval import CallableModel


def echo(example):
    return example.metadata["reply"]


@pytest.fixture
def llmeval_model():
    return CallableModel(echo, version="</script><script>window.broken=1</script>")
"""
HOSTILE_TEST = """\
import json
from pathlib import Path

import pytest

from pytest_llmeval import Metric
from pytest_llmeval import assert_metric

NAMES = json.loads((Path(__file__).parent / "names.json").read_text())


@pytest.mark.parametrize("name", NAMES)
def test_hostile(evaluate, name):
    metric = Metric(name=name, score=lambda prediction, example: 0.0, range=(0, 1))
    results = evaluate(data="data.jsonl", metrics=[metric], name=name)
    assert_metric(results, name, ">=", 0.5, where={name: "common"})
"""


def hostile_suite(path: Path) -> Suite:
    """Return a suite in which everything that has a name or a text is hostile."""
    suite = Suite(path)
    columns = dict.fromkeys(HOSTILE, "common")
    rows = [
        {"id": text, "input": text, "answer": text, "reply": text, **columns}
        for text in HOSTILE
    ]
    rows += [{**rows[at], "id": f"again {at}", HOSTILE[0]: "rare"} for at in range(13)]
    rows.append({**rows[0], "id": "long", "reply": LONG})
    suite.write_rows("evals/data.jsonl", rows)
    suite.write("evals/names.json", json.dumps([HOSTILE[0], HOSTILE[1], HOSTILE[8]]))
    suite.write("evals/conftest.py", ECHO)
    suite.write("evals/test_qa.py", HOSTILE_TEST)
    return suite
