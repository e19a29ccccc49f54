"""From a passing verdict to what is live: refuse, plan, apply, verify, roll back."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from dataclasses import replace
from pathlib import Path
from typing import Any

import pluggy

from pytest_llmeval.attempts import count_attempts
from pytest_llmeval.config import Settings
from pytest_llmeval.deploy.journal import Journal
from pytest_llmeval.deploy.journal import Say
from pytest_llmeval.deploy.journal import forget_settled
from pytest_llmeval.deploy.journal import unsettled
from pytest_llmeval.deploy.outcome import Outcome
from pytest_llmeval.deploy.refusals import check_context
from pytest_llmeval.deploy.refusals import check_failure
from pytest_llmeval.deploy.refusals import check_verdict
from pytest_llmeval.deploy.tags import deployment_tags
from pytest_llmeval.deploy.targets import alone_at
from pytest_llmeval.deploy.targets import alone_in
from pytest_llmeval.deploy.targets import open_targets
from pytest_llmeval.deploy.transition import Stage
from pytest_llmeval.deploy.transition import Transition
from pytest_llmeval.deploy.transition import cause
from pytest_llmeval.deploy.transition import plan_stages
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.hooks import plugin_names
from pytest_llmeval.provenance import Provenance
from pytest_llmeval.provenance import who
from pytest_llmeval.records import DeployTarget
from pytest_llmeval.records import Move
from pytest_llmeval.records import Plan
from pytest_llmeval.records import State
from pytest_llmeval.records import Tracker
from pytest_llmeval.seal import digest_verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """What is to be deployed, where to, and where that is written down."""

    target: str
    """One target, or several with commas between."""
    path: Path
    """The ``deployment.json`` that says what was done."""
    verdict: Mapping[str, Any] | None = None
    """None for the step ``rollback``."""
    move: Move = field(default_factory=Move)
    tracked_id: str | None = None
    """The MLflow run of the verdict, once it is uploaded."""
    agreed: tuple[Plan, ...] | None = None
    """The plans that somebody has seen and agreed to; no others are carried out."""


class Deployer:
    """Carries out orders, each of them wholly or not at all.

    Args:
        hook: Gives the targets, and what a user's plugins add.
        settings: What the project allows.
        provenance: Of this process.
        say: Shows a line to the user.
    """

    def __init__(
        self,
        hook: pluggy.HookRelay,
        settings: Settings,
        provenance: Provenance,
        *,
        say: Say,
    ) -> None:
        self._hook, self._settings, self._say = hook, settings, say
        self._provenance = provenance
        self._wait_s = settings.deploy_timeout_s

    def plan(self, order: Order) -> Outcome:
        """Say what `apply` would do now; changes nothing, and never raises.

        Returns:
            ``DRY_RUN`` with the plans, ``NOOP``, or why it would be refused.
        """
        try:
            self._check(order)
            targets = self._open(order.target)
            plans = _plans(plan_stages(targets, order.verdict, order.move))
            if not _changes(plans):
                return _outcome(order.target, "NOOP", plans)
            attempt = self._check_attempts(order)
        except Exception as error:  # noqa: BLE001  # a user's target, a remote registry
            return refused(order.target, error)
        return replace(_outcome(order.target, "DRY_RUN", plans), attempt=attempt)

    def apply(self, order: Order) -> Outcome:
        """Deploy, or return to what was live before; never raises.

        What a killed deployment has left half done is brought back first.
        """
        journal = Journal(self._settings.home, order.path, self._heading(order))
        try:
            check_context(self._settings)
            with alone_in(self._settings.home, self._wait_s):
                settled = self._recover()
                if settled is not None and not settled.ok:
                    return settled
                self._check(order)
                outcome = self._deploy(order, journal)
                self._close(journal, outcome)
        except Exception as error:  # noqa: BLE001  # a user's target, a remote registry
            outcome = refused(order.target, error)
            self._close(journal, outcome)
        if journal.has_begun:
            self._publish(order, outcome)
        return outcome

    def _close(self, journal: Journal, outcome: Outcome) -> None:
        try:
            journal.end(outcome)
        except OSError as error:
            self._say(f"cannot keep the books of the deployment: {error}")

    def _heading(self, order: Order) -> dict[str, Any]:
        verdict = order.verdict
        return {
            "target": order.target,
            "step": order.move.step,
            "traffic": order.move.traffic,
            "run_id": None if verdict is None else verdict["run_id"],
            "verdict": None if verdict is None else digest_verdict(verdict),
            "verdict_reason": None if verdict is None else verdict["reason"],
            "commit": self._provenance.commit,
            "who": who(),
        }

    def read(self, text: str) -> dict[str, State]:
        """Return what is live at each target of a list.

        Raises:
            ConfigurationError: one of them is not known, or does not answer.
        """
        try:
            return {target.name: target.read() for target in self._open(text)}
        except LLMEvalError:
            raise
        except Exception as error:  # of a user's target, a remote registry
            raise ConfigurationError(f"cannot read {text}: {cause(error)}") from error

    def check_deployed(self, text: str, verdict: Mapping[str, Any]) -> None:
        """Refuse where something else is live than what a verdict has deployed.

        Raises:
            DeploymentRefused: SUPERSEDED.
        """
        for name, state in self.read(text).items():
            if state.tags.get("llmeval.verdict") != digest_verdict(verdict):
                raise DeploymentRefused(
                    "SUPERSEDED",
                    f"{name} is {state.text}, which the run {verdict['run_id']} has "
                    "not deployed; roll back without --verdict, or leave it",
                )

    def check_failed(self, text: str, verdict: Mapping[str, Any]) -> None:
        """Refuse to take back anything but the version that has failed a gate.

        It is live, or the challenger, where deploying it would change nothing.

        Raises:
            DeploymentRefused: no gate has failed, it is too long ago, or something
                else is live.
        """
        check_failure(verdict, self._settings)
        targets = self._open(text)
        states = [target.read() for target in targets]
        withdraws = any(state.challenger for state in states)
        is_served = verdict["model"]["scheme"] == "endpoints"
        move = Move(step="promote" if is_served else "deploy")
        for target, state in zip(targets, states, strict=True):
            if withdraws and not state.challenger:
                continue  # stays as it is
            plan = target.plan(verdict, move, state)
            if plan.changes and not (withdraws and is_served):
                raise DeploymentRefused(
                    "MODEL_MISMATCH",
                    f"{target.name} is {state.text}, and the run {verdict['run_id']} "
                    f"evaluated {verdict['model']['requested']}, version "
                    f"{verdict['model']['version']}; only what failed is taken back",
                )

    def _open(self, text: str) -> list[DeployTarget]:
        return open_targets(text, self._hook, self._settings)

    def _check(self, order: Order) -> None:
        """Refuse what no target needs to be asked about."""
        check_context(self._settings)
        if order.verdict is None:
            return
        check_verdict(
            order.verdict,
            self._settings,
            self._provenance,
            is_tracked=order.tracked_id is not None,
        )
        self._check_hooks(order.verdict)

    def _check_hooks(self, verdict: Mapping[str, Any]) -> None:
        """Refuse where a plugin of the session that takes part is not loaded."""
        rootdir = self._settings.rootdir
        loaded = plugin_names(self._hook.pytest_llmeval_deploy, rootdir)
        for name in verdict.get("deploy_hooks", ()):
            if name not in loaded:
                raise DeploymentRefused(
                    "HOOK_MISSING",
                    f"the run had the plugin {name}, which implements "
                    "pytest_llmeval_deploy and is not loaded here; put the hook into "
                    "an installed plugin, or into a module that the ini value "
                    "llmeval_plugins names, and evaluate again",
                )

    def _check_attempts(self, order: Order) -> str:
        """Refuse a pass that has come after too many tries; say which one it is.

        Only where it would change something: what is live already may be evaluated
        every night.
        """
        if order.verdict is None:
            return ""
        home = self._settings.home
        attempts = count_attempts(order.verdict, home, self._tracker)
        most = self._settings.max_attempts
        if attempts > most:
            raise DeploymentRefused(
                "ATTEMPTS",
                f"a gate was decided {attempts} times on new answers of this version "
                "to the same data, and with every try a bad version is likelier to "
                f"pass; llmeval_max_attempts is {most}: deploy another version, or "
                "evaluate with more rows",
            )
        return f"attempt {attempts} of at most {most} on this version and data"

    def _tracker(self) -> Tracker | None:
        if self._settings.tracking == "off":
            return None
        settings = self._settings
        tracker: Tracker | None = self._hook.pytest_llmeval_tracker(
            uri=settings.tracking_uri, settings=settings
        )
        return tracker

    def _deploy(self, order: Order, journal: Journal) -> Outcome:
        targets = self._open(order.target)
        with alone_at(targets, self._wait_s):
            stages = plan_stages(targets, order.verdict, order.move)
            plans = _plans(stages)
            if order.agreed not in (None, plans):
                raise DeploymentRefused(
                    "SUPERSEDED",
                    "what is live has changed since the plan was shown; look at it "
                    "again with: llmeval deploy plan",
                )
            if not _changes(plans):
                return _outcome(order.target, "NOOP", plans)
            attempt = self._check_attempts(order)
            journal.begin(plans)
            outcome = self._carry_out(order, stages, journal)
            return replace(outcome, attempt=attempt)

    def _carry_out(
        self, order: Order, stages: Sequence[Stage], journal: Journal
    ) -> Outcome:
        plans, verdict, tags = _plans(stages), order.verdict, dict[str, str]()
        if verdict is not None:
            tags = deployment_tags(
                verdict, order.target, str(who()["actor"]), order.tracked_id
            )
        transition = self._transition(stages, journal)
        reason = "ROLLED_BACK"
        try:
            transition.apply(tags)
            reason = "DEPLOY_FAILED"
            if verdict is not None:
                self._hook.pytest_llmeval_deploy(verdict=verdict, plan=plans)
        except DeploymentRefused as refusal:
            return self._restore(transition, journal, refusal.reason, refusal, plans)
        except (Exception, KeyboardInterrupt) as error:  # noqa: BLE001  # see restore
            return self._restore(transition, journal, reason, error, plans)
        return _outcome(
            order.target, "RESTORED" if verdict is None else "DEPLOYED", plans
        )

    def _transition(self, stages: Sequence[Stage], journal: Journal) -> Transition:
        return Transition(stages, journal, wait_s=self._wait_s, say=self._say)

    def _restore(
        self,
        transition: Transition,
        journal: Journal,
        reason: str,
        error: BaseException,
        plans: tuple[Plan, ...],
    ) -> Outcome:
        why = "interrupted" if isinstance(error, KeyboardInterrupt) else cause(error)
        self._say(f"{why}; bringing back what was live")
        restored, failed = transition.restore()
        parts = [why, *(restored or ["nothing had changed"])]
        if failed:
            reason = "ROLLBACK_FAILED"
            again = f"llmeval deploy rollback --target {journal.target}"
            parts = [why, *restored, *(f"NOT as before: {part}" for part in failed)]
            parts.append(f"try again with: {again}")
        return Outcome(
            target=journal.target, reason=reason, message="; ".join(parts), plans=plans
        )

    def settle(self) -> Outcome | None:
        """Bring to its end what a killed deployment has left; None where nothing is.

        Returns:
            ``RESTORED`` when everything is as before that deployment, ``DEPLOYED`` when
            it had done all, ``ROLLBACK_FAILED``, or why it is refused.
        """
        home = self._settings.home
        try:
            if unsettled(home) is None:
                return None
            check_context(self._settings)
            with alone_in(home, self._wait_s):
                return self._recover()
        except Exception as error:  # noqa: BLE001  # a user's target, a remote registry
            return refused("", error)

    def _recover(self) -> Outcome | None:
        home = self._settings.home
        journal = unsettled(home)
        if journal is None:
            forget_settled(home)
            return None
        self._say(f"a deployment to {journal.target} broke off; bringing it to its end")
        targets = {target.name: target for target in self._open(journal.target)}
        stages = [Stage(targets[plan.target], plan) for plan in journal.plans]
        with alone_at(list(targets.values()), self._wait_s):
            outcome = self._end(stages, journal)
        journal.end(outcome)
        self._say(outcome.line)
        is_back = outcome.reason == "ROLLED_BACK"
        return replace(outcome, reason="RESTORED") if is_back else outcome

    def _end(self, stages: Sequence[Stage], journal: Journal) -> Outcome:
        plans = _plans(stages)
        has_hooks = bool(self._hook.pytest_llmeval_deploy.get_hookimpls())
        if not has_hooks and all(_is_live(stage) for stage in stages):
            reason = "DEPLOYED" if journal.run_id is not None else "RESTORED"
            return _outcome(journal.target, reason, plans)
        transition = self._transition(stages, journal)
        transition.take_over()
        broke_off = DeploymentRefused("ROLLED_BACK", "the deployment broke off")
        return self._restore(transition, journal, "ROLLED_BACK", broke_off, plans)

    def _publish(self, order: Order, outcome: Outcome) -> None:
        """Add what was done to the MLflow run of the verdict; failures are said."""
        if order.tracked_id is None:
            return
        tags = {"llmeval.deployment": f"{outcome.reason} {order.target}"}
        try:
            tracker = self._tracker()
            if tracker is not None:
                tracker.log_deployment(order.tracked_id, order.path, tags)
        except Exception as error:  # noqa: BLE001  # what is live is live all the same
            self._say(
                f"the deployment is not in MLflow: {cause(error)}; it stands in "
                f"{order.path}"
            )


def _is_live(stage: Stage) -> bool:
    state = stage.target.read()
    return state.live == stage.plan.after and not state.busy


def _plans(stages: Sequence[Stage]) -> tuple[Plan, ...]:
    return tuple(stage.plan for stage in stages)


def _changes(plans: Sequence[Plan]) -> bool:
    return any(plan.changes for plan in plans)


def _outcome(target: str, reason: str, plans: tuple[Plan, ...]) -> Outcome:
    message = "; ".join(plan.summary for plan in plans)
    return Outcome(target=target, reason=reason, message=message, plans=plans)


def refused(target: str, error: Exception) -> Outcome:
    """Return how an order ended that changed nothing."""
    if isinstance(error, DeploymentRefused):
        return Outcome(target=target, reason=error.reason, message=str(error))
    message = f"{cause(error)}; nothing was changed"
    return Outcome(target=target, reason="DEPLOY_FAILED", message=message)
