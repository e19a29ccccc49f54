"""`llmeval deploy` brings a stored verdict to a real MLflow registry, and back."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .registry import REGISTRY
from .registry import aliases
from .registry import client


# MLflow warns in many places; the runs under test are in processes of their own.
pytestmark = pytest.mark.filterwarnings("ignore")
TARGET = ("--target", REGISTRY)


def test_plan_apply_status_and_rollback(evaluated):
    before = client(evaluated).get_registered_model("qa")
    planned = evaluated.deploy("plan")
    assert planned.ret == 0
    planned.stdout.fnmatch_lines(
        ["registry:qa@champion", "  ~ alias champion of qa: nothing -> version 2"]
    )
    after = client(evaluated).get_registered_model("qa")
    assert (after.aliases, after.tags) == (before.aliases, before.tags)
    assert not (evaluated.path / ".llmeval/deployments.jsonl").exists()

    asked = evaluated.deploy("apply")
    assert asked.ret == 10
    asked.stderr.fnmatch_lines(["there is nobody to ask; agree with --yes"])
    assert aliases(evaluated) == {"candidate": 1}

    assert evaluated.apply(1).ret == 0
    assert aliases(evaluated) == {"candidate": 1, "champion": 1}
    status = json.loads(evaluated.deploy("status", "--json").stdout.str())
    (target,) = status["targets"].values()
    assert target["live"] == {"version": "1"}
    assert target["tags"]["llmeval.run_id"] == evaluated.runs[1]
    assert target["tags"]["llmeval.why"] == (
        "1 gate passed on up to 40 rows: exact_match >= 0.9"
    )

    other = ("--verdict", evaluated.verdict_of(2))
    refused = evaluated.deploy("rollback", "--yes", *other)
    assert refused.ret == 10
    refused.stdout.fnmatch_lines(["*SUPERSEDED: *has not deployed*"])
    own = ("--verdict", evaluated.verdict_of(1))
    assert evaluated.deploy("rollback", "--yes", *own).ret == 0
    assert aliases(evaluated) == {"candidate": 1}
    nothing = evaluated.deploy("rollback", "--yes")
    assert nothing.ret == 10
    nothing.stdout.fnmatch_lines(["*NOTHING_TO_ROLL_BACK*"])
    reasons = [attempt["reason"] for attempt in evaluated.attempts]
    assert reasons == ["DEPLOYED", "RESTORED", "NOTHING_TO_ROLL_BACK"]


def test_later_of_two_verdicts_is_superseded_whichever_it_is(evaluated):
    assert evaluated.apply(2).ret == 0
    assert evaluated.apply(1).ret == 10
    assert evaluated.outcome_of(1) == "SUPERSEDED"
    assert evaluated.apply(2).ret == 0
    assert evaluated.outcome_of(2) == "NOOP"
    assert aliases(evaluated)["champion"] == 2


def test_one_of_two_deployments_at_once_wins(evaluated):
    llmeval = str(Path(sys.executable).with_name("llmeval"))
    command = (llmeval, "deploy", "apply", "--yes", *TARGET)
    processes = [
        subprocess.Popen(
            (*command, "--verdict", evaluated.verdict_of(version)),
            cwd=evaluated.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        for version in (1, 2)
    ]
    for process in processes:
        process.communicate(timeout=120)
    assert sorted(process.returncode for process in processes) == [0, 10]
    winner = 1 if processes[0].returncode == 0 else 2
    assert evaluated.outcome_of(winner) == "DEPLOYED"
    assert evaluated.outcome_of(3 - winner) == "SUPERSEDED"
    assert aliases(evaluated)["champion"] == winner


def test_verdict_of_another_commit_is_stale(evaluated):
    evaluated.write("README.md", "changed")
    evaluated.commit()
    assert evaluated.apply(1).ret == 10
    assert evaluated.outcome_of(1) == "VERDICT_STALE"
    assert aliases(evaluated) == {"candidate": 1}


def test_verdict_that_is_too_old_is_stale(evaluated):
    ini = (evaluated.path / "pytest.ini").read_text()
    evaluated.write("pytest.ini", f"{ini}llmeval_verdict_max_age = 0\n")
    subprocess.run(
        ("git", "update-index", "--assume-unchanged", "pytest.ini"),
        cwd=evaluated.path,
        check=True,
    )
    assert evaluated.apply(1).ret == 10
    assert evaluated.outcome_of(1) == "VERDICT_STALE"


@pytest.mark.parametrize("content", [None, "", "[]", '{"status": "pass"}', "\x00"])
def test_file_that_is_no_verdict_is_refused(evaluated, content):
    path = evaluated.path / evaluated.verdict_of(1)
    path.unlink() if content is None else path.write_text(content)
    result = evaluated.apply(1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["not deployed: VERDICT_UNUSABLE: cannot use *"])
    assert aliases(evaluated) == {"candidate": 1}


def test_project_without_a_run_says_how_to_make_one(evaluated):
    shutil.rmtree(evaluated.path / ".llmeval")
    result = evaluated.deploy("apply", "--yes")
    assert result.ret == 1
    result.stderr.fnmatch_lines(["llmeval: there is no run in *pytest evals/*"])


def test_run_that_ended_itself_with_status_0_is_incomplete(evaluated):
    evaluated.write("evals/test_z.py", "import os\ndef test_z():\n    os._exit(0)\n")
    assert evaluated.run("evals", "--llmeval-model", "models:/qa/1").ret == 0
    evaluated.runs = {1: evaluated.run_directory.name}
    assert evaluated.apply(1).ret == 10
    assert evaluated.outcome_of(1) == "INCOMPLETE"
    assert aliases(evaluated) == {"candidate": 1}


def test_pull_request_changes_nothing(evaluated, monkeypatch):
    monkeypatch.setenv("GITHUB_EVENT_NAME", "pull_request")
    assert evaluated.apply(1).ret == 10
    assert evaluated.outcome_of(1) == "UNTRUSTED_CONTEXT"
    assert evaluated.deploy("rollback", "--yes").ret == 10
    assert aliases(evaluated) == {"candidate": 1}


def test_ci_is_not_asked(evaluated, monkeypatch):
    monkeypatch.setenv("GITHUB_ACTIONS", "true")
    monkeypatch.setenv("GITHUB_REF_PROTECTED", "true")
    monkeypatch.setenv("GITHUB_ACTOR", "octocat")
    assert evaluated.deploy("apply").ret == 0
    assert aliases(evaluated)["champion"] == 2
    assert evaluated.attempts[0]["who"]["actor"] == "octocat"


def test_dry_run_in_the_run_itself_prints_the_plan_and_writes_nothing(evaluated):
    before = client(evaluated).get_registered_model("qa")
    result = evaluated.run("evals", "--llmeval-deploy", "dry-run:registry:qa@champion")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["~ alias champion of qa: nothing -> version 1", "would be deployed: *"]
    )
    assert evaluated.deployment["reason"] == "DRY_RUN"
    after = client(evaluated).get_registered_model("qa")
    assert (after.aliases, after.tags) == (before.aliases, before.tags)
    assert client(evaluated).get_model_version("qa", "1").tags == {}


def test_deployment_that_was_not_asked_for_leaves_no_trace(evaluated):
    runs = evaluated.path / ".llmeval/runs"
    assert not list(runs.glob("*/deployment.json"))
    assert aliases(evaluated) == {"candidate": 1}


def test_another_models_verdict_is_a_mismatch(evaluated):
    target = ("--target", "registry:other@champion")
    result = evaluated.llmeval("deploy", "plan", *target)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["not deployed: MODEL_MISMATCH: *models:/other/*"])
    assert aliases(evaluated) == {"candidate": 1}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--traffic", "10"), "*--traffic is the share of a challenger*"),
        (("--challenger", "--traffic", "50"), "*whole number from 1 to 49*"),
    ],
)
def test_share_of_the_traffic_is_that_of_a_challenger(evaluated, arguments, message):
    result = evaluated.deploy("plan", *arguments)
    assert result.ret in (1, 2)
    result.stderr.fnmatch_lines([message])


def test_ini_file_that_pytest_refuses_is_an_error(evaluated):
    ini = (evaluated.path / "pytest.ini").read_text()
    evaluated.write("pytest.ini", f"{ini}llmeval_max_atempts = 9\n")
    result = evaluated.deploy("plan")
    assert result.ret == 1
    result.stderr.fnmatch_lines(["llmeval: *did you mean 'llmeval_max_attempts'?*"])


def test_no_code_of_the_suite_runs_in_the_process_that_deploys(evaluated):
    evaluated.write("evals/conftest.py", "open('ran', 'w')\n")
    evaluated.write("conftest.py", "open('ran', 'w')\n")
    os.utime(evaluated.path / "conftest.py")
    evaluated.deploy("plan")
    assert not (evaluated.path / "ran").exists()


def test_edited_verdict_is_refused(evaluated):
    path = evaluated.path / evaluated.verdict_of(1)
    text = path.read_text()
    for old, new in (('"threshold": 0.9', '"threshold": 0.8'), ('"1"', '"2"')):
        assert old in text
        path.write_text(text.replace(old, new))
        result = evaluated.apply(1)
        assert result.ret == 10
        result.stdout.fnmatch_lines(["not deployed: VERDICT_TAMPERED: *"])
    path.write_text(text)
    result = evaluated.apply(1)
    assert result.ret == 0
    result.stderr.fnmatch_lines(["the verdict is not authenticated: *"])


def test_run_that_was_judged_by_another_manifest_is_refused(evaluated):
    lax = (evaluated.path / "evals/gates.toml").read_text().replace("0.9\n", "0.5\n")
    evaluated.write("lax.toml", lax)
    source = (evaluated.path / "evals/test_qa.py").read_text()
    evaluated.write("evals/test_qa.py", source.replace("0.9", "0.5"))
    evaluated.commit()
    model = ("--llmeval-model", "models:/qa/1")
    lowered = ("-o", "llmeval_manifest=lax.toml")
    assert evaluated.run("evals", *model, *lowered, "--llmeval-require").ret == 0
    evaluated.runs = {1: evaluated.run_directory.name}
    assert evaluated.apply(1).ret == 10
    assert evaluated.outcome_of(1) == "GATE_CHANGED"
    assert aliases(evaluated) == {"candidate": 1}


def test_signature_is_asked_for_where_there_is_a_key(evaluated, monkeypatch):
    monkeypatch.setenv("LLMEVAL_SIGNING_KEY", "a-key-of-trusted-jobs")
    result = evaluated.apply(1)
    assert result.ret == 10
    result.stdout.fnmatch_lines(["not deployed: VERDICT_TAMPERED: *not signed*"])
    assert evaluated.run("evals", "--llmeval-model", "models:/qa/1").ret == 0
    evaluated.runs = {1: evaluated.run_directory.name}
    monkeypatch.setenv("LLMEVAL_SIGNING_KEY", "another-key")
    assert evaluated.apply(1).ret == 10
    monkeypatch.setenv("LLMEVAL_SIGNING_KEY", "a-key-of-trusted-jobs")
    result = evaluated.apply(1)
    assert result.ret == 0
    assert "not authenticated" not in result.stderr.str()


def test_secret_in_a_verdict_is_taken_out_before_it_is_sealed(evaluated, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "canary-in-a-name")
    source = (evaluated.path / "evals/test_qa.py").read_text()
    named = source.replace(
        'metrics=["exact_match"])', 'metrics=["exact_match"], name="canary-in-a-name")'
    )
    evaluated.write("evals/test_qa.py", named)
    evaluated.commit()
    assert evaluated.run("evals", "--llmeval-model", "models:/qa/1").ret == 0
    evaluated.runs = {1: evaluated.run_directory.name}
    assert "canary" not in (evaluated.path / evaluated.verdict_of(1)).read_text()
    assert evaluated.apply(1).ret == 0
