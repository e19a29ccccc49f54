"""`llmeval databricks schedule`: one job for each name, whatever happens on the way."""

import json
import threading
import time
from pathlib import Path

import pytest

from pytest_llmeval.backends.databricks import storage
from pytest_llmeval.backends.databricks import watching
from pytest_llmeval.backends.databricks.schedules import Schedules
from pytest_llmeval.cli import main
from tests.databricks.storage import VOLUME
from tests.databricks.wire import Request

from .remote import RUN_ID
from .remote import leave
from .remote import start


GREEN = {"exit_status": 0, "run_id": RUN_ID}
TIMES = ("--cron", "0 0 6 * * ?", "--timezone", "Europe/Berlin")
SET = ("databricks", "schedule", "set", "nightly", *TIMES, "--volume", VOLUME)


@pytest.fixture
def sent(suite, workspace, monkeypatch):
    from databricks.sdk.clock import RealClock

    suite.commit()
    monkeypatch.chdir(suite.path)
    monkeypatch.setattr(storage, "PAUSES_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(watching, "SHORTEST_PAUSE_S", 0.02)
    sleep = RealClock.sleep
    monkeypatch.setattr(RealClock, "sleep", lambda self, s: sleep(self, s / 50))
    workspace.jobs.work = leave(workspace, GREEN)
    return suite


@pytest.fixture
def schedule(sent, capsys):
    """Calls a command of `llmeval databricks schedule`, and returns what it said."""

    def call(*arguments, status=0):
        assert main(["databricks", "schedule", *arguments]) == status
        said = capsys.readouterr()
        return said.out + said.err

    return call


@pytest.fixture
def only(workspace):
    """Returns the settings of the only job."""

    def settings():
        (job,) = workspace.jobs.jobs.values()
        return job

    return settings


def changes(workspace):
    return [
        write.path.rpartition("/")[2]
        for write in workspace.writes
        if "/jobs/" in write.path
    ]


def test_set_twice_is_one_job_and_only_changes_are_written(schedule, workspace, only):
    told = schedule(*SET[2:], "--email", "qa@example.org", "--", "-n", "4")
    assert "schedule nightly, job 101: created" in told
    assert told.count("next: 20") == 3
    assert "06:00:00 Europe/Berlin" in told
    job = only()
    assert job["schedule"]["quartz_cron_expression"] == "0 0 6 * * ?"
    assert job["max_concurrent_runs"] == 1
    assert job["timeout_seconds"] == 7200
    assert job["email_notifications"] == {"on_failure": ["qa@example.org"]}
    (task,) = job["tasks"]
    parameters = task["python_wheel_task"]["parameters"]
    assert parameters[2:4] == ["--out", f"{VOLUME}/runs/{{{{job.run_id}}}}"]
    assert parameters[-4:] == ["--", "evals", "-n", "4"]
    again = (*SET[2:], "--email", "qa@example.org", "--", "-n", "4")
    assert "job 101: unchanged" in schedule(*again)
    assert changes(workspace) == ["create"]

    later = [one.replace(" 6 ", " 7 ") for one in again]
    assert "job 101: schedule\n" in schedule(*later)
    assert only()["schedule"]["quartz_cron_expression"] == "0 0 7 * * ?"
    more = ("--webhook", "hook-1", "--notify-on", "success", "--notify-on", "start")
    told = schedule(*SET[2:], *more, "--timeout", "5", "--", "-n", "4")
    assert (
        "job 101: email_notifications, schedule, timeout_seconds, "
        "webhook_notifications\n"
    ) in told
    job = only()
    assert job["webhook_notifications"] == {
        "on_success": [{"id": "hook-1"}],
        "on_start": [{"id": "hook-1"}],
    }
    assert not job["email_notifications"]
    assert changes(workspace) == ["create", "reset", "reset"]


def test_a_changed_suite_changes_the_tasks(schedule, sent, workspace):
    schedule(*SET[2:])
    sent.write("evals/test_qa.py", "def test_other():\n    pass\n")
    assert "job 101: tasks\n" in schedule(*SET[2:])
    cluster = ("--cluster", next(iter(workspace.around.clusters)))
    assert "job 101: environments, tasks\n" in schedule(*SET[2:], *cluster)


def test_pause_lasts_and_ends_with_resume_and_delete(schedule, workspace, only):
    schedule(*SET[2:])
    assert "schedule nightly: paused" in schedule("pause", "nightly")
    assert workspace.jobs.fire(101) is None
    assert "unchanged" in schedule(*SET[2:])
    assert "timeout_seconds" in schedule(*SET[2:], "--timeout", "5")
    assert only()["schedule"]["pause_status"] == "PAUSED"
    told = schedule("list")
    assert told.startswith("nightly  job 101  0 0 6 * * ? Europe/Berlin  paused")
    assert "last run: no run yet" in told
    assert "schedule nightly: on" in schedule("resume", "nightly")
    assert only()["schedule"]["pause_status"] == "UNPAUSED"
    run = workspace.jobs.fire(101)
    while run.is_active:
        time.sleep(0.02)
    assert "last run: SUCCESS" in schedule("list")
    assert "its results stay" in schedule("delete", "nightly")
    assert workspace.jobs.jobs == {}
    assert "there is no schedule 'nightly'" in schedule("pause", "nightly", status=1)
    assert "no schedule; make one" in schedule("list")


def test_run_starts_the_job_now_and_brings_its_results(schedule, sent, workspace):
    schedule(*SET[2:])
    told = schedule("run", "nightly", "--token", "t1")
    assert "of the schedule nightly" in told
    assert sent.run_directory.name == RUN_ID
    schedule("run", "nightly", "--token", "t1")
    assert len(workspace.jobs.started) == 1
    workspace.jobs.work = leave(workspace, {"exit_status": 1, "run_id": RUN_ID})
    schedule("run", "nightly", status=1)
    assert len(workspace.jobs.started) == 2


def test_a_run_that_may_not_be_looked_at_is_cancelled(schedule, workspace):
    schedule(*SET[2:])
    workspace.jobs.work = "pending"
    workspace.faults["GET", "runs/get"] = [403]
    told = schedule("run", "nightly", status=13)
    assert "a fault of 403; these credentials need" in told
    assert "; the run is being cancelled" in told
    workspace.jobs.close()
    (run,) = workspace.jobs.started
    assert run.why_stopped == "CANCELED"


def test_a_lost_answer_of_create_leaves_one_job(schedule, workspace, only):
    workspace.faults["POST", "jobs/create"] = ["lose", "lose"]
    schedule(*SET[2:])
    assert only()["name"] == "nightly"
    assert "create" in changes(workspace)


def test_two_at_once_leave_one_job(sent, workspace):
    processes = [start(sent, *SET, "--", f"-k=not x{n}") for n in range(3)]
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert len(workspace.jobs.jobs) == 1


def test_racing_creations_leave_one_job(sent, workspace, client):
    """In threads of one process, where all have looked before one has created."""
    settings = {
        "name": "nightly",
        "tags": {"llmeval": "schedule"},
        "schedule": {
            "quartz_cron_expression": "0 0 6 * * ?",
            "timezone_id": "UTC",
            "pause_status": "UNPAUSED",
        },
    }
    together = threading.Barrier(4)

    def create():
        together.wait()
        Schedules(client)._create(settings)

    threads = [threading.Thread(target=create) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(workspace.jobs.jobs) == 1


def test_duplicates_are_repaired_on_whatever_page_they_are(schedule, workspace, client):
    schedule(*SET[2:])
    job = workspace.jobs.jobs[101]
    workspace.jobs.page_size = 2
    for n in range(5):
        workspace.jobs.answer(_creation({**job, "name": f"other {n}"}))
    for _ in range(3):
        workspace.jobs.answer(_creation(job))
    assert len(schedule("list").splitlines()) == 9
    assert "schedule nightly, job 101: unchanged" in schedule(*SET[2:])
    names = [job["name"] for job in workspace.jobs.jobs.values()]
    assert sorted(names) == ["nightly", *(f"other {n}" for n in range(5))]


def _creation(job):
    content = json.dumps(job).encode()
    return Request("POST", "/api/2.2/jobs/create", {}, content, {})


def test_a_job_of_somebody_else_is_left_alone(schedule, workspace):
    workspace.jobs.answer(_creation({"name": "nightly"}))
    told = schedule(*SET[2:], status=1)
    assert "the workspace has a job 'nightly' that llmeval has not made" in told
    for command in ("pause", "resume", "delete", "run"):
        assert "has not made" in schedule(command, "nightly", status=1)
    assert workspace.jobs.jobs[101]["name"] == "nightly"
    assert workspace.jobs.started == []


@pytest.mark.parametrize("fault", [429, 500, 503, "drop", "lose"])
@pytest.mark.parametrize("what", ["reset", "update", "delete", "list", "get"])
def test_passing_faults_do_not_show(schedule, workspace, only, fault, what):
    schedule(*SET[2:])
    verb = "GET" if what in ("list", "get") else "POST"
    workspace.faults[verb, f"jobs/{what}"] = [fault]
    schedule(*SET[2:], "--timeout", "5")
    schedule("pause", "nightly")
    assert only()["timeout_seconds"] == 300
    assert only()["schedule"]["pause_status"] == "PAUSED"
    schedule("delete", "nightly")
    assert workspace.jobs.jobs == {}
    assert not workspace.faults[verb, f"jobs/{what}"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--cron", "0 6 * * *"), "0 6 * * *"),
        (("--cron", "0 0 6 * * *"), "?"),
        (("--timezone", "Berlin"), "Berlin"),
        (("--rollback",), "--rollback needs --deploy TARGET"),
        (("--notify-on", "start"), "nothing says who; add --email or --webhook"),
        (("--email", "me"), "--email 'me' is no e-mail address"),
    ],
)
def test_it_is_refused_before_any_call(
    schedule, workspace, monkeypatch, arguments, message
):
    asked = []
    monkeypatch.setattr(workspace, "do", lambda *given: asked.append(given))
    assert message in schedule(*SET[2:], *arguments, status=1)
    # The SDK looks for the configuration of a host when its client is made.
    assert [r.path for r, _ in asked if not r.path.startswith("/.well-known")] == []


def test_what_could_never_deploy_is_refused_before_any_call(
    schedule, sent, workspace, monkeypatch
):
    deploying = (*SET[2:], "--deploy", "registry:qa@champion")
    assert "gates update" in schedule(*deploying, status=1)
    sent.update_gates()
    sent.commit()
    with Path("evals/test_qa.py").open("a") as file:
        file.write("# changed\n")
    assert "tracked files differ from" in schedule(*deploying, status=1)
    sent.commit()
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_EVENT_NAME", "pull_request")
    assert "pull request" in schedule(*deploying, status=1)
    assert workspace.writes == []
    monkeypatch.setenv("GITHUB_EVENT_NAME", "push")
    monkeypatch.setenv("GITHUB_REF_PROTECTED", "true")
    assert "created" in schedule(*deploying, "--rollback")
    (job,) = workspace.jobs.jobs.values()
    parameters = job["tasks"][0]["python_wheel_task"]["parameters"]
    assert parameters[4:7] == ["--deploy", "registry:qa@champion", "--rollback"]
