"""What speaks against deploying a verdict, before any target is asked."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from collections.abc import Mapping
from typing import Any

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.provenance import Provenance
from pytest_llmeval.provenance import untrusted
from pytest_llmeval.verdict import NO_MANIFEST
from pytest_llmeval.verdict import SCHEMA
from pytest_llmeval.verdict import read_manifest


CLOCKS_APART_S = 300.0
"""How far the clocks of the machines that evaluate and deploy may be apart."""


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


def check_context(settings: Settings) -> None:
    """Refuse to change anything from a place that may not deploy.

    Raises:
        DeploymentRefused: UNTRUSTED_CONTEXT.
    """
    context = untrusted(os.environ, settings.deploy_refs)
    if context is not None:
        raise DeploymentRefused("UNTRUSTED_CONTEXT", context)


def check_verdict(
    verdict: Mapping[str, Any],
    settings: Settings,
    provenance: Provenance,
    *,
    is_tracked: bool,
) -> None:
    """Refuse whatever is not a complete, passing verdict of this commit.

    Args:
        verdict: Whose seal was checked.
        settings: What the project allows.
        provenance: Of the process that deploys.
        is_tracked: Whether the run is uploaded.

    Raises:
        DeploymentRefused: with the first reason that applies.
    """
    if verdict.get("schema") != SCHEMA:
        raise DeploymentRefused(
            "VERDICT_UNUSABLE",
            f"its schema is {verdict.get('schema')!r}, and this version reads schema "
            f"{SCHEMA}; evaluate again with the version that deploys",
        )
    if verdict["status"] != "pass":
        raise DeploymentRefused(verdict["reason"], verdict["detail"])
    refusal = known_refusal(
        settings, provenance, has_manifest=verdict["manifest"] is not None
    )
    if refusal is not None:
        raise refusal
    for reason, message in _objections(verdict, settings, provenance):
        raise DeploymentRefused(reason, message)
    if settings.tracking != "off" and not is_tracked:
        raise DeploymentRefused(
            "NOT_TRACKED",
            "a deployed version names its tracked run, and this run is not uploaded: "
            "see the error of the tracking; upload it with: llmeval sync",
        )


def check_failure(verdict: Mapping[str, Any], settings: Settings) -> None:
    """Refuse whatever does not say that a gate has failed for sure, and lately.

    Raises:
        DeploymentRefused: with the verdict's reason, VERDICT_STALE, MIXED_MODELS or
            POINT_GATE.
    """
    if verdict["reason"] != "GATE_FAILED":
        raise DeploymentRefused(
            verdict["reason"],
            "only a gate that has failed takes a version back, and this verdict is "
            f"{verdict['status']} ({verdict['reason']})",
        )
    for reason, message in _failure_objections(verdict, settings):
        raise DeploymentRefused(reason, message)


def _failure_objections(
    verdict: Mapping[str, Any], settings: Settings
) -> Iterator[tuple[str, str]]:
    yield from _age_objections(verdict, settings)
    gated = verdict["model"].get("gated", ())
    if len(gated) != 1:
        yield (
            "MIXED_MODELS",
            f"its gates were decided on several models ({', '.join(gated)}), so that "
            "it is not known whether the live one has failed; evaluate one by itself",
        )
    failed = [gate for gate in verdict["gates"] if gate["decision"] == "fail"]
    if settings.point_gates != "allow" and all(
        gate["confidence"] is None for gate in failed
    ):
        yield (
            "POINT_GATE",
            "the gates that have failed have no confidence, so that it may be chance; "
            "set llmeval_confidence = 0.95, or llmeval_point_gates = allow",
        )


def _objections(
    verdict: Mapping[str, Any], settings: Settings, provenance: Provenance
) -> Iterator[tuple[str, str]]:
    if verdict["dirty"]:
        yield "DIRTY", "the run evaluated files that differ from its commit"
    if verdict["commit"] != provenance.commit:
        yield (
            "VERDICT_STALE",
            f"the verdict is of commit {verdict['commit']}, and this is "
            f"{provenance.commit}; evaluate again here",
        )
    yield from _age_objections(verdict, settings)
    manifest = read_manifest(settings.manifest_path)
    if manifest is None or manifest.digest != verdict["manifest"]["digest"]:
        yield (
            "GATE_CHANGED",
            f"the run was judged by the manifest {verdict['manifest']['path']}, and "
            f"{settings.manifest} is another one; evaluate with the project's own",
        )
    if verdict.get("tries") and settings.reruns != "allow":
        yield (
            "RERUN",
            f"tests ran more than once ({', '.join(verdict['tries'])}); set "
            "llmeval_reruns = allow to accept that",
        )
    yield from _gate_objections(verdict["gates"], settings)
    model = verdict["model"]
    if not model["pinned"]:
        yield (
            "UNPINNED_MODEL",
            f"{model['requested'] or model['name']} may be another model tomorrow; "
            "evaluate a registered version, such as models:/NAME/3",
        )


def _age_objections(
    verdict: Mapping[str, Any], settings: Settings
) -> Iterator[tuple[str, str]]:
    age_s = time.time() - verdict["finished_at"]
    if age_s > settings.verdict_max_age_h * 3600:
        yield (
            "VERDICT_STALE",
            f"the verdict is {age_s / 3600:.1f} hours old, and "
            f"llmeval_verdict_max_age is {settings.verdict_max_age_h:g}; evaluate "
            "again",
        )
    if age_s < -CLOCKS_APART_S:
        yield (
            "VERDICT_STALE",
            f"the verdict is {-age_s:.0f} s younger than this machine's clock, so its "
            "age is not known; set the clock, or evaluate again",
        )


def _gate_objections(
    gates: list[Mapping[str, Any]], settings: Settings
) -> Iterator[tuple[str, str]]:
    if not gates:
        yield "NO_GATES", "no gate was decided"
    for gate in gates:
        shown = f"the gate {gate['test']} {gate['metric']}"
        if gate["decision"] != "pass":
            yield "GATE_FAILED", f"{shown} came out as {gate['decision']}"
        if gate.get("decision_at_worst", "pass") != "pass":
            yield (
                "ROWS_MISSING",
                f"{shown} passes only because rows in error are left out; for a "
                "deployment they count at the worst",
            )
    for gate in gates:
        if gate["confidence"] is None and settings.point_gates != "allow":
            yield (
                "POINT_GATE",
                f"the gate {gate['test']} {gate['metric']} has no confidence; set "
                "llmeval_confidence = 0.95, or llmeval_point_gates = allow",
            )
