import asyncio
import time

import pytest

from pytest_llmeval.calls import FIRST_WAIT_S
from pytest_llmeval.calls import LONGEST_WAIT_S
from pytest_llmeval.calls import _wait_s
from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ModelError

from .tiny_model import TinyModel
from .tiny_model import ask


async def soon(user, tries):
    await asyncio.sleep(0.002 * (int(user) % 3))
    return f"to {user}"


@pytest.mark.parametrize("n", [0, 1, 100])
def test_every_prediction_arrives_once_under_its_position(n):
    model = TinyModel(soon)

    found, _ = ask(model, n, concurrency=8)

    assert {i: p.text for i, p in found.items()} == {i: f"to {i}" for i in range(n)}
    assert set(model.calls.values()) <= {1}
    assert model.sessions == 11, "one session, and it was closed"


@pytest.mark.parametrize(
    ("limit", "own", "most"), [(4, None, 4), (1, None, 1), (8, 3, 3), (2, 5, 2)]
)
def test_as_many_requests_are_in_flight_as_allowed_and_no_more(limit, own, most):
    model = TinyModel(soon, concurrency=own)

    ask(model, 40, concurrency=limit)

    assert model.most_in_flight == most


def test_latency_is_that_of_the_last_attempt():
    async def answer(user, tries):
        await asyncio.sleep(0.6 if tries == 1 else 0.05)
        if tries == 1:
            raise CallError("busy", "wait", retry=True, retry_after_s=0.0)
        return "x"

    found, _ = ask(TinyModel(answer), 1)

    assert 49 <= found[0].latency_ms < 600
    assert found[0].attempts == 2


def test_a_hanging_request_is_a_timeout_and_holds_up_no_other():
    async def answer(user, tries):
        if user == "0":
            await asyncio.sleep(60)
        return "x"

    start = time.monotonic()
    found, order = ask(TinyModel(answer), 30, 2, timeout_s=0.5, attempts=1)

    assert 0.49 < time.monotonic() - start < 2
    assert order == [*range(1, 30), 0]
    error = found[0].error
    assert (error.id, error.kind, error.attempts) == ("r0", "timeout", 1)
    assert error.message == "no reply within 0.5 s"
    assert found[0].reply is None
    assert all(found[i].error is None for i in range(1, 30))


def test_a_timeout_is_tried_again():
    async def answer(user, tries):
        await asyncio.sleep(60 if tries == 1 else 0)
        return "x"

    found, _ = ask(TinyModel(answer), 1, timeout_s=0.3)

    assert (found[0].text, found[0].attempts) == ("x", 2)


@pytest.mark.parametrize(("attempts", "calls"), [(1, 1), (2, 2), (4, 4)])
def test_a_passing_fault_is_tried_as_often_as_allowed(attempts, calls):
    async def answer(user, tries):
        raise CallError("http_500", "boom", retry=True, retry_after_s=0.0)

    model = TinyModel(answer)
    found, _ = ask(model, 3, attempts=attempts)

    assert model.calls == {"0": calls, "1": calls, "2": calls}
    for i in range(3):
        error = found[i].error
        assert (error.kind, error.message) == ("http_500", "boom")
        assert (error.attempts, found[i].attempts) == (calls, calls)


def test_a_lasting_fault_is_not_tried_again():
    async def answer(user, tries):
        raise CallError("http_400", "bad")

    model = TinyModel(answer)
    found, _ = ask(model, 1)

    assert model.calls == {"0": 1}
    assert found[0].error.attempts == 1


def test_the_servers_wait_is_kept():
    async def answer(user, tries):
        if tries == 1:
            raise CallError("rate_limit", "slow", retry=True, retry_after_s=0.7)
        return "x"

    start = time.monotonic()
    found, _ = ask(TinyModel(answer), 1)

    assert 0.69 <= time.monotonic() - start < 5
    assert found[0].text == "x"


def test_waits_double_with_jitter_up_to_a_limit():
    assert _wait_s(1, 7.0) == 7.0
    for attempt, longest in [(1, FIRST_WAIT_S), (2, 1.0), (50, LONGEST_WAIT_S)]:
        waits = [_wait_s(attempt, None) for _ in range(200)]
        assert longest / 2 <= min(waits) < max(waits) <= longest
        assert len(set(waits)) > 100


def test_a_model_error_stops_everything():
    async def answer(user, tries):
        if user == "5":
            raise ModelError("refused")
        await asyncio.sleep(0 if int(user) < 5 else 60)
        return "x"

    model = TinyModel(answer)
    start = time.monotonic()

    with pytest.raises(ModelError, match="refused"):
        ask(model, 1_000, concurrency=4)

    assert time.monotonic() - start < 5
    assert len(model.calls) < 12


def test_evaluate_raises_the_model_error_itself(run):
    async def answer(user, tries):
        raise ModelError(f"refused {user}")

    with pytest.raises(ModelError, match=r"^refused q$"):
        run(TinyModel(answer), [{"input": "q"}], ["json_valid"])
