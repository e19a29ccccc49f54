"""Carries out what ``llmeval deploy`` is asked for."""

from __future__ import annotations

import argparse
import os
import sys
import warnings
from collections.abc import Callable
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.cli.console import say
from pytest_llmeval.cli.deploy.show import as_json
from pytest_llmeval.cli.deploy.show import attempt_line
from pytest_llmeval.cli.deploy.show import plan_lines
from pytest_llmeval.cli.deploy.show import state_lines
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.text import safe


if TYPE_CHECKING:
    import pluggy

    from pytest_llmeval.config import Settings
    from pytest_llmeval.deploy.deployer import Deployer
    from pytest_llmeval.deploy.deployer import Order
    from pytest_llmeval.deploy.outcome import Outcome
    from pytest_llmeval.records import Move


CHALLENGER_TRAFFIC = 10
ATTEMPTS_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class Task:
    """What is asked for, and what carries it out."""

    options: argparse.Namespace
    settings: Settings
    deployer: Deployer
    key: str | None
    """What verdicts have to be signed with, where there is a key."""


Action = Callable[[Task], int]


def run(options: argparse.Namespace, rest: Sequence[str]) -> int:
    """Carry out the command's action with what pytest finds from here."""
    from pytest_llmeval.project import run_in_project

    # Before any plugin is imported. A secret that CI does not have is empty: no key.
    key = os.environ.pop("LLMEVAL_SIGNING_KEY", None) or None

    def act(settings: Settings, manager: pluggy.PluginManager) -> int:
        from pytest_llmeval.deploy.deployer import Deployer
        from pytest_llmeval.deploy.deployer import refused
        from pytest_llmeval.provenance import read_provenance

        deployer = Deployer(
            manager.hook,
            settings,
            read_provenance(settings.rootdir),
            say=lambda line: say(safe(line, 1_000), sys.stderr),
        )
        task = Task(options=options, settings=settings, deployer=deployer, key=key)
        try:
            status: int = options.action(task)
        except DeploymentRefused as refusal:
            return _show(task, refused(options.target, refusal))
        return status

    # Each one word: pytest would look for the project's root at a value that is a path.
    arguments = []
    if options.dir is not None:
        arguments.append(f"--llmeval-dir={Path(options.dir).absolute()}")
    if options.tracking is not None:
        arguments.append(f"--llmeval-tracking={options.tracking}")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # MLflow's own
        return run_in_project(arguments, act)


def plan(task: Task) -> int:
    """Say what `apply` would do."""
    return _show(task, task.deployer.plan(_order(task)))


def apply(task: Task) -> int:
    """Deploy what a verdict speaks for; also to promote."""
    order = _order(task)
    settled = task.deployer.settle()
    if settled is not None and not settled.ok:
        return _show(task, settled)
    return _carry_out(task, order)


def rollback(task: Task) -> int:
    """Return to what was live before."""
    from pytest_llmeval.deploy.deployer import Order
    from pytest_llmeval.records import Move

    options, deployer = task.options, task.deployer
    settled = deployer.settle()
    if settled is not None and settled.reason != "DEPLOYED":
        return _show(task, settled)
    path = task.settings.home / "rollback.json"
    order = Order(target=options.target, path=path, move=Move(step="rollback"))

    def check() -> None:
        if options.verdict is not None:
            deployer.check_deployed(options.target, _verdict(task, options.verdict))
        if options.failed is not None:
            deployer.check_failed(options.target, _verdict(task, options.failed))

    return _carry_out(task, order, check)


def status(task: Task) -> int:
    """Say what is live, and what was deployed last."""
    from pytest_llmeval.deploy.journal import past_attempts
    from pytest_llmeval.deploy.journal import unsettled

    home = task.settings.home
    states = task.deployer.read(task.options.target)
    attempts = list(past_attempts(home))[-ATTEMPTS_SHOWN:]
    broken = unsettled(home)
    if task.options.json:
        document = {
            "targets": {name: asdict(state) for name, state in states.items()},
            "unsettled": None if broken is None else broken.target,
            "attempts": attempts,
        }
        say(as_json(document))
        return 0
    for name, state in states.items():
        for line in state_lines(name, state):
            say(line)
    if broken is not None:
        say(
            f"a deployment to {broken.target} broke off; bring back what was live "
            f"with: llmeval deploy rollback --target {broken.target}"
        )
    for attempt in attempts:
        say(attempt_line(attempt))
    return 0


def _order(task: Task) -> Order:
    from pytest_llmeval.deploy.deployer import Order
    from pytest_llmeval.deploy.stored import find_verdict
    from pytest_llmeval.store import RunDirectory
    from pytest_llmeval.tracking import tracked_id

    path = task.options.verdict or find_verdict(task.settings.home)
    verdict = _verdict(task, path)
    return Order(
        target=task.options.target,
        path=path.parent / "deployment.json",
        verdict=verdict,
        move=_move(task.options),
        tracked_id=verdict["mlflow_run_id"] or tracked_id(RunDirectory.at(path.parent)),
    )


def _verdict(task: Task, path: Path) -> dict[str, Any]:
    from pytest_llmeval.deploy.stored import read_verdict

    verdict = read_verdict(path, task.key)
    if task.key is None:
        say(
            "the verdict is not authenticated: without LLMEVAL_SIGNING_KEY its digest "
            "shows accidents, not intent",
            sys.stderr,
        )
    return verdict


def _move(options: argparse.Namespace) -> Move:
    from pytest_llmeval.records import Move

    if options.deploy_command == "promote":
        return Move(step="promote")
    traffic = getattr(options, "traffic", None)
    if getattr(options, "challenger", False):
        return Move(step="challenge", traffic=traffic or CHALLENGER_TRAFFIC)
    if traffic is not None:
        raise ConfigurationError(
            "--traffic is the share of a challenger; give --challenger too"
        )
    return Move()


def _carry_out(
    task: Task, order: Order, check: Callable[[], None] = lambda: None
) -> int:
    """Show the plan, ask, and carry out that plan and no other.

    Args:
        task: What is asked for.
        order: What is planned.
        check: Refuses by what is live; after the plan, which binds what is live.
    """
    from pytest_llmeval.deploy.outcome import BLOCKED_STATUS

    planned = task.deployer.plan(order)
    check()
    if planned.reason == "DRY_RUN":
        for line in plan_lines(planned):
            say(line, sys.stderr)
        if not (task.options.yes or _agrees()):
            say("nothing was changed", sys.stderr)
            return BLOCKED_STATUS
    return _show(task, task.deployer.apply(replace(order, agreed=planned.plans)))


def _agrees() -> bool:
    from pytest_llmeval.provenance import is_ci

    if is_ci(os.environ):
        return True
    if not sys.stdin.isatty():
        say("there is nobody to ask; agree with --yes", sys.stderr)
        return False
    say("carry out this plan? Only 'yes' does it: ", sys.stderr)
    return input() == "yes"


def _show(task: Task, outcome: Outcome) -> int:
    if task.options.json:
        say(as_json(outcome.to_dict()))
        return outcome.exit_status
    if outcome.reason == "DRY_RUN":
        for line in plan_lines(outcome):
            say(line)
    say(safe(outcome.line, 1_000))
    return outcome.exit_status
