"""Exports that are killed, and exports at the same time."""

import os
import random
import signal
import subprocess
import sys
import time

import pytest

from pytest_llmeval.history.schema import TABLES
from pytest_llmeval.history.sources import export_runs

from .lived import attempt_of
from .lived import leave_run
from .lived import row_of
from .lived import verdict_of
from .test_places import all_of


RUNS = 60
PLACES = ("history", "csv:history", "sqlite:///history.db", "postgresql")
EXPORT = "from pytest_llmeval.cli import main; raise SystemExit(main())"
# Small batches, so that there is much to interrupt.
IN_SMALL_BATCHES = f"""\
from pytest_llmeval.history import export
export.RUNS_AT_ONCE = 3
{EXPORT}
"""
DIES_AT_A_STEP = f"""\
import os, pathlib, signal, sys
from pytest_llmeval.history import export
import sqlalchemy

export.RUNS_AT_ONCE = 30
step, when = int(sys.argv.pop()), sys.argv.pop()

def dying(function):
    def counted(*arguments, **options):
        global step
        step -= 1
        if step == 0 and when == "before":
            os.kill(os.getpid(), signal.SIGKILL)
        result = function(*arguments, **options)
        if step == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        return result
    return counted

pathlib.Path.replace = dying(pathlib.Path.replace)
sqlalchemy.Connection.execute = dying(sqlalchemy.Connection.execute)
{EXPORT}
"""


@pytest.fixture
def lived(home):
    """A folder with runs of three days, some of them deployed."""
    for number in range(RUNS):
        verdict = verdict_of(number, run_id=f"run-{number:03d}")
        attempts = [attempt_of(verdict, f"d{number}")] if number % 7 == 0 else []
        leave_run(home, verdict, [row_of(n) for n in range(5)], attempts)
    return home


def start(tmp_path, text, script=IN_SMALL_BATCHES, *further):
    arguments = ["export", "--rows", "--to", text, *further]
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", script, *arguments],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


@pytest.fixture(params=PLACES)
def text(request):
    if request.param == "postgresql":
        return request.getfixturevalue("database")
    return request.param


def whole(open_at, lived):
    """Return the history as one undisturbed export writes it."""
    place = open_at("undisturbed")
    export_runs(lived, place, with_rows=True)
    return contents(place)


def contents(place):
    # A CSV file knows no difference between "" and no value.
    return {
        table.name: [
            {name: None if value == "" else value for name, value in record.items()}
            for record in all_of(place, table.name).to_pylist()
        ]
        for table in TABLES
    }


def test_an_export_that_is_killed_is_completed_by_the_next_one(
    text, lived, open_at, tmp_path
):
    expected, rng = whole(open_at, lived), random.Random(7)
    began = time.monotonic()
    start(tmp_path, "timed").communicate(timeout=120)
    duration_s, killed = time.monotonic() - began, 0
    for share in (0.5, 0.6, 0.7, 0.8):
        export = start(tmp_path, text)
        time.sleep(duration_s * share * rng.uniform(0.9, 1.1))
        if export.poll() is None:
            os.killpg(export.pid, signal.SIGKILL)
            killed += 1
        export.communicate(timeout=60)
    last = start(tmp_path, text)
    said, _ = last.communicate(timeout=120)
    assert (last.returncode, killed > 0) == (0, True), said
    assert contents(open_at(text)) == expected


@pytest.mark.parametrize("kind", ["files", "sqlite"])
@pytest.mark.parametrize("when", ["before", "after"])
def test_an_export_may_die_at_any_step(kind, when, lived, open_at, tmp_path):
    expected = whole(open_at, lived)
    text = "history" if kind == "files" else "sqlite:///history.db"
    steps = (1, 5, 12, 18, 23)
    for step in steps:
        place = text.replace("history", f"history{step}")
        died = start(tmp_path, place, DIES_AT_A_STEP, when, str(step))
        died.communicate(timeout=60)
        assert died.returncode == -signal.SIGKILL
        again = open_at(place)
        export_runs(lived, again, with_rows=True)
        assert contents(again) == expected


def test_two_exports_at_once_write_everything_once(text, lived, open_at, tmp_path):
    both = [start(tmp_path, text) for _ in range(2)]
    said = [export.communicate(timeout=120)[0] for export in both]
    assert [export.returncode for export in both] == [0, 0], said
    assert contents(open_at(text)) == whole(open_at, lived)
