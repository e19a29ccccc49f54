"""Scores that are computed beside the calls."""

import threading
import time

import pytest

from pytest_llmeval import Metric
from pytest_llmeval.errors import ModelError

from .processes import python
from .tiny_model import LENGTH
from .tiny_model import ROWS
from .tiny_model import Pinned
from .tiny_model import upper


def test_slow_metrics_are_scored_beside_the_calls(run_stored):
    def slow(prediction, example):
        time.sleep(0.4)
        return 1.0

    model = Pinned(upper)
    started = time.monotonic()
    results = run_stored(
        model, metrics=[Metric(name="slow", score=slow)], concurrency=32
    )

    assert results.metrics == {"slow": 1.0}
    assert time.monotonic() - started < 0.5 * 64 * 0.4
    assert results.usage.latency_p95_ms < 350, "a score in the loop takes 400 ms"


def test_a_metric_that_hangs_is_the_error_of_its_row(run_stored):
    released = threading.Event()

    def stuck(prediction, example):
        if prediction.text == "QUESTION 1":
            released.wait(30)
        return 1.0

    metric = Metric(name="stuck", score=stuck)
    results = run_stored(Pinned(upper), ROWS[:3], [metric], timeout_s=0.5)
    released.set()

    (error,) = results.errors
    assert (error.id, error.kind) == ("r1", "scorer")
    assert error.message == "stuck: no score within 0.5 s"
    assert results["stuck"].n == 2


def test_quick_metrics_are_scored_in_the_loop_and_others_in_threads(run_stored):
    names = {"quick": set(), "other": set()}

    def note(metric):
        def score(prediction, example):
            names[metric].add(threading.current_thread().name)
            return 1.0

        return score

    quick = Metric(name="quick", score=note("quick"), inline=True)
    results = run_stored(
        Pinned(upper), metrics=[quick, Metric(name="other", score=note("other"))]
    )

    assert names == {"quick": {"llmeval-loop"}, "other": {"llmeval-call"}}
    assert results.metrics == {"quick": 1.0, "other": 1.0}


def test_a_slow_metric_that_raises_is_an_error_beside_those_of_quick_ones(run_stored):
    def other(prediction, example):
        raise KeyError("x")

    quick = Metric(name="quick", score=lambda p, e: float("nan"), inline=True)
    results = run_stored(Pinned(upper), ROWS[:1], [quick, other, LENGTH])

    assert [(e.kind, e.message) for e in results.errors] == [
        ("not_finite", "quick returned nan"),
        ("scorer", "other: KeyError: 'x'"),
    ]
    assert dict(results.rows[0].scores) == {"length": 10 / 7}
    assert results["length"].n == 0


def test_a_model_error_ends_the_run_while_slow_metrics_are_at_work(run_stored):
    async def answer(user, tries):
        if user == "question 20":
            raise ModelError("refused")
        return user

    def slow(prediction, example):
        time.sleep(0.02)
        return 1.0

    for _ in range(5):
        with pytest.raises(ModelError, match="refused"):
            run_stored(Pinned(answer), metrics=[slow], cache="off")


def test_as_many_slow_scores_are_computed_at_once_as_requests_are_allowed(run_stored):
    lock, at_work, seen = threading.Lock(), [], []

    def slow(prediction, example):
        with lock:
            at_work.append(1)
            seen.append(len(at_work))
        time.sleep(0.005)
        with lock:
            at_work.pop()
        return 1.0

    run_stored(Pinned(upper))
    run_stored(Pinned(upper), metrics=[slow])  # all are found at once

    assert len(seen) == 64
    assert max(seen) == 8


FULL_DISK = """\
import resource
import signal
import sys
from pathlib import Path

from pytest_llmeval import Metric
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation

from tests.unit.tiny_model import ROWS
from tests.unit.tiny_model import Pinned
from tests.unit.tiny_model import upper

folder = Path(sys.argv[1])
settings = Settings(rootdir=folder, cache="off", concurrency=8)
engine = Engine(
    settings=settings, hook=headless_manager().hook, run_id="1", scratch=folder
)
one = Metric(name="one", score=lambda p, e: 1.0, inline=sys.argv[2] == "quick")
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (5_000, 5_000))
model = Pinned(upper)
try:
    run_evaluation(engine, model, ROWS, [one])
except ConfigurationError as error:
    print(error)
print(len(model.calls) < 64)
"""


@pytest.mark.parametrize("speed", ["quick", "slow"])
def test_a_full_disk_ends_the_run_and_is_named(tmp_path, speed):
    done = python(FULL_DISK, tmp_path, speed)

    message, stopped = done.stdout.splitlines()
    assert message.startswith(f"cannot keep the rows in {tmp_path}: File too large; ")
    assert (stopped, done.returncode, done.stderr) == ("True", 0, "")
