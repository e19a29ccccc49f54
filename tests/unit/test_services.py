"""Processes that several others share: one is started, and it is found, or stopped."""

import json
import os
import signal
import stat
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from pytest_llmeval.errors import ServiceError
from pytest_llmeval.services import Service
from pytest_llmeval.services import stop_all


NAME = "tiny"
SERVICE = """\
import os, sys, time
from pathlib import Path

from pytest_llmeval.services import Service

folder, name, slow_s, log = sys.argv[1:]
service = Service(Path(folder), name)
if service.begin():
    with open(log, "a") as file:
        print(os.getpid(), file=file, flush=True)
    time.sleep(float(slow_s))
    service.announce(1234, "hush-hush-hush")
    time.sleep(120)
"""
CLIENT = """\
import sys
from pathlib import Path

from pytest_llmeval.services import Service

folder, *arguments = sys.argv[1:]
print(Service(Path(folder), "tiny").find_or_start("tiny_service", arguments).pid)
"""


class Run:
    """Clients of one service, in processes of their own."""

    def __init__(self, path):
        self.path, self.folder = path, path / "run" / "services"
        self.log = path / "started.txt"
        (path / "tiny_service.py").write_text(SERVICE)

    def start_client(self, slow_s=0.0):
        command = [sys.executable, "-W", "error", "-c", CLIENT]
        arguments = (str(self.folder), str(slow_s), str(self.log))
        return subprocess.Popen(
            [*command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=self.path,
        )

    def find(self, slow_s=0.0):
        service = Service(self.folder, NAME)
        return service.find_or_start("tiny_service", [str(slow_s), str(self.log)])

    @property
    def started(self):
        """The processes that have served, in order."""
        return list(map(int, self.log.read_text().split()))


@pytest.fixture
def run(tmp_path, monkeypatch):
    path = os.pathsep.join(filter(None, [str(tmp_path), os.environ.get("PYTHONPATH")]))
    monkeypatch.setenv("PYTHONPATH", path)
    run = Run(tmp_path)
    yield run
    for pid in run.started if run.log.exists() else ():
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def lives(pid):
    """Whether a process runs: one that has ended may still wait for its parent."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
        )
    except FileNotFoundError:
        return False


def wait_until(happened, most_s=20.0):
    deadline = time.monotonic() + most_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_processes_that_need_it_at_once_find_one_service(run):
    clients = [run.start_client(slow_s=0.3) for _ in range(4)]
    found = [client.communicate(timeout=60) for client in clients]
    assert {said for _, said in found} == {""}, (
        "no warning of a process that still runs"
    )
    assert [int(pid) for pid, _ in found] == run.started * 4
    assert lives(run.started[0]), "it outlives who started it"
    assert os.getsid(run.started[0]) == run.started[0]


def test_service_that_was_killed_is_started_again(run):
    first = run.find()
    os.kill(first.pid, signal.SIGKILL)
    wait_until(lambda: not lives(first.pid))
    second = run.find()
    assert run.started == [first.pid, second.pid]
    assert run.find() == second


def test_service_whose_starter_died_early_is_waited_for(run):
    starter = run.start_client(slow_s=1.5)
    wait_until(run.log.exists)
    starter.kill()
    starter.communicate()
    assert [run.find().pid] == run.started


def test_service_that_ends_at_once_is_an_error_with_what_it_said(run):
    (run.path / "tiny_service.py").write_text("import sys; sys.exit('no \\033[1mluck')")
    with pytest.raises(ServiceError) as caught:
        run.find()
    assert str(caught.value) == r"tiny ended at once: no \x1b[1mluck"


def test_service_that_never_listens_is_ended(run, monkeypatch):
    monkeypatch.setattr("pytest_llmeval.services.START_S", 0.5)
    with pytest.raises(ServiceError, match=r"did not listen within 0\.5 s: it said no"):
        run.find(slow_s=60)
    wait_until(lambda: not any(map(lives, run.started)))


def test_folder_that_cannot_be_made_is_named(run):
    (run.path / "run").write_text("a file")
    with pytest.raises(ServiceError, match=r"cannot start tiny in .*--llmeval-dir"):
        run.find()


def test_token_is_for_the_owner_only_and_in_no_text(run):
    address = run.find()
    assert address.token == "hush-hush-hush"
    assert "hush" not in repr(address)
    file = run.folder / "tiny.json"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    others = [path for path in run.folder.iterdir() if path != file]
    assert others
    assert not any("hush" in path.read_text() for path in others)


def test_file_of_the_suite_takes_no_place_of_an_installed_module(run, monkeypatch):
    suite = run.path / "suite"
    suite.mkdir()
    (suite / "json.py").write_text("raise SystemExit('imported')")
    monkeypatch.chdir(suite)
    assert run.find().port == 1234


def test_stop_ends_all_and_leaves_nothing(run):
    pid = run.find().pid
    stop_all(run.folder)
    wait_until(lambda: not lives(pid), most_s=1.0)
    assert not run.folder.exists()
    stop_all(run.folder)  # of a run that has none


def test_stop_spares_a_process_that_got_the_number_of_a_dead_service(run):
    pid = run.find().pid
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not lives(pid))
    file = run.folder / "tiny.json"
    with subprocess.Popen((sys.executable, "-c", "input()"), stdin=-1) as innocent:
        file.write_text(
            json.dumps({**json.loads(file.read_text()), "pid": innocent.pid})
        )
        stop_all(run.folder)
        innocent.communicate(b"\n", timeout=20)
    assert innocent.returncode == 0
