"""`llmeval databricks run` where somebody ends it, and where it is said twice."""

import signal
import threading
import time

import pytest

from pytest_llmeval.cli import main

from .remote import RUN_ID
from .remote import SENT
from .remote import leave
from .remote import start


GREEN = {"exit_status": 0, "run_id": RUN_ID}
CI = {"GITHUB_ACTIONS": "true", "GITHUB_RUN_ID": "7", "GITHUB_JOB": "evaluate"}


@pytest.fixture
def sent(suite, workspace, monkeypatch):
    suite.commit()
    monkeypatch.chdir(suite.path)
    return suite


@pytest.fixture
def released(workspace):
    """Has the work of a job end, with what it leaves."""
    event = threading.Event()
    leaves = leave(workspace, GREEN)

    def work(run, task):
        while not event.is_set() and not run.stopped.wait(0.02):
            pass
        leaves(run, task)

    workspace.jobs.work = work
    yield event
    event.set()


def until(ask, limit_s=60):
    end = time.monotonic() + limit_s
    while not (found := ask()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def states(workspace):
    return {run.state.life for run in workspace.jobs.started}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("moment", ["PENDING", "RUNNING"])
def test_interrupted_command_ends_its_run(sent, workspace, released, number, moment):
    workspace.jobs.looks = 10_000 if moment == "PENDING" else 0
    process = start(sent, *SENT)
    until(lambda: moment in states(workspace))
    process.stdout.readline()
    process.send_signal(number)
    told = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "interrupted; ending the run (once more to leave it as it is)" in told
    assert "TERMINATED CANCELED" in told
    assert workspace.jobs.active == []


def _while_submitted(workspace, monkeypatch, act):
    """Call something while the run is being submitted."""
    answer = workspace.jobs.answer

    def slow(request):
        if request.path.endswith("runs/submit"):
            act()
            time.sleep(0.3)
        return answer(request)

    monkeypatch.setattr(workspace.jobs, "answer", slow)


@pytest.mark.parametrize("detached", [(), ("--detach",)])
def test_interrupted_while_it_submits_leaves_no_run(
    sent, workspace, released, monkeypatch, detached
):
    processes = []
    _while_submitted(
        workspace, monkeypatch, lambda: processes[0].send_signal(signal.SIGINT)
    )
    processes.append(start(sent, *SENT, *detached))
    told = processes[0].communicate(timeout=60)[0]
    assert processes[0].returncode == 130, told
    assert len(workspace.jobs.started) == 1
    assert workspace.jobs.active == []


def test_interrupted_while_it_uploads_starts_no_run(sent, workspace, released):
    processes = []
    workspace.on_write = lambda number: processes[0].send_signal(signal.SIGINT)
    processes.append(start(sent, *SENT))
    processes[0].communicate(timeout=60)
    assert processes[0].returncode in (130, -signal.SIGINT)
    assert workspace.jobs.started == []


def test_second_interruption_leaves_the_run_as_it_is(
    sent, workspace, released, monkeypatch
):
    answer = workspace.jobs.answer
    asked = []

    def deaf(request):
        if request.path.endswith("runs/cancel"):
            asked.append(request)
            return {}
        return answer(request)

    monkeypatch.setattr(workspace.jobs, "answer", deaf)
    process = start(sent, *SENT)
    until(lambda: workspace.jobs.started)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    until(lambda: asked)
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=30)[0]
    assert process.returncode == 130
    assert "llmeval: interrupted" in told
    assert len(workspace.jobs.active) == 1


def test_a_killed_command_is_taken_up_by_the_same_attempt_of_ci(
    sent, workspace, released, monkeypatch
):
    for name, value in CI.items():
        monkeypatch.setenv(name, value)
    process = start(sent, *SENT)
    until(lambda: "RUNNING" in states(workspace))
    process.kill()
    process.communicate(timeout=30)
    assert len(workspace.jobs.active) == 1
    released.set()
    assert main([*SENT]) == 0
    assert len(workspace.jobs.started) == 1
    assert sent.run_directory.name == RUN_ID
    monkeypatch.setenv("GITHUB_RUN_ATTEMPT", "2")
    assert main([*SENT]) == 0
    assert len(workspace.jobs.started) == 2


def test_the_same_token_is_one_run_and_no_token_another_each_time(
    sent, workspace, released
):
    released.set()
    for _ in range(2):
        assert main([*SENT, "--token", "nightly-1"]) == 0
    assert len(workspace.jobs.started) == 1
    for _ in range(2):
        assert main([*SENT]) == 0
    assert len(workspace.jobs.started) == 3


def test_a_detached_run_is_waited_for_and_may_be_left_again(
    sent, workspace, released, capsys
):
    assert main([*SENT, "--detach"]) == 0
    (run,) = workspace.jobs.active
    wait = ("databricks", "wait", str(run.run_id))
    assert f"wait for it with: llmeval {' '.join(wait)}" in capsys.readouterr().out
    process = start(sent, *wait)
    assert process.stdout.readline().startswith("RUNNING")
    process.send_signal(signal.SIGINT)
    told = process.communicate(timeout=30)[0]
    assert process.returncode == 130
    assert "the run goes on; again: llmeval databricks wait" in told
    assert workspace.jobs.active == [run]
    released.set()
    assert main(list(wait)) == 0
    assert sent.run_directory.name == RUN_ID
