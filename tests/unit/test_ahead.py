"""Predictions that tests take one by one, asked ahead of them."""

import asyncio
import sqlite3
import threading
import time
import traceback
from contextlib import ExitStack
from functools import partial

import pytest

from pytest_llmeval.budget import Budget
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.errors import ModelRefused

from .asked_ahead import open_ahead
from .tiny_model import Pinned
from .tiny_model import TinyModel
from .tiny_model import upper


SAME = [{"id": f"r{i}", "input": "a" if i % 2 else "b"} for i in range(20)]
NO_KEY = (401, {}, {"error": {"message": "no key"}})


@pytest.fixture
def start(tmp_path):
    """Open predictions that are closed after the test."""
    with ExitStack() as stack:

        def start(model, *rows, **given):
            ahead = open_ahead(tmp_path, model, *rows, **given)
            stack.callback(ahead.close)
            return ahead

        yield start


@pytest.fixture
def fill(tmp_path):
    """Have rows asked for and stored by an earlier run."""

    def fill(count, model=None, run_id="0"):
        ahead = open_ahead(tmp_path, model or Pinned(upper), count, run_id=run_id)
        for i in range(count):
            ahead.get(i)
        ahead.close()

    return fill


def eventually(claim):
    """Wait until a claim holds; return whether it does."""
    deadline = time.monotonic() + 10
    while not claim() and time.monotonic() < deadline:
        time.sleep(0.005)
    return claim()


def holds(claim):
    """Return whether a claim holds, soon and from then on."""
    return eventually(claim) and (time.sleep(0.2) or claim())


def texts(start, stop):
    return [f"ROW {i}" for i in range(start, stop)]


def has_asked(model, rows):
    return len(model.calls) == rows


def loops():
    return [one for one in threading.enumerate() if one.name == "llmeval-loop"]


def test_tests_in_a_row_keep_all_requests_in_flight(start):
    async def together(user, tries):
        if model.in_flight == 8:
            full.set()
        await asyncio.wait_for(full.wait(), 10)
        return user.upper()

    model, full = Pinned(together), asyncio.Event()
    ahead = start(model, 100, concurrency=8)

    assert [ahead.get(i).text for i in range(100)] == texts(0, 100)
    assert model.calls == {f"row {i}": 1 for i in range(100)}
    assert model.most_in_flight == 8
    assert model.sessions == 1


def test_no_more_is_asked_than_tests_have_begun_and_the_concurrency(start):
    model = Pinned(upper)
    ahead = start(model)

    for i in range(6):
        ahead.get(i)
        assert holds(partial(has_asked, model, i + 1 + 4)), model.calls

    assert list(model.calls) == [f"row {i}" for i in range(10)]


def test_a_worker_asks_for_its_share_only(start):
    model = Pinned(upper)
    start(model, concurrency=9, workers=3).get(0)

    assert holds(partial(has_asked, model, 1 + 3))


def test_a_model_that_takes_fewer_requests_is_asked_fewer_ahead(start):
    model = Pinned(upper, concurrency=2)
    start(model, concurrency=32).get(0)

    assert holds(partial(has_asked, model, 1 + 2))


def test_asking_begins_where_the_tests_are_and_goes_on_from_the_first(start):
    model = Pinned(upper)
    ahead = start(model, order=[9, 8, 1, 2, 3])

    assert [ahead.get(i).text for i in (1, 2, 3)] == texts(1, 4)

    assert holds(partial(has_asked, model, 5))
    assert list(model.calls) == [f"row {i}" for i in (1, 2, 3, 9, 8)]


def test_a_row_that_is_wanted_now_is_asked_before_those_that_come_later(start):
    model = Pinned(upper)
    ahead = start(model)
    ahead.get(0)
    assert holds(partial(has_asked, model, 5))

    assert ahead.get(40).text == "ROW 40"
    assert holds(partial(has_asked, model, 6)), "rows 1 to 4 wait for their tests"
    assert ahead.get(1).text == "ROW 1"
    assert eventually(lambda: "row 5" in model.calls), "on from where tests are"
    assert set(model.calls.values()) == {1}


@pytest.mark.parametrize("positions", [range(63, -1, -1), [*range(32, 64), *range(32)]])
def test_tests_in_another_order_get_their_rows_and_none_is_asked_twice(
    start, positions
):
    model = Pinned(upper)
    ahead = start(model)

    assert [ahead.get(i).text for i in positions] == [f"ROW {i}" for i in positions]
    assert model.calls == {f"row {i}": 1 for i in range(64)}


def test_a_row_outside_of_the_order_is_asked_all_the_same(start):
    model = Pinned(upper)
    ahead = start(model, order=[0, 1])

    assert ahead.get(7).text == "ROW 7"
    assert ahead.get(0).text == "ROW 0"


@pytest.mark.parametrize("reply", ["x", ""], ids=["stored", "not-stored"])
def test_a_row_that_several_tests_take_is_asked_once(start, reply):
    async def answer(user, tries):
        return reply

    model = Pinned(answer)
    rows = [{"id": f"r{i}", "input": f"{i % 4}"} for i in range(40)]
    ahead = start(model, rows, order=[i for i in range(40) for _ in range(2)])

    assert [ahead.get(i // 2).text for i in range(80)] == [reply] * 80
    assert list(model.calls.values()) == [1 if reply else 10] * 4


def test_stored_rows_need_no_thread_and_no_model(start, fill):
    fill(600)
    model = Pinned(upper)
    ahead = start(model, 600, run_id="2")

    predictions = [ahead.get(i) for i in range(600)]

    assert [prediction.text for prediction in predictions] == texts(0, 600)
    assert all(prediction.stored_at for prediction in predictions)
    assert (model.sessions, loops()) == (0, [])


def test_stored_rows_are_looked_up_many_at_once(start, fill):
    fill(1_500)
    ahead, selects = start(Pinned(upper), 1_500), []
    ahead._store._database._connection.set_trace_callback(
        lambda statement: selects.append(statement) if "SELECT" in statement else None
    )

    for i in range(1_500):
        ahead.get(i)

    assert 6 <= len(selects) <= 14


def test_only_what_is_not_stored_is_asked(start, fill):
    fill(300)
    model = Pinned(upper)
    ahead = start(model, 303)

    assert ahead.get(302).text == "ROW 302"
    assert [ahead.get(i).text for i in range(302)] == texts(0, 302)
    assert model.calls == {f"row {i}": 1 for i in (300, 301, 302)}


def test_no_row_is_claimed_before_there_is_room_for_it(start, fill, tmp_path):
    fill(200)
    model = Pinned(upper)
    ahead = start(model, 264, concurrency=8, workers=2)
    database = sqlite3.connect(tmp_path / ".llmeval" / "predictions.db")

    ahead.get(263)

    assert holds(partial(has_asked, model, 5)), "rows 200 to 203 too"
    assert database.execute("SELECT count(*) FROM claims").fetchone() == (5,)
    assert [ahead.get(i).text for i in range(200, 263)] == texts(200, 263)
    assert list(model.calls)[1:] == [f"row {i}" for i in range(200, 263)]
    database.close()


def test_few_predictions_are_kept_at_hand(start, fill):
    fill(3_000)
    ahead = start(Pinned(upper), 3_000)

    for i in range(0, 3_000, 2):  # other workers take every other row
        ahead.get(i)

    assert len(ahead._near) <= 1_028
    assert ahead.get(1).text == "ROW 1"


def test_equal_requests_are_asked_once(start):
    model = Pinned(upper)
    ahead = start(model, SAME)

    assert [ahead.get(i).text for i in range(20)] == ["B", "A"] * 10
    assert model.calls == {"a": 1, "b": 1}


def test_equal_requests_whose_reply_is_not_stored_are_asked_each(start):
    async def silent(user, tries):
        return ""

    model = Pinned(silent)
    ahead = start(model, SAME)

    assert [ahead.get(i).text for i in range(20)] == [""] * 20
    assert model.calls == {"a": 10, "b": 10}


def test_an_exception_of_the_model_is_the_error_of_its_row(start):
    asked = []

    def answer(prompt):
        asked.append(prompt)
        if prompt == "row 2":
            raise ZeroDivisionError("no")
        return prompt

    ahead = start(answer, 5)
    predictions = [ahead.get(i) for i in range(5)]

    assert [one.text for one in predictions] == ["row 0", "row 1", "", "row 3", "row 4"]
    error = predictions[2].error
    assert (error.id, error.kind) == ("r2", "exception")
    assert error.message == "ZeroDivisionError: no"
    assert sorted(asked) == [f"row {i}" for i in range(5)]
    assert ahead.get(2).error == error
    assert asked.count("row 2") == 2, "a test that is rerun has it asked again"
    assert ahead.get(1).text == "row 1"
    assert len(asked) == 6


def test_replies_of_an_unpinned_model_serve_its_own_run(start, fill):
    def model():
        return TinyModel(upper)

    fill(8, model(), run_id="1")
    again, later = model(), model()
    resumed = start(again, 8, run_id="1")
    assert [resumed.get(i).text for i in range(8)] == texts(0, 8)
    resumed._store.finish(resumed.evaluation)

    start(later, 8, run_id="2").get(0)

    assert again.calls == {}
    assert later.calls


def test_only_gives_what_is_stored_and_names_what_is_not(start, fill):
    fill(3)
    model = Pinned(upper)
    ahead = start(model, 4, cache="only")

    assert [ahead.get(i).text for i in range(3)] == texts(0, 3)
    error = ahead.get(3).error
    assert (error.id, error.kind, error.attempts) == ("r3", "missing", 0)
    assert error.message == (
        "--llmeval-cache only: row 'r3' of data has no stored prediction of tiny:tiny/1"
    )
    assert (model.sessions, loops()) == (0, [])


def test_refresh_asks_anew_and_once_in_a_run(start, fill):
    fill(4)
    model = Pinned(upper)
    for _ in range(2):
        ahead = start(model, 4, cache="refresh", run_id="2")
        predictions = [ahead.get(i) for i in range(4)]
        assert [one.stored_at for one in predictions] == [None] * 4

    assert model.calls == {f"row {i}": 1 for i in range(4)}


def test_a_budget_that_is_spent_is_the_error_of_the_rows_after_it(start):
    model = Pinned(upper)
    budget = Budget(Settings(max_requests=5), None, time.monotonic())
    ahead = start(model, 9, budget=budget)

    predictions = [ahead.get(i) for i in range(9)]

    assert [one.text for one in predictions[:5]] == texts(0, 5)
    errors = [(one.error.kind, one.error.message) for one in predictions[5:]]
    assert errors == [("budget", "--llmeval-max-requests 5 is reached")] * 4
    assert len(model.calls) == 5
    budget.close()


def test_a_refusal_is_raised_for_every_row_from_then_on(start, server, no_keys):
    server.script = [NO_KEY]
    ahead = start(f"{server.url}#tiny")
    depths = set()

    for i in range(10):
        with pytest.raises(ModelRefused, match="401") as caught:
            ahead.get(i)
        depths.add(len(traceback.extract_tb(caught.value.__traceback__)))

    assert len(server.requests) <= 4
    assert len(depths) <= 2, "it does not grow with the tests"


def test_what_ends_the_asking_reaches_the_test_that_waits(start):
    class Unopened(Pinned):
        def session(self):
            raise ModelError("no such model")

    ahead = start(Unopened(upper))

    for _ in range(2):
        with pytest.raises(ModelError, match="no such model"):
            ahead.get(0)


@pytest.mark.parametrize("rows", [1, 64])
def test_a_store_that_cannot_be_written_is_an_error_of_the_test(start, tmp_path, rows):
    async def spoil(user, tries):
        database = sqlite3.connect(tmp_path / ".llmeval" / "predictions.db")
        database.execute("DROP TABLE IF EXISTS predictions")
        database.close()
        return user

    ahead = start(Pinned(spoil), rows)

    with pytest.raises(ConfigurationError, match="no such table: predictions"):
        [ahead.get(i) for i in range(rows)]


def test_after_its_end_nothing_is_given(start):
    model = Pinned(upper)
    ahead = start(model)
    ahead.get(0)
    ahead.close()

    with pytest.raises(ModelError, match="no prediction can be had any more"):
        ahead.get(1)
    assert loops() == []


def test_requests_on_their_way_are_stored_at_the_end(start, fill):
    async def slow(user, tries):
        await asyncio.sleep(0 if user == "row 0" else 0.3)
        return user

    first, second = Pinned(slow), Pinned(slow)
    ahead = start(first)
    ahead.get(0)
    assert eventually(partial(has_asked, first, 5))
    ahead.close()

    again = start(second, 5)
    assert [again.get(i).text for i in range(5)] == [f"row {i}" for i in range(5)]
    assert second.calls == {}


def test_rows_that_tests_elsewhere_use_make_room_for_further_ones(start):
    model, other = Pinned(upper), Pinned(upper)
    ahead = start(model, concurrency=8, workers=2)
    elsewhere = start(other, concurrency=8, workers=2, worker=1)
    ahead.get(0)
    assert holds(partial(has_asked, model, 5)), "rows 1 to 4 are unused"
    ahead.get(40)
    assert holds(partial(has_asked, model, 6)), "so rows 41 to 44 must wait"

    assert [elsewhere.get(i).text for i in range(1, 5)] == texts(1, 5)
    ahead.get(41)

    assert holds(partial(has_asked, model, 7 + 4))
    assert other.calls == {}


def test_a_reply_that_cannot_be_stored_is_asked_for_by_each_process(start):
    async def silent(user, tries):
        return ""

    models = Pinned(silent), Pinned(silent)
    for worker, model in enumerate(models):
        ahead = start(model, 2, workers=2, worker=worker)
        assert [ahead.get(i).text for i in range(2)] == ["", ""]

    assert [model.calls for model in models] == [{"row 0": 1, "row 1": 1}] * 2
