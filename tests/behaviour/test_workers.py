"""Evaluations in several xdist workers at once."""

import os
import signal
import time
import xml.etree.ElementTree as ET
from functools import partial

import pytest

from .conftest import PASSING
from .conftest import ROWS


DYING = """\
import os
from pathlib import Path

DIED = Path(__file__).with_name("died")


def scores(prediction, example):
    if example.id == "r20" and not DIED.exists():
        DIED.touch()
        os._exit(9)
    return 1.0


def test_dies(evaluate):
    assert len(evaluate(data="data.jsonl", metrics=[scores]).rows) == 40
"""


@pytest.mark.parametrize(("workers", "concurrency"), [(2, 4), (3, 2)])
def test_workers_together_keep_to_the_concurrency(
    suite, model_server, workers, concurrency
):
    suite.ask(model_server)
    model_server.answer = model_server.together(concurrency)
    for number in range(workers):
        rows = [{**row, "input": f"{number} {row['input']}"} for row in ROWS[:20]]
        suite.write_rows(f"evals/data{number}.jsonl", rows)
        test = PASSING.replace("data.jsonl", f"data{number}.jsonl")
        suite.write(f"evals/test_{number}.py", test.replace("0.9", "0.0"))
    (suite.path / "evals/test_qa.py").unlink()
    options = ("-n", str(workers), "--llmeval-concurrency", str(concurrency))
    assert suite.run("evals", *options).ret == 0
    assert len(model_server.requests) == 20 * workers
    assert model_server.most_in_flight == concurrency


@pytest.mark.parametrize("kind", ["on", "refresh"])
def test_two_workers_ask_for_each_of_the_same_rows_once(suite, model_server, kind):
    suite.ask(model_server)
    suite.write("evals/test_same.py", PASSING)
    model_server.answer = model_server.slowly
    options = ("-n", "2", "--llmeval-concurrency", "4", "--junitxml", "junit.xml")
    result = suite.run("evals", *options, "--llmeval-cache", kind)
    result.assert_outcomes(passed=2)
    assert sorted(model_server.asked) == sorted(row["input"] for row in ROWS)
    values = ET.parse(suite.path / "junit.xml").findall(
        ".//property[@name='llmeval.exact_match.value']"
    )
    assert [value.get("value") for value in values] == ["1.0", "1.0"]


def test_killed_worker_repeats_at_most_its_share(suite, model_server):
    suite.ask_pinned(model_server)
    suite.write("evals/test_dying.py", DYING)
    model_server.answer = model_server.slowly
    options = ("evals", "-n", "2", "--llmeval-concurrency", "4")
    result = suite.run(*options)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*worker 'gw?' crashed while running*test_dies*"])
    result.assert_outcomes(passed=1, failed=1)
    assert len(set(model_server.asked)) == 40
    assert model_server.repeated <= 2

    asked = len(model_server.requests)
    suite.run(*options).assert_outcomes(passed=2)
    assert len(model_server.requests) == asked


def test_interrupt_of_all_workers_loses_and_repeats_nothing(suite, model_server):
    """Ctrl-C in a terminal reaches every process of the run."""
    suite.ask(model_server)
    suite.write("evals/test_same.py", PASSING)

    def answer(message):
        time.sleep(0.1)
        return message.upper()

    model_server.answer = answer
    options = ("evals", "-n", "2", "--llmeval-concurrency", "4")
    process = suite.start(*options)
    interrupt = partial(os.killpg, process.pid, signal.SIGINT)
    model_server.call_at(12, interrupt)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert len(model_server.requests) < 40
    suite.run(*options).assert_outcomes(passed=2)
    assert (len(model_server.requests), model_server.repeated) == (40, 0)
