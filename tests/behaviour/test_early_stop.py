"""Runs that ask for no more rows than their gates need."""

import signal
import time
from functools import partial

import pytest

from pytest_llmeval.asked import shuffled


CONCURRENCY = 4
MOST_EXTRA = 3 * CONCURRENCY
"""Rows that may be on their way when a gate is decided."""
STOP = (
    "evals",
    "--llmeval-early-stop",
    "--llmeval-concurrency",
    str(CONCURRENCY),
)
ROWS = [
    {"id": f"r{i}", "input": f"word {i}", "answer": f"WORD {i}"} for i in range(400)
]
TWO_GATES = """\
from pytest_llmeval import assert_metric


def test_quality(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match", "contains"])
    assert_metric(results, "exact_match", ">=", 0.9)
    assert_metric(results, "contains", ">", 0.95)
"""
LATE_GATE = """\
import pytest

from pytest_llmeval import assert_metric

kept = []


def test_first(evaluate):
    kept.append(evaluate(data="data.jsonl", metrics=["exact_match"]))
    assert_metric(kept[0], "exact_match", ">=", 0.9)


def test_second():
    assert_metric(kept[0], "exact_match", ">=", 0.5)
    assert_metric(kept[0], "exact_match", ">=", 0.9, where={"id": "r1"})
"""


@pytest.fixture
def large(suite, model_server):
    suite.write_rows("evals/data.jsonl", ROWS)
    suite.ask_pinned(model_server)
    return suite


def seed(suite):
    (data,) = suite.verdict["datasets"]
    return data["digest"]


def in_order(suite, count):
    """The ids of the first rows of the recorded order."""
    (stop,) = suite.verdict["early_stops"]
    order = shuffled([row["id"] for row in ROWS], stop["seed"])
    return [ROWS[at]["id"] for at in order[:count]]


def test_rows_are_asked_until_the_gate_is_decided(large, model_server):
    done = large.run(*STOP)

    assert done.ret == 0
    (gate,) = large.verdict["gates"]
    (stop,) = large.verdict["early_stops"]
    asked = len(model_server.requests)
    assert (gate["method"], gate["decision"]) == ("betting", "pass")
    assert gate["n"] <= asked <= gate["n"] + MOST_EXTRA < 100
    assert (gate["lower"], gate["upper"], gate["rows"]) == (None, None, 400)
    assert stop == {
        "test": "evals/test_qa.py::test_quality",
        "dataset": "data.jsonl",
        "dataset_digest": seed(large),
        "seed": seed(large),
        "asked": asked,
        "not_needed": 400 - asked,
    }
    assert [row["id"] for row in large.rows] == in_order(large, asked)
    done.stdout.fnmatch_lines(
        [f"*{asked} of 400 rows asked, {400 - asked} not needed*"]
    )


def test_a_second_gate_goes_on_where_the_first_has_stopped(large, model_server):
    large.write("evals/test_qa.py", TWO_GATES)

    assert large.run(*STOP).ret == 0
    first, second = large.verdict["gates"]
    assert first["n"] < second["n"] <= len(model_server.requests) < 200
    assert model_server.repeated == 0


def test_a_bad_model_is_stopped_as_early(large, model_server):
    model_server.answer = lambda message: "no"

    done = large.run(*STOP)

    (gate,) = large.verdict["gates"]
    assert (gate["decision"], gate["value"]) == ("fail", 0.0)
    assert gate["n"] <= len(model_server.requests) <= gate["n"] + MOST_EXTRA < 30
    done.stdout.fnmatch_lines(
        ["*(betting test at 95 % on * of 400 rows) is below 0.9*"]
    )


def test_a_slow_row_does_not_let_the_others_run_far_ahead(large, model_server):
    def answer(message):
        if len(model_server.requests) > CONCURRENCY and not late:
            late.append(message)
            time.sleep(0.5)
            late.append(len(model_server.requests))
        return message.upper()

    late = []
    model_server.answer = answer

    assert large.run(*STOP).ret == 0
    assert late[1] <= 2 * CONCURRENCY + MOST_EXTRA


def test_a_run_that_was_killed_goes_on_in_the_same_order(large, model_server):
    assert large.run(*STOP).ret == 0
    whole = large.verdict["gates"]
    (large.path / ".llmeval" / "predictions.db").unlink()
    model_server.requests.clear()
    model_server.answer = model_server.slowly

    process = large.start(*STOP)
    model_server.call_at(20, partial(process.send_signal, signal.SIGKILL))
    process.communicate(timeout=60)
    assert large.verdict["reason"] == "INCOMPLETE"
    assert large.run(*STOP).ret == 0

    assert model_server.repeated <= CONCURRENCY
    (gate,) = large.verdict["gates"]
    told = {"cached": 0, "text": whole[0]["text"]}  # which say the age of replies
    assert {**gate, **told} == whole[0]
    first = in_order(large, gate["n"] + MOST_EXTRA)
    assert {f"r{text.removeprefix('word ')}" for text in model_server.asked} <= set(
        first
    )


def test_a_gate_that_needs_rows_after_its_test_is_in_error(large, model_server):
    large.write("evals/test_qa.py", LATE_GATE)

    done = large.run(*STOP)

    first, again, late = large.verdict["gates"]
    assert (first["decision"], again["decision"]) == ("pass", "pass")
    assert again["n"] < first["n"] <= len(model_server.requests) < 100
    assert (late["decision"], late["reason"]) == ("error", "EARLY_STOPPED")
    assert large.verdict["reason"] == "EARLY_STOPPED"
    done.stdout.fnmatch_lines(["*only * of 400 examples were asked: their evaluation*"])


def test_a_row_in_error_ends_the_asking_and_is_an_error(large, model_server):
    model_server.status = lambda message: 400

    assert large.run(*STOP).ret == 1
    (gate,) = large.verdict["gates"]
    assert (gate["decision"], gate["reason"]) == ("error", "ROWS_MISSING")
    assert len(model_server.requests) == 1


def test_without_the_flag_every_row_is_asked(large, model_server):
    large.set_ini(llmeval_early_stop="false")

    assert large.run("evals").ret == 0
    assert len(model_server.requests) == 400
    assert large.verdict["early_stops"] == []


def test_unpinned_replies_serve_again_only_after_a_run_that_was_cut_off(
    large, model_server
):
    large.ask(model_server)
    large.set_ini(llmeval_model=model_server.url, llmeval_early_stop="true")

    for _ in range(2):
        assert large.run("evals", *STOP[2:]).ret == 0
    (gate,) = large.verdict["gates"]
    assert model_server.repeated >= gate["n"]


def test_an_interrupt_says_how_to_go_on_and_the_next_run_does(large, model_server):
    large.ask(model_server)
    large.set_ini(llmeval_model=model_server.url, llmeval_early_stop="true")
    model_server.answer = model_server.slowly
    process = large.start("evals", *STOP[2:])
    model_server.call_at(20, partial(process.send_signal, signal.SIGINT))

    output, _ = process.communicate(timeout=60)

    assert process.returncode == 2
    assert "of 400 rows; their replies are stored: the same command goes on" in output
    assert large.run("evals", *STOP[2:]).ret == 0
    assert model_server.repeated <= CONCURRENCY


def test_workers_that_gate_the_same_rows_ask_each_once_and_stop(large, model_server):
    test = (large.path / "evals" / "test_qa.py").read_text(encoding="utf-8")
    large.write("evals/test_again.py", test)

    done = large.run(*STOP, "-n", "2")

    done.assert_outcomes(passed=2)
    assert model_server.repeated == 0
    assert model_server.most_in_flight <= CONCURRENCY
    assert len(model_server.requests) < 100
