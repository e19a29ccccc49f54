"""Only a complete, passing verdict moves an alias of a real MLflow registry."""

import json
import shutil
from pathlib import Path

import pytest

from pytest_llmeval.config import Settings
from pytest_llmeval.deploy.deployer import Deployer
from pytest_llmeval.deploy.deployer import Order
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.provenance import read_provenance
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.tracking import tracked_id

from .registry import aliases
from .registry import client


# MLflow warns in many places; the runs under test are in processes of their own.
pytestmark = pytest.mark.filterwarnings("ignore")
TARGET = ("--llmeval-deploy", "registry:qa@champion")


def refuse(project, *arguments, expected):
    """Run with a deployment asked for; it must be refused and write nothing."""
    before = aliases(project)
    result = project.run("evals", *TARGET, *arguments)
    assert result.ret == (10 if project.verdict["status"] == "pass" else 1)
    assert project.deployment["reason"] == expected
    assert aliases(project) == before
    result.stdout.fnmatch_lines([f"not deployed: {expected}: *"])
    return result


def test_passing_verdict_moves_the_alias_and_tags_the_version(project):
    result = project.run("evals", *TARGET)
    assert result.ret == 0
    assert aliases(project) == {"candidate": 1, "champion": 1}
    tags = client(project).get_model_version("qa", "1").tags
    assert tags["llmeval.run_id"] == project.verdict["run_id"]
    assert tags["llmeval.commit"] == project.verdict["commit"]
    assert tags["llmeval.verdict"].startswith("sha256:")
    assert project.deployment["reason"] == "DEPLOYED"
    assert project.verdict["model"]["version"] == "1"
    assert project.verdict["model"]["aliases"] == {"candidate": "1"}

    again = project.run("evals", *TARGET)
    assert again.ret == 0
    assert project.deployment["reason"] == "NOOP"


def test_failing_gate_is_refused(project):
    source = (project.path / "evals/data.jsonl").read_text()
    (project.path / "evals/data.jsonl").write_text(source.replace("WORD", "other"))
    project.commit()
    refuse(project, expected="GATE_FAILED")


def test_missing_manifest_is_refused_and_said_before_the_first_call(project):
    (project.path / "evals/gates.toml").unlink()
    project.commit()
    result = refuse(project, expected="NO_MANIFEST")
    lines = result.outlines
    announced = next(i for i, line in enumerate(lines) if "cannot deploy" in line)
    assert "NO_MANIFEST" in lines[announced]
    assert "llmeval gates update" in lines[announced]
    assert announced < next(i for i, line in enumerate(lines) if "qa.py" in line)


def test_point_gate_is_refused_unless_allowed(project):
    ini = (project.path / "pytest.ini").read_text()
    without = ini.replace("llmeval_confidence = 0.95\n", "")
    project.write("pytest.ini", without)
    project.update_gates()
    project.commit()
    refuse(project, expected="POINT_GATE")
    project.write("pytest.ini", without + "llmeval_point_gates = allow\n")
    project.commit()
    assert project.run("evals", *TARGET).ret == 0
    assert aliases(project)["champion"] == 1


def test_changed_tracked_file_is_dirty_and_untracked_files_are_not(project):
    project.write("notes.txt", "untracked")
    project.write("evals/test_qa.py", (project.path / "evals/test_qa.py").read_text())
    with (project.path / "evals/test_qa.py").open("a") as file:
        file.write("# changed\n")
    refuse(project, expected="DIRTY")


def test_no_commit_is_refused(project):
    shutil.rmtree(project.path / ".git")
    refuse(project, expected="NO_COMMIT")


def test_commit_that_git_refuses_to_tell_is_no_commit(project, monkeypatch):
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")
    monkeypatch.setenv("GITHUB_SHA", "0123abc")
    refuse(project, expected="NO_COMMIT")


def test_source_alias_that_moved_meanwhile_is_refused(project):
    project.write(
        "evals/test_z.py",
        "import mlflow\n"
        "def test_z():\n"
        "    client = mlflow.MlflowClient()\n"
        "    client.set_registered_model_alias('qa', 'candidate', '2')\n",
    )
    project.commit()
    result = project.run("evals", *TARGET)
    assert result.ret == 10
    assert project.deployment["reason"] == "MODEL_MOVED"
    assert aliases(project) == {"candidate": 2}


def test_target_alias_that_moved_meanwhile_is_superseded(project):
    project.write(
        "evals/test_z.py",
        "import mlflow\n"
        "def test_z():\n"
        "    client = mlflow.MlflowClient()\n"
        "    client.set_registered_model_alias('qa', 'champion', '2')\n",
    )
    project.commit()
    project.run("evals", *TARGET)
    assert project.deployment["reason"] == "SUPERSEDED"
    assert aliases(project)["champion"] == 2


def test_another_models_name_is_a_mismatch(project):
    project.run("evals", "--llmeval-deploy", "registry:other@champion")
    assert project.deployment["reason"] == "MODEL_MISMATCH"
    assert aliases(project) == {"candidate": 1}


def test_unpinned_model_is_refused(project, model_server):
    result = refuse(
        project, "--llmeval-model", model_server.url, expected="UNPINNED_MODEL"
    )
    result.stdout.fnmatch_lines(["*cannot deploy: UNPINNED_MODEL*"])


@pytest.mark.parametrize(
    "variables",
    [
        {"GITHUB_EVENT_NAME": "pull_request", "GITHUB_REF_PROTECTED": "true"},
        {"GITHUB_ACTIONS": "true", "GITHUB_REF_PROTECTED": "false"},
        {"CI": "true", "BRANCH_NAME": "feature"},
    ],
)
def test_untrusted_context_is_refused(project, monkeypatch, variables):
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    refuse(project, expected="UNTRUSTED_CONTEXT")


def test_other_ci_systems_deploy_from_listed_refs(project, monkeypatch):
    monkeypatch.setenv("CI", "true")
    monkeypatch.setenv("BRANCH_NAME", "main")
    ini = (project.path / "pytest.ini").read_text()
    project.write("pytest.ini", ini + "llmeval_deploy_refs = main release\n")
    project.commit()
    assert project.run("evals", *TARGET).ret == 0
    assert aliases(project)["champion"] == 1


def test_unknown_target_and_missing_model_version_do_not_deploy(project):
    project.run("evals", "--llmeval-deploy", "ftp:somewhere")
    assert project.deployment["reason"] == "DEPLOY_FAILED"
    assert "registry:NAME@ALIAS" in project.deployment["message"]
    result = project.run("evals", "--llmeval-model", "models:/qa@nobody")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*cannot resolve models:/qa@nobody*"])


def test_cases_deploy_when_their_gates_pass_and_none_is_in_error(project):
    marked = (
        "import pytest\n\nfrom pytest_llmeval import Gate\n\n\n"
        "GATES = [Gate('pass_rate', '>=', 0.8)]\n\n\n"
        "@pytest.mark.llmeval_cases('data.jsonl', gates=GATES)\n"
        "def test_word(llmeval_case):\n"
        "    assert llmeval_case.id != 'r5'\n"
    )
    project.write("evals/test_qa.py", marked)
    project.update_gates()
    project.write("evals/test_qa.py", f"{marked}    1 / (llmeval_case.id != 'r7')\n")
    project.commit()
    refuse(project, expected="ROWS_MISSING")
    project.write("evals/test_qa.py", marked)
    project.commit()
    assert project.run("evals", *TARGET).ret == 0
    assert aliases(project) == {"candidate": 1, "champion": 1}


DISTS = ("load", "each", "loadscope", "loadfile", "loadgroup", "worksteal")


@pytest.mark.parametrize("dist", DISTS)
def test_one_deployment_is_made_for_all_workers(project, dist):
    result = project.run("evals", *TARGET, "-n", "2", "--dist", dist)
    assert result.ret == 0
    lines = [line for line in result.outlines if line.startswith("deployed: ")]
    assert len(lines) == 1
    assert aliases(project) == {"candidate": 1, "champion": 1}
    tags = client(project).get_model_version("qa", "1").tags
    assert tags["llmeval.run_id"] == project.verdict["run_id"]
    assert project.deployment["reason"] == "DEPLOYED"


def test_run_is_tracked_with_parent_child_rows_and_verdict(project):
    project.run("evals", "--llmeval-tracking", "auto")
    store = client(project)
    experiment = store.get_experiment_by_name("llmeval")
    runs = store.search_runs([experiment.experiment_id])
    parent = next(r for r in runs if "mlflow.parentRunId" not in r.data.tags)
    (child,) = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert child.data.tags["mlflow.parentRunId"] == parent.info.run_id
    assert project.verdict["mlflow_run_id"] == parent.info.run_id
    assert parent.data.tags["mlflow.source.git.commit"] == project.verdict["commit"]
    assert parent.data.tags["llmeval.verdict"] == "pass"
    assert child.data.metrics["exact_match"] == 1.0
    assert child.data.metrics["exact_match/n"] == 40
    assert child.data.metrics["exact_match/errors"] == 0
    lower = child.data.metrics["exact_match/lower"]
    assert lower == pytest.approx(0.05 ** (1 / 40), abs=1e-9)
    assert child.data.params["model"] == "models:/qa/1"
    (dataset,) = child.inputs.dataset_inputs
    digest = project.verdict["datasets"][0]["digest"].removeprefix("sha256:")
    assert digest.startswith(dataset.dataset.digest)
    assert store.list_artifacts(parent.info.run_id)[0].path == "verdict.json"
    local = store.download_artifacts(child.info.run_id, "results.jsonl")
    written = (project.run_directory / "results.jsonl").read_text()
    assert Path(local).read_text() == written
    assert parent.info.status == child.info.status == "FINISHED"


def test_deployment_is_kept_in_mlflow_and_in_the_list_of_attempts(project):
    result = project.run("evals", *TARGET, "--llmeval-tracking", "auto")
    assert result.ret == 0
    store, run_id = client(project), project.verdict["mlflow_run_id"]
    local = Path(store.download_artifacts(run_id, "deployment.json"))
    assert json.loads(local.read_text()) == project.deployment
    tags = store.get_run(run_id).data.tags
    assert tags["llmeval.deployment"] == "DEPLOYED registry:qa@champion"
    version = store.get_model_version("qa", "1").tags
    assert version["llmeval.mlflow_run"] == run_id
    assert (
        version["llmeval.why"] == "1 gate passed on up to 40 rows: exact_match >= 0.9"
    )
    (attempt,) = project.attempts
    assert attempt == project.deployment
    assert attempt["verdict"] == project.verdict["digest"] == version["llmeval.verdict"]
    assert attempt["who"]["host"]


def test_mlflow_run_is_the_run_of_the_tests_evaluation(project):
    project.write(
        "evals/test_qa.py",
        "import mlflow\n"
        "def test_quality(evaluate, mlflow_run):\n"
        "    evaluate(data='data.jsonl', metrics=['exact_match'])\n"
        "    mlflow.log_metric('mine', 7)\n"
        "    assert mlflow.active_run().info.run_id == mlflow_run.info.run_id\n",
    )
    assert project.run("evals", "--llmeval-tracking", "auto").ret == 0
    store = client(project)
    runs = store.search_runs([store.get_experiment_by_name("llmeval").experiment_id])
    assert len(runs) == 2
    (child,) = [r for r in runs if "mlflow.parentRunId" in r.data.tags]
    assert child.data.metrics["mine"] == 7
    assert child.data.metrics["exact_match"] == 1.0


def test_tracking_that_fails_is_said_and_blocks_the_deployment(suite):
    suite.update_gates()
    suite.commit()
    result = suite.run(
        "evals", *TARGET, "--llmeval-tracking", "sqlite:////proc/none/mlflow.db"
    )
    assert result.ret == 10
    result.stdout.fnmatch_lines(["tracking failed: *"])
    assert suite.verdict["status"] == "pass"
    assert suite.deployment["reason"] == "NOT_TRACKED"
    assert "llmeval sync" in suite.deployment["message"]


def test_deployment_waits_for_sync(project):
    (project.path / "mlartifacts").write_text("where a folder should be")
    refuse(project, "--llmeval-tracking", "auto", expected="NOT_TRACKED")
    (project.path / "mlartifacts").unlink()
    assert project.llmeval("sync").ret == 0
    directory = RunDirectory(project.path / ".llmeval", project.run_directory.name)
    settings, hook = Settings(rootdir=project.path), headless_manager().hook
    deployer = Deployer(hook, settings, read_provenance(project.path), say=print)
    outcome = deployer.apply(
        Order(
            target="registry:qa@champion",
            path=directory.deployment,
            verdict=project.verdict,
            tracked_id=tracked_id(directory),
        )
    )
    assert outcome.reason == "DEPLOYED", outcome.message
    assert aliases(project) == {"candidate": 1, "champion": 1}


def test_rows_left_out_count_at_the_worst_for_a_deployment(project):
    source = (project.path / "evals/test_qa.py").read_text()
    project.write(
        "evals/test_qa.py",
        "def known(prediction, example):\n"
        "    return {'WORD 3': None}.get(prediction, 1)\n\n\n"
        + source.replace('["exact_match"]', '[known, "exact_match"]').replace(
            "0.9)", '0.92, on_error="exclude", max_error_rate=0.1)'
        ),
    )
    project.update_gates()
    project.commit()
    # 39 of 39 rows: lower bound 0.926; 39 of 40: 0.887.
    refuse(project, expected="ROWS_MISSING")
    assert project.verdict["status"] == "pass"
    assert project.verdict["gates"][0]["decision_at_worst"] == "inconclusive"
