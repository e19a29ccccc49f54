"""Evaluations that meet stored predictions."""

import pytest

from pytest_llmeval import CallableModel
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ModelError
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation


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
