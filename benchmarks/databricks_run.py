"""What `llmeval databricks run` takes beyond the job itself and the SDK's import.

The job is one of the tests' workspace, which does nothing for some seconds and leaves a
result; how long it took is what that workspace says. The SDK's import is that of a
process that does nothing else, which includes the start of Python.
"""

import statistics
import subprocess
import sys
from functools import partial
from pathlib import Path

from benchmarks.workload import QUICK_ROUNDS
from benchmarks.workload import ROUNDS
from benchmarks.workload import Figure
from benchmarks.workload import interleave
from benchmarks.workload import parser
from benchmarks.workload import print_table
from benchmarks.workload import run
from benchmarks.workload import scratch
from benchmarks.workload import write_suite
from tests.behaviour.remote import RUN_ID
from tests.behaviour.remote import SENT
from tests.behaviour.remote import leave
from tests.databricks.workspace import Workspace


JOB_S, QUICK_JOB_S = 40.0, 5.0
"""After so long, nobody looks at a run more seldom."""
SDK = (sys.executable, "-c", "import databricks.sdk")
LLMEVAL = "import sys; from pytest_llmeval.cli import main; sys.exit(main())"
GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")


def main() -> None:
    options = parser(__doc__).parse_args()
    job_s = QUICK_JOB_S if options.quick else JOB_S
    workspace = Workspace()
    leaves = leave(workspace, {"exit_status": 0, "run_id": RUN_ID})

    def work(run, task) -> None:
        run.stopped.wait(job_s)
        leaves(run, task)

    workspace.jobs.work = work
    with scratch() as folder:
        suite = write_suite(folder, 1000)
        _commit(suite)
        runs = interleave(
            QUICK_ROUNDS if options.quick else ROUNDS,
            {
                "import of the SDK": partial(run, SDK, folder),
                "databricks run": partial(_send, suite, workspace),
            },
        )
    jobs_s = [(job.end_ms - job.start_ms) / 1000 for job in workspace.jobs.started]
    workspace.close()
    wall_s = {name: [one.wall_s for one in done] for name, done in runs.items()}
    own_s = [
        whole - job - sdk
        for whole, job, sdk in zip(
            wall_s["databricks run"], jobs_s, wall_s["import of the SDK"], strict=True
        )
    ]
    figures = [
        *(
            Figure(name=name, value=statistics.median(values), unit="s")
            for name, values in [*wall_s.items(), ("the job itself", jobs_s)]
        ),
        Figure(
            name="beyond the job and the import",
            value=statistics.median(own_s),
            unit="s",
            most=3.0,
        ),
    ]
    print_table("databricks_run", figures)


def _send(suite: Path, workspace: Workspace):
    variables = [f"{name}={value}" for name, value in workspace.environment.items()]
    return run(("env", *variables, sys.executable, "-c", LLMEVAL, *SENT), suite)


def _commit(suite: Path) -> None:
    for command in (
        ("git", "init", "--quiet"),
        ("git", "add", "--all"),
        (*GIT, "commit", "--quiet", "--message", "suite"),
    ):
        subprocess.run(command, cwd=suite, check=True)


if __name__ == "__main__":
    main()
