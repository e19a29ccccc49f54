"""One way from what is live to what is planned, and the way back when it fails.

Written once for all targets: they only read, plan and write.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple

from pytest_llmeval.deploy.journal import Journal
from pytest_llmeval.deploy.journal import Say
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.records import DeployTarget
from pytest_llmeval.records import Live
from pytest_llmeval.records import Move
from pytest_llmeval.records import Plan
from pytest_llmeval.records import State
from pytest_llmeval.text import one_line


FIRST_LOOK_S, LONGEST_LOOK_S = 0.1, 5.0
"""How long to wait before a busy target is read again: at first, and at most."""
SAID_EVERY_S = 15.0
UNREADABLE_TIMES = 3
"""How often in a row a target may fail to be read before it counts as lost."""


class Stage(NamedTuple):
    """A target and what is to be done there."""

    target: DeployTarget
    plan: Plan


class NotLive(LLMEvalError, RuntimeError):
    """A target does not come to what was written."""


def plan_stages(
    targets: Sequence[DeployTarget], verdict: Mapping[str, object] | None, move: Move
) -> list[Stage]:
    """Compare what is wanted with each target; changes nothing.

    To roll back takes a challenger away where there is one; what was live before it
    came is live still.

    Raises:
        DeploymentRefused: the world is not as the verdict saw it.
    """
    states = [target.read() for target in targets]
    for target, state in zip(targets, states, strict=True):
        if state.busy:
            raise DeploymentRefused(
                "TARGET_BUSY",
                f"{target.name} is changing right now ({state.text}); wait until it "
                "is ready, then evaluate again",
            )
    if move.step == "rollback" and any(state.challenger for state in states):
        move = Move(step="withdraw")
    return [
        Stage(target, target.plan(verdict, move, state))
        for target, state in zip(targets, states, strict=True)
    ]


class Transition:
    """Brings targets from one state to another, all of them or none.

    Args:
        stages: In the order in which they change.
        journal: Keeps each write before it is made.
        wait_s: How long each target may take, in seconds.
        say: Shows a line to the user.
    """

    def __init__(
        self, stages: Sequence[Stage], journal: Journal, *, wait_s: float, say: Say
    ) -> None:
        self._stages, self._journal = stages, journal
        self._wait_s, self._say = wait_s, say
        self._begun: list[Stage] = []

    def apply(self, tags: Mapping[str, str]) -> None:
        """Write to each target, wait until it is ready, and read it back.

        Args:
            tags: What the version carries from then on.

        Raises:
            DeploymentRefused: somebody else has changed a target meanwhile.
            Exception: a target failed; `restore` brings everything back.
        """
        for stage in self._stages:
            if stage.plan.changes:
                self._begun.append(stage)
                self._change(stage, tags)

    def _change(self, stage: Stage, tags: Mapping[str, str]) -> None:
        target, plan = stage
        try:
            target.write(plan.before, plan.after, tags, self._journal.note(target.name))
        except DeploymentRefused:
            raise
        except Exception:
            if not self._came_true(stage):
                raise
            self._say(f"{target.name}: the answer was lost, and reads back as written")
        self._settle(target, plan.after)

    def _came_true(self, stage: Stage) -> bool:
        """Return whether a write whose answer was lost has reached the target."""
        try:
            state = self._idle(stage.target)
        except Exception:  # noqa: BLE001  # the first error says more
            return False
        return state.live == stage.plan.after and stage.plan.before != stage.plan.after

    def restore(self) -> tuple[list[str], list[str]]:
        """Bring back what was live, the last target first.

        Returns:
            A phrase for each target that is as before, and one for each that is not.
        """
        restored, failed = [], []
        for stage in reversed(self._begun):
            try:
                restored.append(self._bring_back(stage))
            except Exception as error:  # noqa: BLE001  # the others may do better
                failed.append(f"{stage.target.name}: {cause(error)}")
        return restored, failed

    def take_over(self) -> None:
        """Take what another process has begun as begun, for `restore`."""
        self._begun = [stage for stage in self._stages if stage.plan.changes]

    def _bring_back(self, stage: Stage) -> str:
        target, plan = stage
        state = self._look(target)[0]
        if state.live == plan.before and not state.busy:
            return f"{target.name} is as before: {state.text}"
        note = self._journal.note(target.name)

        def keep(call: str) -> None:
            with suppress(OSError):  # what was live matters more than the books
                note(call)

        try:
            target.write(plan.after, plan.before, {}, keep)
        except DeploymentRefused as refusal:
            return f"{target.name} is left as it is: {refusal}"
        except Exception:
            if self._idle(target).live != plan.before:
                raise
        state = self._settle(target, plan.before)
        return f"{target.name} is back to {state.text}"

    def _settle(self, target: DeployTarget, wanted: Live) -> State:
        """Wait until a target is ready, and check that it is as wanted."""
        state = self._idle(target)
        if state.live != wanted:
            problem = f" ({state.problem})" if state.problem else ""
            raise NotLive(f"{target.name} reads back as {state.text}{problem}")
        return state

    def _idle(self, target: DeployTarget) -> State:
        state, waited_s = self._look(target)
        if state.busy:
            problem = f" ({state.problem})" if state.problem else ""
            raise NotLive(
                f"{target.name} is not ready after {waited_s:.0f} s{problem}; "
                "llmeval_deploy_timeout gives it longer"
            )
        return state

    def _look(self, target: DeployTarget) -> tuple[State, float]:
        """Read a target until it is not busy, or the time is up."""
        began = said = time.monotonic()
        pause_s, unreadable = FIRST_LOOK_S, 0
        while True:
            try:
                state = target.read()
                unreadable = 0
            except Exception:
                unreadable += 1
                if unreadable == UNREADABLE_TIMES:
                    raise
                state = None
            waited_s = time.monotonic() - began
            if state is not None and (not state.busy or waited_s >= self._wait_s):
                return state, waited_s
            if time.monotonic() - said >= SAID_EVERY_S:
                said = time.monotonic()
                self._say(f"waiting for {target.name}, {waited_s:.0f} s so far")
            time.sleep(pause_s)
            pause_s = min(2 * pause_s, LONGEST_LOOK_S)


def cause(error: BaseException) -> str:
    """Return an error on one line; those of others with their kind."""
    if isinstance(error, LLMEvalError):
        return one_line(error, 500)
    return f"{type(error).__name__}: {one_line(error, 500)}".removesuffix(": ")
