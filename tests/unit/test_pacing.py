"""How fast a model is asked: the window, the minute limits, the budget."""

import asyncio
import time
from itertools import pairwise

import pytest

from pytest_llmeval.budget import Budget
from pytest_llmeval.budget import cost_of
from pytest_llmeval.calls import Limits
from pytest_llmeval.calls import ask_all
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply

from .tiny_model import TinyModel
from .tiny_model import ask
from .tiny_model import ask_beside
from .tiny_model import example


class Held:
    """Holds each request until the test answers it."""

    def __init__(self):
        self.requests = []
        self.model = TinyModel(self.answer)

    async def answer(self, user, tries):
        self.requests.append(asyncio.get_running_loop().create_future())
        return await self.requests[-1]

    async def refuse(self, count, kind="rate_limit"):
        for _ in range(count):
            error = CallError(kind, "slow down", retry=True, retry_after_s=0.0)
            self.requests.pop(0).set_exception(error)
        return await self.in_flight()

    async def reply(self):
        self.requests.pop(0).set_result("x")
        return await self.in_flight()

    async def in_flight(self):
        for _ in range(30):  # until every slot waits for the test
            await asyncio.sleep(0)
        return len(self.requests)


def hold(steps):
    """Ask with 8 slots, and take the steps that a coroutine says."""

    async def main():
        held = Held()
        asking = asyncio.ensure_future(
            ask_beside(held.model, 1_000, 8, timeout_s=60.0, attempts=99)
        )
        assert await held.in_flight() == 8
        try:
            await asyncio.wait_for(steps(held), 20)
        finally:
            asking.cancel()
            await asyncio.wait([asking])

    asyncio.run(main())


@pytest.mark.parametrize("kind", ["rate_limit", "http_503"])
def test_a_throttled_request_halves_the_window_once_for_all_that_are_out(kind):
    async def steps(held):
        assert await held.refuse(8, kind) == 4
        assert await held.refuse(1, kind) == 3, "the rest of these is still out"
        assert await held.refuse(3, kind) == 2
        assert await held.refuse(2, kind) == 1
        assert await held.refuse(1, kind) == 1, "one is always asked"

    hold(steps)


def test_the_window_grows_back_one_by_one():
    async def steps(held):
        await held.refuse(8)
        sizes = [await held.reply() for _ in range(40)]

        growth = [after - before for before, after in pairwise([4, *sizes])]
        assert set(growth) == {0, 1}
        assert sizes[-1] == 8
        replies = [sizes.index(size) + 1 for size in (5, 6, 7, 8)]
        waits = [after - before for before, after in pairwise([0, *replies])]
        assert waits == [5, 5, 7, 7], "about a window of replies for each"

    hold(steps)


def test_other_faults_leave_the_window_as_it_is():
    async def steps(held):
        assert await held.refuse(8, "http_500") == 8
        assert await held.refuse(8, "timeout") == 8

    hold(steps)


def timed(reply="x"):
    starts = []

    async def answer(user, tries):
        starts.append(time.monotonic())
        return reply

    return TinyModel(answer), starts


@pytest.mark.parametrize("slots", [1, 20])
def test_requests_are_spread_evenly_over_the_minute(slots):
    model, starts = timed()

    ask(model, 20, slots, requests_per_minute=1_200)

    gaps = [after - before for before, after in pairwise(starts)]
    assert len(gaps) == 19
    assert min(gaps) > 0.049
    assert 0.95 <= starts[-1] - starts[0] < 2.0


def test_tokens_of_replies_hold_back_the_next_requests():
    model, starts = timed(Reply(text="x", prompt_tokens=6, output_tokens=4))

    ask(model, 6, 1, tokens_per_minute=6_000)

    assert min(after - before for before, after in pairwise(starts)) > 0.099
    assert starts[-1] - starts[0] < 1.5


def test_replies_of_unknown_size_hold_back_nothing():
    model, starts = timed()

    ask(model, 20, 1, tokens_per_minute=1)

    assert starts[-1] - starts[0] < 1.0


def test_a_wait_of_more_than_a_minute_is_not_waited_for():
    async def answer(user, tries):
        raise CallError("rate_limit", "HTTP 429", retry=True, retry_after_s=61.0)

    found, _ = ask(TinyModel(answer), 1)

    error = found[0].error
    assert (error.kind, error.attempts) == ("rate_limit", 1)
    assert error.message == "HTTP 429; it asks to wait 61 s, which is too long"


def test_waiting_and_service_are_told_apart():
    async def answer(user, tries):
        await asyncio.sleep(0.05)
        if tries == 1:
            raise CallError("busy", "wait", retry=True, retry_after_s=0.3)
        return "x"

    found, _ = ask(TinyModel(answer), 1)

    assert 350 <= found[0].queue_ms < 2_000
    assert 50 <= found[0].latency_ms < 300


def test_the_minute_limit_counts_as_waiting():
    model, _ = timed()

    found, _ = ask(model, 3, 3, requests_per_minute=600)

    waits = sorted(prediction.queue_ms for prediction in found.values())
    assert waits[0] < 50
    assert 90 < waits[1] < 190
    assert 190 < waits[2] < 1_000
    assert max(prediction.latency_ms for prediction in found.values()) < 50


def test_what_done_puts_on_the_loop_comes_before_its_slot_takes_the_next():
    committed, last, checked = set(), {}, []

    async def answer(user, tries):
        for _ in range(int(user) % 5):  # replies come in neighbouring turns
            await asyncio.sleep(0)
        return "x"

    async def main():
        prompts = iter(range(200))

        async def take():
            task = asyncio.current_task()
            if task in last:
                checked.append(last[task] in committed)
            position = next(prompts, None)
            if position is None:
                return None
            user = str(position)
            row = example(position)
            return position, Prompt(user=user, system=None, params={}, example=row)

        def done(position, prediction):
            last[asyncio.current_task()] = position
            asyncio.get_running_loop().call_soon(committed.add, position)

        limits = Limits(concurrency=8, timeout_s=5, attempts=1)
        await ask_all(TinyModel(answer), take, limits, done)

    asyncio.run(main())

    assert checked == [True] * 200


def budget_of(**limits):
    return Budget(Settings(**limits), None, time.monotonic())


@pytest.mark.parametrize("attempts", [1, 3])
def test_rows_beyond_the_budget_are_never_sent_and_name_the_limit(attempts):
    async def answer(user, tries):
        if tries < attempts:
            raise CallError("busy", "wait", retry=True, retry_after_s=0.0)
        return "x"

    model = TinyModel(answer)
    found, _ = ask(model, 20, 1, budget=budget_of(max_requests=3 * attempts))

    assert model.calls == dict.fromkeys("012", attempts)
    assert [found[i].text for i in range(3)] == ["x"] * 3
    for i in range(3, 20):
        error = found[i].error
        assert (error.id, error.kind, error.attempts) == (f"r{i}", "budget", 0)
        assert error.message == f"--llmeval-max-requests {3 * attempts} is reached"


def test_running_requests_finish_when_the_budget_ends():
    async def answer(user, tries):
        await asyncio.sleep(0.05 * int(user))
        return Reply(text="x", prompt_tokens=6)

    model = TinyModel(answer)
    found, _ = ask(model, 20, 4, budget=budget_of(max_tokens=6))

    assert sorted(model.calls) == ["0", "1", "2", "3"]
    assert {i for i in found if found[i].error is None} == {0, 1, 2, 3}
    assert found[4].error.message == "--llmeval-max-tokens 6 is reached: 6 used"


def test_a_reply_carries_what_it_cost_and_the_budget_counts_it():
    async def answer(user, tries):
        own = {"0": 0.5}.get(user)
        return Reply(text="x", prompt_tokens=10**6, output_tokens=0, cost_usd=own)

    found, _ = ask(
        TinyModel(answer),
        4,
        1,
        budget=budget_of(max_cost_usd=2.5),
        cost_usd=cost_of((2.0, 1.0)),
    )

    assert [p.reply.cost_usd for p in found.values() if p.reply] == [0.5, 2.0]
    assert {p.error.message for p in found.values() if p.error} == {
        "--llmeval-max-cost-usd 2.5 is reached: 2.5000 spent"
    }


def test_a_reply_of_unknown_cost_stops_the_run_that_limits_it():
    model = TinyModel(timed()[0].answer)

    with pytest.raises(ModelError, match="add a line MODEL = PROMPT OUTPUT"):
        ask(model, 20, 1, budget=budget_of(max_cost_usd=1.0))

    assert len(model.calls) == 1
