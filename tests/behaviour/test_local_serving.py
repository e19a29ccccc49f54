"""`local:PORT` serves a registered version by a real `mlflow models serve`."""

import json
import os
import signal
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from pytest_llmeval.backends.mlflow.local import LocalTarget
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.errors import ServiceError
from pytest_llmeval.records import Move
from pytest_llmeval.services import Service
from tests.unit.file_target import passing_verdict

from .mlflow_server import free_port
from .registry import aliases


pytestmark = pytest.mark.filterwarnings("ignore")
TAGS = {"llmeval.run_id": "run-1", "llmeval.deployed_at": "2026-01-01T00:00:00Z"}
NOTHING = {"model": None, "version": None}


@pytest.fixture
def target(project):
    settings = Settings(rootdir=project.path, deploy_timeout_s=60)
    target = LocalTarget(free_port(), settings)
    yield target
    Service(settings.home / "local", target.name.removeprefix("local:")).stop()


def verdict(version):
    model = passing_verdict()["model"] | {"name": "qa", "version": version}
    return passing_verdict(model=model, started_at=time.time())


def settled(target):
    deadline = time.monotonic() + 90
    while (state := target.read()).busy:
        assert time.monotonic() < deadline
        time.sleep(0.1)
    return state


def carry_out(target, about, step="deploy"):
    plan = target.plan(about, Move(step=step), target.read())
    notes = []
    tags = TAGS if about is not None else {}
    target.write(plan.before, plan.after, tags, notes.append)
    return plan, settled(target)


def ask(target, word):
    """Ask the served model through the port."""
    request = urllib.request.Request(
        f"http://{target.place}/invocations",
        json.dumps({"inputs": [word]}).encode(),
        {"Content-Type": "application/json"},
    )
    with urllib.request.urlopen(request, timeout=30) as reply:
        return json.load(reply)["predictions"]


def ends_soon(url):
    """Return whether nobody listens there within half a minute."""
    for _ in range(300):
        try:
            urllib.request.urlopen(url, timeout=5).close()
        except urllib.error.HTTPError:
            pass
        except urllib.error.URLError:
            return True
        time.sleep(0.1)
    return False


class Client:
    """Asks again and again, in a thread, and keeps what goes wrong."""

    def __init__(self, target):
        self.answers, self.problems = 0, []
        self._target, self._over = target, threading.Event()
        self._thread = threading.Thread(target=self._ask)
        self._thread.start()

    def _ask(self):
        while not self._over.is_set():
            try:
                assert ask(self._target, "word") == ["WORD"]
                self.answers += 1
            except Exception as error:  # noqa: BLE001  # whatever it is
                self.problems.append(error)

    def stop(self):
        self._over.set()
        self._thread.join()


def test_version_goes_live_is_switched_without_a_lost_request_and_comes_back(target):
    assert target.read().live == NOTHING
    plan, state = carry_out(target, verdict("1"))
    assert plan.summary == f"{target.name}: nothing -> qa version 1"
    assert state.live == plan.after == {"model": "qa", "version": "1"}
    assert state.tags == TAGS
    client = Client(target)
    _, state = carry_out(target, verdict("2"))
    assert state.live == {"model": "qa", "version": "2"}
    _, state = carry_out(target, None, "rollback")
    assert state.live == {"model": "qa", "version": "1"}
    client.stop()
    assert client.problems == []
    assert client.answers > 10

    # A version that does not start leaves the old one; the log is quoted.
    plan = target.plan(verdict("2"), Move(), target.read())
    missing = {"model": "qa", "version": "9"}
    target.write(plan.before, missing, TAGS, lambda line: None)
    state = settled(target)
    assert state.live == {"model": "qa", "version": "1"}
    assert state.problem.startswith("version 9: it ended: ")
    assert ask(target, "word") == ["WORD"]

    with pytest.raises(DeploymentRefused, match="another deployment"):
        target.write(missing, plan.after, TAGS, lambda line: None)
    assert ask(target, "word") == ["WORD"]

    _, state = carry_out(target, None, "rollback")
    assert state.live == NOTHING
    assert ends_soon(f"http://{target.place}/"), "the front ends with the last version"


def test_dead_front_takes_its_server_along_and_is_started_anew(target):
    carry_out(target, verdict("1"))
    folder = target._folder
    address = json.loads((folder / f"{target._port}.json").read_text())
    os.kill(address["pid"], signal.SIGKILL)
    deadline = time.monotonic() + 30
    while _serving("models:/qa/1", folder):
        assert time.monotonic() < deadline, "the server outlives its front"
        time.sleep(0.1)
    assert target.read().live == NOTHING
    _, state = carry_out(target, verdict("2"))
    assert state.live == {"model": "qa", "version": "2"}
    assert ask(target, "word") == ["WORD"]


def _serving(uri, folder):
    """Return the processes that serve a model and were started in a folder."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            command = (path / "cmdline").read_bytes().decode().split("\0")
            if uri in command and (path / "cwd").resolve() == Path.cwd():
                found.append(path.name)
        except OSError:
            continue
    return found


def test_port_of_another_program_is_left_alone(target):
    from http.server import BaseHTTPRequestHandler
    from http.server import HTTPServer

    server = HTTPServer(("127.0.0.1", target._port), BaseHTTPRequestHandler)
    threading.Thread(target=server.serve_forever).start()
    with pytest.raises(ServiceError, match="held by another program"):
        target.read()
    server.shutdown()
    server.server_close()


def test_whole_path_in_one_command(project):
    port = free_port()
    text = f"registry:qa@champion,local:{port}"
    try:
        result = project.run("evals", "--llmeval-deploy", text)
        assert result.ret == 0
        assert aliases(project) == {"candidate": 1, "champion": 1}
        calls = [call["target"] for call in project.deployment["calls"]]
        assert calls[0] == f"local:{port}", "what serves comes before what names"
        url = f"http://127.0.0.1:{port}/llmeval/live"
        live = json.load(urllib.request.urlopen(url))
        assert (live["model"], live["version"]) == ("qa", "1")
        assert live["tags"]["llmeval.run_id"] == project.run_directory.name
        back = project.llmeval("deploy", "rollback", "--yes", "--target", text)
        assert back.ret == 0
        assert aliases(project) == {"candidate": 1}
        assert ends_soon(url)
    finally:
        Service(project.path / ".llmeval/local", str(port)).stop()


@pytest.mark.parametrize("port", ["", "x", "0", "70000", "-1"])
def test_port_is_a_number(port):
    from pytest_llmeval.hooks import headless_manager

    with pytest.raises(ValueError, match="for example local:8080"):
        headless_manager().hook.pytest_llmeval_deploy_target(
            target=f"local:{port}", settings=Settings()
        )
