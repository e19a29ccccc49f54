"""One suite comes to the same rows, gates, verdict and MLflow run in any processes."""

import json
import shutil
import xml.etree.ElementTree as ET

import mlflow
import pytest

from .conftest import ROWS
from .conftest import Suite


# MLflow warns in many places; the runs under test are in processes of their own.
pytestmark = pytest.mark.filterwarnings("ignore")
CONFTEST = """\
import pytest

from pytest_llmeval import CallableModel


def answer(prompt):
    return "no" if prompt.endswith("7") else prompt.upper()


@pytest.fixture
def llmeval_model():
    return CallableModel(answer, version="1")
"""
SUITE = {
    "evals/test_a.py": """\
from pytest_llmeval import assert_each_slice
from pytest_llmeval import assert_metric


def test_two_gates(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match", "token_f1"])
    assert_metric(results, "token_f1", ">=", 0.75)
    assert_metric(results, "exact_match", ">=", 0.7)


def test_slices(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert_each_slice(results, "exact_match", ">=", 0.5, by="topic")
""",
    "evals/test_b.py": """\
import pytest

from pytest_llmeval import assert_metric


def test_two_evaluations(evaluate):
    other = evaluate(data="other.jsonl", metrics=["rouge1"], name="other")
    same = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert_metric(same, "exact_match", ">=", 0.7)
    assert_metric(other, "rouge1", ">=", 0.5)


@pytest.mark.parametrize("bar", [0.6, 0.5], ids=["a@b", "half"])
def test_bars(evaluate, bar):
    results = evaluate(data="data.jsonl", metrics=["exact_match"], repeats=2)
    assert_metric(results, "exact_match", ">=", bar)
""",
    "evals/test_c.py": """\
import pytest

from pytest_llmeval import assert_metric


@pytest.mark.xdist_group("together")
class TestGrouped:
    def test_where(self, evaluate):
        results = evaluate(data="data.jsonl", metrics=["exact_match"])
        assert_metric(results, "exact_match", ">=", 0.5, where={"topic": "odd"})

    def test_no_gate(self, evaluate):
        assert evaluate(data="other.jsonl", metrics=["contains"]).rows


def test_no_evaluation():
    pass
""",
    "evals/test_d.py": """\
import pytest

from pytest_llmeval import Gate
from pytest_llmeval import assert_metric

GATES = [Gate("pass_rate", ">=", 0.7), Gate("token_f1", ">=", 0.5)]


@pytest.mark.llmeval_cases("data.jsonl", gates=GATES, name="right")
def test_right(llmeval_case):
    llmeval_case.record("tone", len(llmeval_case.input) / 10)
    assert llmeval_case.score("exact_match") == 1


def test_between(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.6)


@pytest.mark.xdist_group("together")
@pytest.mark.llmeval_cases("data.jsonl", gates=GATES[:1], name="again")
def test_again(llmeval_case):
    assert llmeval_case.input


@pytest.mark.llmeval_cases("other.jsonl", limit=9, gates=GATES[:1], name="others")
class TestOthers:
    def test_other(self, llmeval_case):
        assert llmeval_case.score("rouge1") >= 0


@pytest.mark.llmeval_cases("other.jsonl", name="plain")
def test_plain(llmeval_case):
    assert llmeval_case.prediction
""",
}
OPENED = """\
import time
from pathlib import Path

import mlflow
import pytest

from pytest_llmeval import assert_metric


create_run = mlflow.MlflowClient.create_run


def create_slowly(*arguments, **options):
    time.sleep(1)
    return create_run(*arguments, **options)


@pytest.fixture
def both(request, monkeypatch):
    monkeypatch.setattr(mlflow.MlflowClient, "create_run", create_slowly)
    Path(f"ready-{request.path.stem}").touch()
    while len(list(Path().glob("ready-*"))) < 2:
        time.sleep(0.001)


def test_opened(both, mlflow_run, evaluate):
    mlflow.log_metric("mine", 7)
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.9)
"""
MODES = [
    ("-n", "0"),
    ("-n", "2"),
    ("-n", "8"),
    *(
        ("-n", "2", "--dist", dist)
        for dist in ("each", "loadscope", "loadfile", "loadgroup", "worksteal")
    ),
    ("--tx", "2*popen"),
    ("--tx", "popen//id=one", "--tx", "popen//id=two", "--dist", "load"),
]
OF_TIME = ("started_at", "duration_s", "usage", "rows_span", "rows_digest")
"""What differs between two runs: a row holds its latency, so its length does too."""


def write_suite(suite):
    suite.write("evals/conftest.py", CONFTEST)
    (suite.path / "evals/test_qa.py").unlink()
    for name, text in SUITE.items():
        suite.write(name, text)
    rows = [{**row, "topic": ("even", "odd")[i % 2]} for i, row in enumerate(ROWS)]
    suite.write_rows("evals/data.jsonl", rows)
    other = [{**row, "input": f"other {row['input']}"} for row in ROWS[:25]]
    suite.write_rows("evals/other.jsonl", other)


def outcome(suite):
    """All that a run left, but what depends on the time."""
    verdict = suite.verdict
    kept = ("status", "reason", "detail", "exit_status", "model", "gates", "datasets")
    evaluations = [
        {key: item for key, item in entry.items() if key not in OF_TIME}
        for entry in verdict["evaluations"]
    ]
    rows = [
        {key: row[key] for key in ("evaluation", "id", "prediction", "scores")}
        for row in suite.rows
    ]
    files = {path.name for path in suite.run_directory.rglob("*")}
    return {key: verdict[key] for key in kept}, evaluations, rows, files


def properties(suite):
    """What stands in junit of each test."""
    cases = ET.parse(suite.path / "j.xml").iter("testcase")
    return {
        f"{case.get('classname')}.{case.get('name')}".removesuffix("@together"): {
            one.get("name"): one.get("value")
            for one in case.iter("property")
            if one.get("name") != "llmeval.run_id"
        }
        for case in cases
    }


def tracked(suite):
    """Name, test, metrics and parameters of the children of the one parent run."""
    client = mlflow.MlflowClient(f"sqlite:///{suite.path / 'mlflow.db'}")
    experiment = client.get_experiment_by_name("llmeval")
    query = f"tags.`llmeval.run_id` = '{suite.verdict['run_id']}'"
    found = client.search_runs([experiment.experiment_id], query)
    (parent,) = [run for run in found if "mlflow.parentRunId" not in run.data.tags]
    assert parent.info.run_id == suite.verdict["mlflow_run_id"]
    children = [run for run in found if run is not parent]
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {
        parent.info.run_id
    }
    assert {run.info.status for run in found} == {"FINISHED"}
    return sorted(json.dumps(_child(run)) for run in children)


def _child(run):
    metrics = {
        name: value
        for name, value in sorted(run.data.metrics.items())
        if not name.startswith("usage/")
    }
    tags = run.data.tags
    named = [tags["mlflow.runName"], tags["llmeval.evaluation"], tags["llmeval.test"]]
    return [*named, metrics, sorted(run.data.params.items())]


@pytest.fixture(scope="module")
def suite(tmp_path_factory):
    """A suite that passes, with its manifest; it is not changed."""
    suite = Suite(tmp_path_factory.mktemp("one"))
    write_suite(suite)
    suite.update_gates()
    return suite


def run(suite, *mode):
    # Stored replies would be named with their age.
    shutil.rmtree(suite.path / ".llmeval", ignore_errors=True)
    options = ("--llmeval-tracking", "auto", "--llmeval-require", "--junitxml=j.xml")
    result = suite.run("evals", *options, *mode)
    return result, (*outcome(suite), properties(suite)), tracked(suite)


@pytest.fixture(scope="module")
def alone(suite):
    """What the suite comes to without xdist."""
    result, found, children = run(suite, "-p", "no:xdist")
    assert result.ret == 0
    verdict, evaluations, rows, files, shown = found
    assert (verdict["status"], verdict["reason"]) == ("pass", "OK")
    assert len(verdict["gates"]) == 9 + 1 + 4
    assert [entry["number"] for entry in evaluations] == list(range(1, 14))
    names = [entry["name"] for entry in evaluations[9:]]
    assert names == ["right", "again", "others", "plain"]
    assert len(rows) == 40 * 5 + 2 * 80 + 2 * 25 + 40 + 40 + 9 + 25
    assert files == {"results.jsonl", "verdict.json", "tracking.json"}
    assert len(children) == 13
    assert len(shown) == 8 + 1 + 40 + 40 + 9 + 25 + 4
    assert shown["evals.test_d.test_right[r3]"]["llmeval.tone.value"] == "0.6"
    gate = shown["evals.test_d.test_right::gate[pass_rate]"]
    assert gate["llmeval.pass_rate.value"] == "0.9"
    return found, children


@pytest.mark.parametrize("mode", MODES, ids=" ".join)
def test_any_processes_come_to_the_same(suite, alone, mode):
    result, found, children = run(suite, *mode)
    assert result.ret == 0
    for ours, theirs in zip(found, alone[0], strict=True):
        assert ours == theirs
    assert children == alone[1]
    shown = [line for line in result.outlines if " to " in line and " at 95 %" in line]
    tests = [line.partition(" ")[0] for line in shown]
    expected = [gate["test"].rpartition("/")[2] for gate in found[0]["gates"]]
    assert tests == expected, "the table is in the order of the tests, too"


def test_rows_stand_where_the_verdict_says(suite):
    run(suite, "-n", "2")
    content = (suite.run_directory / "results.jsonl").read_bytes()
    at = 0
    for entry in suite.verdict["evaluations"]:
        start, end = entry["rows_span"]
        assert start == at
        numbers = {
            json.loads(line)["evaluation"] for line in content[at:end].splitlines()
        }
        assert numbers == {entry["number"]}
        at = end
    assert at == len(content)


def test_two_workers_that_open_mlflow_runs_at_once_share_one_parent(tmp_path):
    two = Suite(tmp_path)
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    mlflow.MlflowClient(uri).search_experiments()  # a new store takes one at a time
    (two.path / "evals/test_qa.py").unlink()
    for name in "ab":
        two.write(f"evals/test_{name}.py", OPENED)
    assert two.run("evals", "-n", "2", "--llmeval-tracking", "auto").ret == 0
    children = [json.loads(child) for child in tracked(two)]
    assert [child[2] for child in children] == [
        "evals/test_a.py::test_opened",
        "evals/test_b.py::test_opened",
    ]
    assert [child[3]["mine"] for child in children] == [7, 7]
    left = {path.name for path in two.run_directory.iterdir()}
    assert left == {"results.jsonl", "verdict.json", "tracking.json"}
