"""Jobs under random faults, kill -9 and Ctrl-C: how many runs, and which status.

Run it with ``make stress``; ``make stress STRESS_SEED=7`` draws what seed 7 draws.
"""

import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import NamedTuple

import pytest

from pytest_llmeval.backends.databricks import storage
from pytest_llmeval.backends.databricks import watching
from pytest_llmeval.cli import main as command
from tests.behaviour.conftest import Suite
from tests.behaviour.conftest import as_on_a_laptop
from tests.behaviour.remote import RUN_ID
from tests.behaviour.remote import SENT
from tests.behaviour.remote import leave
from tests.behaviour.remote import start
from tests.databricks.workspace import Workspace
from tests.stress.deployments import quiet


SEQUENCES = 190
PROCESSES = 10
FAULTS = (429, 500, 503, "drop", "lose")
MOST_FAULTS = 3
"""An answer of 500 is asked for again so often; more of them in a row are told."""
TRIES = 4
"""How often a command that was killed is repeated, as CI repeats a step."""
ENDS = ("green", "red", "fails", "no result", "lies", "times out", "is cancelled")
LONGEST_S = 4.0


class Killed(BaseException):
    """Stands for kill -9: nothing is done any more."""


class Told(NamedTuple):
    """How a sequence went."""

    end: str
    """What its job did."""
    statuses: list[int | str]
    """Of each time that the command was given; ``killed`` where it had none."""
    wrong: list[str]


class Chaos:
    """What happens to the requests of a command; drawn, so that it can be repeated.

    Args:
        draw: Draws.
        workspace: Whose requests they are.
    """

    def __init__(self, draw: random.Random, workspace: Workspace) -> None:
        self._draw, self._take = draw, workspace.take_fault
        self._left, self._requests = draw.randint(0, MOST_FAULTS), 0
        self._kill_at = self._interrupt_at = 0
        self._kills_before = False
        workspace.take_fault = self.take

    def take(self, method: str, path: str) -> int | str | None:
        """Return what is to happen to a request."""
        if path.startswith("/.well-known"):
            return None
        self._requests += 1
        if self._requests == self._interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        if self._left and self._draw.random() < 0.15:
            self._left -= 1
            return self._draw.choice(FAULTS)
        return self._take(method, path)

    def begin(self, *, last: bool) -> None:
        """Draw what becomes of the next command; the last one is left alone."""
        self._requests = self._kill_at = self._interrupt_at = 0
        if not last and self._draw.random() < 0.6:
            self._kill_at = self._draw.randint(1, 12)
            self._kills_before = self._draw.random() < 0.5
        elif self._draw.random() < 0.4:
            self._interrupt_at = self._draw.randint(1, 12)

    def kill(self, *, before: bool) -> None:
        """Raise where the command is to be killed: before a request, or after it."""
        is_here = 0 < self._kill_at <= self._requests + before
        if is_here and before == self._kills_before:
            raise Killed


def work_of(end, workspace, pause_s):
    """Return the work of a job that ends so."""
    result = {"exit_status": 1 if end == "red" else 0, "run_id": RUN_ID}
    leaves = leave(workspace, result)

    def work(run, task):
        if run.stopped.wait(pause_s):
            return
        if end == "times out":
            run.stop("TIMEDOUT")
        elif end == "is cancelled":
            run.stop("CANCELED")
        elif end == "fails":
            raise RuntimeError("before it began")
        elif end in ("green", "red", "lies"):
            leaves(run, task)
            if end == "lies":
                raise RuntimeError("after its end")

    return work


def play(seed, suite):
    """Give one command, through faults, until nobody kills it."""
    from databricks.sdk.core import ApiClient

    draw, workspace = random.Random(seed), Workspace()
    end = draw.choice(ENDS)
    workspace.jobs.work = work_of(end, workspace, draw.choice((0, 0.02, 0.1)))
    workspace.jobs.looks = draw.choice((0, 0, 1, 3))
    chaos, do = Chaos(draw, workspace), ApiClient.do

    def killed(client, *given, **named):
        chaos.kill(before=True)
        answer = do(client, *given, **named)
        chaos.kill(before=False)
        return answer

    statuses: list[int | str] = []
    with pytest.MonkeyPatch.context() as patch:
        as_in_ci(patch, seed)
        hurry(patch)
        patch.chdir(suite.path)
        patch.setattr(ApiClient, "do", killed)
        for name, value in workspace.environment.items():
            patch.setenv(name, value)
        for number in range(TRIES):
            chaos.begin(last=number == TRIES - 1)
            before = submits(workspace)
            try:
                with quiet():
                    statuses.append(command([*SENT]))
                break
            except Killed:
                statuses.append("killed")
    has_asked = submits(workspace) > before
    wrong = list(objections(end, statuses, workspace, has_asked=has_asked))
    workspace.close()
    return Told(end, statuses, [f"seed {seed}, {end}: {text}" for text in wrong])


def submits(workspace):
    """Return how often a run was asked for."""
    return sum(write.path.endswith("runs/submit") for write in workspace.writes)


def objections(end, statuses, workspace, *, has_asked):
    """Yield what must not be: a second run, one that is left alone, a wrong status.

    Where the last command was interrupted before it asked for a run, it does not know
    of one that a killed command has left.
    """
    runs, status = workspace.jobs.started, statuses[-1]
    if len(runs) > 1:
        yield f"{len(runs)} runs after {statuses}"
    if workspace.jobs.active and has_asked:
        yield f"a run is left active after {statuses}"
    expected = {"green": 0, "red": 1}.get(end, 13)
    if status not in (expected, 130):
        yield f"it ended with {statuses}, not with {expected}"
    if status == 0 and runs[0].state.result != "SUCCESS":
        yield f"0 for a run that is {runs[0].state}"


def as_in_ci(patch, seed):
    """Make the commands of a sequence the same attempt of one CI job."""
    as_on_a_laptop(patch)
    patch.setenv("GITHUB_RUN_ID", f"{seed}")
    patch.setenv("GITHUB_JOB", "evaluate")


def hurry(patch):
    """Shorten what is waited for, in our code and in the SDK's."""
    from databricks.sdk.clock import RealClock

    sleep = RealClock.sleep
    patch.setattr(RealClock, "sleep", lambda self, s: sleep(self, min(s, 0.01)))
    patch.setattr(storage, "PAUSES_S", (0.01, 0.01, 0.01))
    patch.setattr(watching, "SHORTEST_PAUSE_S", 0.01)
    patch.setattr(watching, "LOG_PAUSE_S", 0.01)


def play_many(seeds, suite):
    """Play sequences; return how they ended, and what was wrong."""
    ends, wrong = Counter(), []
    for seed in seeds:
        told = play(seed, suite)
        ends[str(told.statuses[-1])] += 1
        ends["killed"] += told.statuses.count("killed")
        wrong += told.wrong
    return ends, wrong


def play_processes(seeds, suite):
    """As `play_many`, with processes that the clock kills or interrupts."""
    ends, wrong = Counter(), []
    for seed in seeds:
        draw, workspace = random.Random(seed), Workspace()
        workspace.jobs.work = work_of("green", workspace, draw.choice((0, 1.0)))
        with pytest.MonkeyPatch.context() as patch:
            as_in_ci(patch, seed)
            for name, value in workspace.environment.items():
                patch.setenv(name, value)
            statuses = []
            while not statuses or statuses[-1] == -signal.SIGKILL:
                before = submits(workspace)
                statuses.append(
                    _signalled(draw, suite, last=len(statuses) + 1 == TRIES)
                )
        ends[str(statuses[-1])] += 1
        ends["killed"] += statuses.count(-signal.SIGKILL)
        # Before our own code runs, Python ends by the signal itself.
        last = 130 if statuses[-1] == -signal.SIGINT else statuses[-1]
        has_asked = submits(workspace) > before
        found = objections("green", [*statuses, last], workspace, has_asked=has_asked)
        wrong += [f"process, seed {seed}: {text}" for text in found]
        workspace.close()
    return ends, wrong


def _signalled(draw, suite, *, last):
    """Give the command, with a signal after a while unless it is the last time."""
    process = start(suite, *SENT)
    number = draw.choice((signal.SIGKILL, signal.SIGKILL, signal.SIGINT))
    try:
        process.communicate(timeout=None if last else draw.uniform(0, LONGEST_S))
    except subprocess.TimeoutExpired:
        process.send_signal(number)
        process.communicate()
    return process.returncode


def main():
    seed = int(os.environ.get("STRESS_SEED") or random.randrange(1_000_000))
    print(f"seed {seed}: repeat with make stress STRESS_SEED={seed}", flush=True)
    wrong = []
    with tempfile.TemporaryDirectory() as folder:
        suite = Suite(Path(folder) / "project")
        suite.commit()
        for count, what, play_all in (
            (SEQUENCES, "sequences of faults", play_many),
            (PROCESSES, "sequences of processes", play_processes),
        ):
            began = time.monotonic()
            ends, found = play_all(range(seed, seed + count), suite)
            told = json.dumps(dict(sorted(ends.items())))
            took = time.monotonic() - began
            print(f"{count} {what}: {told}; {len(found)} wrong; {took:.0f} s")
            wrong += found
    for text in wrong:
        print(f"WRONG: {text}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
