"""Kills runs at random moments, and counts what is lost or asked twice.

Run it with ``make stress``; ``make stress STRESS_SEED=7`` draws what seed 7 draws.
"""

import os
import random
import sqlite3
import sys
import tempfile
import time
from pathlib import Path

from tests.behaviour.conftest import ModelServer
from tests.behaviour.conftest import Suite


ROWS = 2_500
KILLS = 50
KILLS_AMONG_SEVERAL = 25
PROCESSES = 3
CONCURRENCY = 4
OPTIONS = ("evals", "--llmeval-concurrency", str(CONCURRENCY))
LONGEST_S = 1.5
"""A run that is killed by the clock lives so long at most, half of it to start."""


def main():
    seed = int(os.environ.get("STRESS_SEED") or random.randrange(1_000_000))
    print(f"seed {seed}: repeat with make stress STRESS_SEED={seed}", flush=True)
    faults = []
    for scenario in (kill_one_after_another, kill_some_of_several):
        server = ModelServer()
        try:
            with tempfile.TemporaryDirectory() as folder:
                faults += play(scenario, random.Random(seed), server, Path(folder))
        finally:
            server.close()
    for fault in faults:
        print(f"FAULT: {fault}")
    return 1 if faults else 0


def play(scenario, draw, server, folder):
    """Let a scenario happen to a suite, print how it went, and return its faults."""
    whole, suite = project(folder / "whole", server), project(folder / "killed", server)
    assert whole.start("evals", "--llmeval-concurrency", "32").wait() == 0
    server.requests.clear()
    began = time.monotonic()
    kills = scenario(draw, server, suite)
    print(
        f"{scenario.__name__}: {kills} kills, {ROWS} rows, {server.repeated} of at "
        f"most {kills * CONCURRENCY} requests repeated, "
        f"{time.monotonic() - began:.0f} s",
        flush=True,
    )
    return [
        f"{scenario.__name__}: {fault}" for fault in find(whole, suite, server, kills)
    ]


def project(path, server):
    suite = Suite(path)
    rows = [
        {"id": f"r{i}", "input": f"word {i}", "answer": f"WORD {i - i % 3}"}
        for i in range(ROWS)
    ]
    suite.write_rows("evals/data.jsonl", rows)
    test = (path / "evals/test_qa.py").read_text()
    suite.write("evals/test_qa.py", test.replace("0.9", "0.2"))
    suite.ask_pinned(server)
    return suite


def kill_one_after_another(draw, server, suite):
    """Kill the same command at a number of requests, or after a time."""
    server.answer = server.slowly
    kills = 0
    for _ in range(KILLS):
        process = suite.start(*OPTIONS)
        if draw.random() < 0.3:
            time.sleep(draw.uniform(0, LONGEST_S))
            process.kill()
        else:
            server.call_at(len(server.requests) + draw.randint(1, 25), process.kill)
        process.communicate()
        kills += process.returncode == -9
    assert suite.start(*OPTIONS).wait() == 0
    return kills


def kill_some_of_several(draw, server, suite):
    """Kill one of several processes on one store, again and again."""

    def answer(message):
        time.sleep(0.1)
        return message.upper()

    server.answer = answer
    processes = [suite.start(*OPTIONS) for _ in range(PROCESSES)]
    kills = 0
    for _ in range(KILLS_AMONG_SEVERAL):
        time.sleep(draw.uniform(0.2, LONGEST_S))
        number = draw.randrange(PROCESSES)
        processes[number].kill()
        kills += processes[number].wait() == -9
        processes[number] = suite.start(*OPTIONS)
    for process in processes:
        output, _ = process.communicate()
        assert process.returncode == 0, output
    return kills


def find(whole, suite, server, kills):
    """Yield what is not as an uninterrupted run left it."""
    ids = [row["id"] for row in suite.rows]
    if ids != [f"r{i}" for i in range(ROWS)]:
        yield f"{ROWS - len(set(ids))} rows lost, {len(ids) - len(set(ids))} doubled"
    if len(set(server.asked)) != ROWS:
        yield f"{len(set(server.asked))} of {ROWS} rows were asked"
    if server.repeated > kills * CONCURRENCY:
        yield f"{server.repeated} requests repeated in {kills} kills"
    if decisions(suite) != decisions(whole):
        yield f"the verdict differs: {decisions(suite)}"
    home = suite.path / ".llmeval"
    if any((home / "claims").iterdir()):
        yield "owners are left that claim rows"
    with sqlite3.connect(home / "predictions.db") as connection:
        if connection.execute("PRAGMA integrity_check").fetchone() != ("ok",):
            yield "the store is damaged"
        for table, expected in (("predictions", ROWS), ("claims", 0)):
            (count,) = connection.execute(f"SELECT count(*) FROM {table}").fetchone()
            if count != expected:
                yield f"the store holds {count} {table}, not {expected}"


def decisions(suite):
    verdict = suite.verdict
    gates = [{**gate, "cached": None, "text": None} for gate in verdict["gates"]]
    return verdict["status"], verdict["reason"], gates


if __name__ == "__main__":
    sys.exit(main())
