"""The Jenkinsfile that `llmeval init` writes is linted, and the lint finds mistakes."""

import pytest

from pytest_llmeval.scaffold.contents import TEMPLATES
from pytest_llmeval.scaffold.placeholders import fill
from tests.behaviour.jenkinsfile import parse
from tests.behaviour.jenkinsfile import problems


VALUES = {
    "BRANCH": "main",
    "EMBEDDED": "smollm2",
    "INSTALL": "-r evals/requirements.txt",
    "PYTHON": "3.11",
    "SUITE": "evals/",
    "TARGET": "registry:qa@champion",
}
SOURCE = (TEMPLATES / "jenkins/Jenkinsfile").read_text()
GOOD = fill(SOURCE, VALUES, "Jenkinsfile")


def test_nothing_is_wrong_with_what_is_written():
    assert problems(GOOD) == []


def test_stages_are_these_in_this_order():
    stages = [stage.argument for stage in parse(GOOD).all("stage")]
    expected = ["Verdict", "Checkout", "Install", "Evaluate", "Gate", "Deploy"]
    assert stages == expected


def test_credentials_are_bound_around_the_deployment_alone():
    (bound,) = parse(GOOD).all("withCredentials")
    (script,) = bound.children
    assert script.argument.split()[:3] == [".venv/bin/llmeval", "deploy", "apply"]


DEPLOY = ".venv/bin/llmeval deploy apply"
LINE = "                        "
MISTAKES = [
    ("agent none", "agent none {", "{ is not closed"),
    ("    agent none", "    agent none }", "closes nothing"),
    ("stage('Gate')", "stage('Gate)", "string is not closed"),
    ("pipeline {", "node {", "one pipeline and nothing beside"),
    ("    agent none\n", "", "the pipeline has no agent"),
    ("            agent any\n", "", "the stage has no agent"),
    (
        "                    steps {",
        "                    steps {}\n stages {",
        "either",
    ),
    ("            input {", "            ask {", "ask is no section of stage"),
    ("                        always {", LINE + "ever {", "ever is no section of post"),
    ("sh '''", 'sh """', "not closed"),
    ("sh '''\n" + LINE + "    test", "sh \"${BRANCH}\"\nsh '''\n", "put values into"),
    ("--llmeval-require", "\\\n --llmeval-require", "takes the backslashes"),
    ("                branch 'main'\n", "", "other branches and pull requests"),
    ("                    changeRequest()\n", "", "other branches and pull requests"),
    ("rm -rf llmeval-run junit.xml", f"{DEPLOY}", "other branches and pull requests"),
    ("                beforeInput true\n", "", "pull requests would wait"),
    ("            input {", "            environment {", "nobody is asked"),
    ("lock('registry:qa@champion')", "script", "two deployments may run at once"),
    ("        disableConcurrentBuilds()\n", "", "lack disableConcurrentBuilds"),
    ("        timeout(time: 26, unit: 'HOURS')\n", "", "lack timeout"),
    ("junit testResults: 'junit.xml'", "echo 'red'", "no step junit"),
    ("checkout scm", "junit 'junit.xml'", "junit is to be in post, always"),
]


@pytest.mark.parametrize(("right", "wrong", "said"), MISTAKES)
def test_mistake_is_found(right, wrong, said):
    assert right in GOOD
    found = problems(GOOD.replace(right, wrong, 1))
    assert any(said in problem for problem in found), found
    assert all(problem.startswith("line ") for problem in found)


def test_strings_and_comments_hold_no_blocks():
    source = "// a { comment\npipeline {\n  sh '''\n  { '\n  '''  /* } */\n}\n"
    (pipeline,) = parse(source).children
    assert [step.argument.strip() for step in pipeline.children] == ["{ '"]
