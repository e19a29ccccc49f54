"""Evaluations beside other plugins: each alone and all at once, with xdist and not."""

import html
import json
import re
import xml.etree.ElementTree as ET
from collections import Counter
from dataclasses import dataclass
from dataclasses import field

import pytest


pytestmark = pytest.mark.venv

MODEL = """\
import asyncio
import time


def shout(prompt):
    return prompt.upper()


async def shout_later(prompt):
    await asyncio.sleep(0.001)
    return prompt.upper()


async def hang(prompt):
    await asyncio.sleep(60)
"""
HEAD = """\
import asyncio

import pytest
from model import hang
from model import shout
from model import shout_later

from pytest_llmeval import assert_metric


"""
GATES = """\
def test_right(evaluate):
    results = evaluate(shout, "data.jsonl", ["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.9)


def test_wrong(evaluate):
    results = evaluate(shout_later, "data.jsonl", ["exact_match"])
    assert_metric(results, "exact_match", "<=", 0.1)


def test_plain(evaluate):
    results = evaluate(shout, "data.jsonl", ["exact_match"])
    assert results["exact_match"] <= 0.1
"""
ASYNC = """\
async def test_async_right(evaluate):
    await asyncio.sleep(0)
    results = evaluate(shout_later, "data.jsonl", ["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.9)


async def test_async_wrong(evaluate):
    given = (shout, "data.jsonl", ["exact_match"])
    results = await asyncio.to_thread(evaluate, *given)
    assert_metric(results, "exact_match", "<=", 0.1)
"""
FLAKY = """\
TRIES = []


@pytest.mark.flaky(reruns=1)
def test_flaky(evaluate):
    TRIES.append(1)
    results = evaluate(shout, "data.jsonl", ["exact_match"])
    assert_metric(results, "exact_match", "<" if len(TRIES) == 1 else ">=", 0.9)
    assert len(TRIES) == 2
"""
HANGING = """\
@pytest.mark.timeout(2)
def test_hanging(evaluate):
    evaluate(hang, "data.jsonl", ["exact_match"])
"""
TRACKED = """\
import mlflow


@pytest.fixture
def own_run(request):
    if not hasattr(request.config, "workerinput"):  # where it does not work yet
        return request.getfixturevalue("mlflow_run")


@mlflow.test
def test_tracked_by_both(evaluate, own_run):
    mlflow.log_metric("own", 1)
    results = evaluate(shout, "data.jsonl", ["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.9)


@mlflow.test
def test_tracked_by_both_again(evaluate, request):
    mlflow.log_metric("later", 1)
    run = request.getfixturevalue("own_run")
    assert run is None or mlflow.active_run().info.run_id == run.info.run_id
    results = evaluate(shout, "data.jsonl", ["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.9)
"""
WORKERS = pytest.mark.parametrize("workers", [0, 2], ids=["none", "n2"])


@dataclass(kw_only=True)
class Plugin:
    """What a plugin is loaded and asked with, and what it makes of which tests."""

    load: tuple[str, ...]
    options: tuple[str, ...] = ()
    tests: str = ""
    outcomes: dict[str, int] = field(default_factory=dict)
    decisions: dict[str, list[str]] = field(default_factory=dict)


ASYNC_DECISIONS = {"test_async_right": ["pass"], "test_async_wrong": ["fail"]}
LOOP = ("-o", "asyncio_default_fixture_loop_scope=function", "-o")
PLUGINS = {
    "asyncio-strict": Plugin(
        load=("asyncio",),
        options=(*LOOP, "asyncio_mode=strict"),
        tests=ASYNC.replace("async def", "@pytest.mark.asyncio\nasync def"),
        outcomes={"passed": 1, "failed": 1},
        decisions=ASYNC_DECISIONS,
    ),
    "asyncio-auto": Plugin(
        load=("asyncio",),
        options=(*LOOP, "asyncio_mode=auto"),
        tests=ASYNC,
        outcomes={"passed": 1, "failed": 1},
        decisions=ASYNC_DECISIONS,
    ),
    "cov": Plugin(
        load=("pytest_cov",),
        options=("--cov=model", "--cov-report=json:coverage.json"),
    ),
    "html": Plugin(
        load=("metadata", "html"),
        options=("--html=report.html", "--self-contained-html"),
    ),
    "mlflow": Plugin(
        load=("mlflow.pytest.plugin",),
        options=("-o", "llmeval_tracking=auto"),
        tests=TRACKED,
        outcomes={"passed": 2},
        decisions={
            "test_tracked_by_both": ["pass"],
            "test_tracked_by_both_again": ["pass"],
        },
    ),
    "randomly": Plugin(load=("randomly",)),
    "rerunfailures": Plugin(
        load=("rerunfailures",),
        tests=FLAKY,
        outcomes={"passed": 1, "rerun": 1},
        decisions={"test_flaky": ["fail", "pass"]},
    ),
    "timeout": Plugin(load=("timeout",), tests=HANGING, outcomes={"failed": 1}),
}
BASE = Plugin(
    load=(),
    tests=GATES,
    outcomes={"passed": 1, "failed": 2},
    decisions={"test_right": ["pass"], "test_wrong": ["fail"], "test_plain": []},
)
TOGETHER = [name for name in PLUGINS if name != "asyncio-strict"]


def run(suite, names, *options, workers=0, base=BASE):
    """Run the base's tests, and those of plugins, in a file of its own each."""
    plugins = [base, *(PLUGINS[name] for name in names)]
    suite.write("evals/model.py", MODEL)
    (suite.path / "evals/test_qa.py").unlink()
    arguments = ["-p", "pytest_llmeval.pytest_plugin", "--junitxml=junit.xml"]
    if workers:
        arguments += ["-p", "xdist", "-n", str(workers), "--dist=loadfile"]
    for number, plugin in enumerate(plugins):
        if plugin.tests:
            suite.write(f"evals/test_{number}.py", HEAD + plugin.tests)
        arguments += [part for name in plugin.load for part in ("-p", name)]
        arguments += plugin.options
    return suite.run("evals", *arguments, *options)


def check(suite, result, names, workers):
    """Find the outcomes and decisions of the plugins' tests, and a failed verdict."""
    plugins = [BASE, *(PLUGINS[name] for name in names)]
    expected = Counter()
    for plugin in plugins:
        expected.update(plugin.outcomes)
    outcomes = result.parseoutcomes()
    outcomes.pop("warnings", outcomes.pop("warning", None))
    assert outcomes == expected
    assert result.ret == 1
    decided = decisions(suite)
    for plugin in plugins:
        assert plugin.decisions.items() <= decided.items()
    result.stdout.fnmatch_lines(["E*assert exact_match 1.000 <= 0.100", "E*no gate*"])
    if not workers:
        assert suite.verdict["reason"] == "GATE_FAILED"


def decisions(suite):
    """Return the decisions that junit has of each test."""
    found = {}
    for case in ET.parse(suite.path / "junit.xml").getroot().iter("testcase"):
        properties = {p.get("name"): p.get("value") for p in case.iter("property")}
        known = found.setdefault(case.get("name"), [])
        known += [v for name, v in properties.items() if name.endswith(".decision")]
        assert re.fullmatch(r"[\d-]+-[0-9a-f]{6}", properties["llmeval.run_id"])
    return found


@WORKERS
@pytest.mark.parametrize("name", PLUGINS)
def test_evaluations_beside_one_plugin(suite, name, workers):
    check(suite, run(suite, [name], workers=workers), [name], workers)


@WORKERS
def test_evaluations_beside_all_plugins(suite, workers):
    check(suite, run(suite, TOGETHER, workers=workers), TOGETHER, workers)
    assert covered(suite) == {"shout", "shout_later", "hang"}
    assert "test_async_wrong" in (suite.path / "report.html").read_text()


@pytest.mark.parametrize(("reruns", "reason"), [("block", "RERUN"), ("allow", "OK")])
def test_rerun_test_makes_the_verdict_rerun_unless_allowed(suite, reruns, reason):
    option = ("-o", f"llmeval_reruns={reruns}")
    result = run(suite, ["rerunfailures"], *option, base=Plugin(load=()))
    assert result.ret == 0
    assert result.parseoutcomes() == {"passed": 1, "rerun": 1}
    assert suite.verdict["reason"] == reason


def covered(suite):
    """Return the functions of the model whose every line was seen to run."""
    report = json.loads((suite.path / "coverage.json").read_text())
    functions = report["files"]["evals/model.py"]["functions"]
    whole = {n for n, f in functions.items() if f["summary"]["missing_lines"] == 0}
    return whole - {""}


@WORKERS
def test_coverage_sees_a_model_in_the_threads_of_an_evaluation(suite, workers):
    run(suite, ["cov"], workers=workers)
    assert covered(suite) == {"shout", "shout_later"}


@WORKERS
def test_html_report_has_tests_and_explanations(suite, workers):
    run(suite, ["html"], workers=workers)
    text = html.unescape((suite.path / "report.html").read_text(encoding="utf-8"))
    for name in BASE.decisions:
        assert f"evals/test_0.py::{name}" in text
    assert "exact_match 1.000 (95 % lower bound 0.928, n=40) is above 0.100" in text
    assert "this is no gate" in text


def test_order_is_random_and_the_decisions_are_the_same(suite):
    suite.write("evals/conftest.py", "")
    orders = set()
    result = run(suite, ["randomly"], "-v", "--randomly-seed=1")
    for seed in range(2, 8):
        check(suite, result, ["randomly"], workers=0)
        gates = {gate["test"]: gate["decision"] for gate in suite.verdict["gates"]}
        assert sorted(gates.values()) == ["fail", "pass"]
        orders.add(tuple(gates))
        command = ("-p", "randomly", "-p", "pytest_llmeval.pytest_plugin")
        seeded = ("--junitxml=junit.xml", f"--randomly-seed={seed}")
        result = suite.run("evals", *command, *seeded)
    assert len(orders) == 2


def test_timeout_that_ends_the_process_leaves_an_incomplete_verdict(suite):
    result = run(suite, ["timeout"], "-o", "timeout_method=thread")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*+ Timeout +*"])
    assert suite.verdict["reason"] == "INCOMPLETE"


def test_timeout_ends_an_evaluation_soon(suite):
    result = run(suite, ["timeout"], base=Plugin(load=()))
    result.stdout.fnmatch_lines(["*Failed: Timeout (>2.0s) from pytest-timeout*"])
    assert result.duration < 25  # 2 s, and 5 s for requests that are on their way
    assert suite.verdict["reason"] == "TESTS_FAILED"


@pytest.mark.filterwarnings("ignore")  # of the store, opened here
def test_the_runs_of_mlflows_plugin_and_ours_stand_side_by_side(suite):
    run(suite, ["mlflow"])
    uri = f"sqlite:///{suite.path}/mlflow.db"
    runs = stored_runs(uri)
    ours = [one for one in runs if "llmeval.run_id" in one.data.tags]
    (theirs,) = [one for one in runs if "mlflow.test.session_id" in one.data.tags]
    assert len(runs) == len(ours) + 1 == 1 + 5 + 1  # parent, evaluations, theirs
    assert {one.info.status for one in ours if "llmeval.test" in one.data.tags} == {
        "FINISHED"
    }
    assert (theirs.info.status, theirs.data.metrics) == (
        "FINISHED",
        {"own": 1, "later": 1},
    )


def stored_runs(uri):
    from mlflow import MlflowClient

    client = MlflowClient(uri)
    experiments = [one.experiment_id for one in client.search_experiments()]
    return client.search_runs(experiments)
