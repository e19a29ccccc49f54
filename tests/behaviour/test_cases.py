"""Rows as tests of their own: ids, predictions, scores, and gates over all of them."""

import xml.etree.ElementTree as ET

import pytest

from .case_suites import CASES
from .case_suites import GATED
from .case_suites import WRONG
from .conftest import ROWS


def test_each_row_is_a_test_that_passes_or_fails_by_its_asserts(cases):
    result = cases.run("evals", "-v")
    result.assert_outcomes(passed=38, failed=2)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*test_qa.py::test_word[[]r17[]] FAILED*"])
    rows = cases.rows
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    assert {row["id"] for row in rows if row["scores"]["pass_rate"] == 0} == WRONG
    assert rows[3]["prediction"] == "no"


def test_with_gates_a_failing_assert_is_missed_and_the_gates_decide(cases):
    cases.write("evals/test_qa.py", GATED)
    result = cases.run("evals", "-v", "--junitxml", "junit.xml")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "*test_qa.py::test_word[[]r3[]] MISSED*",
            "*test_qa.py::test_word::gate[[]pass_rate[]] PASSED*",
            "*cases that missed*",
            "evals/test_qa.py::test_word[[]r3[]] missed: *: assert 0.0 == 1",
            "*test_word *pass_rate *0.950 *>= *0.800*pass*",
            "*41 passed, 2 missed*",
            "verdict: pass",
        ]
    )
    suite = ET.parse(cases.path / "junit.xml").getroot()[0]
    named = {case.get("name"): case for case in suite}
    skipped = named["test_word[r3]"].find("skipped")
    assert skipped is not None
    assert "assert 0.0 == 1" in skipped.get("message", "")
    gate = named["test_word::gate[pass_rate]"]
    assert gate.get("classname") == "evals.test_qa"
    values = {one.get("name"): one.get("value") for one in gate.iter("property")}
    assert values["llmeval.pass_rate.value"] == "0.95"
    assert values["llmeval.pass_rate.decision"] == "pass"
    scores = {p.get("name") for p in named["test_word[r0]"].iter("property")}
    assert {"llmeval.exact_match.value", "llmeval.tone.value"} <= scores


def test_gate_that_fails_is_a_failed_test_of_its_own(cases):
    cases.write("evals/test_qa.py", GATED.replace("0.8", "0.995"))
    result = cases.run("evals", "--junitxml", "junit.xml")
    assert result.ret == 1
    result.assert_outcomes(passed=40, failed=1)
    result.stdout.fnmatch_lines(["*pass_rate 0.950*n=40*is below 0.995*"])
    verdict = cases.verdict
    assert (verdict["status"], verdict["reason"]) == ("fail", "GATE_FAILED")
    assert verdict["gates"][0]["test"] == "evals/test_qa.py::test_word"
    failures = ET.parse(cases.path / "junit.xml").findall(".//failure")
    assert len(failures) == 1


def test_part_of_the_cases_decides_no_gate(cases):
    cases.write("evals/test_qa.py", GATED)
    assert cases.llmeval("gates", "update").ret == 0
    files = ("--llmeval-markdown", "run.md", "--llmeval-html", "run.html")
    for workers in ("0", "2"):
        result = cases.run("evals", "-k", "r3 or r4", "-n", workers, *files)
        assert result.ret == 0
        result.stdout.fnmatch_lines(["not decided: *pass_rate: 12 of 40 cases*"])
        assert cases.verdict["reason"] == "NO_GATES"
        assert cases.verdict["undecided"][2] == {
            "test": "evals/test_qa.py::test_word",
            "gate": "tone",
            "cause": "12 of 40 cases were selected",
        }
        markdown = (cases.path / "run.md").read_text()
        assert "\n- not decided: `test_qa.py::test_word` tone: 12 of 40 " in markdown
        page = (cases.path / "run.html").read_text()
        assert "<li>tone: 12 of 40 cases were selected<" in page
    assert cases.run("evals", "-k", "r3 or r4", "--llmeval-require").ret == 1
    assert cases.verdict["reason"] == "NO_GATES"
    assert cases.run("evals", "--llmeval-require").ret == 0


@pytest.mark.parametrize("options", [(), ("-n", "2"), ("-n", "2", "--dist", "each")])
def test_rows_and_gates_are_the_same_in_any_number_of_processes(cases, options):
    cases.write("evals/test_qa.py", GATED)
    assert cases.run("evals", *options).ret == 0
    verdict = cases.verdict
    assert [gate["value"] for gate in verdict["gates"]] == [0.95, 0.95, 0.675]
    assert verdict["status"] == "pass"
    rows = cases.rows
    assert [row["id"] for row in rows] == [row["id"] for row in ROWS]
    assert rows[3]["scores"] == {"tone": 0.6, "exact_match": 0, "pass_rate": 0} | {
        "token_f1": 0
    }
    assert verdict["evaluations"][0]["metrics"]["pass_rate"]["n"] == 40
    left = [path.name for path in (cases.path / ".llmeval/runs").glob("*/gw*")]
    assert left == []


def test_exception_is_an_error_also_where_gates_decide(cases):
    cases.write(
        "evals/test_qa.py",
        GATED.replace(
            "    assert", "    assert llmeval_case.id != 'r5' or 1 / 0\n    assert"
        ),
    )
    result = cases.run("evals")
    assert result.ret == 1
    verdict = cases.verdict
    assert verdict["reason"] == "ROWS_MISSING"
    text = verdict["gates"][0]["text"]
    assert "r5 (test: ZeroDivisionError: division by zero). Mend their tests" in text


def test_score_that_a_case_did_not_record_is_missed_by_its_gate(cases):
    cases.write(
        "evals/test_qa.py",
        GATED.replace(
            "    llmeval_case.record",
            "    if llmeval_case.id != 'r9':\n        llmeval_case.record",
        ),
    )
    assert cases.run("evals").ret == 1
    decisions = {g["metric"]: g["decision"] for g in cases.verdict["gates"]}
    assert decisions == {"pass_rate": "pass", "token_f1": "pass", "tone": "error"}


@pytest.mark.parametrize(
    ("marker", "message"),
    [
        ('"data.jsonl", gate=[]', "no argument 'gate'; did you mean 'gates'?"),
        ('"nope.jsonl"', "no data file 'nope.jsonl'"),
        ('"data.jsonl", limit=0', "limit=0 must be a whole number, at least 1"),
        ('"data.jsonl", gates=["x"]', "gates= holds 'x', expected a Gate"),
        ("", "it needs data"),
    ],
)
def test_marker_that_cannot_be_used_says_why_before_any_call(cases, marker, message):
    cases.write("evals/test_qa.py", CASES.replace('"data.jsonl"', marker))
    result = cases.run("evals")
    assert result.ret == 2
    assert message in result.stdout.str()
    assert not (cases.path / ".llmeval").exists()


def test_ids_in_names_are_short_and_harmless(cases):
    rows = [
        {"id": "a b/c::d[é]\x1b", "input": "x", "answer": "X"},
        {"id": "y" * 200, "input": "y", "answer": "Y"},
        {"id": "plain-1.2_3", "input": "z", "answer": "Z"},
    ]
    cases.write_rows("evals/data.jsonl", rows)
    result = cases.run("evals", "--collect-only", "-q")
    names = [line.partition("[")[2] for line in result.outlines if "test_word[" in line]
    assert names[2] == "plain-1.2_3]"
    assert all(len(name) <= 41 and name.isascii() for name in names)
    assert len(set(names)) == 3
    assert cases.run("evals").ret == 0
    assert [row["id"] for row in cases.rows] == [row["id"] for row in rows]
