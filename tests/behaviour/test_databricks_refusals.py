"""What `llmeval databricks` refuses before anything is sent."""

import json
import sys

import pytest

from pytest_llmeval.backends.databricks import suite as suites
from pytest_llmeval.cli import main
from tests.databricks.storage import VOLUME

from .remote import SENT


@pytest.fixture
def sent(suite, workspace, monkeypatch):
    suite.commit()
    monkeypatch.chdir(suite.path)
    return suite


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--volume", "/Volumes/main"), "'/Volumes/main' is not a folder in a Volume"),
        (("--volume", "/elsewhere"), "is not a folder in a Volume"),
        (("--volume", f"{VOLUME}/../x"), "is not a folder in a Volume"),
        (("--files", "/Users/me"), "'/Users/me' is no folder that a job can read"),
        (("--secret", "A=b"), "--secret 'A' is not of the form NAME=SCOPE/KEY"),
        (("--node-type", "m5"), "--node-type is for a new cluster; add --cluster new"),
        (("--workers", "-1", "--cluster", "new"), "--workers -1 is less than 0"),
        (("--wheel", "x.whl"), "'x.whl' is not the name of a wheel, such as pytest_"),
        (("--wheel", "a-1-py3-none-any.whl"), "cannot read a-1-py3-none-any.whl: No"),
        (("--token", "../x"), "--token '../x' has to be 1 to 64 letters, digits"),
        (("--token", ".."), "--token '..' has to be 1 to 64 letters, digits"),
        (("--token", "x" * 65), "has to be 1 to 64 letters, digits"),
        (("/",), "pytest takes / for the project's root, which has no ini file"),
        (("evals/nowhere.py",), "'evals/nowhere.py' is not in "),
        (("evals/new.py",), "git tracks nothing at 'evals/new.py', and the job gets"),
        (
            ("--", "--junitxml=/elsewhere/x.xml"),
            "--junitxml '/elsewhere/x.xml' is on a machine",
        ),
        (("--", "--junitxml", "../x.xml"), "--junitxml '../x.xml' is on a machine"),
        (("--", "--llmeval-html", "/x.html"), "--llmeval-html '/x.html' is on a"),
        (
            ("--", "--llmeval-model", "http://me:hunter22@host/v1"),
            "'http://[redacted]@host/v1' holds a secret, and the arguments of a job",
        ),
    ],
)
def test_it_is_refused_and_nothing_is_sent(sent, workspace, capsys, arguments, message):
    sent.write("evals/new.py", "")
    assert main([*SENT, *arguments]) == 1
    assert message in capsys.readouterr().err
    assert workspace.writes == []


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--timeout", "0"), "'0' is not a whole number of minutes"),
        (("-n", "2"), "unrecognized arguments: -n; those of pytest stand after --"),
    ],
)
def test_wrong_usage_is_status_2(sent, workspace, capsys, arguments, message):
    with pytest.raises(SystemExit) as left:
        main([*SENT, *arguments])
    assert left.value.code == 2
    assert message in capsys.readouterr().err
    assert workspace.writes == []


def test_no_volume_no_workspace_and_no_sdk_are_told(
    sent, workspace, capsys, monkeypatch
):
    assert main(["databricks", "run"]) == 1
    assert "with --volume, or in the ini value llmeval_databricks_volume" in (
        capsys.readouterr().err
    )
    monkeypatch.delenv("DATABRICKS_HOST")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(sent.path / "none"))
    assert main([*SENT]) == 1
    told = capsys.readouterr().err
    assert "no Databricks workspace is configured" in told
    assert "set DATABRICKS_HOST and DATABRICKS_TOKEN" in told
    monkeypatch.setitem(sys.modules, "databricks.sdk", None)
    assert main([*SENT]) == 1
    told = capsys.readouterr().err
    assert "the package 'databricks.sdk' is not installed; install it with: pip" in told


def test_a_secret_in_a_file_is_not_sent(sent, workspace, capsys, monkeypatch):
    monkeypatch.setenv("MY_API_KEY", "sk-0123456789")
    sent.write("evals/conftest.py", "KEY = 'sk-0123456789'\n")
    assert main([*SENT]) == 1
    told = capsys.readouterr().err
    assert "'evals/conftest.py' holds the value of MY_API_KEY" in told
    assert "--secret MY_API_KEY=SCOPE/KEY" in told
    assert "sk-0123456789" not in told
    assert workspace.writes == []


def test_too_large_a_project_names_its_largest_files(
    sent, workspace, capsys, monkeypatch
):
    monkeypatch.setattr(suites, "LARGEST", 1000)
    assert main([*SENT]) == 1
    assert "the largest are evals/data.jsonl, " in capsys.readouterr().err
    assert workspace.writes == []


def test_a_job_of_an_unknown_cluster_or_volume_is_refused_by_the_workspace(
    sent, workspace, capsys
):
    assert main([*SENT, "--cluster", "none-such"]) == 13
    assert "starting the run: InvalidParameterValue: Cluster none-such" in (
        capsys.readouterr().out
    )
    assert main(["databricks", "run", "--volume", "/Volumes/main/evals/none"]) == 13
    assert "DoesNotExist: Volume 'main.evals.none' does not exist" in (
        capsys.readouterr().out
    )
    assert workspace.jobs.started == []


def test_wait_refuses_what_is_none_of_our_runs(sent, workspace, client, capsys):
    from databricks.sdk.service.jobs import PythonWheelTask
    from databricks.sdk.service.jobs import SubmitTask

    workspace.jobs.work = "succeed"
    task = SubmitTask(
        task_key="other",
        existing_cluster_id=next(iter(workspace.around.clusters)),
        python_wheel_task=PythonWheelTask(entry_point="go", package_name="tiny"),
    )
    run_id = client.jobs.submit(tasks=[task]).run_id
    assert main(["databricks", "wait", str(run_id)]) == 1
    assert f"the run {run_id} is none of a suite that llmeval has started" in (
        capsys.readouterr().err
    )
    assert main(["databricks", "wait", "4711"]) == 13
    assert "the run 4711: " in capsys.readouterr().out


def test_pack_writes_wheel_and_source_for_a_bundle(sent, capsys):
    (sent.path / "dist").mkdir()
    (sent.path / "dist/pytest_llmeval_gate-0.0.1-py3-none-any.whl").touch()
    assert main(["databricks", "pack"]) == 0
    (wheel,) = (sent.path / "dist").iterdir()
    assert wheel.stat().st_size > 100_000
    source = json.loads((sent.path / ".llmeval-source.json").read_text())
    assert source["dirty"] is False
    assert f"commit {source['commit']}, clean" in capsys.readouterr().out
