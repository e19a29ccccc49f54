"""Trying until it passes: the tries on new answers to the same data are counted."""

import json
import shutil
from pathlib import Path

import pytest

from pytest_llmeval.attempts import count_attempts
from pytest_llmeval.backends.mlflow.tracker import MlflowTracker

from .conftest import ROWS
from .conftest import Suite
from .mlflow_server import MlflowServer


pytestmark = pytest.mark.filterwarnings("ignore")
EXAMPLES = Path(__file__).parents[2] / "docs/examples"
DEPLOY = ("evals", "--llmeval-deploy", "file:live.txt")
LUCK = """\
import os

import pytest

from pytest_llmeval import CallableModel


def guess(prompt: str) -> str:
    missed = os.environ["MISSED"].split()
    return "?" if prompt.split()[-1] in missed else prompt.upper()


@pytest.fixture
def llmeval_model():
    return CallableModel(guess, version=os.environ.get("VERSION", "1"))
"""


BESIDE_A_BASELINE = """\
from pytest_llmeval import CallableModel
from pytest_llmeval import assert_no_regression

OLD = CallableModel(lambda prompt: prompt.upper(), version="0")


def test_quality(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    before = evaluate(OLD, data="data.jsonl", metrics=["exact_match"])
    assert_no_regression(results, before, "exact_match", max_drop=0.3)
"""
IN_A_LOOP = """\
from pytest_llmeval import assert_metric


def test_quality(evaluate):
    for _ in range(3):
        results = evaluate(data="data.jsonl", metrics=["exact_match"])
        assert_metric(results, "exact_match", ">=", 0.5)
"""


@pytest.fixture
def luck(suite, monkeypatch):
    """A suite whose model answers other rows wrong in each try."""
    suite.write("evals/conftest.py", LUCK)
    target = (EXAMPLES / "file_target_example.py").read_text()
    suite.write("conftest.py", target)
    monkeypatch.setenv("MISSED", "0")
    suite.update_gates()
    shutil.rmtree(suite.path / ".llmeval")
    suite.commit()

    def attempt(missed, *arguments):
        monkeypatch.setenv("MISSED", missed)
        return suite.run("evals", "--llmeval-cache", "refresh", *arguments)

    suite.attempt = attempt
    return suite


def counted(suite: Suite, tracker=None):
    home = suite.path / ".llmeval"
    return count_attempts(suite.verdict, home, lambda: tracker)


def test_new_answers_are_new_tries_and_a_replay_is_none(luck, monkeypatch):
    tries = []
    for missed in ("1 2 3 4 5", "6 7 8 9 10", "11"):
        luck.attempt(missed)
        tries.append(counted(luck))
    assert tries == [1, 2, 3]
    assert luck.run("evals").ret == 1, "stored answers"
    luck.attempt("11")
    assert counted(luck) == 3, "the same answers again"

    luck.write_rows("evals/data.jsonl", ROWS[:39])
    luck.attempt("11")
    assert counted(luck) == 1, "other data"
    monkeypatch.setenv("VERSION", "2")
    luck.write_rows("evals/data.jsonl", ROWS)
    luck.attempt("12")
    assert counted(luck) == 1, "another version"


def test_changed_bar_is_the_same_gate_and_another_metric_is_not(luck):
    luck.attempt("1 2 3 4 5")
    source = (luck.path / "evals/test_qa.py").read_text()
    luck.write("evals/test_qa.py", source.replace("0.9", "0.5"))
    luck.attempt("6")
    assert counted(luck) == 2
    luck.write("evals/test_qa.py", source.replace("exact_match", "token_f1"))
    luck.attempt("7")
    assert counted(luck) == 1


def track(luck):
    """Track in a file; return the options for that and its tracker."""
    uri = f"sqlite:///{luck.path / 'tracked.db'}"
    tracker = MlflowTracker(uri, luck.path / ".llmeval")
    return ("--llmeval-tracking", uri), tracker


def test_answers_of_a_baseline_in_the_same_test_hide_no_try(luck):
    luck.write("evals/test_qa.py", BESIDE_A_BASELINE)
    options, tracker = track(luck)
    tries = []
    for missed in ("1 2", "6 7", "11 12", "16"):
        luck.attempt(missed, *options)
        tries.append((counted(luck), counted(luck, tracker)))
    assert tries == [(1, 1), (2, 2), (3, 3), (4, 4)]


def test_run_that_evaluates_the_same_data_again_and_again_is_one_try(luck):
    luck.write("evals/test_qa.py", IN_A_LOOP)
    often = LUCK.replace(
        "    missed =",
        "    if next(CALLS) % 37 == 0:\n        return '?'\n    missed =",
    )
    luck.write(
        "evals/conftest.py", f"import itertools\n{often}\n\nCALLS = itertools.count()\n"
    )
    options, tracker = track(luck)
    luck.attempt("1", "--llmeval-cache", "off", *options)
    digests = {e["predictions_digest"] for e in luck.verdict["evaluations"]}
    assert len(digests) == 3
    assert (counted(luck), counted(luck, tracker)) == (1, 1)


def test_run_that_did_not_come_to_its_end_is_no_try(luck):
    luck.write("evals/test_z.py", "import os\ndef test_z():\n    os._exit(3)\n")
    luck.attempt("1")
    (luck.path / "evals/test_z.py").unlink()
    (luck.path / ".llmeval/runs/broken").mkdir()
    (luck.path / ".llmeval/runs/broken/verdict.json").write_text("{")
    luck.attempt("2")
    assert counted(luck) == 1


def test_fourth_try_is_not_deployed(luck):
    for missed in ("1 2 3 4 5", "6 7 8 9 10", "11 12 13 14 15"):
        assert luck.attempt(missed).ret == 1
    result = luck.attempt("", *DEPLOY[1:])
    assert result.ret == 10
    assert luck.deployment["reason"] == "ATTEMPTS"
    assert "decided 4 times" in luck.deployment["message"]
    luck.set_ini(llmeval_max_attempts=4)
    luck.commit()
    luck.attempt("", *DEPLOY[1:])
    assert luck.deployment["reason"] == "DEPLOYED"


def test_version_that_is_live_may_be_evaluated_every_night(luck):
    source = (luck.path / "evals/test_qa.py").read_text()
    luck.write("evals/test_qa.py", source.replace("0.9", "0.5"))
    luck.update_gates()
    shutil.rmtree(luck.path / ".llmeval")
    luck.commit()
    assert luck.attempt("", *DEPLOY[1:]).ret == 0
    for missed in ("1", "2", "3", "4"):
        result = luck.attempt(missed, *DEPLOY[1:])
        assert (result.ret, luck.deployment["reason"]) == (0, "NOOP")
    assert counted(luck) == 5


def test_fresh_checkout_learns_of_the_tries_from_mlflow(luck, tmp_path_factory):
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    try:
        for missed in ("1 2 3 4 5", "6", "7", "7"):
            shutil.rmtree(luck.path / ".llmeval", ignore_errors=True)
            luck.attempt(missed, "--llmeval-tracking", server.url)
        home = luck.path / ".llmeval"
        tracker = MlflowTracker(server.url, home)
        assert counted(luck) == 1
        assert counted(luck, tracker) == 3
        result = luck.attempt("", "--llmeval-tracking", server.url, *DEPLOY[1:])
    finally:
        server.kill()
    assert result.ret == 10
    assert luck.deployment["reason"] == "ATTEMPTS"
    json.dumps(luck.deployment)


def test_workers_and_cases_have_one_digest_with_a_run_in_one_process(luck):
    def digests():
        return [e["predictions_digest"] for e in luck.verdict["evaluations"]]

    luck.attempt("1")
    alone = digests()
    luck.attempt("1", "-n", "2")
    assert digests() == alone
    marked = (
        "import pytest\n\nfrom pytest_llmeval import Gate\n\n\n"
        "@pytest.mark.llmeval_cases('data.jsonl', gates=[Gate('pass_rate', '>=', 0)])\n"
        "def test_word(llmeval_case):\n"
        "    assert llmeval_case.output\n"
    )
    luck.write("evals/test_qa.py", marked)
    luck.attempt("1")
    in_cases = digests()
    luck.attempt("1", "-n", "2")
    assert digests() == in_cases
    assert in_cases == alone
