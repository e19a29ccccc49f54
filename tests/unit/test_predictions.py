import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval import CallableModel
from pytest_llmeval import Example
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.predictions import prediction_key
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply
from pytest_llmeval.records import RowError
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation


@pytest.fixture
def store(tmp_path):
    with Predictions(tmp_path / "new" / "predictions.db") as store:
        yield store


def prediction(text, **rest):
    return Prediction(reply=Reply(text=text), **rest)


counts = st.none() | st.integers(0, 2**53)
times = st.none() | st.floats(0, allow_nan=False, allow_infinity=False)


@hypothesis.settings(max_examples=30)
@given(st.text(st.characters(codec=None), min_size=1), counts, counts, times)
def test_a_stored_reply_comes_back_bit_by_bit(
    tmp_path_factory, text, prompt_tokens, output_tokens, latency_ms
):
    reply = Reply(text=text, prompt_tokens=prompt_tokens, output_tokens=output_tokens)
    given = Prediction(reply=reply, latency_ms=latency_ms, attempts=3)
    path = tmp_path_factory.getbasetemp() / "round-trip.db"

    with Predictions(path) as store:
        store.add("key", given)
    with Predictions(path) as store:
        found = store.find(["key", "other"])

    assert found["key"].stored_at > 1e9
    assert {k: replace(v, stored_at=None) for k, v in found.items()} == {"key": given}


def test_more_keys_than_one_query_takes_are_found(store):
    keys = [f"k{i}" for i in range(1_201)]
    for key in keys:
        store.add(key, prediction(key))

    found = store.find([*keys, "none"])

    assert {key: item.text for key, item in found.items()} == {k: k for k in keys}


def test_the_newer_reply_replaces_the_older(store):
    store.add("key", prediction("old"))
    store.add("key", prediction("new"))

    assert store.find(["key"])["key"].text == "new"


def test_errors_empty_replies_and_secrets_are_not_stored(store, monkeypatch, tmp_path):
    monkeypatch.setenv("A_TOKEN", "s3cr3t-value")
    store.add("error", Prediction(error=RowError(id="r", kind="k", message="m")))
    store.add("empty", prediction(""))
    store.add("secret", prediction("it is s3cr3t-value."))
    store.add("good", prediction("fine"))

    assert list(store.find(["error", "empty", "secret", "good"])) == ["good"]
    for file in (tmp_path / "new").iterdir():
        assert b"s3cr3t" not in file.read_bytes()


def test_generations_serve_one_run_or_finish_an_unfinished_one(store):
    def ask(run, latest=False):
        return store.generation("evaluation", run, None, latest=latest)

    first = ask("run 1")
    assert ask("run 1") == first
    assert ask("run 2") == first, "run 1 did not finish"
    store.finish("evaluation")
    assert ask("run 2") == first
    assert ask("run 3", latest=True) == first
    second = ask("run 3")
    assert second != first
    assert ask("run 4") == second, "run 3 did not finish"
    assert store.generation("another", "run 4", None, latest=True) != second
    other = store.generation("evaluation", "run 4", "other", latest=False)
    assert other != second, "another model of the same name"


REF = ModelRef(scheme="s", name="n", version="1", digest="d")
EXAMPLE = Example(id="r1", input="q", metadata={"input": "q"})
PROMPT = Prompt(user="u", system=None, params={"max_tokens": 1}, example=EXAMPLE)


def key(model=REF, prompt=PROMPT, generation=None, sees_example=False):
    return prediction_key(model, prompt, generation, sees_example=sees_example)


@pytest.mark.parametrize(
    "change",
    [
        {"model": replace(REF, scheme="t")},
        {"model": replace(REF, name="m")},
        {"model": replace(REF, version="2")},
        {"model": replace(REF, digest="e")},
        {"prompt": replace(PROMPT, user="v")},
        {"prompt": replace(PROMPT, system="s")},
        {"prompt": replace(PROMPT, params={"max_tokens": 2})},
        {"prompt": replace(PROMPT, params={"max_tokens": 1, "seed": 0})},
        {"generation": "g"},
        {"sees_example": True},
    ],
)
def test_the_key_depends_on_all_that_a_reply_depends_on(change):
    assert key(**change) != key()


def test_the_key_depends_on_the_example_only_where_the_model_sees_it():
    other = replace(PROMPT, example=replace(EXAMPLE, metadata={"input": "x"}))

    assert key(prompt=other) == key()
    assert key(prompt=other, sees_example=True) != key(sees_example=True)
    assert key(model=replace(REF, aliases={"a": "1"}, requested="x")) == key()


def test_a_store_that_cannot_be_made_is_refused_with_what_to_do(tmp_path):
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigurationError) as caught:
        Predictions(tmp_path / "file" / "predictions.db")

    message = str(caught.value)
    assert f"cannot write the predictions store {tmp_path}/file/predictions.db" in (
        message
    )
    assert "--llmeval-dir, or do without it with --llmeval-cache off" in message


def test_a_file_that_is_no_database_is_refused(tmp_path):
    (tmp_path / "predictions.db").write_text("no database " * 100)

    with pytest.raises(ConfigurationError, match="cannot write the predictions store"):
        Predictions(tmp_path / "predictions.db")


def test_a_reply_that_cannot_be_written_says_that_the_rest_is_intact(store, tmp_path):
    other = sqlite3.connect(tmp_path / "new" / "predictions.db")
    other.execute("DROP TABLE predictions")
    other.close()

    with pytest.raises(ConfigurationError, match="what it holds is intact, and the"):
        store.add("key", prediction("x"))


class Answers:
    """A model whose answers change; it counts how often it is asked."""

    def __init__(self, *answers, broken=()):
        self.answers, self.broken, self.asked = answers, broken, []

    def __call__(self, prompt):
        self.asked.append(prompt)
        if prompt in self.broken:
            raise RuntimeError(prompt)
        return self.answers[0]


DATA = [{"input": text, "answer": "yes"} for text in "abc"]


@pytest.fixture
def run_as(tmp_path, hook):
    def run_as(run_id, model, cache="on"):
        settings = Settings(rootdir=tmp_path, cache=cache, concurrency=1)
        engine = Engine(settings=settings, hook=hook, run_id=run_id)
        return run_evaluation(engine, model, DATA, ["exact_match"])

    return run_as


def test_a_pinned_models_replies_serve_every_run(run_as):
    model = Answers("yes")

    for run_id in ("1", "2"):
        run_as(run_id, CallableModel(model, version="1"))
    run_as("2", CallableModel(model, version="2"))

    assert model.asked == list("abcabc")


def test_an_unpinned_models_replies_serve_one_run_and_finish_it(run_as):
    model = Answers("yes", broken="b")
    first = run_as("1", CallableModel(model))
    assert [error.id for error in first.errors] == [first.rows[1].example.id]
    model.broken = ""
    resumed = run_as("2", CallableModel(model))
    assert model.asked == list("abcb")
    assert resumed.cached == 2
    again = run_as("3", CallableModel(model))
    assert model.asked == list("abcbabc")
    assert again.cached == 0


def test_two_functions_of_one_name_do_not_share_replies(run_as):
    def make(answer):
        def model(prompt):
            return answer

        return CallableModel(model)

    assert run_as("1", make("yes")).metrics == {"exact_match": 1.0}
    assert run_as("1", make("no")).metrics == {"exact_match": 0.0}


def test_refresh_asks_again_and_replaces(run_as):
    model = Answers("no")
    run_as("1", CallableModel(model, version="1"))
    model.answers = ("yes",)
    run_as("2", CallableModel(model, version="1"), cache="refresh")

    stored = run_as("3", CallableModel(model, version="1"), cache="only")

    assert stored.metrics == {"exact_match": 1.0}
    assert len(model.asked) == 6


def test_only_takes_the_last_complete_run_and_never_asks(run_as):
    model = Answers("yes")
    run_as("1", CallableModel(model))

    assert run_as("2", CallableModel(model), cache="only").cached == 3
    assert len(model.asked) == 3


def test_only_names_the_rows_that_are_not_stored(run_as):
    model = Answers("yes", broken="ab")
    ids = [error.id for error in run_as("1", CallableModel(model, version="1")).errors]

    with pytest.raises(ModelError) as caught:
        run_as("2", CallableModel(model, version="1"), cache="only")

    assert str(caught.value).startswith(
        "--llmeval-cache only: 2 of 3 rows of data have no stored prediction of python:"
    )
    assert str(caught.value).endswith(f": {', '.join(ids)}")


def test_off_neither_reads_nor_writes(run_as, tmp_path):
    model = Answers("yes")
    for _ in range(2):
        run_as("1", CallableModel(model, version="1"), cache="off")

    assert len(model.asked) == 6
    assert list(tmp_path.iterdir()) == []


def test_stored_replies_are_strict_json_text(store, tmp_path):
    store.add("key", prediction("é\ud800"))
    db = sqlite3.connect(tmp_path / "new" / "predictions.db")

    (text,) = db.execute("SELECT reply FROM predictions").fetchone()

    assert text.isascii()
    assert json.loads(text)["text"] == "é\ud800"
    db.close()


def test_a_store_of_another_version_is_refused_and_left_as_it_is(tmp_path):
    path = tmp_path / "predictions.db"
    with closing(sqlite3.connect(path)) as db:
        db.execute("CREATE TABLE predictions (key TEXT)")
    with pytest.raises(ConfigurationError, match=r"has schema 0.*delete the file"):
        Predictions(path)
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("SELECT count(*) FROM predictions").fetchone() == (0,)
