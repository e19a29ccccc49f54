"""What junit holds of tests that evaluated: properties, any text, bounded sizes."""

import json
import re
import xml.etree.ElementTree as ET
from collections import Counter

import pytest


WORKERS = pytest.mark.parametrize("workers", [(), ("-n", "2")], ids=["none", "n2"])
SHAPE = {
    "testsuites": ({"name"}, {"testsuite"}),
    "testsuite": (
        {"name", "errors", "failures", "skipped", "tests"}
        | {"time", "timestamp", "hostname"},
        {"testcase"},
    ),
    "testcase": (
        {"classname", "name", "time"},
        {"properties", "skipped", "failure", "error", "system-out", "system-err"},
    ),
    "properties": (set(), {"property"}),
    "property": ({"name", "value"}, set()),
    "failure": ({"message"}, set()),
    "error": ({"message"}, set()),
    "skipped": ({"message", "type"}, set()),
    "system-out": (set(), set()),
    "system-err": (set(), set()),
}
"""What an element of pytest's family xunit2 may hold: attributes and elements."""
EVALUATED = """\
import pytest

from pytest_llmeval import assert_metric


def wrong(prompt):
    return "wrong"


def test_gated(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match", "token_f1"])
    assert_metric(results, "exact_match", ">=", 0.9)


def test_ungated(evaluate):
    evaluate(data="data.jsonl", metrics=["token_f1"])


def test_twice(evaluate):
    for model in (str.upper, wrong):
        evaluate(model, data="data.jsonl", metrics=["exact_match"])


def test_refused(evaluate):
    evaluate(data="data.jsonl", metrics=["nosuch"])


def test_fixture_alone(evaluate):
    pass


@pytest.fixture
def failing_at_the_end(evaluate):
    yield
    assert False


def test_fails_twice(evaluate, failing_at_the_end):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert_metric(results, "exact_match", "<", 0.1)
"""
QUOTING = """\
import logging
import sys

import pytest

from pytest_llmeval import Metric
from pytest_llmeval import assert_metric


@pytest.fixture
def answer(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    return results, results.rows[0].prediction.text


def test_gate(answer):
    assert_metric(answer[0], "exact_match", ">=", 0.9)


def test_plain(answer):
    assert answer[0]["exact_match"] >= 0.9


def test_assert(answer):
    assert answer[1] == "expected"


def test_raise(answer):
    raise RuntimeError(answer[1])


def test_fail(answer):
    pytest.fail(answer[1], pytrace=False)


def test_skip(answer):
    pytest.skip(answer[1])


def test_captured(answer):
    print(answer[1].encode("utf-8", "replace").decode())
    sys.stderr.write(answer[1].encode("utf-8", "replace").decode())
    logging.getLogger().warning(answer[1])
    assert False


def test_model(evaluate):
    def refuse(prompt):
        raise RuntimeError(TEXT)

    results = evaluate(refuse, "data.jsonl", ["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.9)


def test_column(evaluate):
    evaluate(data=[{TEXT: "a"}], metrics=["exact_match"])


def test_metric(evaluate):
    score = lambda prediction, example: 0.0
    metric = Metric(name=TEXT, score=score, range=(0.0, 1.0))
    results = evaluate(data="data.jsonl", metrics=[metric])
    assert_metric(results, TEXT, ">=", 0.9)
"""
MODEL = """\
import json
from pathlib import Path

import pytest

TEXT = json.loads(Path(__file__).with_name("text.json").read_text())


@pytest.fixture
def llmeval_model():
    return lambda prompt: TEXT
"""
QUOTING_TESTS = QUOTING.count("def test_")
QUOTING_CASES = """\
import pytest

from pytest_llmeval import Gate

GATES = [Gate("pass_rate", ">=", 0.0)]
quoted = pytest.mark.llmeval_cases("data.jsonl")


@quoted
def test_raise(llmeval_case):
    llmeval_case.score("exact_match")
    raise RuntimeError(llmeval_case.prediction)


@quoted
def test_fail(llmeval_case):
    pytest.fail(llmeval_case.prediction, pytrace=False)


@quoted
def test_captured(llmeval_case):
    print(llmeval_case.prediction.encode("utf-8", "replace").decode())
    assert False, llmeval_case.prediction


@pytest.mark.llmeval_cases("data.jsonl", gates=GATES)
def test_missed(llmeval_case):
    llmeval_case.record("tone", 1)
    assert False, llmeval_case.prediction
"""


def cases(suite):
    """Return the test cases of junit by their names, once its shape is checked."""
    root = ET.parse(suite.path / "out.xml").getroot()
    for element in root.iter():
        attributes, children = SHAPE[element.tag]
        if element.tag == "skipped":
            assert set(element.attrib) <= attributes
        else:
            assert set(element.attrib) == attributes
        assert {child.tag for child in element} <= children
    found = list(root.iter("testcase"))
    names = Counter((case.get("classname"), case.get("name")) for case in found)
    assert max(names.values()) == 1
    for case in found:
        assert all(p.get("name").isprintable() for p in case.iter("property"))
        times = Counter(p.get("name") for p in case.iter("property"))
        assert max(times.values(), default=1) == 1
    return {case.get("name"): case for case in found}


def properties(case):
    return {p.get("name"): p.get("value") for p in case.iter("property")}


@WORKERS
def test_each_test_that_evaluated_has_its_metrics_and_the_run_id(suite, workers):
    source = EVALUATED[: EVALUATED.index("@pytest.fixture\ndef failing")]
    suite.write("evals/test_qa.py", source)
    suite.run("evals", "--junitxml", "out.xml", *workers)
    found = {name: properties(case) for name, case in cases(suite).items()}
    assert found.pop("test_fixture_alone") == {}
    (run_id,) = {values.pop("llmeval.run_id") for values in found.values()}
    assert re.fullmatch(r"\d{8}-\d{6}-[0-9a-f]{6}", run_id)
    if not workers:
        assert suite.verdict["run_id"] == run_id
    lower = str(0.05 ** (1 / 40))[:10]  # of 40 right ones of 40
    for name, metric in (("test_gated", "exact_match"), ("test_ungated", "token_f1")):
        values = found[name]
        assert values.pop(f"llmeval.{metric}.lower").startswith(lower)
        evidence = {"value": "1.0", "upper": "1.0", "n": "40", "errors": "0"}
        for field, value in evidence.items():
            assert values.pop(f"llmeval.{metric}.{field}") == value
    assert found["test_gated"].pop("llmeval.exact_match.threshold") == "0.9"
    assert found["test_gated"].pop("llmeval.exact_match.decision") == "pass"
    assert {key.split(".")[1] for key in found["test_gated"]} == {"token_f1"}
    assert found["test_ungated"] == found["test_refused"] == {}
    twice = found["test_twice"]
    assert twice["llmeval.exact_match.value"] == "1.0"
    assert twice["llmeval.exact_match#2.value"] == "0.0"


@WORKERS
def test_failure_of_test_and_teardown_both_carry_the_properties(suite, workers):
    suite.write("evals/test_qa.py", EVALUATED)
    options = ("--junitxml", "out.xml", "-k", "fails_twice")
    suite.run("evals", *options, *workers)
    root = ET.parse(suite.path / "out.xml").getroot()
    both = [properties(case) for case in root.iter("testcase")]
    assert len(both) == 2
    for values in both:
        assert values["llmeval.exact_match.decision"] == "fail"
        assert "llmeval.run_id" in values


def test_each_try_of_a_rerun_test_has_its_own_properties(suite):
    suite.write(
        "evals/test_qa.py",
        EVALUATED[: EVALUATED.index("def test_gated")]
        + "MODELS = [wrong, str.upper]\n\n\n"
        "def test_flaky(evaluate):\n"
        '    results = evaluate(MODELS.pop(0), "data.jsonl", ["exact_match"])\n'
        '    assert_metric(results, "exact_match", ">=", 0.9)\n',
    )
    result = suite.run("evals", "--junitxml", "out.xml", "--reruns", "1")
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    root = ET.parse(suite.path / "out.xml").getroot()
    tries = [properties(case) for case in root.iter("testcase")]
    names = ("llmeval.exact_match.value", "llmeval.exact_match.decision")
    found = [tuple(values[name] for name in names) for values in tries]
    assert found == [("0.0", "fail"), ("1.0", "pass")]
    assert not any("#2" in name for values in tries for name in values)


def quote(suite, text, *options):
    suite.write("evals/text.json", json.dumps(text))
    suite.write("evals/conftest.py", MODEL)
    suite.write(
        "evals/test_qa.py", QUOTING.replace("import sys", f"import sys\n{LOAD}")
    )
    suite.write_rows("evals/data.jsonl", [{"input": "q", "answer": "a"}])
    logs = ("-o", "junit_logging=all", "-vv")
    result = suite.run("evals", "--junitxml", "out.xml", *logs, *options)
    outcomes = result.parseoutcomes()
    assert outcomes["skipped"] == 1
    assert outcomes["failed"] == QUOTING_TESTS - 1
    found = cases(suite)
    assert len(found) == QUOTING_TESTS
    for case in found.values():
        assert "llmeval.run_id" in properties(case)
        assert len(case.findall("failure") + case.findall("skipped")) == 1
    return found


LOAD = """\
import json
from pathlib import Path

TEXT = json.loads(Path(__file__).with_name("text.json").read_text())
"""


@WORKERS
@pytest.mark.parametrize(
    "text",
    [
        "".join(map(chr, range(0x3000))),
        "".join(map(chr, range(0xD7F0, 0xE010))) + "\ufdd0\ufffe\uffff\U0010ffff",
        "]]></failure><x>&#0;\x1b]8;;http://x\x07\ud83d",
    ],
    ids=["low", "surrogates", "markup"],
)
def test_any_text_gives_valid_xml_and_loses_no_test(suite, text, workers):
    quote(suite, text, *workers)


@WORKERS
def test_answer_of_ten_megabytes_does_not_reach_junit(suite, workers, monkeypatch):
    monkeypatch.setenv("CI", "true")  # where pytest cuts nothing
    found = quote(suite, ("\x1b\u00e9 " * 333 + "\n") * 10_000, *workers)
    size = (suite.path / "out.xml").stat().st_size
    assert size < 3_000_000
    assert "[10000000 characters, sha256 " in found["test_fail"].find("failure").text
    for name in ("test_assert", "test_raise", "test_captured"):
        texts = "".join(found[name].itertext())
        assert re.search(r" … \[\d{8} characters, sha256 [0-9a-f]{16}\] … ", texts)


@WORKERS
def test_answer_that_a_case_quotes_is_bounded_and_loses_no_test(suite, workers):
    text = ("\x1b\u00e9]]>\ud83d" * 300 + "\n") * 3_000
    suite.write("evals/text.json", json.dumps(text))
    suite.write("evals/conftest.py", MODEL)
    suite.write("evals/test_qa.py", QUOTING_CASES)
    suite.write_rows("evals/data.jsonl", [{"id": "q", "input": "q", "answer": "a"}])
    options = ("-o", "junit_logging=all", "--junitxml", "out.xml", "-vv", *workers)
    result = suite.run("evals", *options)
    assert result.parseoutcomes() == {"failed": 3, "missed": 1, "passed": 1}
    found = cases(suite)
    names = ["test_captured[q]", "test_fail[q]", "test_missed::gate[pass_rate]"]
    assert sorted(found) == [*names, "test_missed[q]", "test_raise[q]"]
    assert properties(found["test_raise[q]"])["llmeval.exact_match.value"] == "0.0"
    assert properties(found["test_missed[q]"])["llmeval.tone.value"] == "1.0"
    assert (suite.path / "out.xml").stat().st_size < 1_500_000


def test_reports_of_other_tests_stay_as_they_are(suite):
    suite.write(
        "evals/test_z.py",  # after a test that evaluated
        "def test_other():\n    print('x' * 200_000)\n    assert False\n",
    )
    options = ("-o", "junit_logging=all", "--junitxml", "out.xml")
    suite.run("evals", *options)
    assert "x" * 200_000 in cases(suite)["test_other"].find("system-out").text


def test_hostile_metric_name_gives_harmless_property_names(suite):
    found = quote(suite, "\x1b[31m .decision=\u202e\n<&\"'>" + "n" * 5_000)
    (name,) = {
        name.removesuffix(".value")
        for name in properties(found["test_metric"])
        if name.endswith(".value")
    }
    assert re.fullmatch(
        r"llmeval\.\\x1b\[31m_\.d … \[5023 characters, sha256 [0-9a-f]{16}\] … nnnn",
        name,
    )


def test_slices_without_number_are_bounded(suite):
    rows = [
        {"id": f"r{i}", "input": "q", "answer": "A" * 150, "topic": f"t{i}"}
        for i in range(200)
    ]
    suite.write_rows("evals/data.jsonl", rows)
    suite.write(
        "evals/test_qa.py",
        "from pytest_llmeval import assert_each_slice\n\n\n"
        "def test_slices(evaluate):\n"
        '    results = evaluate(data="data.jsonl", metrics=["exact_match"])\n'
        '    assert_each_slice(results, "exact_match", ">=", 0.9, by="topic")\n',
    )
    suite.run("evals", "--junitxml", "out.xml", "-q")
    case = cases(suite)["test_slices"]
    assert "and 180 more slices" in case.find("failure").text
    values = properties(case)
    assert values["llmeval.exact_match.decision"] == "inconclusive"
    assert "llmeval.exact_match#100.decision" in values
    assert values["llmeval.left_out"] == "100"
    assert (suite.path / "out.xml").stat().st_size < 100_000
