"""Cases whose run ends before its time, or whose tests do not run at all."""

import pytest

from .case_suites import CASES
from .case_suites import GATED
from .conftest import PASSING
from .conftest import Suite


PLAIN = CASES.replace('"data.jsonl"', '"data.jsonl", name="plain"')
EXIT = """

def pytest_runtest_{hook}:
    if "{where}" in {node}:
        pytest.exit("enough", returncode=0)
"""
IN_A_GATE = {"hook": "logreport(report)", "where": "::gate[", "node": "report.nodeid"}
AFTER_THE_LAST = {"hook": "logfinish(nodeid)", "where": "[r39]", "node": "nodeid"}


def append(suite: Suite, name: str, text: str) -> None:
    suite.write(name, (suite.path / name).read_text() + text)


@pytest.mark.parametrize("workers", ["0", "1"])
def test_first_failure_keeps_the_rows_and_gates_so_far(cases: Suite, workers: str):
    cases.write("evals/test_a.py", GATED)
    cases.write("evals/test_qa.py", PLAIN)
    assert cases.run("evals", "-x", "-n", workers).ret != 0
    verdict = cases.verdict
    assert (verdict["status"], verdict["reason"]) == ("incomplete", "INCOMPLETE")
    assert [gate["decision"] for gate in verdict["gates"]] == ["pass"] * 3
    gated, plain = verdict["evaluations"]
    assert (gated["name"], gated["metrics"]["pass_rate"]["n"]) == ("data.jsonl", 40)
    assert plain["name"] == "plain"
    assert len(cases.rows) == 80
    assert [not row["errors"] for row in cases.rows[40:]] == [True] * 4 + [False] * 36


@pytest.mark.parametrize("parts", [IN_A_GATE, AFTER_THE_LAST], ids=["in", "before"])
@pytest.mark.parametrize("workers", ["0", "2"])
def test_exit_before_all_gates_are_decided_is_no_pass(cases, parts, workers):
    cases.write("evals/test_qa.py", GATED)
    cases.write("evals/test_a.py", PASSING.replace("0.9", "0.8"))
    append(cases, "evals/conftest.py", EXIT.format(**parts))
    assert cases.run("evals", "-n", workers).ret == 0, "as pytest.exit() says"
    verdict = cases.verdict
    assert {gate["decision"] for gate in verdict["gates"]} <= {"pass"}
    assert len(verdict["gates"]) < 4
    assert (verdict["status"], verdict["reason"]) == ("incomplete", "INCOMPLETE")
    assert cases.run("evals", "-n", workers, "--llmeval-require").ret == 1


@pytest.mark.parametrize("workers", ["0", "2"])
def test_tests_that_are_only_set_up_decide_nothing(cases: Suite, workers: str):
    cases.write("evals/test_qa.py", GATED)
    assert cases.run("evals", "--setup-only", "-n", workers).ret == 0
    assert cases.verdict["gates"] == []
    assert cases.verdict["reason"] == "NOT_EXECUTED"
