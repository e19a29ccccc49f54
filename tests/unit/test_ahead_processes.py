"""Processes of one run that each take their part of the rows."""

import json
import signal
import subprocess
import sys
import time
from collections import Counter
from itertools import pairwise

import pytest

from tests.behaviour.conftest import ModelServer

from .asked_ahead import open_ahead


@pytest.fixture
def model_server():
    server = ModelServer()
    server.answer = server.slowly
    yield server
    server.close()


@pytest.fixture
def work(tmp_path, model_server, no_keys):
    """Begin workers that get these positions each, all at the same time."""
    started = []

    def work(*parts, rows=60, **given):
        model, workers = f"{model_server.url}#tiny", []
        for worker, part in enumerate(parts):
            given |= {"root": str(tmp_path), "model": model, "rows": rows}
            given |= {"worker": worker, "workers": len(parts)}
            arguments = json.dumps(list(part)), json.dumps(given)
            module = [sys.executable, "-W", "error", "-m", "tests.unit.asked_ahead"]
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
            workers.append(subprocess.Popen([*module, *arguments], **pipes))
        started.extend(workers)
        for one in workers:
            assert one.stdout.readline() == "ready\n"
        for one in workers:
            one.stdin.write("\n")
            one.stdin.flush()
        return workers

    yield work
    for one in started:
        one.kill()
        one.communicate()


def lines_of(worker):
    lines = worker.communicate(timeout=60)[0].splitlines()
    assert worker.returncode == 0
    assert lines.pop() == "closed"
    return lines


def expected(positions):
    return [f"{i} ROW {i}" for i in positions]


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (range(30), range(30, 60)),
        (range(0, 60, 2), range(1, 60, 2)),
        (range(60), range(59, -1, -1)),
    ],
    ids=["halves", "in-turn", "all-against-each-other"],
)
def test_two_processes_ask_for_each_row_once_and_get_all_of_theirs(
    work, model_server, first, second
):
    one, other = work(first, second, concurrency=8)

    assert lines_of(one) == expected(first)
    assert lines_of(other) == expected(second)
    assert Counter(model_server.asked) == Counter(f"row {i}" for i in range(60))
    assert model_server.most_in_flight <= 8


def test_two_processes_together_keep_all_requests_in_flight(work, model_server):
    model_server.answer = model_server.together(8)

    for worker in work(range(30), range(30, 60), concurrency=8):
        lines_of(worker)

    assert model_server.most_in_flight == 8


def test_three_processes_that_share_one_request_take_turns(work, model_server):
    parts = [range(20 * part, 20 * part + 20) for part in range(3)]

    workers = work(*parts, concurrency=1)

    for worker, part in zip(workers, parts, strict=True):
        assert lines_of(worker) == expected(part)
    assert Counter(model_server.asked) == Counter(f"row {i}" for i in range(60))
    assert model_server.most_in_flight == 1
    turns = [int(row.split()[1]) // 20 for row in model_server.asked]
    handed_over = sum(one != other for one, other in pairwise(turns))
    assert handed_over >= 36, turns


def test_after_a_kill_the_others_go_on_and_repeat_its_share_at_most(work, model_server):
    def kill(message):
        if message == "row 20":
            dying.send_signal(signal.SIGKILL)
        return model_server.slowly(message)

    model_server.answer = kill
    dying, living = work(range(40), range(40, 60), concurrency=8)
    dying.wait(60)

    assert lines_of(living) == expected(range(40, 60))
    assert dying.returncode == -signal.SIGKILL
    before = model_server.repeated
    (restarted,) = work(range(60), concurrency=8)
    assert lines_of(restarted) == expected(range(60))
    assert set(model_server.asked) == {f"row {i}" for i in range(60)}
    assert before <= model_server.repeated <= 4


@pytest.mark.parametrize("rows", [1, 4])
def test_an_interrupt_ends_the_waiting_and_stores_what_is_on_its_way(
    work, model_server, tmp_path, rows
):
    def slowly(message):
        time.sleep(0.5)
        return message

    model_server.answer = slowly
    (worker,) = work(range(4), rows=rows)
    deadline = time.monotonic() + 20
    while len(model_server.requests) < rows and time.monotonic() < deadline:
        time.sleep(0.005)
    worker.send_signal(signal.SIGINT)
    sent = time.monotonic()

    assert worker.stdout.readline() == "interrupted\n"
    assert time.monotonic() - sent < 0.4, "before the reply is there"
    assert lines_of(worker) == []
    ahead = open_ahead(tmp_path, f"{model_server.url}#tiny", rows, cache="only")
    assert [ahead.get(i).text for i in range(rows)] == [f"row {i}" for i in range(rows)]
    ahead.close()
