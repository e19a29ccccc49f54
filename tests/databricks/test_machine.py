"""A submitted task is executed with the wheel that was uploaded, as on a cluster."""

import io
import json
import os
import time
from pathlib import Path

import pytest
from databricks.sdk.errors import OperationFailed
from databricks.sdk.service import compute
from databricks.sdk.service import jobs

from .storage import VOLUME
from .surroundings import CLUSTER
from .wheels import tiny_wheel
from .workspace import TOKEN


pytestmark = pytest.mark.filterwarnings("ignore")
WHEEL = f"{VOLUME}/tiny-1.0-py3-none-any.whl"
SPEC = compute.Environment(environment_version="4", dependencies=[WHEEL])


@pytest.fixture
def submit(client):
    def submit(code, *parameters, spec=SPEC, requires="", timeout_s=None, **task):
        wheel = tiny_wheel(code, requires=requires)
        client.files.upload(WHEEL, io.BytesIO(wheel), overwrite=True)
        environments = [jobs.JobEnvironment(environment_key="default", spec=spec)]
        return client.jobs.submit(
            run_name="tiny",
            timeout_seconds=timeout_s,
            tasks=[
                jobs.SubmitTask(
                    task_key="evals",
                    python_wheel_task=jobs.PythonWheelTask(
                        package_name="tiny",
                        entry_point="go",
                        parameters=list(parameters),
                    ),
                    **(task or {"environment_key": "default"}),
                )
            ],
            environments=None if task else environments,
        )

    return submit


def output(client, wait):
    """Wait until the run has ended, and return what its task left."""
    while True:
        run = client.jobs.get_run(wait.run_id)
        if run.state.result_state:
            return run, client.jobs.get_run_output(run.tasks[0].run_id)
        time.sleep(0.02)


def test_prints_and_writes_into_a_volume(client, submit):
    run, told = output(
        client,
        submit(
            "import pathlib, sys\n"
            "def main():\n"
            "    print(sys.argv[0], sys.argv[2:], flush=True)\n"
            "    print('to stderr', file=sys.stderr)\n"
            "    (pathlib.Path(sys.argv[1]) / 'out.bin').write_bytes(b'\\x00\\r\\n')\n",
            VOLUME,
            "{{job.run_id}}",
            "{{job.id}}/{{task.run_id}}",
            "{{job.unknown}}",
        ),
    )
    ids = [f"{run.run_id}", f"{run.job_id}/{run.tasks[0].run_id}", "{{job.unknown}}"]
    assert told.logs == f"go {ids}\nto stderr\n"
    assert told.error is None
    assert run.state.result_state is jobs.RunResultState.SUCCESS
    written = client.files.download(f"{VOLUME}/out.bin").contents.read()
    assert written == b"\x00\r\n"


RAISES = "def main():\n    print('before')\n    raise ValueError('3 gates are red')\n"
EXITS = "import sys\ndef main():\n    sys.exit(0)\n"
DIES = "import os\ndef main():\n    print('before', flush=True)\n    os._exit(9)\n"


@pytest.mark.parametrize(
    ("code", "error"),
    [
        (RAISES, "ValueError: 3 gates are red"),
        (EXITS, "SystemExit: 0"),
        (DIES, "The Python process exited with the status 9."),
    ],
)
def test_whatever_is_raised_fails_the_task(client, submit, code, error):
    run, told = output(client, submit(code))
    assert told.error == error
    assert run.state.life_cycle_state is jobs.RunLifeCycleState.INTERNAL_ERROR
    assert run.state.result_state is jobs.RunResultState.FAILED
    assert run.state.state_message == "Workload failed, see run output for details"
    (task,) = run.tasks
    assert task.state.life_cycle_state is jobs.RunLifeCycleState.TERMINATED
    assert task.state.result_state is jobs.RunResultState.FAILED
    assert run.status.termination_details.code.value == "RUN_EXECUTION_ERROR"
    if code == RAISES:
        assert told.logs.startswith("before\n")
        assert 'raise ValueError("3 gates' in told.error_trace.replace("'", '"')


def test_sdk_waits_for_a_failed_run_and_gives_no_run_back(submit):
    with pytest.raises(OperationFailed, match="got RunLifeCycleState"):
        submit(RAISES).result()


SURROUNDINGS = """\
import json, os, pathlib, sys
def main():
    print(json.dumps([dict(os.environ), os.getcwd(), sys.path, os.listdir(".")]))
"""


def test_environment_is_that_of_a_cluster(workspace, client, submit, monkeypatch):
    for name in ("CI", "GITHUB_SHA", "LLMEVAL_MODEL", "PYTEST_ADDOPTS", "GIT_DIR"):
        monkeypatch.setenv(name, "of the test")
    workspace.machine.environment["SPARK_REMOTE"] = "sc://localhost"
    _, told = output(client, submit(SURROUNDINGS))
    variables, folder, path, files = json.loads(told.logs)
    assert "of the test" not in variables.values()
    assert variables["DATABRICKS_RUNTIME_VERSION"] == "client.4.9"
    assert variables["DATABRICKS_HOST"] == workspace.url
    assert variables["DATABRICKS_TOKEN"] == TOKEN
    assert variables["SPARK_REMOTE"] == "sc://localhost"
    assert variables["HOME"] != os.environ["HOME"]
    assert files == []
    assert folder not in path
    assert str(Path(__file__).parent) not in path


def test_classic_cluster_has_its_runtime_and_the_variables_of_its_spec(
    workspace, client, submit
):
    workspace.around.secrets["llm"] = {"key": "s3cret"}
    cluster = compute.ClusterSpec(
        spark_version="16.4.x-scala2.12",
        node_type_id="m5d.large",
        spark_env_vars={"API_KEY": "{{secrets/llm/key}}"},
    )
    libraries = [
        compute.Library(whl=WHEEL),
        compute.Library(pypi=compute.PythonPyPiLibrary("pytest>=8")),
    ]
    run, told = output(
        client, submit(SURROUNDINGS, new_cluster=cluster, libraries=libraries)
    )
    assert run.state.result_state is jobs.RunResultState.SUCCESS
    variables = json.loads(told.logs)[0]
    assert variables["DATABRICKS_RUNTIME_VERSION"] == "16.4"
    assert variables["API_KEY"] == "s3cret"


def test_uploaded_code_runs_first_and_in_child_processes_too(client, submit):
    code = (
        "import subprocess, sys\n"
        "def main():\n"
        "    show = 'import tiny; print(tiny.__file__)'\n"
        "    subprocess.run([sys.executable, '-c', show], check=True)\n"
        "    print(__file__, flush=True)\n"
    )
    _, told = output(client, submit(code))
    of_child, of_task = told.logs.splitlines()
    assert of_child == of_task
    assert Path(of_task).parent.name.startswith("site-")


def spec(*dependencies):
    return compute.Environment(environment_version="4", dependencies=[*dependencies])


@pytest.mark.parametrize(
    ("dependencies", "message"),
    [
        ([f"{VOLUME}/gone.whl"], f"there is no file {VOLUME}/gone.whl"),
        (
            [WHEEL, "no-such-thing-llmeval"],
            "No matching distribution found for no-such",
        ),
        ([WHEEL, "pytest<1"], "No matching distribution found for pytest<1"),
        ([WHEEL, "-r x.txt"], "Invalid requirement: '-r x.txt'"),
    ],
)
def test_library_that_cannot_be_installed_fails_the_task(
    client, submit, dependencies, message
):
    run, told = output(client, submit(RAISES, spec=spec(*dependencies)))
    assert run.state.life_cycle_state is jobs.RunLifeCycleState.INTERNAL_ERROR
    assert run.state.state_message.startswith("Library installation failed")
    assert message in told.error
    details = run.status.termination_details
    assert details.code is jobs.TerminationCodeCode.LIBRARY_INSTALLATION_ERROR


def test_what_the_wheel_requires_must_be_there(client, submit):
    _, told = output(client, submit(RAISES, requires="no-such-thing-llmeval>=1"))
    assert "No matching distribution found for no-such-thing-llmeval>=1" in told.error
    _, told = output(client, submit(RAISES, requires='nothing; extra == "dev"'))
    assert told.error == "ValueError: 3 gates are red"


def test_file_that_is_no_wheel_fails_the_task(client, submit):
    client.files.upload(f"{VOLUME}/bad.whl", io.BytesIO(b"text"))
    _, told = output(client, submit(RAISES, spec=spec(f"{VOLUME}/bad.whl")))
    assert "bad.whl is no wheel" in told.error


def test_entry_point_must_be_in_the_wheel(client, submit):
    _, told = output(client, submit("def other(): pass\n"))
    assert told.error.startswith("AttributeError")


HANGS = """\
import os, pathlib, subprocess, sys, time
def main():
    child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    text = f"{os.getpid()} {child.pid}"
    pathlib.Path(sys.argv[1], "new").write_text(text)
    pathlib.Path(sys.argv[1], "new").rename(pathlib.Path(sys.argv[1], "pids"))
    print("started", flush=True)
    time.sleep(60)
"""


def is_gone(pid):
    """Say whether a process has ended, though perhaps nobody has waited for it."""
    try:
        return (
            Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
        )
    except (FileNotFoundError, ProcessLookupError):
        return True


def test_cancel_ends_the_process_and_its_children(workspace, client, submit):
    wait = submit(HANGS, VOLUME)
    pids = workspace.storage.local(f"{VOLUME}/pids")
    while not pids.exists():
        time.sleep(0.02)
    client.jobs.cancel_run(wait.run_id)
    run, told = output(client, wait)
    assert run.state.result_state is jobs.RunResultState.CANCELED
    assert told.logs == "started\n"
    deadline = time.monotonic() + 5
    while not all(is_gone(pid) for pid in pids.read_text().split()):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_task_that_takes_too_long_is_ended(client, submit):
    run, _ = output(client, submit(HANGS, VOLUME, timeout_s=1))
    assert run.state.result_state is jobs.RunResultState.TIMEDOUT
    assert run.execution_duration < 20_000


def test_closing_ends_what_runs(workspace, client, submit):
    submit(HANGS, VOLUME)
    pids = workspace.storage.local(f"{VOLUME}/pids")
    while not pids.exists():
        time.sleep(0.02)
    ids = pids.read_text().split()
    workspace.jobs.close()
    assert workspace.jobs.active == []
    assert is_gone(ids[0])


def test_task_of_another_kind_is_not_executed(client):
    task = jobs.SubmitTask(
        task_key="evals",
        existing_cluster_id=CLUSTER,
        notebook_task=jobs.NotebookTask(notebook_path="/a"),
    )
    _, told = output(client, client.jobs.submit(tasks=[task]))
    assert told.error == "This machine executes Python wheel tasks only."


def test_scheduled_job_writes_each_run_into_a_folder_of_its_own(workspace, client):
    code = (
        "import pathlib, sys\n"
        "def main():\n"
        "    folder = pathlib.Path(sys.argv[2])\n"
        "    folder.mkdir(parents=True)\n"
        "    (folder / 'result.json').write_text('{}')\n"
    )
    client.files.upload(WHEEL, io.BytesIO(tiny_wheel(code)))
    task = jobs.PythonWheelTask(
        package_name="tiny",
        entry_point="go",
        parameters=["--out", VOLUME + "/runs/{{job.run_id}}"],
    )
    job_id = client.jobs.create(
        name="nightly",
        schedule=jobs.CronSchedule("0 0 6 * * ?", "UTC"),
        environments=[jobs.JobEnvironment(environment_key="default", spec=SPEC)],
        tasks=[
            jobs.Task(
                task_key="evals", environment_key="default", python_wheel_task=task
            )
        ],
    ).job_id
    runs = [workspace.jobs.fire(job_id), client.jobs.run_now(job_id)]
    for run in runs:
        output(client, run)
    assert workspace.storage.files(f"{VOLUME}/runs") == [
        f"{VOLUME}/runs/{run.run_id}/result.json" for run in runs
    ]
