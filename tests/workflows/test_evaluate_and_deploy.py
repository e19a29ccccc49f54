"""The shell steps of the workflow that evaluates and deploys, run as written."""

import json
import xml.etree.ElementTree as ET

import pytest

from tests.behaviour.registry import aliases
from tests.behaviour.registry import client

from .conftest import KEY
from .conftest import at_github
from .documents import EVALS
from .documents import ROOT
from .documents import generated
from .documents import read


# MLflow warns in many places; the runs under test are in processes of their own.
pytestmark = pytest.mark.filterwarnings("ignore")
WORKFLOW = generated("llmeval.yml")
BEFORE = {"candidate": 1}
DEPLOYED = {"candidate": 1, "champion": 1}


def results(jobs):
    return {name: job.result for name, job in jobs.items()}


def make_worse(project):
    """Have the suite expect what the model does not answer."""
    data = project.path / "evals/data.jsonl"
    data.write_text(data.read_text().replace("WORD", "other"))
    project.commit()


def verdict_in(github):
    (path,) = github.artifacts["llmeval-run"].glob(".llmeval/runs/*/verdict.json")
    return json.loads(path.read_text())


def test_passing_pull_request_is_reported_and_deploys_nothing(project):
    github = at_github(project, "pull_request")
    jobs = github.run(WORKFLOW)
    assert results(jobs) == {
        "evaluate": "success",
        "decide": "skipped",
        "deploy": "skipped",
    }
    assert aliases(project) == BEFORE
    report = (github.artifacts["llmeval-report"] / "report.md").read_text()
    assert report.startswith("## Verdict: pass")
    assert jobs["evaluate"].summary == report
    junit = ET.parse(github.artifacts["llmeval-run"] / "junit.xml")
    assert junit.find(".//property[@name='llmeval.run_id']") is not None
    assert "signature" not in verdict_in(github), "it had no key"


def test_failing_pull_request_is_red_and_leaves_report_and_junit(project):
    make_worse(project)
    github = at_github(project, "pull_request")
    assert github.run(WORKFLOW)["evaluate"].result == "failure"
    report = (github.artifacts["llmeval-report"] / "report.md").read_text()
    assert report.startswith("## Verdict: fail")
    junit = ET.parse(github.artifacts["llmeval-run"] / "junit.xml")
    assert junit.find(".//failure") is not None
    assert verdict_in(github)["reason"] == "GATE_FAILED"


def test_push_to_the_branch_deploys_exactly_its_verdict(project):
    github = at_github(project, "push")
    jobs = github.run(WORKFLOW)
    assert results(jobs) == {
        "evaluate": "skipped",
        "decide": "success",
        "deploy": "success",
    }
    assert aliases(project) == DEPLOYED
    verdict = verdict_in(github)
    assert verdict["commit"] == github.event["sha"]
    assert "signature" in verdict
    assert "not authenticated" not in jobs["deploy"].log
    tags = client(project).get_model_version("qa", "1").tags
    assert tags["llmeval.run_id"] == verdict["run_id"]
    kept = github.artifacts["llmeval-deployment"]
    (path,) = kept.rglob("deployment.json")
    assert json.loads(path.read_text())["reason"] == "DEPLOYED"


def test_failing_push_deploys_nothing(project):
    make_worse(project)
    jobs = at_github(project, "push").run(WORKFLOW)
    assert results(jobs) == {
        "evaluate": "skipped",
        "decide": "failure",
        "deploy": "skipped",
    }
    assert aliases(project) == BEFORE


def test_pull_request_without_a_manifest_is_red(project):
    (project.path / "evals/gates.toml").unlink()
    project.commit()
    jobs = at_github(project, "pull_request").run(WORKFLOW)
    assert jobs["evaluate"].result == "failure"


def test_without_a_target_nothing_is_deployed(project):
    github = at_github(project, "push")
    github.vars = {**github.vars, "LLMEVAL_TARGET": ""}
    assert results(github.run(WORKFLOW))["deploy"] == "skipped"
    assert aliases(project) == BEFORE


def test_unprotected_branch_is_refused(project):
    github = at_github(project, "push", ref_protected="false")
    jobs = github.run(WORKFLOW)
    assert jobs["deploy"].result == "failure"
    assert "UNTRUSTED_CONTEXT" in jobs["deploy"].log
    assert aliases(project) == BEFORE


def forge(github, **changes):
    """Change the run between the two jobs as nobody should be able to."""
    keep = github._upload

    def upload(job, given):
        keep(job, given)
        for path in (github.folder / "artifacts").rglob("verdict.json"):
            path.write_text(json.dumps({**json.loads(path.read_text()), **changes}))
        return True

    github._upload = upload


def test_verdict_that_changed_between_the_jobs_is_not_deployed(project):
    github = at_github(project, "push")
    forge(github, detail="all is well")
    jobs = github.run(WORKFLOW)
    assert jobs["deploy"].result == "failure"
    assert "FAILED" in jobs["deploy"].log
    assert aliases(project) == BEFORE


def test_job_with_another_key_refuses_the_verdict(project):
    github = at_github(project, "push")
    other = {**github.secrets["llmeval"], "LLMEVAL_SIGNING_KEY": KEY[::-1]}
    github.secrets = {**github.secrets, "llmeval-production": other}
    jobs = github.run(WORKFLOW)
    assert jobs["deploy"].result == "failure"
    assert "VERDICT_TAMPERED" in jobs["deploy"].log
    assert aliases(project) == BEFORE


def test_secret_that_is_not_set_is_no_key(project):
    github = at_github(project, "push")
    github.secrets = {}
    jobs = github.run(WORKFLOW)
    assert "signature" not in verdict_in(github)
    assert "the verdict is not authenticated" in jobs["deploy"].log
    assert aliases(project) == DEPLOYED


@pytest.mark.gguf
def test_own_workflow_evaluates_and_deploys_too(project):
    """Here it fetches the embedded model first, which another project does not need."""
    github = at_github(project, "push")
    jobs = github.run(read(ROOT / EVALS))
    assert "gguf:smollm2 is " in jobs["decide"].log
    assert results(jobs)["deploy"] == "success"
    assert aliases(project) == DEPLOYED
