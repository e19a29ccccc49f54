"""Apache Spark, with Java: what it does with a worker of Python that dies."""

import json
import os
import shutil
import signal
import time
from pathlib import Path

import pytest

from pytest_llmeval import evaluate
from pytest_llmeval.backends.spark.session import open_session
from pytest_llmeval.services import stop_all

from .spark_suites import WAVE
from .spark_suites import pinned
from .spark_suites import rows_of
from .spark_suites import settings_in


ROWS = 120


@pytest.fixture(scope="session")
def jvm(tmp_path_factory):
    """Starts Apache Spark once; gives the folder where its server's address is."""
    if shutil.which("java") is None and not os.environ.get("JAVA_HOME"):
        reason = "needs Java 17 or newer"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("jvm")
    settings = settings_in(folder, spark="local[2]", services=folder / "services")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SPARK_CONNECT_MODE_ENABLED", "1")  # as its clients leave it
        open_session(settings).spark.stop()
    yield folder / "services"
    stop_all(folder / "services")


@pytest.fixture
def ask(jvm, tmp_path):
    def ask(model):
        settings = settings_in(tmp_path, spark="local[2]", services=jvm, concurrency=4)
        return evaluate(
            model, rows_of(ROWS), ["exact_match"], engine="spark", settings=settings
        )

    return ask


def children_of(pid):
    """Return the processes below one, from the top."""
    found = [
        int(child)
        for task in Path(f"/proc/{pid}/task").iterdir()
        for child in (task / "children").read_text().split()
    ]
    return found + [below for child in found for below in children_of(child)]


def python_workers(services):
    """Return the processes that a daemon of Spark has forked for its tasks."""
    (file,) = services.glob("spark-local*.json")
    below = children_of(json.loads(file.read_text())["pid"])
    daemons = [
        pid
        for pid in below
        if b"pyspark.daemon" in Path(f"/proc/{pid}/cmdline").read_bytes()
    ]
    return [worker for daemon in daemons for worker in children_of(daemon)]


def test_every_row_is_asked_once_and_stored(ask, model_server):
    results = ask(pinned(model_server.url))
    frame = results.to_pandas()
    assert sorted(frame["id"]) == sorted(f"r{i}" for i in range(ROWS))
    assert (len(model_server.requests), model_server.repeated) == (ROWS, 0)
    again = ask(pinned(model_server.url))
    assert (len(model_server.requests), again.cached) == (ROWS, ROWS)


def test_killed_worker_costs_a_wave_and_no_row(ask, model_server, jvm):
    killed = []

    def kill():
        killed.extend(python_workers(jvm))
        for pid in killed:
            os.kill(pid, signal.SIGKILL)

    def answer(message):
        time.sleep(0.03)
        return "no" if message.endswith("7") else message.upper()

    model_server.answer = answer
    model_server.call_at(60, kill)
    results = ask(pinned(model_server.url))
    assert killed
    assert results.errors == []
    assert results["exact_match"].value == pytest.approx(0.9)
    assert len(results.to_pandas()) == ROWS
    assert len(set(model_server.asked)) == ROWS
    assert 0 < model_server.repeated <= 1.5 * WAVE  # a wave is about that large
