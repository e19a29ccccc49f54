"""Jobs and runs through the real SDK: what the server does as a workspace does it."""

import json
import time
from datetime import timedelta

import pytest
from databricks.sdk.errors import BadRequest
from databricks.sdk.errors import DatabricksError
from databricks.sdk.errors import InvalidParameterValue
from databricks.sdk.errors import OperationFailed
from databricks.sdk.errors import ResourceDoesNotExist
from databricks.sdk.service import compute
from databricks.sdk.service import jobs

from .runs import MOST_LOG_BYTES
from .runs import Outcome
from .surroundings import CLUSTER


pytestmark = pytest.mark.filterwarnings("ignore")
SUBMIT = ("POST", "/jobs/runs/submit")
WHEEL_TASK = jobs.PythonWheelTask(package_name="tiny", entry_point="go")
ENVIRONMENTS = [
    jobs.JobEnvironment(
        environment_key="default", spec=compute.Environment(environment_version="4")
    )
]
CRON = jobs.CronSchedule("0 0 6 * * ?", "Europe/Berlin")


def serverless(key="evals", *, after=()):
    return jobs.SubmitTask(
        task_key=key,
        python_wheel_task=WHEEL_TASK,
        environment_key="default",
        depends_on=[jobs.TaskDependency(needed) for needed in after],
    )


@pytest.fixture
def submit(client):
    def submit(*tasks, **settings):
        return client.jobs.submit(
            tasks=list(tasks or [serverless()]), environments=ENVIRONMENTS, **settings
        )

    return submit


@pytest.fixture
def create(client):
    def create(**settings):
        given = {
            "name": "nightly",
            "environments": ENVIRONMENTS,
            "tasks": [jobs.Task.from_dict(serverless().as_dict())],
        }
        return client.jobs.create(**(given | settings)).job_id

    return create


def ended(client, run_id):
    while True:
        run = client.jobs.get_run(run_id)
        if run.end_time:
            return run
        time.sleep(0.01)


def life(run):
    """Return where a run stands, in the old form and in the new one."""
    return run.state.life_cycle_state.value, run.status.state.value


def until(claim):
    for _ in range(500):
        if claim():
            return
        time.sleep(0.01)
    raise AssertionError(claim)


def test_run_is_pending_for_a_number_of_looks_and_then_runs(
    workspace, client, submit, tmp_path
):
    gate = tmp_path / "gate"
    workspace.jobs.looks = 2
    workspace.jobs.work = lambda run, task: until(gate.exists)
    run_id = submit(run_name="evals of main").run_id
    seen = [client.jobs.get_run(run_id) for _ in range(2)]
    assert [life(run) for run in seen] == [("PENDING", "PENDING")] * 2
    assert seen[0].state.result_state is None
    assert seen[0].status.termination_details is None
    until(lambda: life(client.jobs.get_run(run_id)) == ("RUNNING", "RUNNING"))
    assert [run.run_id for run in workspace.jobs.active] == [run_id]
    gate.touch()
    run = ended(client, run_id)
    assert life(run) == ("TERMINATED", "TERMINATED")
    assert run.state.result_state is jobs.RunResultState.SUCCESS
    assert run.status.termination_details.code is jobs.TerminationCodeCode.SUCCESS
    assert run.run_page_url == f"{workspace.url}/jobs/{run.job_id}/runs/{run_id}?o=1"
    assert (run.run_name, run.run_type) == ("evals of main", jobs.RunType.SUBMIT_RUN)
    assert workspace.jobs.active == []


def test_failed_run_ends_in_an_internal_error_and_its_task_does_not(
    workspace, client, submit
):
    workspace.jobs.work = "fail"
    run = ended(client, submit().run_id)
    assert life(run) == ("INTERNAL_ERROR", "TERMINATED")
    assert run.state.result_state is jobs.RunResultState.FAILED
    assert run.state.state_message == "Workload failed, see run output for details"
    (task,) = run.tasks
    assert life(task) == ("TERMINATED", "TERMINATED")
    assert task.state.result_state is jobs.RunResultState.FAILED


def test_sdk_raises_for_a_failed_run_and_gives_no_run_back(workspace, submit):
    workspace.jobs.work = "fail"
    with pytest.raises(OperationFailed) as caught:
        submit().result()
    assert not hasattr(caught.value, "run")


@pytest.mark.parametrize(
    ("work", "result"), [("timeout", "TIMEDOUT"), ("cancel", "CANCELED")]
)
def test_sdk_returns_a_run_that_timed_out_or_was_canceled(
    workspace, submit, work, result
):
    workspace.jobs.work = work
    run = submit().result(timeout=timedelta(seconds=20))
    assert life(run) == ("TERMINATED", "TERMINATED")
    assert run.state.result_state.value == result
    assert run.state.user_cancelled_or_timedout


def test_run_that_is_pending_for_ever_ends_when_it_is_canceled(
    workspace, client, submit
):
    workspace.jobs.work = "pending"
    run_id = submit(timeout_seconds=1).run_id
    time.sleep(1.2)
    assert life(client.jobs.get_run(run_id)) == ("PENDING", "PENDING")
    client.jobs.cancel_run(run_id)
    assert ended(client, run_id).state.result_state is jobs.RunResultState.CANCELED


def test_cancel_is_answered_before_the_run_has_ended(
    workspace, client, submit, tmp_path
):
    gate = tmp_path / "gate"
    workspace.jobs.work = lambda run, task: until(gate.exists)
    run_id = submit().run_id
    until(lambda: life(client.jobs.get_run(run_id))[0] == "RUNNING")
    client.jobs.cancel_run(run_id)
    assert life(client.jobs.get_run(run_id)) == ("TERMINATING", "TERMINATING")
    gate.touch()
    run = ended(client, run_id)
    assert run.state.result_state is jobs.RunResultState.CANCELED


def test_run_that_has_ended_is_not_canceled(workspace, client, submit):
    workspace.jobs.work = "succeed"
    run = ended(client, submit().run_id)
    client.jobs.cancel_run(run.run_id)
    assert client.jobs.get_run(run.run_id).state == run.state


def test_lost_answer_starts_a_second_run_unless_there_is_a_token(workspace, submit):
    workspace.jobs.work = "succeed"
    workspace.faults[SUBMIT] = ["lose"]
    run_id = submit(idempotency_token="commit-1").run_id
    assert [run.run_id for run in workspace.jobs.started] == [run_id]
    assert submit(idempotency_token="commit-1").run_id == run_id
    workspace.faults[SUBMIT] = ["lose"]
    submit()
    assert len(workspace.jobs.started) == 3, "two without a token"


def test_token_of_run_now_starts_one_run(workspace, client, create):
    workspace.jobs.work = "succeed"
    job_id = create()
    workspace.faults["POST", "/jobs/run-now"] = ["lose"]
    first = client.jobs.run_now(job_id, idempotency_token="night-1").run_id
    again = client.jobs.run_now(job_id, idempotency_token="night-1").run_id
    assert [run.run_id for run in workspace.jobs.started] == [first]
    assert again == first


def test_token_has_at_most_64_characters(workspace, submit):
    workspace.jobs.work = "succeed"
    submit(idempotency_token="x" * 64)
    with pytest.raises(InvalidParameterValue, match="more than 64 characters"):
        submit(idempotency_token="x" * 65)
    assert len(workspace.jobs.started) == 1


def test_output_is_asked_for_by_task_even_of_a_single_one(workspace, client, submit):
    workspace.jobs.work = lambda run, task: Outcome(b"it said this\n")
    run = ended(client, submit().run_id)
    with pytest.raises(InvalidParameterValue, match="of each individual task run"):
        client.jobs.get_run_output(run.run_id)
    told = client.jobs.get_run_output(run.tasks[0].run_id)
    assert (told.logs, told.logs_truncated, told.error) == (
        "it said this\n",
        False,
        None,
    )


def test_output_has_the_last_5_mb_of_the_logs(workspace, client, submit):
    workspace.jobs.work = lambda run, task: Outcome(b"first" + b"." * MOST_LOG_BYTES)
    run = ended(client, submit().run_id)
    told = client.jobs.get_run_output(run.tasks[0].run_id)
    assert told.logs == "." * (5 * 1024 * 1024)
    assert told.logs_truncated


def test_what_the_work_raises_is_the_error_of_the_task(workspace, client, submit):
    def work(run, task):
        raise ValueError(f"{task.key} is red")

    workspace.jobs.work = work
    run = ended(client, submit().run_id)
    told = client.jobs.get_run_output(run.tasks[0].run_id)
    assert told.error == "ValueError: evals is red"
    assert told.error_trace.startswith("Traceback")


def test_task_after_a_failed_one_is_not_run(workspace, client, submit):
    done = []

    def work(run, task):
        done.append(task.key)
        raise ValueError("red")

    workspace.jobs.work = work
    run_id = submit(serverless("first"), serverless("next", after=["first"])).run_id
    _, after = ended(client, run_id).tasks
    assert done == ["first"]
    assert after.state.result_state is jobs.RunResultState.UPSTREAM_FAILED


def classic(**where):
    return jobs.SubmitTask(task_key="evals", python_wheel_task=WHEEL_TASK, **where)


@pytest.mark.parametrize(
    ("task", "message"),
    [
        (classic(), "An environment is required for serverless task evals. Please"),
        (classic(environment_key="other"), "there is no environment other"),
        (
            classic(environment_key="default", libraries=[compute.Library(whl="x")]),
            "Libraries field is not supported for serverless task",
        ),
        (classic(existing_cluster_id="gone"), "Cluster gone does not exist"),
        (classic(new_cluster=compute.ClusterSpec()), "needs a spark_version"),
        (
            jobs.SubmitTask(
                task_key="evals",
                environment_key="default",
                python_wheel_task=jobs.PythonWheelTask(package_name="", entry_point=""),
            ),
            "needs a package_name",
        ),
        (serverless("a b"), "The task key 'a b' is not valid"),
    ],
)
def test_task_that_cannot_run_is_refused(workspace, submit, task, message):
    with pytest.raises(BadRequest, match=message):
        submit(task)
    assert workspace.jobs.started == []


def test_task_runs_on_a_cluster_that_exists(workspace, client, submit):
    workspace.jobs.work = "succeed"
    run = ended(client, submit(classic(existing_cluster_id=CLUSTER)).run_id)
    assert run.tasks[0].existing_cluster_id == CLUSTER


def test_submit_without_tasks_is_refused(client):
    with pytest.raises(InvalidParameterValue, match="tasks must be provided"):
        client.jobs.submit()


def test_create_is_never_idempotent_and_names_need_not_be_unique(client, create):
    first, second = create(), create()
    assert first != second
    found = client.jobs.list(name="nightly")
    assert [job.job_id for job in found] == [second, first]


def test_list_compares_whole_names_without_their_case(client, create):
    job_id = create(name="Nightly evals")
    create(name="Nightly evals 2")
    assert [job.job_id for job in client.jobs.list(name="nightly EVALS")] == [job_id]
    assert list(client.jobs.list(name="nightly")) == []


def test_last_page_of_jobs_names_no_next_one(workspace, client, create):
    workspace.jobs.page_size = 2
    made = [create() for _ in range(4)]
    assert [job.job_id for job in client.jobs.list()] == made[::-1]
    pages = [
        client.api_client.do("GET", "/api/2.2/jobs/list", query=query)
        for query in ({}, {"page_token": "2"})
    ]
    assert [sorted(page) for page in pages] == [
        ["has_more", "jobs", "next_page_token"],
        ["jobs"],
    ]


def test_list_gives_tasks_only_when_they_are_asked_for(client, create):
    create(tags={"team": "qa"})
    (short,), (full,) = client.jobs.list(), client.jobs.list(expand_tasks=True)
    assert short.settings.tags == {"team": "qa"}
    assert not short.settings.tasks
    assert [task.task_key for task in full.settings.tasks] == ["evals"]


def test_runs_are_listed_by_job_and_by_whether_they_are_active(
    workspace, client, create, submit
):
    workspace.jobs.page_size, workspace.jobs.work = 1, "succeed"
    job_id = create()
    done = [client.jobs.run_now(job_id).run_id for _ in range(3)]
    submit()
    until(lambda: not workspace.jobs.active)
    workspace.jobs.work = "pending"
    active = submit().run_id

    def listed(**query):
        return [run.run_id for run in client.jobs.list_runs(**query)]

    assert listed(job_id=job_id) == done[::-1]
    assert listed(active_only=True) == [active]
    assert active not in listed(completed_only=True)
    assert len(listed()) == 5


def test_job_is_told_with_what_was_not_given(client, create):
    settings = client.jobs.get(create(schedule=CRON)).settings
    assert settings.schedule.pause_status is jobs.PauseStatus.UNPAUSED
    assert settings.max_concurrent_runs == 1
    assert settings.queue.enabled
    assert settings.format is jobs.Format.MULTI_TASK


def test_update_replaces_what_is_given_and_reset_everything(client, create):
    job_id = create(schedule=CRON, tags={"team": "qa"}, description="of old")
    paused = jobs.CronSchedule("0 0 7 * * ?", "UTC", jobs.PauseStatus.PAUSED)
    client.jobs.update(
        job_id,
        fields_to_remove=["description"],
        new_settings=jobs.JobSettings(
            schedule=paused,
            tasks=[
                jobs.Task(
                    task_key="more",
                    python_wheel_task=WHEEL_TASK,
                    environment_key="default",
                )
            ],
        ),
    )
    settings = client.jobs.get(job_id).settings
    assert settings.schedule == paused
    assert settings.description is None
    assert settings.tags == {"team": "qa"}
    assert [task.task_key for task in settings.tasks] == ["evals", "more"]
    client.jobs.reset(job_id, jobs.JobSettings(name="bare"))
    settings = client.jobs.get(job_id).settings
    assert (settings.name, settings.tasks, settings.tags) == ("bare", [], None)


@pytest.mark.parametrize(
    ("schedule", "message"),
    [
        (jobs.CronSchedule("0 6 * * *", "UTC"), "Invalid quartz_cron_expression"),
        (jobs.CronSchedule("0 0 6 * * *", "UTC"), "Invalid quartz_cron_expression"),
        (jobs.CronSchedule("0 0 6 ? * ?", "UTC"), "Invalid quartz_cron_expression"),
        (jobs.CronSchedule("0 0 6 * * ?", "Mars/Olympus"), "Invalid timezone_id"),
        (jobs.CronSchedule("0 0 6 * * ?", ""), "Invalid timezone_id"),
    ],
)
def test_schedule_that_is_not_valid_is_refused(client, create, schedule, message):
    job_id = create(schedule=CRON)
    with pytest.raises(InvalidParameterValue, match=message):
        create(schedule=schedule)
    with pytest.raises(InvalidParameterValue, match=message):
        client.jobs.update(job_id, new_settings=jobs.JobSettings(schedule=schedule))
    assert len(list(client.jobs.list())) == 1
    assert client.jobs.get(job_id).settings.schedule.timezone_id == "Europe/Berlin"


def test_schedule_starts_a_job_unless_it_is_paused(workspace, client, create):
    workspace.jobs.work = "succeed"
    job_id = create(schedule=CRON)
    workspace.jobs.fire(job_id)
    (run,) = client.jobs.list_runs(job_id=job_id)
    assert run.trigger is jobs.TriggerType.PERIODIC
    paused = jobs.CronSchedule("0 0 6 * * ?", "UTC", jobs.PauseStatus.PAUSED)
    client.jobs.update(job_id, new_settings=jobs.JobSettings(schedule=paused))
    assert workspace.jobs.fire(job_id) is None
    assert len(workspace.jobs.started) == 1


def test_run_beside_another_one_waits_in_the_queue_or_is_skipped(
    workspace, client, create
):
    workspace.jobs.work = "pending"
    queued, skipped = create(), create(queue=jobs.QueueSettings(enabled=False))
    first, second = (client.jobs.run_now(queued).run_id for _ in range(2))
    assert life(client.jobs.get_run(second)) == ("QUEUED", "QUEUED")
    client.jobs.cancel_run(first)
    until(lambda: life(client.jobs.get_run(second))[0] == "PENDING")
    client.jobs.run_now(skipped)
    run = ended(client, client.jobs.run_now(skipped).run_id)
    assert life(run) == ("SKIPPED", "TERMINATED")
    assert run.state.result_state.value == "MAXIMUM_CONCURRENT_RUNS_REACHED"


def test_run_now_may_give_other_parameters(workspace, client, create):
    given = []
    workspace.jobs.work = lambda run, task: given.append(
        task.task["python_wheel_task"].get("parameters")
    )
    job_id = create()
    ended(client, client.jobs.run_now(job_id, python_params=["-k", "qa"]).run_id)
    ended(client, client.jobs.run_now(job_id).run_id)
    assert given == [["-k", "qa"], None]


def test_deleted_job_is_gone_and_its_runs_are_canceled(workspace, client, create):
    workspace.jobs.work = "pending"
    job_id = create()
    run_id = client.jobs.run_now(job_id).run_id
    client.jobs.delete(job_id)
    assert ended(client, run_id).state.result_state is jobs.RunResultState.CANCELED
    for ask in (client.jobs.get, client.jobs.delete, client.jobs.run_now):
        with pytest.raises(DatabricksError, match=f"Job {job_id} does not exist"):
            ask(job_id)


def test_unknown_job_or_run_is_a_resource_that_does_not_exist(client):
    with pytest.raises(ResourceDoesNotExist, match="Job 7 does not exist"):
        client.jobs.get(7)
    with pytest.raises(ResourceDoesNotExist, match="Run 8 does not exist"):
        client.jobs.get_run(8)
    with pytest.raises(ResourceDoesNotExist, match="Run 9 does not exist"):
        client.jobs.get_run_output(9)


def test_writes_keep_what_was_submitted(workspace, submit):
    workspace.jobs.work = "succeed"
    submit(run_name="seen")
    (write,) = workspace.writes
    assert (write.method, write.path) == ("POST", "/api/2.2/jobs/runs/submit")
    assert write.body["run_name"] == "seen"
    assert json.dumps(write.body["tasks"]).count("task_key") == 1
