"""What a deployed version carries, so that its page in MLflow says why it is live."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from pytest_llmeval.seal import digest_verdict
from pytest_llmeval.text import counted
from pytest_llmeval.text import one_line
from pytest_llmeval.text import utc


LONGEST_WHY = 1_000


def identity_tags(verdict: Mapping[str, Any]) -> dict[str, str]:
    """Return what names the run that speaks for a version."""
    return {
        "llmeval.run_id": str(verdict["run_id"]),
        "llmeval.verdict": digest_verdict(verdict),
        "llmeval.commit": str(verdict["commit"]),
    }


def deployment_tags(
    verdict: Mapping[str, Any], target: str, actor: str, tracked_id: str | None
) -> dict[str, str]:
    """Return what a version carries from its deployment on.

    Args:
        verdict: It passed.
        target: As the user wrote it.
        actor: Who deploys.
        tracked_id: The MLflow run of the verdict.
    """
    tags = identity_tags(verdict) | {
        "llmeval.target": target,
        "llmeval.deployed_at": utc(time.time()),
        "llmeval.deployed_by": actor,
        "llmeval.why": _why(verdict),
    }
    return tags if tracked_id is None else {**tags, "llmeval.mlflow_run": tracked_id}


def _why(verdict: Mapping[str, Any]) -> str:
    gates = verdict["gates"]
    rows = max((gate["rows"] for gate in gates), default=0)
    bars = (
        f"{gate['metric']} {gate['op']} {gate['threshold']}"
        for gate in gates
        if gate.get("threshold") is not None
    )
    text = f"{counted(len(gates), 'gate')} passed on up to {counted(rows, 'row')}: "
    return one_line(text + ", ".join(bars), LONGEST_WHY)
