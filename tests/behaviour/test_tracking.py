"""Runs reach MLflow once and whole, whenever it is there; nothing waits for it."""

import itertools
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import mlflow
import pytest

from pytest_llmeval.cli import main
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.tracking import is_uploaded

from .conftest import Suite
from .mlflow_server import MlflowServer
from .mlflow_server import Proxy
from .mlflow_server import SilentServer
from .mlflow_server import free_port


# MLflow warns in many places; the runs under test are in processes of their own.
pytestmark = pytest.mark.filterwarnings("ignore")
TWO_EVALUATIONS = """\
from pytest_llmeval import assert_metric


def test_quality(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.9)


def test_overlap(evaluate):
    results = evaluate(data="data.jsonl", metrics=["rouge1"])
    assert_metric(results, "rouge1", ">=", 0.9)
"""
AUTO = ("evals", "--llmeval-tracking", "auto")
REFUSED = "http://user:hunter2hunter2@127.0.0.1:{port}"
UNAVAILABLE = b"HTTP/1.1 503 Busy\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"
_processes = multiprocessing.get_context("forkserver")
_processes.set_forkserver_preload(["mlflow", "pytest_llmeval.cli", __name__])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MlflowServer]:
    server = MlflowServer(tmp_path_factory.mktemp("server"))
    yield server
    server.kill()


@pytest.fixture
def proxy(server: MlflowServer) -> Iterator[Proxy]:
    proxy = Proxy(server.port)
    yield proxy
    proxy.close()


@pytest.fixture
def open_silent() -> Iterator[Callable[..., SilentServer]]:
    opened: list[SilentServer] = []

    def open_one(**options: Any) -> SilentServer:
        opened.append(SilentServer(**options))
        return opened[-1]

    yield open_one
    for silent in opened:
        silent.close()


@pytest.fixture(scope="module")
def waiting(tmp_path_factory: pytest.TempPathFactory) -> RunDirectory:
    """A run of two evaluations that found no server."""
    suite = Suite(tmp_path_factory.mktemp("waiting"))
    suite.write("evals/test_qa.py", TWO_EVALUATIONS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
        url = f"http://127.0.0.1:{free_port()}"
        assert suite.run("evals", "--llmeval-tracking", url).ret == 0
    directory = directory_of(suite)
    assert not is_uploaded(directory)
    return directory


def directory_of(suite: Suite) -> RunDirectory:
    return RunDirectory(suite.path / ".llmeval", suite.run_directory.name)


def tracking(directory: RunDirectory) -> dict[str, Any]:
    document: dict[str, Any] = json.loads(directory.tracking.read_text())
    return document


def copy_run(source: RunDirectory, home: Path, run_id: str) -> RunDirectory:
    """Copy a run under another id."""
    copy = RunDirectory(home, run_id)
    copy.path.mkdir(parents=True)
    shutil.copy(source.results, copy.results)
    for path in (source.verdict, source.tracking):
        text = path.read_text().replace(source.run_id, run_id)
        (copy.path / path.name).write_text(text)
    return copy


def in_experiment(directory: RunDirectory, name: str) -> None:
    """Let a run belong to an experiment that does not exist yet."""
    document = tracking(directory) | {"experiment": name}
    directory.tracking.write_text(json.dumps(document))


def _sync(arguments: list[str]) -> None:
    sys.exit(main(["sync", *arguments]))


def start_sync(directory: RunDirectory, url: str) -> Any:
    """Start ``llmeval sync`` for a run in a process that has imported MLflow."""
    home = str(directory.path.parents[1])
    arguments = [directory.run_id, "--dir", home, "--tracking", url]
    process = _processes.Process(target=_sync, args=(arguments,))
    process.start()
    return process


def finish_sync(process: Any) -> int:
    process.join(timeout=120)
    assert process.exitcode is not None
    return int(process.exitcode)


def store(uri: str) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(uri)


def runs_in(
    client: mlflow.MlflowClient, query: str = "", experiment: str = "llmeval"
) -> list[Any]:
    experiment_id = client.get_experiment_by_name(experiment).experiment_id
    return list(client.search_runs([experiment_id], query))


def is_child(run: Any) -> bool:
    return "mlflow.parentRunId" in run.data.tags


def artifact(client: mlflow.MlflowClient, run: Any, name: str) -> bytes:
    return Path(client.download_artifacts(run.info.run_id, name)).read_bytes()


def check_whole(uri: str, directory: RunDirectory) -> None:
    """Check that MLflow has one parent, one child per evaluation, and all of each."""
    assert is_uploaded(directory)
    client, document = store(uri), tracking(directory)
    query = f"tags.`llmeval.run_id` = '{directory.run_id}'"
    found = runs_in(client, query, document["experiment"])
    (parent,) = [run for run in found if not is_child(run)]
    assert parent.info.run_id == document["mlflow_run_id"]
    assert parent.info.status == "FINISHED"
    assert parent.data.metrics["gates/pass"] == 2
    assert parent.data.tags["llmeval.verdict"] == "pass"
    assert artifact(client, parent, "verdict.json") == directory.verdict.read_bytes()
    children = sorted(
        (run for run in found if is_child(run)),
        key=lambda run: run.data.tags["llmeval.evaluation"],
    )
    assert [run.data.tags["llmeval.evaluation"] for run in children] == ["1", "2"]
    for child, metric in zip(children, ("exact_match", "rouge1"), strict=True):
        assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
        assert child.info.status == "FINISHED"
        assert child.data.metrics[metric] == 1
        assert child.data.metrics[f"{metric}/n"] == 40
        history = client.get_metric_history(child.info.run_id, metric)
        assert len(history) == 1
        assert len(child.data.params["dataset_digest"]) > 64
        assert len(child.inputs.dataset_inputs) == 1
    parts = [artifact(client, child, "results.jsonl") for child in children]
    assert b"".join(parts) == directory.results.read_bytes()
    assert len(parts[0].splitlines()) == 40


def test_mlflow_is_imported_after_the_last_request(suite):
    suite.write(
        "evals/conftest.py",
        "import sys\n"
        "import pytest\n"
        "@pytest.fixture\n"
        "def llmeval_model():\n"
        "    def model(prompt):\n"
        "        with open('seen', 'a') as file:\n"
        "            print('mlflow' in sys.modules, file=file)\n"
        "        return prompt.upper()\n"
        "    return model\n",
    )
    suite.write("evals/test_qa.py", TWO_EVALUATIONS)
    assert suite.run(*AUTO).ret == 0
    assert (suite.path / "seen").read_text().split() == ["False"] * 40
    check_whole(f"sqlite:///{suite.path / 'mlflow.db'}", directory_of(suite))
    assert (
        suite.verdict["mlflow_run_id"] == tracking(directory_of(suite))["mlflow_run_id"]
    )


def test_server_that_is_away_leaves_the_verdict_and_what_to_upload(suite, monkeypatch):
    suite.write("evals/test_qa.py", TWO_EVALUATIONS)
    url = REFUSED.format(port=free_port())
    monkeypatch.setenv("MLFLOW_TRACKING_URI", url)
    result = suite.run(*AUTO)
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "tracking failed: cannot reach MLflow at http://*127.0.0.1:*; upload it "
            "later with: llmeval sync"
        ]
    )
    assert suite.verdict["status"] == "pass"
    assert suite.verdict["mlflow_run_id"] is None
    document = tracking(directory_of(suite))
    assert (document["schema"], document["status"]) == (1, "pending")
    assert document["tracking_uri"] == url.replace("user:hunter2hunter2@", "")
    written = [path.read_text() for path in suite.run_directory.iterdir()]
    assert "hunter2" not in "".join([*written, *result.outlines, *result.errlines])


def test_sync_uploads_what_waits_once_and_leaves_the_verdict(
    suite, waiting, server, proxy, monkeypatch
):
    directory = copy_run(waiting, suite.path / ".llmeval", "20260101-000000-aaaaaa")
    document = tracking(directory)
    document["tracking_uri"] = proxy.url
    directory.tracking.write_text(json.dumps(document))
    verdict = directory.verdict.read_bytes()
    host = proxy.url.removeprefix("http://")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:pw@{host}")

    result = suite.llmeval("sync")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [f"{directory.run_id}: uploaded as MLflow run * at {proxy.url}"]
    )
    check_whole(server.url, directory)
    assert directory.verdict.read_bytes() == verdict
    (authorization,) = proxy.authorizations
    assert authorization is not None
    assert authorization.startswith("Basic ")

    asked = len(proxy.requests)
    again = suite.llmeval("sync")
    assert again.ret == 0
    again.stdout.fnmatch_lines(["nothing to upload in .llmeval"])
    named = suite.llmeval("sync", directory.run_id)
    assert named.ret == 0
    named.stdout.fnmatch_lines([f"{directory.run_id}: uploaded as MLflow run *"])
    assert len(proxy.requests) == asked


def test_sync_that_is_killed_at_any_request_uploads_once_when_repeated(
    tmp_path, waiting, server, proxy
):
    """Kill -9 after the server has done what was asked, before the client knows."""
    for number in itertools.count(1):
        directory = copy_run(waiting, tmp_path, f"20260102-000000-{number:06}")
        in_experiment(directory, f"killed at request {number}")
        proxy.requests.clear()
        victim: list[Any] = []

        def kill(request: int, number: int = number, victim: Any = victim) -> bool:
            if request == number:
                while not victim:
                    time.sleep(0.01)
                os.kill(victim[0].pid, signal.SIGKILL)
            return request < number

        proxy.before_answer = kill
        victim.append(start_sync(directory, proxy.url))
        status = finish_sync(victim[0])
        if status == 0:  # it was done before that request
            break
        assert status == -signal.SIGKILL
        assert not is_uploaded(directory)
        proxy.before_answer = lambda request: True
        assert finish_sync(start_sync(directory, proxy.url)) == 0
        check_whole(server.url, directory)
    assert number > 20


def test_upload_whose_answers_get_lost_is_there_once(tmp_path, waiting, server, proxy):
    """MLflow asks again by itself, so that the server does everything twice."""
    directory = copy_run(waiting, tmp_path, "20260103-000000-aaaaaa")
    in_experiment(directory, "of lost answers")
    proxy.before_answer = lambda number: number % 2 == 0
    assert finish_sync(start_sync(directory, proxy.url)) == 0
    assert proxy.requests[::2] == proxy.requests[1::2]
    check_whole(server.url, directory)


def test_two_syncs_at_once_upload_once(tmp_path, waiting, server):
    directory = copy_run(waiting, tmp_path, "20260104-000000-aaaaaa")
    both = [start_sync(directory, server.url) for _ in range(2)]
    assert [finish_sync(process) for process in both] == [0, 0]
    check_whole(server.url, directory)


def test_session_that_is_killed_in_its_upload_is_finished_by_sync(suite, server, proxy):
    suite.write("evals/test_qa.py", TWO_EVALUATIONS)
    started: list[subprocess.Popen[bytes]] = []

    def kill(number: int) -> bool:
        if number == 8:
            started[0].kill()
        return number < 8

    proxy.before_answer = kill
    command = (sys.executable, "-m", "pytest", "evals", "--llmeval-tracking", proxy.url)
    started.append(subprocess.Popen(command, cwd=suite.path, stdout=subprocess.DEVNULL))
    assert started[0].wait(timeout=120) == -signal.SIGKILL
    assert (suite.verdict["status"], suite.verdict["reason"]) == ("pass", "OK")
    directory = directory_of(suite)
    assert finish_sync(start_sync(directory, server.url)) == 0
    check_whole(server.url, directory)


def test_name_that_mlflow_refuses_is_uploaded_under_a_similar_one(
    tmp_path, waiting, server
):
    directory = copy_run(waiting, tmp_path, "20260107-000000-aaaaaa")
    document = tracking(directory) | {"metrics": {"gates (all)": 2}}
    directory.tracking.write_text(json.dumps(document))
    assert finish_sync(start_sync(directory, server.url)) == 0
    parent = store(server.url).get_run(tracking(directory)["mlflow_run_id"])
    assert parent.data.metrics == {"gates _all_": 2}


def test_verdict_names_no_run_whose_upload_broke_off(suite, server, proxy, monkeypatch):
    suite.write("evals/test_qa.py", TWO_EVALUATIONS)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    proxy.before_answer = lambda number: (
        not proxy.requests[number - 1].endswith("verdict.json")
    )
    result = suite.run("evals", "--llmeval-tracking", proxy.url)
    result.stdout.fnmatch_lines(["tracking failed: *verdict.json*; upload it later *"])
    assert suite.verdict["mlflow_run_id"] is None
    directory = directory_of(suite)
    assert finish_sync(start_sync(directory, server.url)) == 0
    check_whole(server.url, directory)


def test_server_that_dies_after_mlflow_run_keeps_that_child(suite, tmp_path_factory):
    server = MlflowServer(tmp_path_factory.mktemp("mortal"))
    suite.write(
        "evals/test_qa.py",
        "import os, signal\n"
        "import mlflow\n"
        "from pytest_llmeval import assert_metric\n"
        "def test_own(evaluate, mlflow_run):\n"
        "    mlflow.log_metric('mine', 7)\n"
        "    results = evaluate(data='data.jsonl', metrics=['exact_match'])\n"
        "    assert_metric(results, 'exact_match', '>=', 0.9)\n"
        "def test_later(evaluate):\n"
        f"    os.killpg({server.pid}, signal.SIGKILL)\n"
        "    results = evaluate(data='data.jsonl', metrics=['rouge1'])\n"
        "    assert_metric(results, 'rouge1', '>=', 0.9)\n",
    )
    result = suite.run("evals", "--llmeval-tracking", server.url)
    try:
        assert result.ret == 0
        assert suite.verdict["status"] == "pass"
        directory = directory_of(suite)
        assert not is_uploaded(directory)
        server.start()
        assert finish_sync(start_sync(directory, server.url)) == 0
        check_whole(server.url, directory)
        own = tracking(directory)["evaluations"][0]["mlflow_run_id"]
        assert store(server.url).get_run(own).data.metrics["mine"] == 7
    finally:
        server.kill()


def test_server_that_is_away_fails_only_what_needs_it(suite):
    suite.write(
        "evals/test_more.py",
        "def test_own_run(mlflow_run): pass\n"
        "def test_registered(evaluate):\n"
        "    evaluate('models:/qa@candidate', 'data.jsonl', ['exact_match'])\n",
    )
    url = f"http://127.0.0.1:{free_port()}"
    options = ("--llmeval-tracking", url, "--llmeval-dir", "my runs")
    result = suite.run("evals", *options)
    result.assert_outcomes(passed=1, failed=1, errors=1)
    result.stdout.fnmatch_lines(
        [
            f"E *cannot reach MLflow at {url}: *",
            f"E *cannot resolve models:/qa@candidate in the registry at {url}: *",
            "tracking failed: *; upload it later with: llmeval sync --dir '*/my runs'",
        ]
    )


def test_retries_are_few_unless_the_user_says_otherwise(
    tmp_path, waiting, open_silent, suite, monkeypatch
):
    directory = copy_run(waiting, suite.path / ".llmeval", "20260105-000000-aaaaaa")
    unavailable = open_silent(answer=UNAVAILABLE)
    result = suite.llmeval("sync", "--tracking", unavailable.url)
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"{directory.run_id}: not uploaded: cannot reach *"])
    assert unavailable.connections == 3

    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "1")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    silent = open_silent()
    copy_run(waiting, suite.path / ".llmeval", "20260105-000000-bbbbbb")
    result = suite.llmeval("sync", "--tracking", silent.url)
    assert result.ret == 1
    assert len(result.outlines) == 2
    assert silent.connections == 2  # for both runs together
    assert not is_uploaded(directory)


def test_requests_do_not_grow_with_the_rows(suite, proxy):
    sizes = (10, 10_000)
    counts = []
    for size in sizes:
        rows = [{"input": f"word {i}", "answer": f"WORD {i}"} for i in range(size)]
        suite.write_rows("evals/data.jsonl", rows)
        proxy.requests.clear()
        result = suite.run("evals", "--llmeval-tracking", proxy.url)
        assert result.ret in (0, 1)  # ten rows are too few for the gate
        assert is_uploaded(directory_of(suite))
        counts.append(len(proxy.requests))
    assert counts[0] == counts[1]


def test_four_sessions_at_once_share_a_fresh_store(suite):
    command = (sys.executable, "-m", "pytest", *AUTO)
    sessions = [
        subprocess.Popen(command, cwd=suite.path, stdout=subprocess.DEVNULL)
        for _ in range(4)
    ]
    assert [session.wait(timeout=300) for session in sessions] == [0] * 4
    found = runs_in(store(f"sqlite:///{suite.path / 'mlflow.db'}"))
    assert len([run for run in found if not is_child(run)]) == 4
    assert len([run for run in found if is_child(run)]) == 4
    folders = list((suite.path / ".llmeval/runs").iterdir())
    assert len(folders) == 4
    for folder in folders:
        assert is_uploaded(RunDirectory(suite.path / ".llmeval", folder.name))


def test_sync_says_what_it_cannot_use(tmp_path, waiting, server, capsys):
    home = tmp_path / "home"
    assert main(["sync", "--dir", str(home)]) == 1
    assert f"there are no runs in {home}" in capsys.readouterr().err

    broken = copy_run(waiting, home, "20260106-000000-aaaaaa")
    broken.tracking.write_text('{"schema": 2}')
    good = copy_run(waiting, home, "20260106-000000-bbbbbb")
    unfinished = copy_run(waiting, home, "20260106-000000-cccccc")
    unfinished.tracking.unlink()
    assert main(["sync", "--dir", str(home), "--tracking", server.url]) == 1
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{broken.run_id}: not uploaded: cannot use ")
    assert "its schema is 2; this version reads schema 1" in first
    assert second.startswith(f"{good.run_id}: uploaded as MLflow run ")

    assert main(["sync", "--dir", str(home), unfinished.run_id]) == 1
    assert "has nothing to upload: it did not reach" in capsys.readouterr().err
    assert main(["sync", "--dir", str(home), "../runs"]) == 1
    assert "there is no run '../runs' in" in capsys.readouterr().err
