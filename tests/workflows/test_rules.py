"""Workflows obey the rules, and each rule finds the workflow that breaks it."""

import re

import pytest

from . import documents
from . import rules
from .documents import ACTION
from .documents import ALL
from .documents import COMMENT
from .documents import EVALS
from .documents import ROOT
from .documents import TEMPLATES
from .documents import Workflow
from .documents import generated


GOOD = """\
on:
  pull_request:
permissions: {}
defaults:
  run:
    shell: bash
jobs:
  evaluate:
    name: Evaluate
    timeout-minutes: 5
    permissions:
      contents: read
    steps:
      - uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1
        with:
          persist-credentials: false
      - run: pytest --junitxml=junit.xml
      - if: always()
        uses: actions/upload-artifact@043fb46d1a93c77aae656e7c1c64a875d1fc6a0a # v7.0.1
        with:
          path: |
            junit.xml
            .llmeval/runs/
          include-hidden-files: true
  deploy:
    name: Deploy
    if: github.event_name == 'push' && vars.TARGET != ''
    timeout-minutes: 5
    environment: production
    concurrency:
      group: deploy
      cancel-in-progress: false
    permissions:
      contents: read
    env:
      KEY: ${{ secrets.KEY }}
    steps:
      - run: llmeval deploy apply
"""
PUBLISHES = """\
on:
  push:
permissions: {}
defaults: {run: {shell: bash}}
jobs:
  publish:
    name: Publish to PyPI
    timeout-minutes: 5
    environment: pypi
    concurrency: {group: release, cancel-in-progress: false}
    permissions:
      id-token: write
    steps:
      - uses: pypa/gh-action-pypi-publish@dc37677b2e1c63e2034f94d8a5b11f265b73ba33 # v1
"""
AFTER = """\
on:
  workflow_run:
    workflows: [Evals]
permissions: {}
defaults: {run: {shell: bash}}
jobs:
  comment:
    name: Comment
    timeout-minutes: 5
    permissions: {actions: read, pull-requests: write}
    steps:
      - run: curl
"""
CHECKOUT = "uses: actions/checkout@3d3c42e5aac5ba805825da76410c181273ba90b1 # v7.0.1"


def broken(rule, workflow):
    return list(rule(Workflow("a workflow", workflow)))


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("workflow", ALL, ids=lambda workflow: workflow.name)
def test_workflow_obeys(rule, workflow):
    assert list(rule(workflow)) == []


@pytest.mark.parametrize("rule", rules.OF_STEPS, ids=lambda rule: rule.__name__)
def test_action_obeys(rule):
    assert list(rule(ACTION)) == []


@pytest.mark.parametrize("rule", rules.RULES, ids=lambda rule: rule.__name__)
@pytest.mark.parametrize("workflow", [GOOD, PUBLISHES, AFTER])
def test_rule_lets_a_good_workflow_pass(rule, workflow):
    assert broken(rule, workflow) == []


@pytest.mark.parametrize(
    ("rule", "workflow", "old", "new"),
    [
        (rules.actions_are_pinned, GOOD, r"@3d3\w+ # v7.0.1", "@v7"),
        (rules.actions_are_pinned, GOOD, r"@3d3\w+ #", "@3d3c42e #"),
        (rules.actions_are_pinned, GOOD, " # v7.0.1", ""),
        (rules.actions_are_pinned, GOOD, "uses: .*", "uses: docker://alpine:3"),
        (rules.rights_are_least, GOOD, "permissions: {}\n", ""),
        (rules.rights_are_least, GOOD, "permissions: {}", "permissions: read-all"),
        (rules.rights_are_least, GOOD, "contents: read", "contents: write"),
        (rules.rights_are_least, GOOD, "    permissions:\n      contents: read\n", ""),
        (rules.rights_are_least, AFTER, "actions: read", "contents: write"),
        (rules.identity_goes_to_one_action, PUBLISHES, "    environment: pypi\n", ""),
        (rules.identity_goes_to_one_action, PUBLISHES, "uses: .*", "run: twine"),
        (rules.identity_goes_to_one_action, PUBLISHES, "uses: .*", CHECKOUT),
        (
            rules.no_trigger_runs_the_head_with_rights,
            GOOD,
            "pull_request:",
            "pull_request_target:",
        ),
        (rules.no_trigger_runs_the_head_with_rights, AFTER, "run: curl", CHECKOUT),
        (rules.no_trigger_runs_the_head_with_rights, AFTER, "run: curl", "uses: ./"),
        (rules.no_trigger_runs_the_head_with_rights, AFTER, "curl", "git fetch"),
        (rules.no_trigger_runs_the_head_with_rights, AFTER, "curl", "pip install ."),
        (rules.pull_requests_see_no_secrets, GOOD, "    if: github.*\n", ""),
        (rules.pull_requests_see_no_secrets, GOOD, " && ", " || "),
        (rules.pull_requests_see_no_secrets, GOOD, " && ", " && a == b || "),
        (rules.pull_requests_see_no_secrets, GOOD, "== 'push'", "!= 'push'"),
        (
            rules.pull_requests_see_no_secrets,
            GOOD,
            "jobs:",
            "env:\n  KEY: ${{ secrets['KEY'] }}\njobs:",
        ),
        (
            rules.pull_requests_see_no_secrets,
            GOOD,
            "    name: Evaluate",
            "    environment: production",
        ),
        (rules.jobs_have_time_limits, GOOD, "    timeout-minutes: 5\n", ""),
        (rules.credentials_are_not_kept, GOOD, "credentials: false", "credentials: 1"),
        (
            rules.credentials_are_not_kept,
            GOOD,
            "        with:\n          persist-credentials: false\n",
            "",
        ),
        (
            rules.shells_are_given_no_expressions,
            GOOD,
            "run: pytest",
            "run: echo ${{ github.head_ref }}; pytest",
        ),
        (rules.shells_stop_at_errors, GOOD, "shell: bash", "shell: sh"),
        (rules.deployments_are_guarded, GOOD, "    environment: production\n", ""),
        (rules.deployments_are_guarded, GOOD, "progress: false", "progress: true"),
        (rules.deployments_are_guarded, GOOD, "    if: github.*\n", ""),
        (rules.deployments_are_guarded, PUBLISHES, "    concurrency: .*\n", ""),
        (rules.junit_is_kept_always, GOOD, "if: always()", "if: success()"),
        (rules.junit_is_kept_always, GOOD, "            junit.xml\n", ""),
        (rules.hidden_folders_are_kept, GOOD, "include-hidden-files: true", "x: y"),
    ],
)
def test_rule_finds(rule, workflow, old, new):
    pattern = re.escape(old) if old.endswith("()") else old
    changed = re.sub(pattern, new.replace("\\", r"\\"), workflow, count=1)
    assert changed != workflow
    assert broken(rule, changed)


def test_own_workflows_are_what_the_templates_become_here():
    for name, own in (("llmeval.yml", EVALS), ("llmeval-comment.yml", COMMENT)):
        template = TEMPLATES / ".github/workflows" / name
        assert documents.render(template) == (ROOT / own).read_text(encoding="utf-8")


def test_templates_have_these_placeholders_and_no_others():
    found = {
        name
        for path in TEMPLATES.rglob("*.yml")
        for name in re.findall(r"@@(\w+)@@", path.read_text(encoding="utf-8"))
    }
    assert found == set(documents.VALUES)
    assert "@@" not in generated("llmeval.yml").text


def test_comment_follows_the_evaluation_by_its_name():
    evals, comment = generated("llmeval.yml"), generated("llmeval-comment.yml")
    followed = comment.document["on"]["workflow_run"]["workflows"]
    assert followed == [evals.document["name"]]


def test_the_branch_is_evaluated_as_the_pull_request_was():
    jobs = generated("llmeval.yml").jobs
    named = {
        name: {step.get("name"): step.get("run") for step in jobs[name]["steps"]}
        for name in ("evaluate", "decide")
    }
    for name in ("Install", "Fetch the embedded model", "Evaluate"):
        assert named["evaluate"][name] == named["decide"][name]


def test_jobs_of_this_repository_are_complete():
    workflows = {workflow.name: workflow for workflow in ALL}
    ci, nightly = workflows["ci.yml"].jobs, workflows["nightly.yml"]
    pythons = ci["test"]["strategy"]["matrix"]["python"]
    assert pythons == ["3.11", "3.12", "3.13"]
    assert set(ci["green"]["needs"]) == set(ci) - {"green"}
    assert ci["green"]["if"] == "always()"
    (cron,) = nightly.document["on"]["schedule"]
    assert re.fullmatch(r"\d+ \d+ \* \* \*", cron["cron"])
    release = workflows["release.yml"].jobs
    chain = [release[name].get("needs") for name in release]
    assert list(release) == ["build", "wheel", "publish", "announce"]
    assert chain == [None, "build", "wheel", "publish"]


def test_one_file_is_built_tested_and_published():
    for workflow in ALL:
        builders = [name for name, step in workflow.steps() if "-m build" in str(step)]
        assert builders == (["build"] if "wheel" in workflow.jobs else [])
    release = next(workflow for workflow in ALL if workflow.name == "release.yml")
    for name in ("wheel", "publish", "announce"):
        taken = [
            step.get("with", {}).get("name") for step in release.jobs[name]["steps"]
        ]
        assert "dist" in taken
