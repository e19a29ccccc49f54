"""What a bad endpoint, Ctrl-C or a full disk does to a run, and what it leaves."""

import json
import os
import random
import re
import signal
import subprocess
import time
from collections import defaultdict

import pytest

from .conftest import PASSING
from .conftest import ROWS


SLOTS = 4
OPTIONS = ("evals", "--llmeval-concurrency", str(SLOTS))
NO_RIGHTS = ("setpriv", "--bounding-set=-dac_override", "--inh-caps=-dac_override")
"""Takes from root what would let it write where it may not."""


@pytest.mark.parametrize("status", [401, 403])
def test_refused_key_is_one_error_and_nobody_asks_again(suite, model_server, status):
    suite.ask(model_server)
    suite.write("evals/test_second.py", PASSING)
    model_server.status = lambda message: status
    result = suite.run(*OPTIONS)
    result.assert_outcomes(failed=2)
    assert 1 <= len(model_server.requests) <= SLOTS
    said = [line for line in result.outlines if line.startswith("E  ")]
    assert len(said) == 2
    assert said[0] == said[1]
    assert f"refuses with HTTP {status}" in said[0]
    assert "check the key in LLMEVAL_API_KEY" in said[0]
    verdict = suite.verdict
    assert (verdict["status"], verdict["reason"]) == ("fail", "MODEL_ERROR")


def test_every_row_is_scored_or_named_under_the_usual_faults(suite, model_server):
    """300 rows; one in twenty is throttled, one in fifty fails, and one hangs."""
    suite.ask(model_server)
    ids = [f"r{number}" for number in range(300)]
    rows = [{"id": name, "input": name, "answer": name.upper()} for name in ids]
    suite.write_rows("evals/data.jsonl", rows)
    faulty = random.Random("faults").sample(ids, 22)
    faults = {**dict.fromkeys(faulty[:15], 429), **dict.fromkeys(faulty[15:21], 500)}
    came = defaultdict(list)

    def status(message):
        came[message].append(time.monotonic())
        return faults.get(message, 200) if len(came[message]) == 1 else 200

    def answer(message):
        slow = model_server.hang if message == faulty[21] else model_server.slowly
        return slow(message)

    model_server.status, model_server.answer = status, answer
    model_server.retry_after_s = 0.6
    began = time.monotonic()
    options = ("--llmeval-timeout", "1", "--llmeval-attempts", "3")
    result = suite.run("evals", *options)
    assert time.monotonic() - began < 20.0
    assert result.ret == 1
    in_error = [row for row in suite.rows if row["errors"]]
    assert len(suite.rows) - len(in_error) == 299
    assert [(row["id"], row["errors"]) for row in in_error] == [
        (
            faulty[21],
            [{"kind": "timeout", "message": "no reply within 1 s", "attempts": 3}],
        )
    ]
    gate = suite.verdict["gates"][0]
    assert (gate["rows"], gate["errors"], gate["reason"]) == (300, 1, "ROWS_MISSING")
    assert all(len(came[message]) == 2 for message in faults)
    assert len(model_server.requests) == 300 + 21 + 2
    for message in faulty[:15]:
        first, second = came[message]
        assert second - first >= 0.6, "as Retry-After says"


def interrupt(suite, server, *, at, options=OPTIONS):
    """Press Ctrl-C at a number of requests; return output, status and seconds."""
    process = suite.start(*options)
    deadline = time.monotonic() + 30
    while len(server.requests) < at and time.monotonic() < deadline:
        time.sleep(0.005)
    process.send_signal(signal.SIGINT)
    pressed = time.monotonic()
    output, _ = process.communicate(timeout=60)
    print(output)
    return output, process.returncode, time.monotonic() - pressed


def check_interrupted(suite, output, status, seconds):
    assert status == 2
    assert seconds < 8.0
    said = re.search(r"llmeval: interrupted after (\d+) of 40 rows; (.*)", output)
    assert 0 <= int(said[1]) < 40
    assert said[2] == "the replies are stored: the same command goes on from there"
    assert "session.py" not in output
    verdict = suite.verdict
    assert (verdict["status"], verdict["reason"]) == ("incomplete", "INCOMPLETE")


def test_interrupt_lets_running_requests_end_and_begins_none(suite, model_server):
    suite.ask(model_server)

    def slowly(message):
        time.sleep(0.5)
        return message.upper()

    model_server.answer = slowly
    output, status, seconds = interrupt(suite, model_server, at=2 * SLOTS)
    check_interrupted(suite, output, status, seconds)
    assert len(model_server.requests) == 2 * SLOTS
    assert f"interrupted after {2 * SLOTS} of 40 rows" in output
    # All that was on its way has been stored.
    model_server.answer = str.upper
    assert suite.run(*OPTIONS).ret == 0
    assert (len(model_server.requests), model_server.repeated) == (40, 0)


@pytest.mark.parametrize("fault", ["hang", "error"])
def test_interrupt_ends_soon_whatever_the_endpoint_does(suite, model_server, fault):
    suite.ask(model_server)
    if fault == "hang":
        model_server.answer = model_server.hang
    else:
        model_server.status = lambda message: 500
    options = (*OPTIONS, "--llmeval-attempts", "9")
    check_interrupted(suite, *interrupt(suite, model_server, at=SLOTS, options=options))
    assert len(model_server.requests) <= 2 * SLOTS, "none after the first wait"


DEPLOY = ("--llmeval-deploy", "registry:qa@champion")


def at_most(kilobytes):
    """Return the command that limits the size of any file that is written."""
    return ("sh", "-c", 'ulimit -f "$0"; exec "$@"', str(2 * kilobytes))


def check_no_harm(suite, result, path):
    """Look for one clear error, no frames of ours, and no deployment."""
    output = result.stdout.str() + result.stderr.str()
    assert result.ret != 0
    assert str(path) in output
    assert "pytest_llmeval/" not in output
    assert "INTERNALERROR" not in output
    assert "\ndeployed" not in output


LONG = [{"id": f"r{i}", "input": f"{i} " + "word " * 2_000} for i in range(40)]


def check_full_disk(suite, model_server, rows, *, kilobytes, file):
    """Run twice, the first time with a limit on the size of files."""
    suite.ask_pinned(model_server)
    suite.write("evals/test_second.py", PASSING)
    suite.write_rows("evals/data.jsonl", rows)
    result = suite.run_under(at_most(kilobytes), *OPTIONS)
    check_no_harm(suite, result, suite.path / ".llmeval")
    result.stdout.fnmatch_lines(
        [f"E * cannot *{suite.path}/.llmeval/{file}: *; *the same command goes on*"]
    )
    assert suite.verdict["status"] == "fail"

    assert suite.run(*OPTIONS).ret == 0
    assert [row["id"] for row in suite.rows] == 2 * [row["id"] for row in rows]
    # What was on its way when the disk was full is asked again.
    assert model_server.repeated <= 2 * SLOTS


@pytest.mark.parametrize(
    ("kilobytes", "file"),
    [(400, "runs/*"), (1_500, "runs/*/results.jsonl")],
    ids=["rows", "results"],
)
def test_full_disk_is_an_error_and_what_was_stored_is_intact(
    suite, model_server, kilobytes, file
):
    rows = [{**row, "answer": row["input"].upper()} for row in LONG]
    check_full_disk(suite, model_server, rows, kilobytes=kilobytes, file=file)


def test_full_store_is_an_error_and_what_it_has_is_intact(suite, model_server):
    # A reply takes several times its room in the store, and so fills that file first.
    model_server.answer = lambda message: f"{message.upper()}{' ' * 20_000}"
    check_full_disk(suite, model_server, ROWS, kilobytes=200, file="predictions.db")


@pytest.fixture
def small_disk(tmp_path_factory):
    """A file system of its own, of one megabyte."""
    folder = tmp_path_factory.mktemp("disk")
    command = ("mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(folder))
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("only root may mount a file system")
    yield folder
    subprocess.run(("umount", str(folder)), check=True)


# At the last moment: the predictions store gives room back when it is closed.
FILL = """\
from contextlib import suppress


def pytest_llmeval_gate(verdict):
    with suppress(OSError), open({path!r}, "wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
"""


def test_verdict_that_cannot_be_written_deploys_nothing(suite, small_disk):
    """The disk is full when a run has ended that would pass."""
    suite.write("conftest.py", FILL.format(path=str(small_disk / "rest")))
    suite.update_gates()
    suite.commit()
    (small_disk / "rest").unlink(missing_ok=True)
    result = suite.run("evals", "--llmeval-dir", str(small_disk), *DEPLOY)
    result.assert_outcomes(passed=1)
    check_no_harm(suite, result, small_disk)
    result.stdout.fnmatch_lines(
        ["cannot write */verdict.json: No space left*nothing is tracked or deployed"]
    )
    run = small_disk / "runs" / (small_disk / "last").read_text().strip()
    assert json.loads((run / "verdict.json").read_text())["status"] == "incomplete"
    assert {path.name for path in run.iterdir()} == {"verdict.json", "results.jsonl"}


def test_read_only_folder_is_an_error_before_any_call(suite, model_server):
    suite.ask(model_server)
    suite.path.chmod(0o555)
    result = suite.run_under(NO_RIGHTS if os.geteuid() == 0 else (), *OPTIONS)
    suite.path.chmod(0o755)
    check_no_harm(suite, result, suite.path / ".llmeval")
    result.stdout.fnmatch_lines(["*choose another folder with --llmeval-dir*"])
    assert model_server.requests == []
