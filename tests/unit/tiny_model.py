"""A model that a test answers for, and the loop that asks it."""

import asyncio
from contextlib import asynccontextmanager

from pytest_llmeval import Example
from pytest_llmeval import Metric
from pytest_llmeval.calls import Limits
from pytest_llmeval.calls import ask_all
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply


class TinyModel:
    """Runs `answer(prompt, try)`; counts calls and how many are in flight."""

    ref = ModelRef(scheme="tiny", name="tiny")
    sees_example = False

    def __init__(self, answer, concurrency=None):
        self.answer, self.concurrency = answer, concurrency
        self.calls = {}
        self.in_flight = self.most_in_flight = self.sessions = 0

    @asynccontextmanager
    async def session(self):
        self.sessions += 1
        yield self.ask
        self.sessions += 10

    async def ask(self, prompt):
        user = prompt.user
        self.calls[user] = self.calls.get(user, 0) + 1
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        try:
            reply = await self.answer(user, self.calls[user])
            return reply if isinstance(reply, Reply) else Reply(text=reply)
        finally:
            self.in_flight -= 1

    def close(self):
        pass


def ask(model, n=10, concurrency=4, timeout_s=5.0, attempts=3, **more):
    return asyncio.run(ask_beside(model, n, concurrency, timeout_s, attempts, **more))


async def ask_beside(
    model,
    n=10,
    concurrency=4,
    timeout_s=5.0,
    attempts=3,
    *,
    budget=None,
    cost_usd=None,
    **more,
):
    found, order = {}, []

    def done(position, prediction):
        assert position not in found
        found[position] = prediction
        order.append(position)

    prompts = [
        (i, Prompt(user=str(i), system=None, params={}, example=example(i)))
        for i in range(n)
    ]
    limits = Limits(
        concurrency=concurrency, timeout_s=timeout_s, attempts=attempts, **more
    )
    queue = iter(prompts)

    async def take():
        return next(queue, None)

    await ask_all(model, take, limits, done, budget=budget, cost_usd=cost_usd)
    return found, order


def example(i):
    return Example(id=f"r{i}", input=str(i))


class Pinned(TinyModel):
    """A model whose stored replies serve every run."""

    ref = ModelRef(scheme="tiny", name="tiny", version="1", pinned=True)


LENGTH = Metric(name="length", score=lambda p, e: len(p.text) / 7, inline=True)
ROWS = [{"id": f"r{i}", "input": f"question {i}", "n": i} for i in range(64)]


async def upper(user, tries):
    await asyncio.sleep(0.001)
    return user.upper()
