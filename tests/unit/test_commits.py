"""A kill at any moment costs no more requests than were in flight."""

import asyncio
import random
import sqlite3
from contextlib import closing

import pytest_llmeval
from pytest_llmeval import CallableModel
from pytest_llmeval import Settings


SLOTS = 4


def test_no_request_begins_before_the_reply_of_its_slot_is_stored(tmp_path):
    path = tmp_path / ".llmeval" / "predictions.db"
    draw, lost_if_killed = random.Random(7), []

    async def model(prompt):
        with closing(sqlite3.connect(path)) as store:
            (stored,) = store.execute("SELECT count(*) FROM predictions").fetchone()
        lost_if_killed.append(len(lost_if_killed) + 1 - stored)
        for _ in range(draw.randrange(6)):  # turns of the loop
            await asyncio.sleep(0)
        return prompt

    pytest_llmeval.evaluate(
        CallableModel(model, version="1"),
        [{"input": f"{i}", "answer": f"{i}"} for i in range(500)],
        ["exact_match"],
        settings=Settings(rootdir=tmp_path, concurrency=SLOTS),
    )
    assert len(lost_if_killed) == 500
    assert max(lost_if_killed) <= SLOTS
