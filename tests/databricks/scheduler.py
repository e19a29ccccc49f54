"""Brings runs to their end, each in a thread of its own."""

from __future__ import annotations

import copy
import threading
import traceback
from collections.abc import Callable
from typing import Any
from typing import Literal

from .machine import Machine
from .runs import RUN_FAILED
from .runs import STOPPED
from .runs import SUCCESS
from .runs import TASK_FAILED
from .runs import TOO_MANY
from .runs import Outcome
from .runs import Run
from .runs import State
from .runs import TaskRun
from .runs import now_ms


Work = (
    Literal["execute", "succeed", "fail", "timeout", "cancel", "pending"]
    | Callable[[Run, TaskRun], Outcome | None]
)


class Scheduler:
    """The runs that were started, and what becomes of them.

    Attributes:
        work: What becomes of runs: ``execute`` has the machine do the task, and
            ``succeed``, ``fail``, ``timeout``, ``cancel`` and ``pending`` (for ever)
            need no machine. A callable gets the run and the task and does it in this
            process; what it raises is the task's error.
        looks: How often a run is read as pending, before it begins.
    """

    def __init__(self, machine: Machine) -> None:
        self.work: Work = "execute"
        self.looks = 0
        self._machine = machine
        self._runs: dict[int, Run] = {}
        self._threads: list[threading.Thread] = []
        self._last = 100

    @property
    def started(self) -> list[Run]:
        """The runs that were ever started, the oldest first."""
        return list(self._runs.values())

    @property
    def active(self) -> list[Run]:
        """Those that have not ended."""
        return [run for run in self.started if run.is_active]

    def close(self) -> None:
        """End all runs, and wait for them."""
        for run in self.started:
            run.stop("CANCELED")
        for thread in self._threads:
            thread.join()

    def _start(self, job_id: int, job: dict[str, Any], kind: str, trigger: str) -> Run:
        tasks = [TaskRun(self._number(), task) for task in job.get("tasks", [])]
        run = Run(self._number(), job_id, copy.deepcopy(job), tasks, kind, trigger)
        run.looks_left = self.looks
        if not self.looks:
            run.begun.set()
        self._runs[run.run_id] = run
        if self._beside(run):
            if not job.get("queue", {}).get("enabled", True):
                run.end(TOO_MANY)
                return run
            run.enter("QUEUED")
        thread = threading.Thread(target=self._go, args=(run, self.work), daemon=True)
        self._threads.append(thread)
        thread.start()
        return run

    def _beside(self, run: Run) -> bool:
        """Say whether so many older runs of the job are active that it has to wait."""
        older = [
            other
            for other in self.active
            if other.job_id == run.job_id and other.run_id < run.run_id
        ]
        return len(older) >= run.settings.get("max_concurrent_runs", 1)

    def _go(self, run: Run, work: Work) -> None:
        """Bring a run to its end."""
        while self._beside(run) and not run.stopped.wait(0.02):
            pass
        run.enter("PENDING")
        (run.stopped if work == "pending" else run.begun).wait()
        run.enter("RUNNING")
        # Waiting does not count here; whether it does on a workspace is not known.
        timer = threading.Timer(
            run.settings.get("timeout_seconds") or threading.TIMEOUT_MAX,
            lambda: run.stop("TIMEDOUT"),
        )
        timer.start()
        for task in run.tasks:
            self._go_through(run, task, work)
        timer.cancel()
        run.end(_end(run))

    def _go_through(self, run: Run, task: TaskRun, work: Work) -> None:
        needed = {needs["task_key"] for needs in task.task.get("depends_on", [])}
        states = [other.state for other in run.tasks if other.key in needed]
        if any(state.result != "SUCCESS" for state in states):
            task.state = State("SKIPPED", "UPSTREAM_FAILED", "", "SKIPPED")
            return
        task.start_ms, task.outcome = now_ms(), None
        outcome = Outcome()
        if not run.stopped.is_set():
            task.state = State("RUNNING")
            outcome = self._tried(run, task, work)
        if run.why_stopped:
            outcome = Outcome(outcome.logs, state=STOPPED[run.why_stopped])
        task.end_ms, task.outcome, task.state = now_ms(), outcome, outcome.state

    def _tried(self, run: Run, task: TaskRun, work: Work) -> Outcome:
        try:
            return self._outcome(run, task, work)
        except Exception as error:  # noqa: BLE001 - as on a cluster, whatever it is
            message = f"{type(error).__name__}: {error}"
            return Outcome(b"", message, traceback.format_exc(), TASK_FAILED)

    def _outcome(self, run: Run, task: TaskRun, work: Work) -> Outcome:
        if callable(work):
            return work(run, task) or Outcome()
        if work == "execute":
            return self._machine.execute(run, task)
        if work in ("timeout", "cancel"):
            run.stop({"timeout": "TIMEDOUT", "cancel": "CANCELED"}[work])
        if work == "fail":
            return Outcome(b"", "RuntimeError: it failed", "", TASK_FAILED)
        return Outcome()

    def _number(self) -> int:
        self._last += 1
        return self._last


def _end(run: Run) -> State:
    if run.why_stopped:
        return STOPPED[run.why_stopped]
    failed = [task.state for task in run.tasks if task.state.result != "SUCCESS"]
    if not failed:
        return SUCCESS
    return RUN_FAILED._replace(message=failed[0].message, code=failed[0].code)
