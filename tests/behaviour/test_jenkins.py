"""The shell steps of the Jenkinsfile run as written: who passes and is agreed deploys.

There is no Jenkins here. The steps of each stage are run by `sh -xe`, as Jenkins runs
them, in two workspaces that are clones of one repository; pip alone is not run, because
it would download.
"""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from .jenkinsfile import parse
from .registry import aliases
from .registry import client


pytestmark = pytest.mark.filterwarnings("ignore")
BIN = Path(sys.executable).parent
# What `python3 -m venv .venv` makes here: a Python that installs nothing.
MAKE_ENVIRONMENT = f"""\
#!/bin/sh
test "$*" = "-m venv .venv"
mkdir -p .venv/bin
cat > .venv/bin/python <<'END'
#!/bin/sh
case "$*" in "-m pip install -r evals/requirements.txt") exit 0;; esac
exec {sys.executable} "$@"
END
chmod +x .venv/bin/python
ln -sf {BIN}/llmeval .venv/bin/llmeval
"""


class Jenkins:
    """Runs the stages of a Jenkinsfile for one build of a branch or pull request."""

    def __init__(self, project, folder, **environment):
        self.project, self.folder = project, folder
        parsed = parse((project.path / "Jenkinsfile").read_text())
        self.stages = [stage for stage in parsed.all("stage") if stage.get("steps")]
        self.passed, self.output, self.agreed = [], "", False
        tools = folder / "tools"
        tools.mkdir()
        (tools / "python3").write_text(MAKE_ENVIRONMENT)
        (tools / "python3").chmod(0o755)
        self.environment = {
            **os.environ,
            "PATH": f"{tools}:{os.environ['PATH']}",
            "JENKINS_URL": "https://ci.example.org/",
            "MLFLOW_TRACKING_URI": f"sqlite:///{project.path / 'mlflow.db'}",
            **environment,
        }

    def build(self):
        """Run the stages until one fails; return the names of those that passed.

        Once more, go on with those that have not run, as when somebody has agreed.
        """
        for stage in self.stages[len(self.passed) :]:
            if self._is_wanted(stage):
                try:
                    workspace, variables = self._workspace(stage)
                    for step in stage.get("steps").walk():
                        self._run(step, workspace, variables)
                except subprocess.CalledProcessError:
                    break
                self.passed.append(stage.argument)
        return self.passed

    def _is_wanted(self, stage):
        when = stage.get("when")
        if when is None:
            return True
        (branch,) = when.all("branch")
        is_pull_request = "CHANGE_ID" in self.environment
        on_branch = self.environment["BRANCH_NAME"] == branch.argument
        return on_branch and not is_pull_request and self.agreed

    def _workspace(self, stage):
        """Return the folder of the agent that a stage runs on, and its variables."""
        owner = next(one for one in reversed(stage.stages) if one.get("agent"))
        given = owner.get("environment")
        pairs = [] if given is None else given.children
        variables = {one.name: one.argument for one in pairs}
        return self.folder / owner.argument, variables

    def _run(self, step, workspace, variables):
        stored = self.folder / "stash"
        if step.name == "checkout":
            git = ("git", "clone", "--quiet", str(self.project.path), str(workspace))
            subprocess.run(git, check=True)
        elif step.name == "sh":
            self.shell(step.argument, workspace, variables)
        elif step.name == "stash":
            shutil.copytree(workspace / "llmeval-run", stored)
        elif step.name == "unstash":
            shutil.copytree(stored, workspace / "llmeval-run")

    def shell(self, script, workspace, variables=()):
        done = subprocess.run(
            ("sh", "-xe", "-c", script),
            cwd=workspace,
            env={**self.environment, **dict(variables)},
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        print(done.stdout, done.stderr, sep="\n")  # shown when the test fails
        self.output += done.stdout + done.stderr
        done.check_returncode()

    @property
    def results(self):
        return self.folder / "Verdict"

    @property
    def verdict(self):
        return json.loads((self.results / "llmeval-run/verdict.json").read_text())


@pytest.fixture
def pipeline(project):
    """A project on main with a Jenkinsfile, whose model is in a registry."""
    git = ("git", "branch", "--move", "--force", "main")
    subprocess.run(git, cwd=project.path, check=True)
    assert project.llmeval("init", "--jenkins").ret == 0
    ini = (project.path / "pytest.ini").read_text()
    project.write("pytest.ini", f"{ini}llmeval_deploy_refs = main\n")
    project.commit()
    return project


EVALUATED = ["Checkout", "Install", "Evaluate", "Gate"]


def test_main_that_passes_is_deployed_once_somebody_agrees(pipeline, tmp_path):
    jenkins = Jenkins(pipeline, tmp_path, BRANCH_NAME="main")
    assert jenkins.build() == EVALUATED
    assert aliases(pipeline) == {"candidate": 1}
    jenkins.agreed = True
    assert jenkins.build() == [*EVALUATED, "Deploy"]
    assert aliases(pipeline) == {"candidate": 1, "champion": 1}
    outcome = json.loads((tmp_path / "Deploy/llmeval-run/deployment.json").read_text())
    assert outcome["reason"] == "DEPLOYED"
    tags = client(pipeline).get_model_version("qa", "1").tags
    assert tags["llmeval.run_id"] == jenkins.verdict["run_id"]
    assert "test_quality" in (jenkins.results / "junit.xml").read_text()


def test_main_that_fails_is_published_and_not_deployed(pipeline, tmp_path):
    source = (pipeline.path / "evals/data.jsonl").read_text()
    pipeline.write("evals/data.jsonl", source.replace("WORD", "other"))
    pipeline.commit()
    jenkins = Jenkins(pipeline, tmp_path, BRANCH_NAME="main")
    jenkins.agreed = True
    assert jenkins.build() == ["Checkout", "Install", "Evaluate"]
    assert aliases(pipeline) == {"candidate": 1}
    assert 'failures="1"' in (jenkins.results / "junit.xml").read_text()
    assert "exact_match" in (jenkins.results / "report.md").read_text()
    assert jenkins.verdict["status"] == "fail"


def test_pull_request_is_refused_by_the_pipeline_and_by_the_command(pipeline, tmp_path):
    jenkins = Jenkins(pipeline, tmp_path, BRANCH_NAME="PR-7", CHANGE_ID="7")
    jenkins.agreed = True
    assert jenkins.build() == EVALUATED
    (deploy,) = jenkins.stages[-1].all("withCredentials")[0].children
    with pytest.raises(subprocess.CalledProcessError) as refusal:
        jenkins.shell(deploy.argument, jenkins.results)
    assert refusal.value.returncode == 10
    assert "UNTRUSTED_CONTEXT" in jenkins.output
    assert aliases(pipeline) == {"candidate": 1}


def test_run_that_breaks_does_not_pass_by_the_verdict_of_the_run_before(
    pipeline, tmp_path
):
    jenkins = Jenkins(pipeline, tmp_path, BRANCH_NAME="main")
    assert jenkins.build() == EVALUATED
    assert jenkins.verdict["status"] == "pass"
    (jenkins.results / ".venv/bin/python").write_text("#!/bin/sh\nexit 3\n")
    _, _, evaluate, gate, _ = jenkins.stages
    jenkins.shell(evaluate.all("sh")[0].argument, jenkins.results)
    with pytest.raises(subprocess.CalledProcessError):
        jenkins.shell(gate.all("sh")[0].argument, jenkins.results)
    assert not (jenkins.results / "llmeval-run/verdict.json").exists()
