"""One Spark for all workers of a run, started when it is needed and gone after it."""

import os
import signal
import time
from pathlib import Path

import pytest

from .spark_suites import PASSING
from .spark_suites import in_spark


MODULE = "pytest_llmeval.backends.spark.server"
# Every Python process that the run starts leaves its command line.
SITE = """\
import os, sys
with open({log!r}, "a") as file:
    print(os.getpid(), *sys.orig_argv, file=file)
"""
VIEWS = """\
import time
from pathlib import Path

from pytest_llmeval import assert_metric

HERE = Path(__file__).parent


def wait_for(*names):
    deadline = time.monotonic() + 60
    while not all((HERE / name).exists() for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_views(evaluate, spark):
    rows = [(f"{part}-{{i}}", f"word {{i}}", f"WORD {{i}}") for i in range({rows})]
    frame = spark.createDataFrame(rows, "id string, input string, answer string")
    frame.createOrReplaceTempView("v")
    (HERE / "made{part}").touch()
    wait_for("made0", "made1")
    data = "SELECT * FROM v"
    results = evaluate(data=data, metrics=["exact_match"], engine="spark")
    assert set(results.to_pandas()["id"]) == {{row[0] for row in rows}}
    assert_metric(results, "exact_match", ">=", 0.5)
    {then}
"""
LOOKS = """\
import sys


def pytest_unconfigure():
    assert "pyspark" not in sys.modules
    print("NO SPARK WAS IMPORTED")
"""
FIXTURE_ALONE = """\
def test_spark(spark):
    assert spark.range(3).count() == 3
"""
OWN = """\
import pytest

from pytest_llmeval import CallableModel
from pytest_llmeval.backends.spark.session import open_session
from pytest_llmeval.config import Settings


@pytest.fixture(scope="session")
def spark():
    session = open_session(Settings(spark="sail")).spark
    row = ("r1", "word 1", "WORD 1")
    frame = session.createDataFrame([row], "id string, input string, answer string")
    frame.createOrReplaceTempView("only_mine")
    yield session
    assert session.table("only_mine").count() == 1, "it is not ours to stop"
    print("STILL THERE")
    session.stop()


@pytest.fixture
def llmeval_model():
    return CallableModel(lambda prompt: prompt.upper(), version="1")
"""
ASKS_OWN = """\
import pytest


@pytest.mark.parametrize("engine", ["spark", None])
def test_own(evaluate, engine):
    results = evaluate(
        data="SELECT * FROM only_mine", metrics=["exact_match"], engine=engine
    )
    assert results["exact_match"].n == 1
"""
PLUGIN = """\
import pytest


@pytest.fixture
def spark():
    return "another plugin's"
"""


def lives(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def wait_until(happened, most_s):
    deadline = time.monotonic() + most_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


class Processes:
    """The processes that a suite's runs start."""

    def __init__(self, suite, monkeypatch):
        self._log = suite.path / "processes.txt"
        suite.write("site/sitecustomize.py", SITE.format(log=str(self._log)))
        paths = [str(suite.path / "site"), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))

    @property
    def servers(self):
        lines = map(str.split, self._log.read_text().splitlines())
        return [int(pid) for pid, *command in lines if MODULE in command]


@pytest.fixture
def processes(suite, monkeypatch):
    found = Processes(suite, monkeypatch)
    yield found
    for server in filter(lives, found.servers):  # a test has failed
        os.kill(server, signal.SIGKILL)


@pytest.fixture
def views(suite, processes):
    """Writes a suite whose two tests have a view of one name and different rows."""
    in_spark(suite)
    (suite.path / "evals/test_qa.py").unlink()

    def write(then=""):
        for part, rows in enumerate((30, 40)):
            text = VIEWS.format(part=part, rows=rows, then=then)
            suite.write(f"evals/test_{part}.py", text)
        return suite

    return write


def test_two_workers_share_one_spark_and_no_views(views, processes):
    suite = views()
    suite.run("evals", "-n", "2").assert_outcomes(passed=2)
    (server,) = processes.servers
    assert not lives(server)
    assert sorted(gate["rows"] for gate in suite.verdict["gates"]) == [30, 40]
    assert suite.verdict["status"] == "pass"
    assert len(list(suite.path.glob(".llmeval/runs/*"))) == 1
    assert not list(suite.path.glob(".llmeval/runs/*/services"))


def test_spark_ends_when_the_controller_is_killed(views, processes):
    suite = views(then='(HERE / "asked{part}").touch(); time.sleep(600)')
    for part in (0, 1):
        path = suite.path / f"evals/test_{part}.py"
        path.write_text(path.read_text().replace("{part}", str(part)))
    run = suite.start("evals", "-n", "2")
    try:
        asked = [suite.path / f"evals/asked{part}" for part in (0, 1)]
        wait_until(lambda: all(path.exists() for path in asked), most_s=60)
        (server,) = processes.servers
        assert lives(server)
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
    wait_until(lambda: not lives(server), most_s=10)


def test_workers_that_evaluate_the_same_ask_once(suite, model_server):
    in_spark(suite, 100)
    suite.ask(model_server)
    suite.write("evals/test_same.py", PASSING)
    model_server.answer = model_server.slowly
    suite.run("evals", "-n", "2").assert_outcomes(passed=2)
    assert (len(model_server.requests), model_server.repeated) == (100, 0)
    assert [gate["value"] for gate in suite.verdict["gates"]] == [1.0, 1.0]


def test_spark_is_not_imported_for_files(suite):
    conftest = (suite.path / "evals/conftest.py").read_text()
    suite.write("evals/conftest.py", conftest + LOOKS)
    result = suite.run("evals", "-s")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["NO SPARK WAS IMPORTED"])


def test_fixture_alone_leaves_nothing_and_is_no_evaluation(suite, processes):
    suite.set_ini(llmeval_spark="sail")
    suite.write("evals/test_qa.py", FIXTURE_ALONE)
    result = suite.run("evals")
    result.assert_outcomes(passed=1)
    result.stdout.no_fnmatch_line("*verdict*")
    (server,) = processes.servers
    assert not lives(server)
    left = [path for path in suite.path.glob(".llmeval/**/*") if path.is_file()]
    assert left == []


def test_fixture_of_the_suite_is_used_and_not_stopped(suite):
    suite.write("evals/conftest.py", OWN)
    suite.write("evals/test_qa.py", ASKS_OWN)
    suite.set_ini(llmeval_spark="sc://localhost:1")
    result = suite.run("evals", "-s")
    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines(["*STILL THERE*"])


def test_fixture_of_another_plugin_wins(suite, monkeypatch):
    suite.write("site/sparkling.py", PLUGIN)
    monkeypatch.setenv("PYTHONPATH", str(suite.path / "site"), prepend=os.pathsep)
    suite.write("evals/test_qa.py", "def test_it(spark):\n    print(spark)\n")
    result = suite.run("evals", "-p", "sparkling", "-s")
    result.assert_outcomes(passed=1)
    result.stdout.fnmatch_lines(["*another plugin's*"])
    assert not (suite.path / ".llmeval").exists()
