"""Evaluations that meet stored predictions."""

import asyncio

import pytest

from pytest_llmeval import CallableModel
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ModelError
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation

from .tiny_model import LENGTH
from .tiny_model import ROWS
from .tiny_model import Pinned


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


@pytest.mark.parametrize("slots", [1, 7, 32])
def test_metrics_are_equal_to_the_bit_however_the_rows_came(run_stored, slots):
    async def answer(user, tries):
        await asyncio.sleep(0.001 * (hash(user) % 5))
        return user * (1 + int(user.split()[1]) % 11)

    def slow(prediction, example):
        return 1 / (1 + len(prediction.text))

    whole = run_stored(Pinned(answer), metrics=[LENGTH, slow], cache="off").values

    async def half(user, tries):
        if user == "question 30":
            raise ModelError("stopped")
        return await answer(user, tries)

    stopping, resumed = Pinned(half), Pinned(answer)
    with pytest.raises(ModelError, match="stopped"):
        run_stored(stopping, metrics=[LENGTH, slow], concurrency=slots)
    found = run_stored(resumed, metrics=[LENGTH, slow], concurrency=slots, run_id="2")
    replay = run_stored(
        Pinned(answer), metrics=[LENGTH, slow], cache="only", run_id="3"
    )

    assert found.values == replay.values == whole
    repeated = set(stopping.calls) & set(resumed.calls)
    assert "question 30" in repeated
    assert len(repeated) <= slots
    assert set(stopping.calls) | set(resumed.calls) == {r["input"] for r in ROWS}


def test_a_row_that_failed_is_asked_again_by_the_next_run(run_stored):
    def model(prompt):
        if prompt in broken:
            raise RuntimeError(prompt)
        asked.append(prompt)
        return prompt

    broken, asked = {"question 3", "question 5"}, []
    first = run_stored(CallableModel(model, version="1"))
    assert {error.id for error in first.errors} == {"r3", "r5"}
    assert first["length"].n == 62
    broken.clear()
    asked.clear()

    second = run_stored(CallableModel(model, version="1"), run_id="2")

    assert sorted(asked) == ["question 3", "question 5"]
    assert second["length"].n == 64
