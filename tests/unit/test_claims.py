"""Several owners of claims on one store: no two ask for the same key."""

import json
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter

import pytest

from pytest_llmeval.predictions import Predictions
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply
from pytest_llmeval.records import RowError


K1, K2, K3 = (bytes([i]) * 16 for i in (1, 2, 3))
ANSWER = Prediction(reply=Reply(text="x"), attempts=0)
NO_ANSWER = Prediction(error=RowError(id="r", kind="timeout", message="m"))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "predictions.db"


@pytest.fixture
def open_store(path):
    stores = []

    def open_store(run_id="run"):
        stores.append(Predictions(path, run_id=run_id).__enter__())
        return stores[-1]

    yield open_store
    for store in stores:
        store.__exit__(None, None, None)


def test_what_one_owner_takes_another_does_not_get(open_store):
    one, other = open_store(), open_store()

    assert one.take([K1, K2]) == ({}, {K1, K2})
    assert other.take([K2, K3]) == ({}, {K3})
    assert one.take([K1, K2, K3]) == ({}, {K1, K2}), "ours stays ours"


def test_no_more_is_claimed_than_was_wanted_and_the_first_come_first(open_store):
    one, other = open_store(), open_store()
    other.take([K1])

    assert one.take([K1, K2, K3], most=1) == ({}, {K2})
    assert other.take([K2, K3]) == ({}, {K3})


def test_what_is_stored_is_found_whoever_claimed_it(open_store):
    one, other = open_store(), open_store()
    one.take([K1, K2])
    one.add(K1, ANSWER)
    one.commit()

    assert other.take([K1, K2]) == ({K1: ANSWER}, set())


def test_what_another_stores_between_looking_and_claiming_is_found(
    open_store, monkeypatch
):
    one, other = open_store(), open_store()
    transaction = one._database.transaction

    def store_first():
        other.add(K1, ANSWER)
        other.commit()
        return transaction()

    monkeypatch.setattr(one._database, "transaction", store_first)

    assert one.take([K1, K2]) == ({K1: ANSWER}, {K2})


def test_released_claims_are_free_and_those_of_others_are_not(open_store):
    one, other, third = open_store(), open_store(), open_store()
    one.take([K1])
    other.take([K2])

    one.release()

    assert third.take([K1, K2]) == ({}, {K1})


def test_leaving_the_block_releases_the_claims_and_leaves_no_file(path, open_store):
    with Predictions(path, run_id="run") as store:
        store.take([K1])
        assert len(list((path.parent / "claims").iterdir())) == 1

    assert list((path.parent / "claims").iterdir()) == []
    assert open_store().take([K1]) == ({}, {K1})


def test_finding_and_replaying_claim_nothing(path, open_store):
    store = open_store()
    store.add(K1, ANSWER)

    assert store.take([K1]) == ({K1: ANSWER}, set())
    assert not (path.parent / "claims").exists()


def test_a_key_that_got_no_answer_is_free_again(open_store):
    one, other = open_store(), open_store()
    one.take([K1, K2])

    one.add(K1, NO_ANSWER)
    one.commit()

    assert other.take([K1, K2]) == ({}, {K1})


def test_a_refreshing_run_shares_work_with_its_own_processes_only(open_store):
    other_run, one, other = open_store("earlier"), open_store(), open_store()
    other_run.add(K1, ANSWER)
    other_run.take([K2])

    assert one.take([K1, K2], own_run_only=True) == ({}, {K1, K2})
    assert other.take([K1, K2, K3], own_run_only=True) == ({}, {K3})
    one.add(K1, ANSWER)
    one.commit()
    assert other.take([K1, K2], own_run_only=True) == ({K1: ANSWER}, set())


def test_a_claim_whose_lock_file_is_gone_is_void(path, open_store):
    one, other = open_store(), open_store()
    one.take([K1])
    shutil.rmtree(path.parent / "claims")

    assert other.take([K1]) == ({}, {K1})


PRELUDE = """
import json, os, random, sys, time
from pathlib import Path
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply
"""
HOLDER = """
store = Predictions(Path(sys.argv[1]), run_id="run")
store.take([bytes([i]) * 16 for i in (1, 2)])
print("holding", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def start():
    started = []

    def start(code, *arguments):
        command = [sys.executable, "-c", PRELUDE + code, *map(str, arguments)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        process = subprocess.Popen(command, text=True, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_a_living_process_keeps_its_claims_and_a_killed_one_loses_them(
    path, start, open_store
):
    holder = start(HOLDER, path)
    assert holder.stdout.readline() == "holding\n"
    store = open_store()

    assert store.take([K1, K3]) == ({}, {K3})

    holder.send_signal(signal.SIGKILL)
    holder.wait()

    assert store.take([K1]) == ({}, {K1})
    assert len(list((path.parent / "claims").iterdir())) == 1, "our own"


def test_the_first_claim_clears_away_what_a_killed_process_left(
    path, start, open_store
):
    holder = start(HOLDER, path)
    holder.stdout.readline()
    holder.kill()
    holder.wait()

    store = open_store()
    store.take([K3])

    assert len(list((path.parent / "claims").iterdir())) == 1
    assert store._database.run("SELECT key FROM claims") == [(K3,)]


WORKER = """
path, seed, count = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
keys = [i.to_bytes(16, "big") for i in range(count)]
random.Random(seed).shuffle(keys)
asked = []
with Predictions(path, run_id="run") as store:
    print("ready", flush=True)
    sys.stdin.readline()
    waiting = keys
    while waiting:
        later = []
        for start in range(0, len(waiting), 32):
            block = waiting[start : start + 32]
            found, ours = store.take(block)
            for key in block:
                if key in ours:
                    asked.append(key.hex())
                    time.sleep(0.0005)  # the model; else one process is done first
                    store.add(key, Prediction(reply=Reply(text=key.hex())))
                    store.commit()
            later += [key for key in block if key not in found and key not in ours]
        waiting = later
        time.sleep(0.01 * bool(later))
    answers = {key: found.text for key, found in store.find(keys).items()}
assert answers == {key: key.hex() for key in keys}
print(json.dumps(asked))
"""


def begin_together(workers):
    for worker in workers:
        assert worker.stdout.readline() == "ready\n"
    for worker in workers:
        worker.stdin.write("\n")
        worker.stdin.flush()


def test_four_processes_ask_for_each_of_2000_keys_once(path, start):
    workers = [start(WORKER, path, seed, 2_000) for seed in range(4)]

    begin_together(workers)
    asked = [json.loads(worker.communicate(timeout=60)[0]) for worker in workers]

    assert [worker.returncode for worker in workers] == [0] * 4
    counts = Counter(key for keys in asked for key in keys)
    assert len(counts) == 2_000
    assert set(counts.values()) == {1}
    assert sum(bool(keys) for keys in asked) > 1, "they worked at the same time"


KILLED_WORKER = WORKER.replace(
    "asked.append(key.hex())",
    "print(key.hex(), flush=True); len(asked) == 100 and os.kill(os.getpid(), 9);"
    " asked.append(key.hex())",
)


def test_after_a_kill_others_go_on_and_repeat_the_request_that_was_under_way(
    path, start
):
    workers = [start(KILLED_WORKER, path, random.randrange(99), 500) for _ in range(2)]
    begin_together(workers)
    lines = [worker.communicate(timeout=60)[0].split("\n") for worker in workers]
    last = start(KILLED_WORKER.replace("100", "-1"), path, 1, 500)
    lines.append(last.communicate("\n", timeout=60)[0].split("\n"))

    assert [worker.returncode for worker in workers] == [-signal.SIGKILL] * 2
    assert last.returncode == 0
    counts = Counter(key for part in lines for key in part if len(key) == 32)
    assert len(counts) == 500
    assert sum(counts.values()) == 502


MAKER = """
while time.time() < float(sys.argv[2]):
    pass
with Predictions(Path(sys.argv[1]), run_id="run") as store:
    store.add(os.urandom(16), Prediction(reply=Reply(text="x")))
"""


def test_processes_that_make_the_store_at_once_all_can(path, start):
    at = time.time() + 1.0
    makers = [start(MAKER, path, at) for _ in range(6)]

    assert [maker.wait(60) for maker in makers] == [0] * 6
    with Predictions(path, run_id="run") as store:
        assert store._database.run("SELECT count(*) FROM predictions") == [(6,)]
        assert store._database.run("PRAGMA auto_vacuum") == [(2,)]
