"""A run that was killed goes on where it was."""

import os
import signal
import subprocess
import sys
import time

import pytest


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_killed_run_repeats_at_most_what_was_in_flight(suite, model_server, number):
    suite.write("evals/conftest.py", "")

    def slowly(message):
        time.sleep(0.05)
        return message.upper()

    model_server.answer = slowly
    options = ("--llmeval-model", model_server.url, "--llmeval-concurrency", "2")
    process = subprocess.Popen(
        (sys.executable, "-m", "pytest", "evals", *options),
        cwd=suite.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + 60
    while len(model_server.requests) < 15 and time.monotonic() < deadline:
        time.sleep(0.01)
    os.kill(process.pid, number)
    assert process.wait(30) != 0
    assert suite.verdict["status"] == "incomplete"
    assert suite.verdict["reason"] == "INCOMPLETE"
    time.sleep(0.3)  # requests that are on their way still count
    before = len(model_server.requests)
    assert before < 40

    assert suite.run("evals", *options).ret == 0
    assert suite.verdict["status"] == "pass"
    repeated = len(model_server.requests) - 40
    assert 0 <= repeated <= 2
    assert [row["id"] for row in suite.rows] == [f"r{i}" for i in range(40)]
