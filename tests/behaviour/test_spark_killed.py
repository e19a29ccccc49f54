"""A run in Spark that was cut off goes on with its next wave, to the same end."""

import json
import os
import signal
import time
from functools import partial

import pytest
from pyarrow import parquet

from .conftest import Suite
from .spark_suites import in_spark


ROWS = 200
OPTIONS = ("evals", "--llmeval-concurrency", "4")


@pytest.fixture
def large(suite, model_server):
    """A suite of 200 rows whose model takes 30 ms."""
    in_spark(suite, ROWS)
    suite.ask_pinned(model_server)

    def answer(message):
        time.sleep(0.03)
        return "no" if message.endswith("7") else message.upper()

    model_server.answer = answer
    return suite


def waves_of(suite):
    """Return how many rows each wave has: about as many as there are, by a hash."""
    (place,) = suite.path.glob(".llmeval/spark/*/rows")
    return [
        sum(parquet.ParquetFile(file).metadata.num_rows for file in wave.iterdir())
        for wave in place.glob("wave=*")
    ]


def check_whole(suite, model_server):
    """Check that nothing was lost or doubled, and asked again at most for a wave."""
    assert set(model_server.asked) == {f"word {i}" for i in range(ROWS)}
    assert model_server.repeated <= max(waves_of(suite))
    (gate,) = suite.verdict["gates"]
    assert (gate["rows"], gate["errors"], gate["value"]) == (ROWS, 0, 0.9)


@pytest.mark.parametrize(
    ("number", "ask"),
    [(signal.SIGKILL, Suite.ask_pinned), (signal.SIGINT, Suite.ask)],
)
def test_run_that_was_cut_off_goes_on_where_it_was(large, model_server, number, ask):
    ask(large, model_server)
    process = large.start(*OPTIONS)
    model_server.call_at(110, partial(process.send_signal, number))
    output, _ = process.communicate(timeout=60)
    assert process.returncode == (2 if number == signal.SIGINT else -number), output
    assert large.verdict["status"] == "incomplete"
    assert len(model_server.requests) < ROWS

    assert large.run(*OPTIONS).ret == 1, "0.9 is not surely 0.9"
    check_whole(large, model_server)
    assert large.verdict["stored_replies"]["rows"] > 0


def test_run_ends_when_its_spark_is_killed_and_the_next_goes_on(large, model_server):
    def kill():
        (file,) = large.path.glob(".llmeval/runs/*/services/spark-sail.json")
        os.kill(json.loads(file.read_text())["pid"], signal.SIGKILL)

    model_server.call_at(110, kill)
    result = large.run(*OPTIONS)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["E *the same command goes on there*"])
    assert large.verdict["reason"] == "MODEL_ERROR"

    large.run(*OPTIONS)
    check_whole(large, model_server)
