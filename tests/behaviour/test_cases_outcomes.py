"""What a case comes to: passed, missed, in error; in junit and in its row."""

import re
import xml.etree.ElementTree as ET

import pytest

from .case_suites import CASES
from .case_suites import GATED
from .case_suites import WRONG
from .conftest import Suite


OUTCOMES = """\
import pytest

from pytest_llmeval import Gate
from pytest_llmeval import assert_metric


@pytest.fixture
def checked(llmeval_case):
    assert llmeval_case.id != "r6", "of a fixture"
    yield
    if llmeval_case.id == "r7":
        raise OSError("at the end")


@pytest.mark.llmeval_cases("data.jsonl", gates=[Gate("pass_rate", ">=", 0.5)])
def test_word(llmeval_case, checked, evaluate):
    if llmeval_case.id == "r0":
        pytest.skip("not today")
    if llmeval_case.id == "r1":
        pytest.xfail("known")
    if llmeval_case.id == "r2":
        results = evaluate(data="data.jsonl", metrics=["exact_match"])
        assert_metric(results, "exact_match", ">=", 0.99)
    if llmeval_case.id == "r5":
        pytest.fail("no good")
    assert llmeval_case.prediction == llmeval_case.references[0]
"""
SKIPPING = """

def pytest_collection_modifyitems(items):
    for item in items:
        if item.name == "test_word[r8]":
            item.add_marker(pytest.mark.skip(reason="later"))
        if item.name == "test_word[r17]":
            item.add_marker(pytest.mark.xfail(reason="hard"))
"""
SUBTESTS = """\
import pytest

from pytest_llmeval import Gate


@pytest.mark.llmeval_cases("data.jsonl", limit=4, gates=[])
def test_word(llmeval_case, subtests):
    with subtests.test("first"):
        assert llmeval_case.id != "r0", "first"
    with subtests.test("second"):
        assert llmeval_case.id != "r1", "second"
    llmeval_case.record("late", 1)
    assert llmeval_case.id != "r2"
"""


@pytest.mark.parametrize("workers", ["0", "2"])
def test_only_an_assert_of_the_test_itself_is_a_case_that_missed(
    cases: Suite, workers: str
) -> None:
    cases.write("evals/test_qa.py", OUTCOMES)
    model = (cases.path / "evals/conftest.py").read_text()
    cases.write("evals/conftest.py", model + SKIPPING)
    result = cases.run("evals", "-n", workers, "-ra", "--junitxml", "junit.xml")
    assert result.ret == 1
    stats = result.parseoutcomes()
    assert stats.pop("warnings", 0) == 0
    assert stats == {
        "passed": 32,
        "missed": 1,
        "skipped": 2,
        "xfailed": 2,
        "failed": 3,
        "errors": 2,
    }
    errors = {row["id"]: row["errors"] for row in cases.rows if row["errors"]}
    kinds = {
        name: error[0]["message"].partition(":")[0] for name, error in errors.items()
    }
    assert kinds == {
        "r0": "Skipped",
        "r1": "XFailed",
        "r2": "GateNotPassed",
        "r5": "Failed",
        "r6": "AssertionError",
        "r8": "its test did not run to its end",
    }
    missed = [row["id"] for row in cases.rows if row["scores"].get("pass_rate") == 0]
    assert missed == ["r3", "r17"]
    assert cases.verdict["status"] == "fail"
    suite = ET.parse(cases.path / "junit.xml").getroot()[0]
    failed = {one.get("name") for one in suite if one.find("failure") is not None}
    assert failed == {"test_word[r2]", "test_word[r5]", "test_word::gate[pass_rate]"}


@pytest.mark.parametrize("workers", ["0", "2"])
def test_subtest_that_fails_makes_its_case_miss(cases: Suite, workers: str) -> None:
    gates = ", ".join(
        f'Gate("{name}", ">=", {bar}, confidence="point")'
        for name, bar in {"pass_rate": 0.25, "late": 1}.items()
    )
    cases.write("evals/test_qa.py", SUBTESTS.replace("[]", f"[{gates}]"))
    result = cases.run("evals", "-n", workers)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*r0[]] missed: a subtest missed"])
    assert result.parseoutcomes()["missed"] == 2 + 2 + 1  # subtests, and their tests
    assert [row["scores"]["pass_rate"] for row in cases.rows] == [0, 0, 0, 1]
    assert [row["scores"]["late"] for row in cases.rows] == [1, 1, 1, 1]
    assert [gate["value"] for gate in cases.verdict["gates"]] == [0.25, 1]


def test_without_gates_a_subtest_that_fails_fails_its_case(cases: Suite) -> None:
    cases.write("evals/test_qa.py", SUBTESTS)
    assert cases.run("evals").ret == 1
    assert [row["scores"]["pass_rate"] for row in cases.rows] == [0, 0, 0, 1]


@pytest.mark.parametrize("suite_text", [CASES, GATED])
def test_rerun_of_a_row_that_had_no_reply_asks_again(
    suite: Suite, model_server, suite_text: str
) -> None:
    suite.ask(model_server)
    suite.write("evals/test_qa.py", suite_text)
    first = iter([500])
    model_server.status = lambda message: (
        next(first, 200) if message == "word 5" else 200
    )
    result = suite.run("evals", "--reruns", "2", "--llmeval-attempts", "1")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["*passed*, 1 rerun*"])
    assert (len(model_server.requests), model_server.repeated) == (41, 1)
    assert suite.rows[5]["errors"] == []
    verdict = suite.verdict
    assert verdict["reason"] == "RERUN"
    assert {gate["decision"] for gate in verdict["gates"]} <= {"pass"}


def test_case_that_missed_is_not_rerun(cases: Suite) -> None:
    cases.write("evals/test_qa.py", GATED)
    result = cases.run("evals", "--reruns", "2")
    result.stdout.fnmatch_lines(["*41 passed, 2 missed*"])
    assert cases.verdict["status"] == "pass"


@pytest.mark.parametrize("workers", ["0", "2"])
def test_junit_has_gates_beside_the_cases_and_plain_messages(cases: Suite, workers):
    right = "llmeval_case.prediction == llmeval_case.references[0], llmeval_case  #"
    cases.write("evals/test_qa.py", GATED.replace("assert ", f"assert {right}"))
    junit = ("--junitxml", "out.xml", "--color", "yes", "-vv")
    assert cases.run("evals", "-n", workers, *junit).ret == 0
    tests = list(ET.parse(cases.path / "out.xml").iter("testcase"))
    assert {test.get("classname") for test in tests} == {"evals.test_qa"}
    names = [test.get("name") for test in tests]
    gates = [f"test_word::gate[{metric}]" for metric in ("pass_rate", "token_f1")]
    assert names[-3:] == [*gates, "test_word::gate[tone]"]
    skips = [skip for test in tests for skip in test.iter("skipped")]
    messages = [skip.get("message") or "" for skip in skips]
    assert len(messages) == len(WRONG)
    for message in messages:
        assert re.match(r"missed: AssertionError: <case r(3|17)>\nassert ", message)
        assert "x1b" not in message


def test_cases_that_missed_are_listed_in_the_order_of_the_tests(cases: Suite) -> None:
    slow = '    __import__("time").sleep(llmeval_case.id == "r3")\n    assert'
    cases.write("evals/test_qa.py", GATED.replace("    assert", slow))
    result = cases.run("evals", "-n", "2")
    missed = [line.split()[0] for line in result.outlines if " missed: " in line]
    assert [name[-4:] for name in missed] == ["[r3]", "r17]"]


def test_line_of_a_case_that_missed_has_room_in_a_terminal(cases: Suite) -> None:
    long = GATED.replace("== 1", '== 1, "so " * 500')
    cases.write("evals/test_qa.py", long)
    result = cases.run("evals")
    lines = [line for line in result.outlines if " missed: " in line]
    assert len(lines) == len(WRONG)
    assert max(map(len, lines)) < 240


@pytest.mark.parametrize("options", [("-q",), ("-n", "2")])
def test_lines_of_the_run_begin_on_their_own(cases: Suite, options) -> None:
    result = cases.run("evals", *options)
    result.stdout.re_match_lines([r"  data\.jsonl: \d+ requests for \d+ rows, .*"])


@pytest.mark.parametrize(
    ("call", "message"),
    [
        ("record(3, 1)", "record(3, …) needs the name of a metric"),
        ('record("", 1)', "record('', …) needs the name of a metric"),
        ('record("tone", float("nan"))', "record('tone', nan) needs a finite number"),
        ('record("rouge1", 1)', "record('rouge1', …) has the name of a known metric"),
        ('record("pass_rate", 1)', "has the name of a known metric"),
        ('score("bleuu")', "no metric is named 'bleuu'; did you mean 'bleu'?"),
        ("score([1])", "[1] is no metric"),
        ('score("bleu")', "bleu has no score for a single row"),
    ],
)
def test_score_that_makes_no_sense_is_an_error_of_its_test(cases: Suite, call, message):
    cases.write(
        "evals/test_qa.py",
        CASES.replace('"data.jsonl"', '"data.jsonl", limit=1').replace(
            "    assert", f"    llmeval_case.{call}\n    assert"
        ),
    )
    result = cases.run("evals")
    assert result.ret == 1
    assert message in result.stdout.str()
    assert cases.rows[0]["errors"][0]["kind"] == "test"
