"""Jobs and their runs, as version 2.2 of the API is documented and was seen."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

from . import settings as rules
from .machine import Machine
from .runs import Run
from .runs import TaskRun
from .runs import now_ms
from .runs import told_output
from .runs import told_run
from .scheduler import Scheduler
from .surroundings import USER
from .wire import Refused
from .wire import Request
from .wire import page


PREFIX = "/api/2.2/jobs/"
TOKEN_LENGTH = 64
KEYS = {
    "tasks": "task_key",
    "job_clusters": "job_cluster_key",
    "environments": "environment_key",
    "parameters": "name",
}


class Jobs(Scheduler):
    """Jobs that are kept, and started by hand or as their schedules say.

    Attributes:
        jobs: The settings of each job, by its identifier.
        page_size: How many jobs or runs a listing gives at once.
        url: Where the workspace is.
    """

    def __init__(self, machine: Machine, clusters: set[str]) -> None:
        super().__init__(machine)
        self.jobs: dict[int, dict[str, Any]] = {}
        self.page_size, self.url = 20, ""
        self._clusters = clusters
        self._tokens: dict[str, int] = {}
        self._created_ms: dict[int, int] = {}

    def fire(self, job_id: int) -> Run | None:
        """Start a job as its schedule does; one that is paused stays as it is."""
        schedule = self.jobs[job_id]["schedule"]
        if schedule["pause_status"] == "PAUSED":
            return None
        return self._start(job_id, self.jobs[job_id], "JOB_RUN", "PERIODIC")

    def answer(self, request: Request) -> Any:
        """Return what the API answers."""
        what = request.path.removeprefix(PREFIX).replace("/", "_").replace("-", "_")
        reads = ("get", "list", "runs_get", "runs_list", "runs_get_output")
        act = getattr(self, f"_do_{what}", None)
        if act is None or request.method != ("GET" if what in reads else "POST"):
            raise Refused(404, f"no such API: {request.method} {request.path}")
        return act(copy.deepcopy(request.body))

    def _do_create(self, body: Any) -> Any:
        """Make a job, always: names need not be unique, and no token is known."""
        job_id = self._number()
        self._set(job_id, body)
        self._created_ms[job_id] = now_ms()
        return {"job_id": job_id}

    def _do_reset(self, body: Any) -> Any:
        self._job(body)
        self._set(body["job_id"], body["new_settings"])
        return {}

    def _do_update(self, body: Any) -> Any:
        """Replace the fields that are given; in arrays, the items with their keys."""
        job = dict(self._job(body))
        for name in body.get("fields_to_remove", []):
            job.pop(name, None)
        for name, value in body.get("new_settings", {}).items():
            key = KEYS.get(name)
            kept = {item[key]: item for item in job.get(name, [])} if key else {}
            new = {item[key]: item for item in value} if key else {}
            job[name] = list((kept | new).values()) if key else value
        self._set(body["job_id"], job)
        return {}

    def _do_delete(self, body: Any) -> Any:
        self._job(body)
        del self.jobs[body["job_id"]]
        for run in self.active:
            if run.job_id == body["job_id"]:
                run.stop("CANCELED")
        return {}

    def _do_get(self, query: Any) -> Any:
        return self._told_job(int(query["job_id"]), self._job(query))

    def _do_list(self, query: Any) -> Any:
        """List the newest first; a name is compared as a whole, without its case."""
        name = query.get("name")
        found = [
            self._told_job(job_id, job)
            for job_id, job in reversed(self.jobs.items())
            if name is None or job.get("name", "Untitled").lower() == name.lower()
        ]
        for told in found:
            if query.get("expand_tasks") != "true":
                told["settings"] = {
                    key: value
                    for key, value in told["settings"].items()
                    if key not in ("tasks", "job_clusters", "environments")
                }
        return self._page(found, query, "jobs")

    def _do_run_now(self, body: Any) -> Any:
        job, job_id = copy.deepcopy(self._job(body)), body["job_id"]
        for task in job.get("tasks", []) if "python_params" in body else ():
            if "python_wheel_task" in task:
                task["python_wheel_task"]["parameters"] = body["python_params"]
        run_id = self._once(
            body, lambda: self._start(job_id, job, "JOB_RUN", "ONE_TIME")
        )
        return {"run_id": run_id, "number_in_job": run_id}

    def _do_runs_submit(self, body: Any) -> Any:
        if not body.get("tasks"):
            raise Refused(400, "One of tasks must be provided.")
        settings = rules.checked(body, self._clusters)
        return {
            "run_id": self._once(
                body,
                lambda: self._start(self._number(), settings, "SUBMIT_RUN", "ONE_TIME"),
            )
        }

    def _do_runs_get(self, query: Any) -> Any:
        run, _ = self._run(query)
        told = told_run(run, self.url)
        run.look()
        return told

    def _do_runs_list(self, query: Any) -> Any:
        job_id = query.get("job_id")
        found = [
            told_run(run, self.url, with_tasks=query.get("expand_tasks") == "true")
            for run in reversed(self.started)
            if job_id in (None, str(run.job_id))
            and (query.get("active_only") != "true" or run.is_active)
            and (query.get("completed_only") != "true" or not run.is_active)
        ]
        return self._page(found, query, "runs")

    def _do_runs_get_output(self, query: Any) -> Any:
        run, task = self._run(query)
        if task is None:
            # So it is for a run with a single task too.
            raise Refused(
                400,
                "Retrieving the output of runs with multiple tasks is not supported. "
                "Please retrieve the output of each individual task run instead.",
            )
        return told_output(run, task, self.url)

    def _do_runs_cancel(self, body: Any) -> Any:
        run, _ = self._run(body)
        run.stop("CANCELED")
        return {}

    def _once(self, body: Any, start: Callable[[], Run]) -> int:
        """Start a run, unless one was started with the same token."""
        token = body.get("idempotency_token")
        if token is None:
            return start().run_id
        if len(token) > TOKEN_LENGTH:
            raise Refused(
                400, f"The idempotency token has more than {TOKEN_LENGTH} characters."
            )
        if token not in self._tokens:
            self._tokens[token] = start().run_id
        return self._tokens[token]

    def _set(self, job_id: int, settings: dict[str, Any]) -> None:
        kept = rules.checked({**rules.DEFAULTS, **settings}, self._clusters)
        kept.setdefault("name", "Untitled")
        if "schedule" in kept:
            kept["schedule"] = {"pause_status": "UNPAUSED", **kept["schedule"]}
        self.jobs[job_id] = copy.deepcopy(kept)

    def _told_job(self, job_id: int, job: dict[str, Any]) -> dict[str, Any]:
        return {
            "job_id": job_id,
            "creator_user_name": USER,
            "run_as_user_name": USER,
            "created_time": self._created_ms[job_id],
            "settings": copy.deepcopy(job),
        }

    def _page(self, found: list[Any], query: Any, key: str) -> dict[str, Any]:
        size = min(int(query.get("limit", self.page_size)), self.page_size)
        answer = page(found, query, size, key)
        return answer | ({"has_more": True} if "next_page_token" in answer else {})

    def _job(self, body: Any) -> dict[str, Any]:
        job_id = int(body["job_id"])
        if job_id not in self.jobs:
            raise Refused(400, f"Job {job_id} does not exist.")
        return self.jobs[job_id]

    def _run(self, body: Any) -> tuple[Run, TaskRun | None]:
        """Return a run by its identifier, or by that of one of its tasks."""
        run_id = int(body["run_id"])
        if run_id in self._runs:
            return self._runs[run_id], None
        for run in self.started:
            for task in run.tasks:
                if task.run_id == run_id:
                    return run, task
        raise Refused(400, f"Run {run_id} does not exist.")
