"""The rules that workflows of this project obey: each yields what breaks it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from .documents import Workflow


PINNED = re.compile(r"uses: [\w./-]+@[0-9a-f]{40} # v[\d.]+")
ONLY_PUSH = re.compile(r"github\.event_name == 'push'( && [^|]+)?")
FETCHES = re.compile(
    r"git (clone|fetch|pull|checkout)|gh pr checkout|pip install|make "
)
# What a job may do beyond reading this repository, which is public.
MORE_THAN_READING = {
    "Comment": {"actions": "read", "pull-requests": "write"},
    "Publish to PyPI": {"id-token": "write"},
    "Release on GitHub": {"contents": "write"},
    "All green": {},
}


def actions_are_pinned(workflow: Workflow) -> Iterator[str]:
    for line in workflow.text.splitlines():
        use = line.strip().removeprefix("- ")
        is_used = use.startswith("uses: ") and use != "uses: ./"
        if is_used and not PINNED.fullmatch(use):
            yield f"no full commit hash with its version: {use}"


def rights_are_least(workflow: Workflow) -> Iterator[str]:
    if workflow.document.get("permissions") != {}:
        yield "the workflow does not begin with permissions: {}"
    for name, job in workflow.jobs.items():
        wanted = MORE_THAN_READING.get(job.get("name", ""), {"contents": "read"})
        if job.get("permissions") != wanted:
            yield f"{name} may {job.get('permissions')}, and needs {wanted}"


def identity_goes_to_one_action(workflow: Workflow) -> Iterator[str]:
    """A token that publishes is given to no shell and to no code of this repository."""
    for name, job in workflow.jobs.items():
        if "id-token" not in job.get("permissions", {}):
            continue
        if "environment" not in job:
            yield f"{name} publishes without an environment"
        if any("run" in step or _checks_out(step) for step in job["steps"]):
            yield f"{name} runs more than the action that publishes"


def no_trigger_runs_the_head_with_rights(workflow: Workflow) -> Iterator[str]:
    if "pull_request_target" in workflow.triggers:
        yield "pull_request_target"
    if "workflow_run" not in workflow.triggers:
        return
    for name, step in workflow.steps():
        local = step.get("uses", "").startswith("./")
        if _checks_out(step) or local or FETCHES.search(step.get("run", "")):
            yield f"{name} fetches code in a workflow_run: {step}"


def pull_requests_see_no_secrets(workflow: Workflow) -> Iterator[str]:
    if "pull_request" not in workflow.triggers:
        return
    shared = {key: workflow.document.get(key) for key in ("env", "defaults")}
    if _mentions_secrets(shared):
        yield "secrets in the environment of all jobs"
    for name, job in workflow.jobs.items():
        if ONLY_PUSH.fullmatch(job.get("if", "")):
            continue
        if _mentions_secrets(job) or "environment" in job:
            yield f"{name} has secrets, and a pull request reaches it"


def jobs_have_time_limits(workflow: Workflow) -> Iterator[str]:
    for name, job in workflow.jobs.items():
        if not job.get("timeout-minutes", "").isdigit():
            yield f"{name} has no timeout-minutes"


def credentials_are_not_kept(workflow: Workflow) -> Iterator[str]:
    for name, step in workflow.steps():
        keeps = step.get("with", {}).get("persist-credentials") != "false"
        if _checks_out(step) and keeps:
            yield f"{name} leaves the token in the checkout"


def shells_are_given_no_expressions(workflow: Workflow) -> Iterator[str]:
    for name, step in workflow.steps():
        if "${{" in step.get("run", ""):
            yield f"{name} has an expression in a script: {step['run']}"


def shells_stop_at_errors(workflow: Workflow) -> Iterator[str]:
    """Without being named, bash does not stop at an error within a pipe."""
    default = workflow.document.get("defaults") == {"run": {"shell": "bash"}}
    for name, step in workflow.steps():
        if "run" in step and not default and step.get("shell") != "bash":
            yield f"{name} does not say shell: bash: {step['run']}"


def deployments_are_guarded(workflow: Workflow) -> Iterator[str]:
    for name, job in workflow.jobs.items():
        scripts = [step.get("run", "") for step in job.get("steps", ())]
        publishes = "id-token" in job.get("permissions", {})
        if not publishes and not any("llmeval deploy" in one for one in scripts):
            continue
        if "environment" not in job:
            yield f"{name} has no environment"
        if job.get("concurrency", {}).get("cancel-in-progress") != "false":
            yield f"{name} may run beside itself, or be cut off"
        only_push = ONLY_PUSH.fullmatch(job.get("if", ""))
        if "pull_request" in workflow.triggers and not only_push:
            yield f"{name} can run in a pull request"


def junit_is_kept_always(workflow: Workflow) -> Iterator[str]:
    for name, job in workflow.jobs.items():
        steps = job.get("steps", ())
        if not any("--junitxml" in step.get("run", "") for step in steps):
            continue
        kept = [step for step in steps if "junit" in _given(step).get("path", "")]
        if not kept:
            yield f"{name} writes junit and does not keep it"
        if any(not step.get("if", "").startswith("always()") for step in kept):
            yield f"{name} keeps junit of passing runs alone"


def hidden_folders_are_kept(workflow: Workflow) -> Iterator[str]:
    """Unless told otherwise, the upload leaves .llmeval out without a word."""
    for name, step in workflow.steps():
        given = _given(step)
        hidden = "/." in f"/{given.get('path', '')}".replace("\n", "/")
        if hidden and given.get("include-hidden-files") != "true":
            yield f"{name} uploads nothing of {given['path']}"


def _given(step: dict[str, Any]) -> dict[str, str]:
    uploads = step.get("uses", "").startswith("actions/upload-artifact@")
    given: dict[str, str] = step["with"] if uploads else {}
    return given


def _checks_out(step: dict[str, Any]) -> bool:
    uses: str = step.get("uses", "")
    return uses.startswith("actions/checkout@")


def _mentions_secrets(part: object) -> bool:
    return bool(re.search(r"\bsecrets\b", json.dumps(part)))


OF_STEPS = (
    actions_are_pinned,
    credentials_are_not_kept,
    hidden_folders_are_kept,
    junit_is_kept_always,
    shells_are_given_no_expressions,
    shells_stop_at_errors,
)
RULES = (
    *OF_STEPS,
    deployments_are_guarded,
    identity_goes_to_one_action,
    jobs_have_time_limits,
    no_trigger_runs_the_head_with_rights,
    pull_requests_see_no_secrets,
    rights_are_least,
)
