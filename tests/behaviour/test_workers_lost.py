"""A worker that dies, whenever it does, makes no verdict that passes."""

import os
import signal
import time
from functools import partial

import pytest

from .conftest import PASSING
from .conftest import RIGHT


WORKERS = ("evals", "-n", "2")
DEPLOY = ("--llmeval-deploy", "registry:qa@champion")
GATE = """\
import os

from pytest_llmeval import assert_metric


def test_dies(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    {before}
    assert_metric(results, "exact_match", ">=", 0.8)
    {after}
"""
DYING = """

{mark}
def {hook}:
    import os

    if hasattr({config}, "workerinput"):
        {ends}
"""
FINISH = {"hook": "pytest_sessionfinish(session)", "config": "session.config"}
UNCONFIGURE = {"hook": "pytest_unconfigure(config)", "config": "config"}


def reason(suite):
    return suite.verdict["status"], suite.verdict["reason"]


def gates(suite):
    return {gate["test"]: gate["decision"] for gate in suite.verdict["gates"]}


def write_hook(suite, **parts):
    parts = {"mark": "", "ends": "os._exit(3)", **parts}
    suite.write("evals/conftest.py", RIGHT + DYING.format(**parts))


@pytest.mark.parametrize("place", ["before", "after"])
def test_death_in_a_gate_is_worker_lost_and_deploys_nothing(suite, place):
    suite.write("evals/test_dies.py", GATE.format(before="", after=""))
    suite.update_gates()
    dying = {"before": "", "after": "", place: "os._exit(1)"}
    suite.write("evals/test_dies.py", GATE.format(**dying))
    suite.commit()
    result = suite.run(*WORKERS, *DEPLOY)
    assert result.ret == 1
    assert reason(suite) == ("incomplete", "WORKER_LOST")
    assert suite.deployment["reason"] == "WORKER_LOST"
    assert gates(suite) == {"evals/test_qa.py::test_quality": "pass"}
    assert not (suite.path / "mlflow.db").exists(), "no registry was asked"


def test_death_without_a_restart_is_worker_lost(suite):
    suite.write("evals/test_dies.py", GATE.format(before="os._exit(1)", after=""))
    result = suite.run(*WORKERS, "--max-worker-restart", "0")
    assert result.ret == 1
    assert reason(suite) == ("incomplete", "WORKER_LOST")


def test_gates_of_a_restarted_worker_count_and_the_run_stays_incomplete(suite):
    """The crashed test is no gate; what its worker still had to do is a gate."""
    suite.write("evals/test_aa.py", "import os\ndef test_z():\n    os._exit(1)\n")
    for name in ("test_b.py", "test_c.py", "test_d.py"):
        suite.write(f"evals/{name}", PASSING)
    result = suite.run(*WORKERS)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*replacing crashed worker*"])
    assert set(gates(suite).values()) == {"pass"}
    assert len(gates(suite)) == 4
    assert len(suite.rows) == 4 * 40
    assert reason(suite) == ("incomplete", "WORKER_LOST")


@pytest.mark.parametrize(
    "parts",
    [
        {**FINISH, "ends": "os._exit(1)"},
        {**FINISH, "ends": "raise OSError('upload failed')"},
        {**UNCONFIGURE, "ends": "os._exit(1)"},
        UNCONFIGURE,
        {**UNCONFIGURE, "mark": "@pytest.hookimpl(trylast=True)"},
        {**UNCONFIGURE, "ends": "raise OSError('upload failed')"},
    ],
    ids=["finish-1", "finish-raises", "end-1", "end-3", "very-end-3", "end-raises"],
)
def test_death_at_shutdown_is_worker_lost(suite, parts):
    """Of pytest-xdist #1278: such a session exits with 0."""
    write_hook(suite, **parts)
    result = suite.run(*WORKERS, "--llmeval-require", "--max-worker-restart", "1")
    result.assert_outcomes(passed=1)
    assert result.ret == 1
    assert reason(suite) == ("incomplete", "WORKER_LOST")
    assert gates(suite) == {"evals/test_qa.py::test_quality": "pass"}


def test_death_at_shutdown_refuses_a_deployment(suite):
    write_hook(suite, **UNCONFIGURE)
    suite.update_gates()
    suite.commit()
    assert suite.run(*WORKERS, *DEPLOY).ret == 1
    assert suite.deployment["reason"] == "WORKER_LOST"


def test_worker_that_fails_inside_makes_no_verdict_that_passes(suite):
    hook = "pytest_runtest_logreport(report)"
    parts = {"hook": hook, "ends": "raise OSError('x')", "config": "report"}
    source = DYING.format(mark="", **parts).replace(
        'hasattr(report, "workerinput")', '"PYTEST_XDIST_WORKER" in os.environ'
    )
    suite.write("evals/conftest.py", RIGHT + source)
    result = suite.run(*WORKERS, "--llmeval-require")
    assert result.ret != 0
    assert reason(suite) == ("incomplete", "INCOMPLETE")
    assert not list(suite.run_directory.rglob("gw*")), "the workers' files are gone"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_controller_that_ends_leaves_incomplete_and_the_same_command_completes(
    suite, model_server, number
):
    def answer(message):
        time.sleep(0.1)
        return message.upper()

    suite.ask_pinned(model_server)
    suite.write("evals/test_same.py", PASSING)
    model_server.answer = answer
    options = (*WORKERS, "--llmeval-concurrency", "4")
    process = suite.start(*options)
    model_server.call_at(12, partial(os.kill, process.pid, number))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == (2 if number == signal.SIGINT else -number), output
    assert reason(suite) == ("incomplete", "INCOMPLETE")
    if number == signal.SIGINT:  # what is killed tidies nothing up
        assert "verdict: incomplete (INCOMPLETE: " in output
        assert "interrupted; the replies are stored: the same command" in output
        assert not list(suite.run_directory.rglob("gw*"))

    assert suite.run(*options).ret == 0
    assert reason(suite) == ("pass", "OK")
    assert len(suite.rows) == 2 * 40
    assert len(set(model_server.asked)) == 40
    assert model_server.repeated <= 4
