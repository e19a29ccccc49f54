"""The composite action's shell steps, run as written."""

import json

import pytest

from tests.behaviour.conftest import Suite

from .conftest import at_github
from .documents import ACTION
from .expressions import fill
from .runner import Job


pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture
def suite(tmp_path):
    made = Suite(tmp_path / "project")
    made.write("evals/gates.toml", "schema = 1\n")
    made.update_gates()
    made.commit()
    return made


@pytest.fixture
def use(suite, tmp_path):
    """Use the action in a job that has checked the suite out."""

    def use_with(**inputs):
        github = at_github(suite, "pull_request")
        job = Job(suite.path, tmp_path / "temp", {})
        job.temp.mkdir(exist_ok=True)
        given = {
            name: one.get("default", "")
            for name, one in ACTION.document["inputs"].items()
        }
        given |= {name.replace("_", "-"): value for name, value in inputs.items()}
        job.contexts = {
            "github": {**github.event, "action_path": "/the action"},
            "inputs": given,
            "steps": {},
            "env": {},
            "always()": True,
            "success()": True,
        }
        github.run_steps(job, ACTION.document["runs"]["steps"])
        outputs = ACTION.document["outputs"].items()
        job.outputs = {name: fill(one["value"], job.contexts) for name, one in outputs}
        return job, github.artifacts

    return use_with


def test_passing_suite_gives_its_verdict_and_is_kept(use, suite):
    job, artifacts = use()
    assert job.result == "success"
    run = f".llmeval/runs/{suite.verdict['run_id']}"
    assert job.outputs == {"status": "pass", "run": run, "exit-status": "0"}
    kept = artifacts["llmeval"]
    assert json.loads((kept / run / "verdict.json").read_text())["status"] == "pass"
    assert (kept / "junit.xml").exists()
    assert (kept / "report.md").read_text().startswith("## Verdict: pass")


def test_failing_suite_is_red_with_its_outputs(use, suite):
    suite.write("evals/test_fails.py", "def test_fails():\n    assert False\n")
    job, artifacts = use()
    assert job.result == "failure"
    assert (job.outputs["status"], job.outputs["exit-status"]) == ("fail", "1")
    assert (artifacts["llmeval"] / "junit.xml").exists()


def test_verdict_that_is_no_pass_is_red_only_where_required(use, suite):
    (suite.path / "evals/gates.toml").unlink()
    assert use()[0].outputs["exit-status"] == "1"
    assert use(require="false")[0].outputs["exit-status"] == "0"


def test_arguments_are_taken_as_they_are(use, suite):
    job, _ = use(
        arguments="-k\nnot $(touch pwned)\n-p\nno:randomly",
        suite="evals/test_qa.py",
        junit="out/a b.xml",
        require="false",
        artifact="",
    )
    assert not (suite.path / "pwned").exists()
    assert job.outputs["exit-status"] == "4", job.log
    assert "not $(touch pwned)" in job.log


def test_session_that_evaluates_nothing_has_no_verdict(use, suite):
    suite.run()
    job, _ = use(arguments="--co", require="false")
    assert job.outputs == {"status": "", "run": "", "exit-status": "0"}


def test_given_model_is_evaluated(use, suite):
    suite.write("evals/conftest.py", "")
    suite.write("answers.py", "def shout(prompt):\n    return prompt.upper()\n")
    job, _ = use(model="python:answers:shout", require="false")
    assert job.outputs["exit-status"] == "0"
    assert suite.verdict["model"]["name"] == "answers:shout"


@pytest.mark.parametrize(
    ("install", "installed"),
    [
        ("", "pytest-llmeval-gate[local,xdist] @ file:///the action"),
        ("one==1\n\ntwo @ file:///a b\n", "one==1 two @ file:///a b"),
    ],
)
def test_install_takes_one_requirement_a_line(use, install, installed):
    job, _ = use(install=install, arguments="--version")
    pip = (job.temp / "pip.log").read_text()
    assert pip == f"pip: -m pip install --disable-pip-version-check -- {installed}\n"
