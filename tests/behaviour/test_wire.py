"""What passes between xdist workers and their controller, and what must not."""

import json

import pytest

from pytest_llmeval.seal import broken_seal

from .conftest import PASSING
from .conftest import RIGHT


WORKERS = ("evals", "-n", "2")
BAD = """\
import json
import warnings

import pytest

BAD = json.loads('"\\\\ud83d"')
"""
HOSTILE = {
    "message": "def test_z():\n    assert BAD == 'fine'\n",
    "property": (
        "def test_z(record_property):\n"
        "    record_property(BAD, BAD)\n"
        "    record_property(BAD, object())\n"
        "    assert 0\n"
    ),
    "output": "def test_z():\n    print(BAD)\n    assert 0\n",
    "log": (
        "def test_z():\n"
        "    import logging\n"
        "    logging.getLogger().warning(BAD)\n"
        "    assert 0\n"
    ),
    "warning": "def test_z():\n    warnings.warn(BAD)\n    assert 0\n",
    "id": "@pytest.mark.parametrize('x', [BAD])\ndef test_z(x):\n    assert 0\n",
    "subtest": (
        "def test_z(subtests):\n    with subtests.test(BAD):\n        assert 0\n"
    ),
    "setup": (
        "@pytest.fixture\ndef f():\n    assert not BAD\n\n\ndef test_z(f):\n    pass\n"
    ),
}
PROBE = """\
import os

from pytest_llmeval import assert_metric


def test_probe(evaluate, request):
    assert "LLMEVAL_SIGNING_KEY" not in os.environ
    assert "a long signing key" not in repr(request.config.workerinput)
    assert_metric(
        evaluate(data="data.jsonl", metrics=["exact_match"]), "exact_match", ">=", 0.9
    )
"""
MODULES = """\
import sys


def test_modules():
    assert "pytest_llmeval.transport" not in sys.modules
    assert ("xdist" in sys.modules) == HAS_XDIST
"""


@pytest.mark.parametrize("where", HOSTILE)
def test_failing_test_with_a_lone_surrogate_is_not_lost(suite, where):
    """Of pytest-xdist #843: such a test vanishes, and the session exits with 0."""
    suite.write("evals/test_z.py", BAD + HOSTILE[where])
    result = suite.run(*WORKERS, "--junitxml", "out.xml")
    assert result.ret == 1
    outcomes = result.parseoutcomes()
    assert outcomes["passed"] == 1
    assert outcomes.get("failed", 0) + outcomes.get("errors", 0) >= 1
    assert suite.verdict["reason"] == "TESTS_FAILED"
    assert "test_z.py::test_z" in suite.verdict["detail"]


@pytest.mark.parametrize("workers", ["2", "3", "4"])
def test_gate_on_predictions_with_a_lone_surrogate_fails(suite, workers):
    suite.write(
        "evals/conftest.py",
        RIGHT.replace("prompt.upper()", 'prompt + "\\ud83d"'),
    )
    assert suite.run("evals", "-n", workers).ret == 1
    verdict = suite.verdict
    assert (verdict["status"], verdict["reason"]) == ("fail", "GATE_FAILED")
    assert {row["prediction"][-1] for row in suite.rows} == {"\ud83d"}


def test_tests_that_pass_with_what_xdist_cannot_send_still_pass(suite):
    """A numpy number or an object in a property ends a session of xdist."""
    suite.write(
        "evals/test_z.py",
        BAD + "import numpy\n\n\ndef test_z(record_property):\n"
        "    warnings.warn(BAD)\n"
        "    record_property('score', numpy.float64(0.5))\n"
        "    record_property('numbers', [numpy.int64(3), {'at': object}])\n",
    )
    result = suite.run(*WORKERS, "--junitxml", "out.xml", "--llmeval-cache", "off")
    result.assert_outcomes(passed=2, warnings=1)
    assert suite.verdict["reason"] == "OK"
    text = (suite.path / "out.xml").read_text(encoding="utf-8")
    assert 'name="score" value="0.5"' in text


def test_odd_values_in_a_gate_are_kept_as_without_workers(suite):
    gates = ["np.float64(0.9)", "np.float32(0.5)", "np.int64(0)", "0.5, where=PAIR"]
    tests = "".join(
        f"def test_{number}(evaluate):\n"
        "    results = evaluate(data=DATA, metrics=['exact_match'])\n"
        f"    assert_metric(results, 'exact_match', '>=', {gate})\n\n\n"
        for number, gate in enumerate(gates)
    )
    head = "import numpy as np\n\nfrom pytest_llmeval import assert_metric\n\n"
    head += "DATA = 'data.jsonl'\nPAIR = {'id': 'r1', 'n': np.int64(3)}\n\n\n"
    suite.write("evals/test_odd.py", head + tests)
    found = []
    for mode in ("0", "2"):
        assert suite.run("evals", "-n", mode, "--llmeval-cache", "off").ret == 1
        found.append([{**g, "text": None} for g in suite.verdict["gates"]])
    assert found[0] == found[1]
    assert [gate["threshold"] for gate in found[1]] == [0.9, 0.5, 0, 0.5, 0.9]


def test_signing_key_is_out_of_reach_in_workers_and_signs_their_verdict(
    suite, monkeypatch
):
    monkeypatch.setenv("LLMEVAL_SIGNING_KEY", "a long signing key")
    suite.write("evals/test_probe.py", PROBE)
    assert suite.run(*WORKERS).ret == 0
    text = (suite.run_directory / "verdict.json").read_text()
    assert broken_seal(json.loads(text), "a long signing key") is None
    forged = json.loads(text.replace('"n": 40', '"n": 41'))
    assert broken_seal(forged, "a long signing key")


def test_signature_of_a_baseline_is_checked_in_workers(suite, monkeypatch):
    monkeypatch.setenv("LLMEVAL_SIGNING_KEY", "a long signing key")
    assert suite.run().ret == 0
    baseline = suite.run_directory
    suite.write(
        "evals/test_qa.py",
        PASSING.replace("assert_metric", "assert_no_regression").replace(
            '"exact_match", ">=", 0.9', f'"{baseline}", "exact_match", max_drop=0.2'
        ),
    )
    assert suite.run(*WORKERS).ret == 0
    path = baseline / "verdict.json"
    path.write_text(path.read_text().replace('"n": 40', '"n": 41'))
    assert suite.run(*WORKERS).ret == 1
    (gate,) = suite.verdict["gates"]
    assert (gate["decision"], gate["reason"]) == ("error", "BASELINE_UNUSABLE")


def test_budget_of_all_workers_is_in_the_verdict(suite, model_server):
    suite.ask_pinned(model_server)
    test = PASSING.replace("0.9)", '0, on_error="worst")')
    suite.write("evals/test_qa.py", test)
    suite.write("evals/test_same.py", test)
    for dist in ("load", "each"):
        options = ("--dist", dist, "--llmeval-cache", "off")
        result = suite.run(*WORKERS, *options, "--llmeval-max-requests", "60")
        assert result.ret == 1
        assert {gate["decision"] for gate in suite.verdict["gates"]} == {"pass"}
        assert suite.verdict["reason"] == "BUDGET"
        assert suite.verdict["status"] == "incomplete"


def test_early_stop_is_recorded_with_its_gate(suite, model_server):
    rows = [{"id": f"r{i}", "input": f"w {i}", "answer": f"W {i}"} for i in range(300)]
    suite.write_rows("evals/data.jsonl", rows)
    suite.ask_pinned(model_server)
    assert suite.run(*WORKERS, "--llmeval-early-stop").ret == 0
    (gate,), (stop,) = suite.verdict["gates"], suite.verdict["early_stops"]
    assert (gate["method"], gate["decision"]) == ("betting", "pass")
    assert stop["asked"] == len(model_server.requests) == len(suite.rows) < 100


def test_worker_that_never_evaluates_is_no_loss(suite):
    suite.write("evals/test_z.py", "def test_z():\n    pass\n")
    assert suite.run(*WORKERS, "--dist", "loadfile", "-q").ret == 0
    assert suite.verdict["reason"] == "OK"
    assert not list(suite.run_directory.rglob("gw*"))


def test_session_without_an_evaluation_leaves_nothing(suite):
    suite.write("evals/test_qa.py", "def test_z():\n    pass\n")
    suite.write("evals/test_b.py", "def test_z():\n    raise KeyboardInterrupt\n")
    suite.run(*WORKERS)
    assert not (suite.path / ".llmeval").exists()


def test_run_without_a_terminal_reporter_has_its_verdict(suite):
    assert suite.run(*WORKERS, "-p", "no:terminal").ret == 0
    assert suite.verdict["reason"] == "OK"


@pytest.mark.parametrize("is_there", [True, False])
def test_without_workers_nothing_of_xdist_is_loaded(suite, monkeypatch, is_there):
    options: tuple[str, ...] = ()
    if not is_there:
        monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
        options = ("-p", "pytest_llmeval.pytest_plugin")
    suite.write("evals/test_m.py", MODULES.replace("HAS_XDIST", str(is_there)))
    assert suite.run("evals", *options).ret == 0
    assert suite.verdict["reason"] == "OK"
