"""A loop beside a blocking caller, and Ctrl-C."""

import asyncio
import threading

import pytest

from pytest_llmeval.threads import run_beside

from .processes import python


def test_a_coroutine_runs_beside_its_caller_inside_a_running_loop():
    seen, looks = [], []

    async def work():
        await asyncio.sleep(0.35)
        seen.append(threading.current_thread().name)

    async def notebook():
        run_beside(work, meanwhile=lambda: looks.append(1), stop=seen.clear)

    asyncio.run(notebook())

    assert seen == ["llmeval-loop"]
    assert len(looks) >= 3


@pytest.mark.parametrize(
    "raised", [ValueError("no"), KeyboardInterrupt(), SystemExit(3)]
)
def test_what_the_coroutine_raises_is_raised(raised):
    async def work():
        raise raised

    with pytest.raises(type(raised)) as caught:
        run_beside(work, meanwhile=int, stop=int)

    assert caught.value is raised


INTERRUPTED = """\
import asyncio
import os
import signal
import sys
import threading
import time

from pytest_llmeval.threads import run_beside

stopped = threading.Event()
calls = []

async def work():
    threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT)).start()
    if {twice}:
        threading.Timer(0.9, os.kill, (os.getpid(), signal.SIGINT)).start()
    try:
        while not stopped.is_set():
            await asyncio.sleep(0.01)
        print("stopping", flush=True)
        await asyncio.sleep({last_call_s})
        print("last reply", flush=True)
    except asyncio.CancelledError:
        print("cancelled", flush=True)
        raise

started = time.monotonic()
try:
    run_beside(work, meanwhile=int, stop=stopped.set)
except KeyboardInterrupt:
    print("interrupted", flush=True)
print(time.monotonic() - started)
"""


@pytest.mark.parametrize(
    ("twice", "last_call_s", "lines", "least_s", "most_s"),
    [
        (False, 0.5, ["stopping", "last reply", "interrupted"], 0.8, 4.0),
        (True, 20.0, ["stopping", "cancelled", "interrupted"], 0.9, 4.0),
        (False, 20.0, ["stopping", "cancelled", "interrupted"], 5.3, 9.0),
    ],
    ids=["waits", "twice", "not-for-ever"],
)
def test_an_interrupt_stops_new_work_and_waits_for_what_is_on_its_way(
    twice, last_call_s, lines, least_s, most_s
):
    done = python(INTERRUPTED.format(twice=twice, last_call_s=last_call_s))

    *said, took_s = done.stdout.splitlines()
    assert (said, done.stderr) == (lines, "")
    assert least_s <= float(took_s) < most_s
