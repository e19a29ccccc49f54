"""What identifies a run: the lists of facts on its page."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any
from typing import NamedTuple

from pytest_llmeval.report.run import ReportedRun


class Fact(NamedTuple):
    """A line of a list of facts."""

    name: str
    text: str
    link: str | None = None


def run_facts(run: ReportedRun) -> list[Fact]:
    """Return what identifies a run: what was evaluated, from what, and when."""
    verdict = run.verdict
    manifest, url = verdict.get("manifest"), verdict.get("ci_url")
    link = url if url and url.startswith(("https://", "http://")) else None
    facts = [
        Fact("Run", verdict["run_id"]),
        Fact("Model", _model(verdict.get("model"))),
        Fact("Data", _datasets(verdict)),
        Fact("Commit", _commit(verdict)),
        Fact(
            "Manifest",
            f"{manifest['path']} ({manifest['digest'][:19]})" if manifest else "none",
        ),
        Fact("Started", _moment(verdict.get("started_at"))),
        Fact("Finished", _moment(verdict.get("finished_at"))),
        Fact("CI", url or "", link),
        Fact("MLflow run", verdict.get("mlflow_run_id") or ""),
    ]
    return [fact for fact in facts if fact.text]


def _model(model: Mapping[str, Any] | None) -> str:
    if model is None:
        return "none: no gate was decided"
    pinned = "pinned" if model["pinned"] else "not pinned"
    version = f" version {model['version']}" if model["version"] else ""
    return f"{model['scheme']}:{model['name']}{version} ({pinned})"


def _datasets(verdict: Mapping[str, Any]) -> str:
    datasets = verdict.get("datasets", ())
    return ", ".join(f"{data['name']} ({data['rows']:,} rows)" for data in datasets)


def _commit(verdict: Mapping[str, Any]) -> str:
    commit, branch = verdict.get("commit"), verdict.get("branch")
    if not commit:
        return "unknown"
    parts = [commit[:12], f"on {branch}" if branch else ""]
    parts.append("with changes that are not committed" if verdict.get("dirty") else "")
    return " ".join(filter(None, parts))


def _moment(at: float | None) -> str:
    if at is None:
        return "not finished"
    return time.strftime("%Y-%m-%d %H:%M:%S %Z", time.localtime(at))


def baseline_facts(run: ReportedRun) -> list[Fact]:
    """Return what identifies the baseline; nothing without one."""
    if run.baseline is None:
        return []
    facts = {fact.name: fact for fact in run_facts(run.baseline)}
    status = run.baseline.verdict["status"]
    kept = [facts[name] for name in ("Run", "Model", "Commit", "Finished")]
    return [*kept, Fact("Verdict", status)]
