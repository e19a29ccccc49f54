"""A run that was cut off goes on where it was, and comes to the same verdict."""

import random
import signal
from functools import partial

import pytest

from .conftest import Suite


CONCURRENCY = 4
OPTIONS = ("evals", "--llmeval-concurrency", str(CONCURRENCY))
TWO_METRICS = """\
from pytest_llmeval import assert_metric


def test_quality(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match", "rouge1"])
    assert_metric(results, "exact_match", ">=", 0.6)
    assert_metric(results, "rouge1", ">=", 0.6)
"""
FINISHED = [f"r{i}" for i in range(40)]
ASK = {"pinned": Suite.ask_pinned, "unpinned": Suite.ask}


def gates(suite):
    """All of its decisions, but how many rows came from the store."""
    return [{**gate, "cached": None, "text": None} for gate in suite.verdict["gates"]]


@pytest.mark.parametrize("kind", ["pinned", "unpinned"])
def test_run_killed_at_five_points_equals_an_uninterrupted_run(
    suite, model_server, kind, tmp_path_factory
):
    def answer(message):
        text = model_server.slowly(message)
        return f"{text} SO IT IS" if message.endswith("7") else text

    model_server.answer = answer
    suite.write("evals/test_qa.py", TWO_METRICS)
    ASK[kind](suite, model_server)
    points = sorted(random.Random(f"seed 1 {kind}").sample(range(1, 37), 5))
    signals = [signal.SIGKILL, signal.SIGINT] * 3
    for killed, (point, number) in enumerate(zip(points, signals, strict=False)):
        process = suite.start(*OPTIONS)
        kill = partial(process.send_signal, number)
        model_server.call_at(point + model_server.repeated, kill)
        output, _ = process.communicate(timeout=60)
        assert process.returncode == (2 if number == signal.SIGINT else -number), output
        assert model_server.repeated <= CONCURRENCY * killed
        verdict = suite.verdict
        assert (verdict["status"], verdict["reason"]) == ("incomplete", "INCOMPLETE")

    assert suite.run(*OPTIONS).ret == 0
    assert len(set(model_server.asked)) == 40
    assert model_server.repeated <= CONCURRENCY * len(points)
    assert [row["id"] for row in suite.rows] == FINISHED

    whole = Suite(tmp_path_factory.mktemp("whole"))
    whole.write("evals/test_qa.py", TWO_METRICS)
    ASK[kind](whole, model_server)
    assert whole.run(*OPTIONS).ret == 0
    assert gates(whole) == gates(suite)
    assert whole.verdict["gates"][0]["value"] == 0.9
    assert whole.verdict["status"] == suite.verdict["status"] == "pass"
    scores = [row["scores"] for row in whole.rows]
    assert scores == [row["scores"] for row in suite.rows]


@pytest.mark.parametrize("kind", ["pinned", "unpinned"])
def test_only_rows_in_error_are_asked_again(suite, model_server, kind):
    ASK[kind](suite, model_server)
    model_server.status = lambda message: 400 if message.endswith("3") else 200
    assert suite.run(*OPTIONS).ret == 1
    failed = [row["input"] for row in suite.rows if row["errors"]]
    assert failed == ["word 3", "word 13", "word 23", "word 33"]
    gate = suite.verdict["gates"][0]
    assert (gate["rows"], gate["errors"], gate["reason"]) == (40, 4, "ROWS_MISSING")

    model_server.status = lambda message: 200
    model_server.requests.clear()
    assert suite.run(*OPTIONS).ret == 0
    assert sorted(model_server.asked) == sorted(failed)
    assert suite.verdict["stored_replies"]["rows"] == 36
