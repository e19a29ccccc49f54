import os
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import closing
from dataclasses import replace

import hypothesis
import pytest
from hypothesis import example
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval import Example
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.predictions import key_maker
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply
from pytest_llmeval.records import Request
from pytest_llmeval.records import RowError


K1, K2, K3 = (bytes([i]) * 16 for i in (1, 2, 3))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "new" / "predictions.db"


@pytest.fixture
def store(path):
    with Predictions(path, run_id="run") as store:
        yield store


def prediction(text, **rest):
    return Prediction(reply=Reply(text=text), attempts=0, **rest)


def many_keys(count):
    return [i.to_bytes(16, "big") for i in range(count)]


counts = st.none() | st.integers(0, 2**53)
amounts = st.none() | st.floats(0, allow_nan=False, allow_infinity=False)
predictions = st.builds(
    Prediction,
    reply=st.builds(
        Reply,
        text=st.text(st.characters(codec=None), min_size=1),
        prompt_tokens=counts,
        output_tokens=counts,
        cost_usd=amounts,
    ),
    latency_ms=amounts,
    queue_ms=amounts,
    attempts=st.integers(1, 9),
)


@hypothesis.settings(max_examples=30)
@given(predictions)
def test_a_prediction_comes_back_bit_by_bit(tmp_path_factory, given):
    path = tmp_path_factory.getbasetemp() / "round-trip.db"

    with Predictions(path, run_id="run 1") as store:
        store.add(K1, given)
        assert store.find([K1, K2]) == {K1: replace(given, attempts=0)}
    with Predictions(path, run_id="run 2") as store:
        found = store.find([K1, K2])

    assert abs(found[K1].stored_at - time.time()) < 60
    assert replace(found[K1], stored_at=None) == replace(given, attempts=0)
    assert K2 not in found


def test_what_this_run_stored_is_not_old_and_can_be_asked_for_alone(store, path):
    with Predictions(path, run_id="earlier") as earlier:
        earlier.add(K1, prediction("old"))
        earlier.add(K2, prediction("old"))
    store.add(K2, prediction("new"))

    assert store.find([K1, K2])[K1].stored_at is not None
    assert store.find([K1, K2])[K2].stored_at is None
    assert store.find([K1, K2], own_run_only=True) == {K2: prediction("new")}


def test_more_keys_than_one_query_takes_are_found(store):
    keys = many_keys(1_201)
    for key in keys:
        store.add(key, prediction(key.hex()))

    found = store.find([*keys, K1])

    assert {key: item.text for key, item in found.items()} == {
        key: key.hex() for key in keys
    }


def test_the_newer_reply_replaces_the_older(store):
    store.add(K1, prediction("old"))
    store.add(K1, prediction("new"))

    assert store.find([K1])[K1].text == "new"


def test_errors_empty_replies_and_secrets_are_not_stored(path, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "s3cr3t-value")
    with Predictions(path, run_id="run") as store:
        store.add(K1, Prediction(error=RowError(id="r", kind="k", message="m")))
        store.add(K1, prediction(""))
        store.add(K1, prediction("it is s3cr3t-value."))
        store.add(K1, prediction("see http://s3cr3t@host/"))
        store.add(K2, prediction("fine"))
        store.commit()

        assert list(store.find([K1, K2])) == [K2]
        for file in path.parent.glob("predictions.db*"):
            assert b"s3cr3t" not in file.read_bytes()


def test_others_see_a_prediction_once_it_is_committed(store, path):
    with Predictions(path, run_id="run") as other:
        store.add(K1, prediction("x"))
        assert other.find([K1]) == {}
        store.commit()
        assert other.find([K1]) == {K1: prediction("x")}


def test_leaving_the_block_commits_what_was_added_also_after_an_error(path):
    def add_and_stop():
        with Predictions(path, run_id="run") as store:
            store.add(K1, prediction("x"))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        add_and_stop()

    with Predictions(path, run_id="run") as store:
        assert store.find([K1]) == {K1: prediction("x")}


def run_python(code, *arguments, **options):
    return subprocess.run(
        [sys.executable, "-c", PRELUDE + code, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        **options,
    )


PRELUDE = """
import os, sys
from pathlib import Path
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply

def add(store, i, text="x"):
    store.add(i.to_bytes(16, "big"), Prediction(reply=Reply(text=text)))

store = Predictions(Path(sys.argv[1]), run_id="run")
"""
KILLED = """
for i in range(500):
    add(store, i)
    store.commit()
add(store, 500)
os.kill(os.getpid(), 9)
"""


def test_kill_9_loses_only_what_was_not_committed(path):
    assert run_python(KILLED, path).returncode == -signal.SIGKILL

    with Predictions(path, run_id="run") as store:
        assert set(store.find(many_keys(501))) == set(many_keys(500))


FULL = """
with store:
    for i in range(10_000):
        add(store, i, "x" * 1_000)
        try:
            store.commit()
        except ConfigurationError as error:
            print(i, error)
            raise
"""


def test_a_full_disk_is_an_error_that_names_the_file_and_keeps_the_rest(path):
    resource = pytest.importorskip("resource")
    with Predictions(path, run_id="run"):
        pass

    done = run_python(
        FULL,
        path,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (2**20,) * 2),
    )

    count, message = done.stdout.strip().split(" ", 1)
    assert message.startswith(f"cannot use the predictions store {path}: ")
    assert "is intact, and the same command goes on from there" in message
    assert done.stderr.splitlines()[-1].endswith(message), "no other error hides it"
    with Predictions(path, run_id="run") as store:
        assert set(store.find(many_keys(10_000))) == set(many_keys(int(count)))
        assert int(count) > 50


def test_what_is_committed_reaches_the_file_once_a_second(store, path):
    def add_and_commit(i):
        store.add(i.to_bytes(16, "big"), prediction("x" * 400_000))
        store.commit()

    start = path.stat().st_size
    for i in range(20):
        add_and_commit(i)
    assert path.stat().st_size == start
    time.sleep(1.05)
    add_and_commit(20)
    moved = path.stat().st_size
    assert moved > start + 8_000_000
    add_and_commit(21)
    assert path.stat().st_size == moved


def test_the_log_begins_anew_when_all_of_it_is_moved(store, path):
    log = path.with_name("predictions.db-wal")
    for i in range(4):
        store.add(K1, prediction(str(i) * 1_000_000))
        store.commit()
        store._database.checkpoint()

    assert log.stat().st_size < 2_000_000


def test_the_oldest_predictions_go_when_the_file_is_too_large(path):
    keys = many_keys(2_000)
    with Predictions(path, run_id="run") as store:
        for key in keys:
            store.add(key, prediction("x" * 1_000))
    size = path.stat().st_size

    with Predictions(path, run_id="run", limit_bytes=size) as store:
        assert len(store.find(keys)) == 2_000
    with Predictions(path, run_id="run", limit_bytes=size - 1) as store:
        left = list(store.find(keys))

    assert set(left) == set(keys[-len(left) :])
    assert 0.7 * 2_000 < len(left) < 0.83 * 2_000
    assert 0.7 * size < path.stat().st_size <= 0.8 * size


def test_a_limit_below_what_an_empty_store_takes_ends(path):
    with Predictions(path, run_id="run") as store:
        store.add(K1, prediction("x"))
    started = time.monotonic()
    with Predictions(path, run_id="run", limit_bytes=1) as store:
        assert store.find([K1]) == {}
    assert time.monotonic() - started < 1.5


def test_generations_serve_one_run_or_finish_an_unfinished_one(path):
    def ask(run, evaluation="evaluation", instance=None, latest=False):
        with Predictions(path, run_id=run) as store:
            return store.generation(evaluation, instance, latest=latest)

    first = ask("run 1")
    assert ask("run 1") == first
    assert ask("run 2") == first, "run 1 did not finish"
    with Predictions(path, run_id="run 2") as store:
        store.finish("evaluation")
    assert ask("run 2") == first
    assert ask("run 3", latest=True) == first
    second = ask("run 3")
    assert second != first
    assert ask("run 4") == second, "run 3 did not finish"
    assert ask("run 4", "another", latest=True) != second
    assert ask("run 4", instance="other") != second, "another model of the same name"


def test_workers_of_one_run_that_begin_at_once_get_one_generation(path):
    barrier, generations = threading.Barrier(8, timeout=30), []

    def begin():
        with Predictions(path, run_id="run") as store:
            for i in range(20):
                barrier.wait()
                generation = store.generation(str(i), None, latest=False)
                generations.append((i, generation))

    threads = [threading.Thread(target=begin) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len(set(generations)) == 20
    assert set(Counter(generations).values()) == {8}


REF = ModelRef(scheme="s", name="n", version="1", digest="d")
EXAMPLE = Example(id="r1", input="q", metadata={"input": "q"})
REQUEST = Request(params={"max_tokens": 1})
PROMPT = Prompt(user="u", system=None, params={"max_tokens": 1}, example=EXAMPLE)


def key(model=REF, request=REQUEST, prompt=PROMPT, generation=None, sees_example=False):
    return key_maker(model, request, generation, sees_example=sees_example)(prompt)


@pytest.mark.parametrize(
    "change",
    [
        {"model": replace(REF, scheme="t")},
        {"model": replace(REF, name="m")},
        {"model": replace(REF, version="2")},
        {"model": replace(REF, digest="e")},
        {"request": replace(REQUEST, system="s")},
        {"request": replace(REQUEST, params={"max_tokens": 2})},
        {"request": replace(REQUEST, params={"max_tokens": 1, "seed": 0})},
        {"prompt": replace(PROMPT, user="v")},
        {"prompt": replace(PROMPT, earlier=({"role": "user", "content": "u"},))},
        {"prompt": replace(PROMPT, repeat=1)},
        {"generation": "g"},
        {"sees_example": True},
    ],
)
def test_the_key_depends_on_all_that_a_reply_depends_on(change):
    assert key(**change) != key()
    assert len(key(**change)) == 16


def test_the_key_depends_on_the_example_only_where_the_model_sees_it():
    other = replace(PROMPT, example=replace(EXAMPLE, metadata={"input": "x"}))

    assert key(prompt=other) == key()
    assert key(prompt=other, sees_example=True) != key(sees_example=True)
    assert key(model=replace(REF, aliases={"a": "1"}, requested="x")) == key()


texts = st.text(st.characters(codec=None), max_size=3)
# Few and short texts, digits and brackets among them, so that parts run together.
tight = st.sampled_from(["", "0", "1", "[1", "]", "01", "\0", "\ud800"]) | texts
messages = st.lists(
    st.fixed_dictionaries({"role": st.sampled_from("ua"), "content": tight}), max_size=2
)
asked = st.tuples(tight, st.integers(0, 11), messages.map(tuple), tight | st.none())


@hypothesis.settings(max_examples=500)
@example(("1", 1, (), None), ("", 11, (), None))
@example(("[]", 0, (), None), ("", 0, ({"role": "u", "content": ""},), None))
@given(asked, asked)
def test_two_requests_share_a_key_only_when_they_are_the_same(one, other):
    def key_of(user, repeat, earlier, system):
        prompt = replace(PROMPT, user=user, repeat=repeat, earlier=earlier)
        return key(request=replace(REQUEST, system=system), prompt=prompt)

    def meaning(user, repeat, earlier, system):
        return (user, repeat, earlier, system or "")

    assert (key_of(*one) == key_of(*other)) == (meaning(*one) == meaning(*other))


KEY = """
from pytest_llmeval.predictions import key_maker
from pytest_llmeval.records import Example, ModelRef, Prompt, Request
ref = ModelRef(scheme="s", name="n", version="1", digest="d")
example = Example(id="r1", input="q", metadata={"input": "q", "b": {"y": 1, "x": 2}})
prompt = Prompt(user="\\ud800\\U0001f600", system=None, params={}, example=example,
                earlier=({"role": "user", "content": "e"},))
request = Request(params={"stop": ["a"], "max_tokens": 1})
print(key_maker(ref, request, None, sees_example=True)(prompt).hex())
"""


def test_the_key_is_the_same_in_every_process(path):
    keys = {
        run_python(KEY, path, env={**os.environ, "PYTHONHASHSEED": seed}).stdout
        for seed in ("1", "2")
    }

    (key,) = keys
    assert len(bytes.fromhex(key)) == 16


def test_a_store_that_cannot_be_made_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError) as caught:
        Predictions(tmp_path / "file" / "predictions.db", run_id="run")

    message = str(caught.value)
    assert f"cannot write the predictions store {tmp_path}/file/predictions.db" in (
        message
    )
    assert "--llmeval-dir, or do without it with --llmeval-cache off" in message


def test_a_store_that_another_process_is_making_is_waited_for(path):
    path.parent.mkdir()
    with closing(
        sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    ) as maker:
        maker.execute("PRAGMA user_version = 0")  # no WAL yet
        maker.execute("BEGIN IMMEDIATE")
        timer = threading.Timer(0.2, maker.execute, ["ROLLBACK"])
        timer.start()

        with Predictions(path, run_id="run") as store:
            assert store.find([K1]) == {}

        timer.join()


def test_a_commit_is_all_or_nothing_and_the_store_goes_on(store, path):
    store.add(K1, prediction("x"))
    store.add(K2, prediction("x", latency_ms=object()))
    with pytest.raises(ConfigurationError, match="cannot use the predictions store"):
        store.commit()

    with Predictions(path, run_id="run") as other:
        other.add(K3, prediction("x"))
        other.commit()
    assert list(store.find([K1, K2, K3])) == [K3]


def test_a_file_that_is_no_database_is_refused(path):
    path.parent.mkdir()
    path.write_text("no database " * 100)

    with pytest.raises(ConfigurationError, match="cannot write the predictions store"):
        Predictions(path, run_id="run")


def test_a_reply_that_cannot_be_written_says_that_the_rest_is_intact(store, path):
    with closing(sqlite3.connect(path)) as other:
        other.execute("DROP TABLE predictions")

    store.add(K1, prediction("x"))
    with pytest.raises(ConfigurationError, match="what it holds is intact, and the"):
        store.commit()


@pytest.mark.parametrize("version", [0, 1, 3])
def test_a_store_of_another_version_is_refused_and_left_as_it_is(path, version):
    path.parent.mkdir()
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE predictions (key TEXT)")
        db.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(ConfigurationError, match=f"has schema {version}.*delete the f"):
        Predictions(path, run_id="run")
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM predictions").fetchone() == (0,)
