"""A run of a job: where it stands, and how the API tells it."""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from dataclasses import field
from typing import Any
from typing import NamedTuple

from .surroundings import USER


MOST_LOG_BYTES = 5 * 1024 * 1024
FAILED = "Workload failed, see run output for details"


def now_ms() -> int:
    """Return the time as the API counts it."""
    return int(time.time() * 1000)


class State(NamedTuple):
    """Where a run or a task stands; replaced as a whole, so that no look sees half."""

    life: str = "PENDING"
    result: str = ""
    message: str = ""
    code: str = ""
    kind: str = "CLIENT_ERROR"


SUCCESS = State("TERMINATED", "SUCCESS", "", "SUCCESS", "SUCCESS")
TASK_FAILED = State("TERMINATED", "FAILED", FAILED, "RUN_EXECUTION_ERROR")
# The run of a failed task ends so, and not in TERMINATED: the CLI's test server says
# that this was measured.
RUN_FAILED = TASK_FAILED._replace(life="INTERNAL_ERROR")
TOO_MANY = State(
    "SKIPPED",
    "MAXIMUM_CONCURRENT_RUNS_REACHED",
    "The maximum of concurrent runs is reached.",
    "MAX_CONCURRENT_RUNS_EXCEEDED",
)
STOPPED = {
    "CANCELED": State("TERMINATED", "CANCELED", "Run cancelled.", "USER_CANCELED"),
    "TIMEDOUT": State("TERMINATED", "TIMEDOUT", "Timed out.", "CANCELED"),
}


class Outcome(NamedTuple):
    """What a machine has to say of a task."""

    logs: bytes = b""
    error: str = ""
    trace: str = ""
    state: State = SUCCESS


@dataclass
class TaskRun:
    """A task of a run; its output is asked for by its own identifier."""

    run_id: int
    task: dict[str, Any]
    state: State = field(default_factory=State)
    outcome: Outcome | None = None
    start_ms: int = 0
    end_ms: int = 0

    @property
    def key(self) -> str:
        """Its name in the job."""
        return str(self.task["task_key"])


@dataclass
class Run:
    """A run, and the means to stop it."""

    run_id: int
    job_id: int
    settings: dict[str, Any]
    """Of the job when the run was started, or the body of the submit."""
    tasks: list[TaskRun]
    kind: str = "SUBMIT_RUN"
    trigger: str = "ONE_TIME"
    state: State = field(default_factory=State)
    looks_left: int = 0
    start_ms: int = field(default_factory=now_ms)
    end_ms: int = 0
    begun: threading.Event = field(default_factory=threading.Event)
    """Set when it need not be pending any longer."""
    stopped: threading.Event = field(default_factory=threading.Event)
    """Set when it is to end before its time."""
    why_stopped: str = ""
    _lock: threading.Lock = field(default_factory=threading.Lock)

    @property
    def is_active(self) -> bool:
        """Whether it has not ended."""
        return not self.end_ms

    @property
    def name(self) -> str:
        """As it was submitted, or as its job is called."""
        default = "Untitled" if self.kind == "SUBMIT_RUN" else f"job {self.job_id}"
        name = self.settings.get("run_name") or self.settings.get("name")
        return str(name or default)

    def look(self) -> None:
        """Count a look at it, done: it is pending for a number of them."""
        self.looks_left -= 1
        if self.looks_left <= 0:
            self.begun.set()

    def enter(self, life: str) -> None:
        """Go on to the next part of its life, unless it is to end."""
        with self._lock:
            if not self.why_stopped:
                self.state = State(life)

    def stop(self, why: str) -> None:
        """Have it end as ``CANCELED`` or ``TIMEDOUT``; it may take a while."""
        with self._lock:
            if not self.is_active or self.why_stopped:
                return
            self.why_stopped = why
            self.state = self.state._replace(life="TERMINATING")
        self.stopped.set()
        self.begun.set()

    def end(self, state: State) -> None:
        """Bring it to its end, which the tasks have reached before."""
        with self._lock:
            self.state, self.end_ms = state, now_ms()


def told_run(run: Run, url: str, *, with_tasks: bool = True) -> dict[str, Any]:
    """Return a run as ``runs/get`` gives it."""
    told = {
        "job_id": run.job_id,
        "run_id": run.run_id,
        "job_run_id": run.run_id,
        "number_in_job": run.run_id,
        "creator_user_name": USER,
        "run_name": run.name,
        "run_type": run.kind,
        "trigger": run.trigger,
        "format": "MULTI_TASK",
        "run_page_url": _page_url(run, run.run_id, url),
        **_times(run.start_ms, run.end_ms),
        **_told_state(run.state),
    }
    if with_tasks:
        told["tasks"] = [told_task(run, task, url) for task in run.tasks]
    return told


def told_task(run: Run, task: TaskRun, url: str) -> dict[str, Any]:
    """Return a task as it stands in its run."""
    return {
        **task.task,
        "run_id": task.run_id,
        "attempt_number": 0,
        "run_page_url": _page_url(run, task.run_id, url),
        **_times(task.start_ms, task.end_ms),
        **_told_state(task.state),
    }


def told_output(run: Run, task: TaskRun, url: str) -> dict[str, Any]:
    """Return what ``runs/get-output`` gives: of the logs the last 5 MB."""
    about = told_run(run, url, with_tasks=False) | told_task(run, task, url)
    told: dict[str, Any] = {"metadata": about}
    outcome = task.outcome
    if outcome is None:
        return told
    told["logs"] = outcome.logs[-MOST_LOG_BYTES:].decode(errors="replace")
    told["logs_truncated"] = len(outcome.logs) > MOST_LOG_BYTES
    if outcome.error:
        told["error"], told["error_trace"] = outcome.error, outcome.trace
    return told


def _page_url(run: Run, run_id: int, url: str) -> str:
    return f"{url}/jobs/{run.job_id}/runs/{run_id}?o=1"


def _times(start_ms: int, end_ms: int) -> dict[str, int]:
    took = end_ms - start_ms if end_ms else 0
    times = {"start_time": start_ms, "setup_duration": 0, "execution_duration": took}
    return times | ({"end_time": end_ms, "run_duration": took} if end_ms else {})


def _told_state(state: State) -> dict[str, Any]:
    """Return the state in the old form and in the new one."""
    old = {
        "life_cycle_state": state.life,
        "state_message": state.message,
        "user_cancelled_or_timedout": state.result in STOPPED,
    }
    if not state.result:
        return {"state": old, "status": {"state": state.life}}
    details = {"code": state.code, "type": state.kind, "message": state.message}
    return {
        "state": {**old, "result_state": state.result},
        "status": {"state": "TERMINATED", "termination_details": details},
    }
