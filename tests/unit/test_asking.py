"""What is asked, what is stored, and when scores are computed."""

import asyncio
import json
import sqlite3
import subprocess
import sys
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_llmeval import Metric
from pytest_llmeval.errors import DataError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.records import Reply

from .tiny_model import ROWS
from .tiny_model import Pinned
from .tiny_model import upper


SAME = [{"id": f"r{i}", "input": "a" if i % 2 else "b"} for i in range(20)]


def test_equal_requests_are_asked_once_with_a_store(run_stored):
    model = Pinned(upper)

    results = run_stored(model, SAME)

    assert model.calls == {"a": 1, "b": 1}
    assert [row.prediction.text for row in results.rows] == ["B", "A"] * 10
    assert results.usage.requests == 2


def test_equal_requests_are_asked_each_without_a_store(run_stored):
    model = Pinned(upper)

    run_stored(model, SAME, cache="off")

    assert model.calls == {"a": 10, "b": 10}


def test_equal_requests_whose_reply_is_not_stored_are_all_asked_soon(run_stored):
    async def silent(user, tries):
        return ""

    model = Pinned(silent)
    started = time.monotonic()
    results = run_stored(model, [{"id": str(i), "input": "a"} for i in range(200)])

    assert model.calls == {"a": 200}
    assert results.errors == []
    assert time.monotonic() - started < 5


def test_evaluations_at_once_in_one_process_share_the_replies(run_stored):
    async def slow(user, tries):
        await asyncio.sleep(0.01)
        return user

    model = Pinned(slow)
    with ThreadPoolExecutor(3) as threads:
        runs = [threads.submit(run_stored, model) for _ in range(3)]
        metrics = [run.result(60).metrics for run in runs]

    assert set(model.calls.values()) == {1}
    assert len(model.calls) == 64
    assert metrics[0] == metrics[1] == metrics[2]


EVALUATION = """\
import asyncio
import sys
from pathlib import Path

from pytest_llmeval.config import Settings
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation

from tests.unit.tiny_model import LENGTH
from tests.unit.tiny_model import Pinned
from tests.unit.tiny_model import ROWS

async def slow(user, tries):
    await asyncio.sleep(0.01)
    return user

model = Pinned(slow)
settings = Settings(rootdir=Path(sys.argv[1]), concurrency=8)
engine = Engine(settings=settings, hook=headless_manager().hook, run_id=sys.argv[2])
sys.stdin.readline()
results = run_evaluation(engine, model, ROWS, [LENGTH])
print(json.dumps([model.calls, results.metrics, results.usage.rows]))
"""


def test_evaluations_at_once_in_several_processes_ask_each_row_once(tmp_path):
    script = f"import json\n{EVALUATION}"
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    processes = [
        subprocess.Popen([sys.executable, "-c", script, tmp_path, str(run)], **pipes)
        for run in range(2)
    ]
    for process in processes:
        process.stdin.write("\n")
        process.stdin.flush()
    said = [json.loads(process.communicate(timeout=60)[0]) for process in processes]

    calls = Counter()
    for asked, _, rows in said:
        calls.update(asked)
        assert rows == len(asked), "what the other asked is none of our usage"
    assert calls == Counter({f"question {i}": 1 for i in range(64)})
    assert said[0][1] == said[1][1]


def test_a_reply_is_stored_before_its_slot_asks_again(run_stored, tmp_path):
    path = tmp_path / ".llmeval" / "predictions.db"
    answered, lost, database = {}, [], None

    async def answer(user, tries):
        nonlocal database
        if database is None:
            database = sqlite3.connect(path, check_same_thread=False)
        task = asyncio.current_task()
        stored = {text for (text,) in database.execute("SELECT text FROM predictions")}
        lost.extend(answered.get(task, set()) - stored)
        for _ in range(int(user.split()[1]) % 7):  # replies in neighbouring turns
            await asyncio.sleep(0)
        answered.setdefault(task, set()).add(user.encode())
        return user

    try:
        run_stored(Pinned(answer), concurrency=16)
    finally:
        database.close()
    assert len(answered) == 16
    assert lost == []


def test_stored_rows_do_not_keep_replies_waiting(run_stored):
    order = []

    def score(prediction, example):
        order.append(example.id)
        return 1.0

    noting = Metric(name="noting", score=score, inline=True)
    run_stored(Pinned(upper), ROWS[1:])

    async def at_once(user, tries):
        return user

    run_stored(Pinned(at_once), metrics=[noting], concurrency=2)

    assert len(order) == 64
    assert order.index("r0") < 20


@pytest.mark.parametrize("cache", ["on", "only"])
def test_a_model_is_not_opened_when_every_row_is_stored(run_stored, cache):
    first = run_stored(Pinned(upper))
    model = Pinned(upper)

    replay = run_stored(model, cache=cache, run_id="2")

    assert (model.sessions, model.calls) == (0, {})
    assert replay.metrics == first.metrics
    assert replay.cached == 64
    assert replay.usage.requests == replay.usage.rows == 0


def test_a_model_is_not_opened_when_it_must_not_be_asked(run_stored):
    run_stored(Pinned(upper), ROWS[:60])
    model = Pinned(upper)

    with pytest.raises(ModelError, match="4 of 64 rows of data have no stored"):
        run_stored(model, cache="only")

    assert (model.sessions, model.calls) == (0, {})


def test_usage_is_of_what_was_asked_now(run_stored):
    async def answer(user, tries):
        return Reply(text="x", prompt_tokens=10, output_tokens=1, cost_usd=0.5)

    run_stored(Pinned(answer), ROWS[:60])
    usage = run_stored(Pinned(answer), run_id="2").usage

    assert (usage.requests, usage.rows) == (4, 4)
    assert (usage.prompt_tokens, usage.output_tokens) == (40, 4)
    assert usage.cost_usd == 2.0


@pytest.mark.parametrize(
    ("change", "what"),
    [
        (lambda lines: [*lines[:-1], '{"input": "new"}'], "line 64 is another row now"),
        (lambda lines: lines[:-1], "it has 63 of 64 rows now"),
        (lambda lines: [*lines, lines[0]], "line 65 is another row now"),
    ],
    ids=["changed", "shorter", "longer"],
)
def test_data_that_changes_while_it_is_asked_is_an_error(
    run_stored, tmp_path, change, what
):
    path = tmp_path / "data.jsonl"
    text = "x" * 2_000  # longer than what is read ahead
    lines = [json.dumps({**row, "text": text}) for row in ROWS]
    path.write_text("\n".join(lines))

    async def answer(user, tries):
        path.write_text("\n".join(change(lines)))
        return user

    with pytest.raises(DataError) as caught:
        run_stored(Pinned(answer), "data.jsonl", concurrency=1)

    assert caught.value.reason == "DATASET_CHANGED"
    assert str(caught.value).startswith("data.jsonl changed while it was evaluated: ")
    assert f"{what}; run again when nothing writes to it" in str(caught.value)


def test_rows_without_ids_and_with_equal_content_are_all_scored(run_stored):
    model = Pinned(upper)

    results = run_stored(model, [{"input": "a"}] * 3 + [{"input": "b"}])

    assert len({row.example.id for row in results.rows}) == 4
    assert [row.prediction.text for row in results.rows] == ["A", "A", "A", "B"]
    assert results["length"].n == 4
