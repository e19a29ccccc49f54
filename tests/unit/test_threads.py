import asyncio
import threading
import time

import pytest

from pytest_llmeval import threads
from pytest_llmeval.errors import CallError
from pytest_llmeval.threads import Batches
from pytest_llmeval.threads import Threads

from .processes import python


def run(coroutine):
    return asyncio.run(asyncio.wait_for(coroutine, 20))


def test_results_arrive_and_idle_threads_are_used_again():
    async def main():
        pool = Threads()
        names = [await pool.run(threading.get_ident) for _ in range(20)]
        together = await asyncio.gather(*(pool.run(pow, 2, n) for n in range(20)))
        return names, together

    names, together = run(main())

    assert len(set(names)) == 1
    assert names[0] != threading.get_ident()
    assert together == [2**n for n in range(20)]


def test_calls_at_the_same_time_have_a_thread_each():
    together = threading.Barrier(40)  # breaks unless all 40 are there at once

    async def main():
        pool = Threads()
        calls = [pool.run(together.wait, 10) for _ in range(40)]
        return await asyncio.gather(*calls)

    assert sorted(run(main())) == list(range(40))


class Odd(BaseException):
    """What no `except Exception` catches, such as the outcomes of pytest."""


@pytest.mark.parametrize(
    ("raised", "arrives", "message"),
    [
        (ValueError("no"), ValueError, "^no$"),
        (StopIteration("end"), RuntimeError, "^StopIteration: end$"),
        (Odd("odd"), Odd, "^odd$"),
    ],
)
def test_what_a_call_raises_arrives(raised, arrives, message):
    def call():
        raise raised

    async def main():
        pool = Threads()
        with pytest.raises(arrives, match=message):
            await pool.run(call)
        return await pool.run(lambda: "next")

    assert run(main()) == "next"


def test_a_hanging_call_holds_up_no_other():
    release = threading.Event()

    async def main():
        pool = Threads()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await pool.run(release.wait, 20)
        return [await pool.run(int, n) for n in "123"]

    started = time.monotonic()
    try:
        assert run(main()) == [1, 2, 3]
    finally:
        release.set()
    assert time.monotonic() - started < 5


def test_a_call_beyond_the_last_thread_is_refused_until_one_is_free(monkeypatch):
    monkeypatch.setattr(threads, "MOST_THREADS", 2)
    release = threading.Event()

    async def main():
        pool = Threads()
        hanging = [asyncio.ensure_future(pool.run(release.wait, 20)) for _ in range(2)]
        await asyncio.sleep(0)
        with pytest.raises(CallError, match="2 calls hang; none is made") as caught:
            await pool.run(int)
        release.set()
        await asyncio.gather(*hanging)
        return caught.value.kind, await pool.run(int)

    assert run(main()) == ("hanging", 0)


def test_an_idle_thread_ends_after_a_while(monkeypatch):
    monkeypatch.setattr(threads, "IDLE_S", 0.05)

    async def main():
        pool = Threads()
        thread = await pool.run(threading.current_thread)
        await asyncio.to_thread(thread.join, 10)
        return thread.is_alive(), await pool.run(threading.current_thread) is thread

    assert run(main()) == (False, False)


def test_a_hanging_call_does_not_hold_up_the_end_of_the_process():
    started = time.monotonic()

    done = python(
        "import asyncio, time\n"
        "from pytest_llmeval.threads import Threads\n"
        "async def main():\n"
        "    async with asyncio.timeout(0.05):\n"
        "        await Threads().run(time.sleep, 50)\n"
        "try:\n"
        "    asyncio.run(main())\n"
        "except TimeoutError:\n"
        "    print('gave up')\n"
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "gave up\n", "")
    assert time.monotonic() - started < 30


def ask_batches(function, waves, at_once):
    """Ask for so many items at once, wave after wave."""

    async def main():
        batches = Batches(function, Threads())
        for wave in range(waves):
            items = range(wave * at_once, (wave + 1) * at_once)
            found = await asyncio.gather(
                *map(batches.run, items), return_exceptions=True
            )
            answers.extend(found)

    answers = []
    run(main())
    return answers


def test_lists_double_while_calls_are_quick(monkeypatch):
    monkeypatch.setattr(threads, "QUICK_S", 60.0)  # also on a machine that stalls
    sizes = []

    def double(items):
        sizes.append(len(items))
        return [2 * item for item in items]

    assert ask_batches(double, 10, 64) == [2 * n for n in range(640)]
    assert sizes[:64] == [1] * 64, "nothing is known of the first wave"
    assert sizes[64:96] == [2] * 32
    assert sizes[-1] == 64, "one call for all that waits"
    assert len(sizes) == 64 + 32 + 16 + 8 + 4 + 2 + 1 + 1 + 1 + 1


def test_lists_halve_when_calls_are_slow(monkeypatch):
    monkeypatch.setattr(threads, "QUICK_S", 0.01)
    sizes = []

    def answer(items):
        sizes.append(len(items))
        time.sleep(0.1 if len(items) == 4 else 0)
        return items

    ask_batches(answer, 4, 4)

    assert sizes == [1, 1, 1, 1, 2, 2, 4, 2, 2]


def test_only_the_item_that_fails_is_in_error():
    def answer(items):
        if 13 in items:
            raise ValueError(f"13 is in {items}")
        return [str(item) for item in items]

    found = ask_batches(answer, 4, 8)

    assert [str(item) for item in found] == [
        "13 is in [13]" if n == 13 else str(n) for n in range(32)
    ]
    assert isinstance(found[13], ValueError)


@pytest.mark.parametrize("surplus", [-1, 1])
def test_a_wrong_number_of_answers_is_refused(surplus):
    def answer(items):
        return ["x"] * (len(items) + surplus)

    found = ask_batches(answer, 2, 4)

    assert [type(error) for error in found] == [CallError] * 8
    assert {str(error) for error in found} == {f"{1 + surplus} answers to a list of 1"}
    assert {error.kind for error in found} == {"malformed"}


def test_what_no_list_function_should_raise_arrives_too():
    def answer(items):
        raise Odd(items)

    async def main():
        await Batches(answer, Threads()).run(1)

    with pytest.raises(Odd):
        run(main())
