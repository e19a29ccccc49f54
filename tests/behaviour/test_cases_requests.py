"""Which rows the tests of cases ask for, how many at once, and when again."""

import os
import signal
import time
from functools import partial

import pytest

from .case_suites import CASES
from .case_suites import GATED
from .conftest import Suite


TWO = (
    GATED
    + GATED.partition("@")[1]
    + GATED.partition("@")[2]
    .replace("def test_word", "def test_other")
    .replace("data.jsonl", "other.jsonl")
)
SHUFFLED = """\
import random


def pytest_collection_modifyitems(items):
    random.Random(5).shuffle(items)
"""
DYING = GATED.replace(
    "    assert",
    """\
    import os
    import pathlib

    died = pathlib.Path(__file__).with_name("died")
    if llmeval_case.id == "r12" and not died.exists():
        died.touch()
        os._exit(9)
    assert""",
)


@pytest.fixture
def asked(suite: Suite, model_server) -> Suite:
    """A suite of 40 cases with gates whose model is the server's, unpinned."""
    suite.ask(model_server)
    suite.write("evals/test_qa.py", GATED)
    return suite


def rows(count: int, prefix: str = "word"):
    return [
        {"id": f"{prefix[0]}{i}", "input": f"{prefix} {i}", "answer": f"{prefix} {i}"}
        for i in range(count)
    ]


def test_one_process_keeps_the_concurrency_in_flight(asked, model_server):
    asked.write_rows("evals/data.jsonl", rows(1000))
    model_server.answer = model_server.together(16)
    result = asked.run("evals", "--llmeval-concurrency", "16")
    result.assert_outcomes(passed=1003)
    assert model_server.most_in_flight == 16
    assert (len(model_server.requests), model_server.repeated) == (1000, 0)


@pytest.mark.parametrize(
    "selection",
    [
        ("evals", "-k", "r3 or r4"),
        ("evals", "--deselect", "evals/test_qa.py::test_word[r5]"),
        ("evals/test_qa.py::test_word[r7]",),
    ],
)
def test_only_selected_cases_are_asked_and_each_complete_run_asks_anew(
    asked, model_server, selection
):
    result = asked.run(*selection)
    assert result.ret == 0
    cases = result.parseoutcomes()["passed"]
    assert len(model_server.requests) == cases < 40
    assert asked.run(*selection).ret == 0
    assert model_server.repeated == cases
    assert {row["stored_at"] for row in asked.rows} == {None}


def test_last_failed_and_limit_ask_for_no_more(asked, model_server):
    ini = (asked.path / "pytest.ini").read_text()
    asked.write("pytest.ini", ini.replace("addopts = -p no:cacheprovider\n", ""))
    limited = CASES.replace('"data.jsonl"', '"data.jsonl", limit=7')
    asked.write("evals/test_qa.py", limited)
    model_server.answer = lambda text: "no" if text == "word 3" else text.upper()
    assert asked.run("evals").ret == 1
    assert len(model_server.requests) == 7
    assert asked.run("evals", "--lf").ret == 1
    assert model_server.asked[7:] == ["word 3"]


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_first_failure_leaves_at_most_the_concurrency_unused(
    asked, model_server, options
):
    broken = 'llmeval_case.id != "r9" or 1 / 0'
    asked.write(
        "evals/test_qa.py",
        CASES.replace("    assert", f"    assert {broken}\n    assert"),
    )
    options = ("evals", "-x", *options, "--llmeval-concurrency", "4")
    result = asked.run(*options)
    assert result.ret != 0
    outcomes = result.parseoutcomes()
    used = outcomes["passed"] + outcomes["failed"]
    assert len(model_server.requests) <= used + 4 + 2  # tests under way in workers
    assert asked.verdict["status"] != "pass"


@pytest.mark.parametrize(
    "options",
    [
        ("-n", "2"),
        ("-n", "3", "--dist", "loadscope"),
        ("-n", "2", "--dist", "worksteal"),
        ("-n", "2", "--dist", "each"),
    ],
)
def test_workers_ask_for_each_row_once_within_the_concurrency(
    asked, model_server, options
):
    model_server.answer = model_server.slowly
    assert asked.run("evals", *options, "--llmeval-concurrency", "6").ret == 0
    assert (len(model_server.requests), model_server.repeated) == (40, 0)
    assert 1 < model_server.most_in_flight <= 6
    assert asked.verdict["status"] == "pass"


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_functions_in_any_order_share_the_concurrency(asked, model_server, options):
    asked.write("evals/conftest.py", SHUFFLED)
    asked.write("evals/test_qa.py", TWO)
    asked.write_rows("evals/other.jsonl", rows(40, "other"))
    model_server.answer = model_server.slowly
    result = asked.run("evals", *options, "--llmeval-concurrency", "6")
    assert result.ret == 0
    assert (len(model_server.requests), model_server.repeated) == (80, 0)
    assert 1 < model_server.most_in_flight <= 6 + 1
    tests = [gate["test"].rpartition("::")[2] for gate in asked.verdict["gates"]]
    assert sorted(tests) == ["test_other"] * 3 + ["test_word"] * 3
    named = [one["test"] for one in asked.verdict["evaluations"]]
    assert [f"evals/test_qa.py::{test}" for test in dict.fromkeys(tests)] == named


def test_killed_worker_repeats_at_most_its_share(asked, model_server):
    asked.ask_pinned(model_server)
    asked.write("evals/test_qa.py", DYING)
    model_server.answer = model_server.slowly
    options = ("evals", "-n", "2", "--llmeval-concurrency", "4")
    assert asked.run(*options).ret == 1
    assert model_server.repeated <= 2
    verdict = asked.verdict
    assert verdict["status"] == "fail"
    assert {gate["decision"] for gate in verdict["gates"]} == {"error"}
    assert "r12 (missing: its test did not run" in verdict["gates"][0]["text"]
    so_far = len(model_server.requests)
    assert asked.run(*options).ret == 0
    assert len(model_server.requests) == so_far
    assert asked.verdict["status"] == "pass"


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_interrupted_cases_go_on_where_they_were(asked, model_server, options):
    model_server.answer = lambda text: time.sleep(0.05) or text.upper()
    options = ("evals", *options, "--llmeval-concurrency", "4")
    process = asked.start(*options)
    interrupt = partial(os.killpg, process.pid, signal.SIGINT)
    model_server.call_at(12, interrupt)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 2, output
    assert "llmeval: interrupted; the replies are stored: the same command" in output
    assert "verdict: incomplete (INCOMPLETE: the run was interrupted" in output
    assert len(model_server.requests) < 40
    assert asked.run(*options).ret == 0
    assert (len(model_server.requests), model_server.repeated) == (40, 0)


@pytest.mark.parametrize("options", [(), ("-n", "2")])
def test_budget_that_is_spent_leaves_the_run_incomplete(asked, model_server, options):
    result = asked.run("evals", "--llmeval-max-requests", "10", *options)
    assert result.ret == 1
    assert (asked.verdict["status"], asked.verdict["reason"]) == (
        "incomplete",
        "BUDGET",
    )
    assert len(model_server.requests) == 10
    assert asked.run("evals", *options).ret == 0
    assert (len(model_server.requests), model_server.repeated) == (40, 0)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_worker_in_the_place_of_a_crashed_one_has_no_budget_of_its_own(
    asked, model_server, workers
):
    asked.write("evals/test_qa.py", DYING)
    options = ("-n", workers, "--llmeval-concurrency", "2")
    assert asked.run("evals", *options, "--llmeval-max-requests", "20").ret == 1
    assert 12 < len(model_server.requests) <= 20
    left = sorted(path.name for path in asked.run_directory.iterdir())
    assert left == ["results.jsonl", "verdict.json"]


def test_cache_off_leaves_no_predictions_and_cache_only_asks_for_none(
    asked, model_server
):
    for options in ((), ("-n", "2")):
        assert asked.run("evals", "--llmeval-cache", "off", *options).ret == 0
        left = sorted(path.name for path in asked.run_directory.iterdir())
        assert left == ["results.jsonl", "verdict.json"]
    assert not (asked.path / ".llmeval/predictions.db").exists()
    assert len(model_server.requests) == 80
    assert asked.run("evals", "--llmeval-cache", "only").ret == 1
    assert "no stored prediction" in asked.rows[0]["errors"][0]["message"]
    assert asked.run("evals").ret == 0
    assert asked.run("evals", "--llmeval-cache", "only", "-n", "2").ret == 0
    assert len(model_server.requests) == 120


def test_model_that_cannot_be_loaded_is_tried_once(suite: Suite) -> None:
    suite.write("evals/test_qa.py", CASES)
    suite.write(
        "evals/conftest.py",
        "import pytest\n\n\n"
        "@pytest.fixture\n"
        "def llmeval_model():\n"
        "    with open('tries', 'a') as file:\n"
        "        file.write('x')\n"
        "    return 'python:no_such_module:ask'\n",
    )
    result = suite.run("evals")
    result.assert_outcomes(errors=40)
    assert (suite.path / "tries").read_text() == "x"
    assert "no_such_module" in result.stdout.str()
