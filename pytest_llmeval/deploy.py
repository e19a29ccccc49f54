"""From a passing verdict to what is live: refuse, plan, apply."""

from __future__ import annotations

import os
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import pluggy

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.provenance import Provenance
from pytest_llmeval.provenance import untrusted
from pytest_llmeval.records import BaselineTarget
from pytest_llmeval.records import DeployTarget
from pytest_llmeval.text import one_line
from pytest_llmeval.verdict import NO_MANIFEST
from pytest_llmeval.verdict import digest_verdict


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a deployment did; becomes ``deployment.json``."""

    target: str
    reason: str
    """``DEPLOYED``, ``NOOP``, ``DEPLOY_FAILED``, or why it was refused."""
    message: str
    changes: Sequence[str] = ()

    @property
    def ok(self) -> bool:
        """Whether what was asked for is live."""
        return self.reason in ("DEPLOYED", "NOOP")


def known_refusal(
    settings: Settings, provenance: Provenance, *, has_manifest: bool
) -> DeploymentRefused | None:
    """Return what speaks against deploying, where it shows before the first call."""
    context = untrusted(os.environ, settings.deploy_refs)
    if context is not None:
        return DeploymentRefused("UNTRUSTED_CONTEXT", context)
    if not has_manifest:
        path = settings.manifest
        return DeploymentRefused("NO_MANIFEST", NO_MANIFEST.format(path=path))
    if provenance.commit is None:
        return DeploymentRefused(
            "NO_COMMIT",
            "there is no git commit to tie the verdict to; run in a git checkout, or "
            "give the commit in GITHUB_SHA, GIT_COMMIT or CI_COMMIT_SHA",
        )
    if provenance.dirty:
        return DeploymentRefused(
            "DIRTY", "tracked files differ from the commit; commit or restore them"
        )
    return None


def deploy(
    verdict: Mapping[str, Any],
    target: str,
    hook: pluggy.HookRelay,
    settings: Settings,
    provenance: Provenance,
    *,
    is_tracked: bool,
) -> Outcome:
    """Deploy what a verdict is about, or refuse with the reason; never raises."""
    try:
        _check_verdict(verdict, settings, provenance, is_tracked=is_tracked)
        found: DeployTarget | None
        found = hook.pytest_llmeval_deploy_target(target=target, settings=settings)
        if found is None:
            raise ConfigurationError(
                f"no deployment target is known for {target!r}; built in is "
                "registry:NAME@ALIAS"
            )
        plan = found.plan(verdict)
        if not plan.changes:
            return Outcome(target=target, reason="NOOP", message=plan.summary)
        message = found.apply(verdict, _tags(verdict))
    except DeploymentRefused as refusal:
        return Outcome(target=target, reason=refusal.reason, message=str(refusal))
    except Exception as error:  # noqa: BLE001  # a user's target, a remote registry
        message = f"{type(error).__name__}: {one_line(error, 500)}"
        return Outcome(target=target, reason="DEPLOY_FAILED", message=message)
    return Outcome(
        target=target, reason="DEPLOYED", message=message, changes=plan.changes
    )


def _tags(verdict: Mapping[str, Any]) -> dict[str, str]:
    """Return what a version carries from then on: the run that speaks for it."""
    return {
        "llmeval.run_id": str(verdict["run_id"]),
        "llmeval.verdict": digest_verdict(verdict),
        "llmeval.commit": str(verdict["commit"]),
    }


def set_baseline(
    verdict: Mapping[str, Any],
    alias: str,
    hook: pluggy.HookRelay,
    settings: Settings,
    *,
    is_tracked: bool,
) -> str:
    """Make a run the baseline of the version that an alias names.

    Args:
        verdict: The run's verdict.
        alias: Of the registered model that the run evaluated.
        hook: Gives the registry.
        settings: Where the registry is.
        is_tracked: Whether the run is uploaded.

    Returns:
        A sentence that says what was tagged.

    Raises:
        DeploymentRefused: the run is not complete, not uploaded, or about another
            version than the one that is live.
        ConfigurationError: no registry answers.
    """
    _check_speaks(verdict, is_tracked=is_tracked)
    run_id, model = verdict["run_id"], verdict["model"]
    name = model["name"]
    target = _open_baselines(f"{name}@{alias}", hook, settings)
    with _naming(f"{name}@{alias}"):
        version, before = target.live()
        if version != model["version"]:
            raise DeploymentRefused(
                "MODEL_MISMATCH",
                f"the run {run_id} evaluated version {model['version']} of {name}, and "
                f"{alias} names version {version}; evaluate that one with: pytest "
                f"evals --llmeval-model models:/{name}@{alias}",
            )
        target.mark(version, _tags(verdict))
    earlier = before.get("llmeval.run_id")
    instead = f", instead of {earlier}" if earlier not in (None, run_id) else ""
    return f"version {version} of {name} has the run {run_id}{instead}"


def _check_speaks(verdict: Mapping[str, Any], *, is_tracked: bool) -> None:
    """Refuse a run that does not speak for a registered model, or not to others."""
    run_id, model = verdict["run_id"], verdict["model"]
    if verdict["status"] == "incomplete":
        raise DeploymentRefused(
            "INCOMPLETE",
            f"the run {run_id} is incomplete ({verdict['reason']}); run it to its end",
        )
    if model is None or model["scheme"] != "models" or model["version"] is None:
        raise DeploymentRefused(
            "MODEL_MISMATCH",
            f"the run {run_id} gated no registered model; evaluate one with: pytest "
            "evals --llmeval-model models:/NAME@ALIAS",
        )
    if not is_tracked:
        raise DeploymentRefused(
            "NOT_TRACKED",
            f"the run {run_id} is not in MLflow, where other machines look for it; "
            f"upload it with: llmeval sync {run_id}",
        )


def find_live(
    name: str, hook: pluggy.HookRelay, settings: Settings
) -> tuple[str, Mapping[str, str]]:
    """Return the version that an alias names, and its tags.

    Args:
        name: ``NAME@ALIAS``.
        hook: Gives the registry.
        settings: Where the registry is.

    Raises:
        DeploymentRefused: no version has the alias.
        ConfigurationError: no registry answers.
    """
    target = _open_baselines(name, hook, settings)
    with _naming(name):
        return target.live()


def _open_baselines(
    name: str, hook: pluggy.HookRelay, settings: Settings
) -> BaselineTarget:
    with _naming(name):
        target = hook.pytest_llmeval_deploy_target(
            target=f"registry:{name}", settings=settings
        )
    if not isinstance(target, BaselineTarget):
        raise ConfigurationError(f"registry:{name} keeps no baselines")
    return target


@contextmanager
def _naming(name: str) -> Iterator[None]:
    """Turn what a registry raises into an error that names the alias."""
    try:
        yield
    except LLMEvalError:
        raise
    except Exception as error:  # a remote registry's
        raise ConfigurationError(
            f"the registry does not give {name}: {type(error).__name__}: "
            f"{one_line(error, 300)}"
        ) from error


def _check_verdict(
    verdict: Mapping[str, Any],
    settings: Settings,
    provenance: Provenance,
    *,
    is_tracked: bool,
) -> None:
    if verdict["status"] != "pass":
        raise DeploymentRefused(verdict["reason"], verdict["detail"])
    refusal = known_refusal(
        settings, provenance, has_manifest=verdict["manifest"] is not None
    )
    if refusal is not None:
        raise refusal
    for gate in verdict["gates"]:
        if gate.get("decision_at_worst", "pass") != "pass":
            raise DeploymentRefused(
                "ROWS_MISSING",
                f"the gate {gate['test']} {gate['metric']} passes only because rows in "
                "error are left out; for a deployment they count at the worst",
            )
    if settings.point_gates != "allow":
        for gate in verdict["gates"]:
            if gate["confidence"] is None:
                raise DeploymentRefused(
                    "POINT_GATE",
                    f"the gate {gate['test']} {gate['metric']} has no confidence; set "
                    "llmeval_confidence = 0.95, or llmeval_point_gates = allow",
                )
    if not verdict["model"]["pinned"]:
        raise DeploymentRefused(
            "UNPINNED_MODEL",
            f"{verdict['model']['requested'] or verdict['model']['name']} may be "
            "another model tomorrow; evaluate a registered version, such as "
            "models:/NAME/3",
        )
    if settings.tracking != "off" and not is_tracked:
        raise DeploymentRefused(
            "NOT_TRACKED",
            "a deployed version names its tracked run, and this run is not uploaded: "
            "see the error of the tracking; upload it with: llmeval sync",
        )
