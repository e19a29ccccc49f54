"""The gate manifest, the verdict of a run, and its signature."""

from __future__ import annotations

import hashlib
import json
import tomllib
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.evidence import Evidence
from pytest_llmeval.records import Decision
from pytest_llmeval.records import canonical
from pytest_llmeval.records import plain


SCHEMA = 1
STOPPED = ("NOT_EXECUTED", "BUDGET", "WORKER_LOST", "INCOMPLETE", "PARTIAL_RUN")
"""Reasons of a run that did not come to an end: its status is *incomplete*."""
NO_MANIFEST = (
    "there is no gate manifest {path}, which lists the gates that must pass; write it "
    "with: llmeval gates update, and commit it"
)
HEADER = """\
# The gates that must pass before a deployment. Written by: llmeval gates update
# A lowered bar is a changed line here: review it as one.
schema = 1
"""
ENTRY_FIELDS = (
    "test",
    "metric",
    "op",
    "threshold",
    "kind",
    "baseline",
    "missing",
    "quantile",
    "confidence",
    "where",
    "bounds",
    "cluster",
    "min_rows",
    "on_error",
    "max_error_rate",
    "request",
    "dataset",
)


def manifest_entry(decision: Decision) -> dict[str, Any]:
    """Return what the manifest says of a gate: all but how it came out."""
    entry = decision.to_dict()
    entry["request"] = decision.request_digest
    entry["dataset"] = decision.dataset_digest
    return {name: entry[name] for name in ENTRY_FIELDS if entry.get(name) is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The required gates, as committed."""

    path: Path
    digest: str
    gates: tuple[Mapping[str, Any], ...]


def read_manifest(path: Path) -> Manifest | None:
    """Read a manifest; None when there is no such file.

    Raises:
        ConfigurationError: the file is not a manifest.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error}") from None
    try:
        document = tomllib.loads(content.decode("utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path} is not valid TOML: {error}") from None
    gates = document.get("gate", [])
    if document.get("schema") != SCHEMA or not isinstance(gates, list):
        raise ConfigurationError(
            f"{path} is not a gate manifest of schema {SCHEMA}; write a new one with: "
            "llmeval gates update"
        )
    for number, gate in enumerate(gates, 1):
        if not isinstance(gate, dict):
            raise ConfigurationError(f"{path}, gate {number}: {gate!r} is no table")
        unknown = sorted(set(gate) - set(ENTRY_FIELDS))
        missing = [name for name in ("test", "metric", "op") if name not in gate]
        if unknown or missing:
            raise ConfigurationError(
                f"{path}, gate {number}: "
                + "; ".join(
                    [f"no field {name!r} is known" for name in unknown]
                    + [f"{name!r} is missing" for name in missing]
                )
                + f"; the fields are: {', '.join(ENTRY_FIELDS)}"
            )
    digest = "sha256:" + hashlib.sha256(content).hexdigest()
    return Manifest(path=path, digest=digest, gates=tuple(gates))


def format_manifest(gates: Sequence[Mapping[str, Any]]) -> str:
    """Return the text of a manifest, in the order of test names."""
    parts = [HEADER]
    for gate in sorted(gates, key=lambda gate: canonical(_identity(gate))):
        parts.append("\n[[gate]]\n")
        for name in ENTRY_FIELDS:
            if name in gate:
                parts.append(f"{name} = {_toml(gate[name])}\n")  # noqa: PERF401  # plainer
    return "".join(parts)


def _identity(gate: Mapping[str, Any]) -> list[Any]:
    return [gate["test"], gate["metric"], gate["op"], gate.get("request"), gate]


def _toml(value: Any) -> str:
    if isinstance(value, Mapping):
        items = (f"{_toml(str(k))} = {_toml(v)}" for k, v in value.items())
        return "{ " + ", ".join(items) + " }"
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(map(_toml, value)) + "]"
    # TOML's strings are JSON's, but for surrogates and the delete character.
    if isinstance(value, str):
        value = value.encode("utf-8", "backslashreplace").decode()
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def keep_live_tables(
    gates: Sequence[Mapping[str, Any]], manifest: Manifest | None
) -> list[dict[str, Any]]:
    """Carry ``dataset = "any"`` over from the manifest that is rewritten."""
    live = {
        _place(gate): gate.get("min_rows")
        for gate in (manifest.gates if manifest else ())
        if gate.get("dataset") == "any"
    }
    kept = []
    for gate in gates:
        key = _place(gate)
        change: dict[str, Any] = {}
        if key in live:
            change = {"dataset": "any"}
            if live[key] is not None:
                change["min_rows"] = live[key]
        kept.append({**gate, **change})
    return kept


def _place(gate: Mapping[str, Any]) -> tuple[Any, ...]:
    kind = [gate.get(name) for name in ("kind", "baseline", "quantile", "where")]
    return (gate["test"], gate["metric"], gate["op"], canonical(kind))


def compare(
    manifest: Manifest, decisions: Sequence[Decision]
) -> Iterator[tuple[str, str]]:
    """Yield reason and sentence for each difference to the recorded gates."""
    recorded = [(manifest_entry(decision), decision) for decision in decisions]
    unmatched = []
    for required in manifest.gates:
        same = next((pair for pair in recorded if _equal(required, *pair)), None)
        if same is None:
            unmatched.append(required)
        else:
            recorded.remove(same)
    for required in unmatched:
        key = _subject(required)
        other = next((pair for pair in recorded if _subject(pair[0]) == key), None)
        shown = f"{required['test']} {required['metric']}"
        if other is None:
            yield "GATE_MISSING", f"{shown} is required and was not decided"
            continue
        recorded.remove(other)
        yield _difference(shown, required, *other)
    for entry, _ in recorded:
        yield (
            "GATE_UNLISTED",
            f"{entry['test']} {entry['metric']} is not in {manifest.path.name}",
        )


def _subject(gate: Mapping[str, Any]) -> tuple[Any, ...]:
    return (gate["test"], gate["metric"], gate.get("kind"))


def _equal(
    required: Mapping[str, Any], entry: Mapping[str, Any], decision: Decision
) -> bool:
    return not list(_changed_fields(required, entry, decision))


def _changed_fields(
    required: Mapping[str, Any], entry: Mapping[str, Any], decision: Decision
) -> Iterator[str]:
    live = required.get("dataset") == "any"
    for name in ENTRY_FIELDS:
        if live and name == "dataset":
            continue
        if live and name == "min_rows":
            if decision.rows < required.get("min_rows", 1):
                yield name
        elif canonical(required.get(name)) != canonical(entry.get(name)):
            yield name


def _difference(
    shown: str,
    required: Mapping[str, Any],
    entry: Mapping[str, Any],
    decision: Decision,
) -> tuple[str, str]:
    changed = list(_changed_fields(required, entry, decision))
    if changed == ["min_rows"] and required.get("dataset") == "any":
        wanted = required.get("min_rows")
        return "TOO_FEW_ROWS", f"{shown} has {decision.rows} rows, required {wanted}"
    details = ", ".join(
        f"{name} is {entry.get(name)!r} and {required.get(name)!r} is required"
        for name in changed
    )
    reason = "DATASET_CHANGED" if changed == ["dataset"] else "GATE_CHANGED"
    return reason, f"{shown}: {details}"


def judge(evidence: Evidence, manifest: Manifest | None) -> tuple[str, str, str]:
    """Return status, reason and detail: the first reason that applies, else ``OK``."""
    reason, detail = next(_objections(evidence, manifest), ("OK", ""))
    if reason == "OK":
        return "pass", reason, "every gate passed"
    return "incomplete" if reason in STOPPED else "fail", reason, detail


def _objections(
    evidence: Evidence, manifest: Manifest | None
) -> Iterator[tuple[str, str]]:
    """Yield what speaks against a pass, in the order of precedence."""
    outcomes = evidence.outcomes
    if not evidence.executed:
        yield "NOT_EXECUTED", "no test was executed"
    for where in evidence.collection_errors:
        yield "COLLECTION_ERROR", where
    yield from _gate_objections(evidence)
    if evidence.over_budget:
        yield "BUDGET", evidence.over_budget
    for worker in evidence.lost:
        yield "WORKER_LOST", f"the xdist worker {worker} ended before its time"
    if evidence.stopped:
        yield "INCOMPLETE", evidence.stopped
    for test in evidence.collected:
        if test not in outcomes:
            yield "INCOMPLETE", f"{test} was collected and has not been reported"
    for where in evidence.collection_skips:
        yield "SKIPPED", f"{where} was skipped when it was collected"
    for word, reason in _OUTCOME_REASONS.items():
        for test, outcome in outcomes.items():
            if outcome == word:
                yield reason, f"{test} {outcome}"
    if not evidence.reruns_allowed:
        for test, tries in evidence.rerun.items():
            yield "RERUN", f"{test} ran {tries} times"
    for test in evidence.teardown_errors:
        yield "TEARDOWN_ERROR", f"the teardown of {test} failed"
    for test, outcome in outcomes.items():
        if outcome not in ("passed", "missed"):
            yield "TESTS_FAILED", f"{test} {outcome}"
    if evidence.exit_status not in (0, 5):
        yield "TESTS_FAILED", f"pytest's exit status is {evidence.exit_status}"
    gated = {decision.test for decision in evidence.decisions}
    for gate in manifest.gates if manifest else ():
        if gate["test"] in outcomes and gate["test"] not in gated:
            yield "NO_ASSERTION", f"{gate['test']} passed without deciding a gate"
    if not evidence.decisions:
        yield "NO_GATES", "no gate was decided"
    if evidence.exit_status:
        yield "TESTS_FAILED", f"pytest's exit status is {evidence.exit_status}"
    if evidence.partial:
        yield "PARTIAL_RUN", "only a part of the tests was selected (--lf or --sw)"
    if manifest is not None:
        ranked = sorted(
            compare(manifest, evidence.decisions),
            key=lambda difference: _DIFFERENCES.index(difference[0]),
        )
        yield from ranked


_OUTCOME_REASONS = {"skipped": "SKIPPED", "xfailed": "XFAIL", "xpassed": "XPASS"}
_DIFFERENCES = (
    "GATE_MISSING",
    "GATE_CHANGED",
    "DATASET_CHANGED",
    "TOO_FEW_ROWS",
    "GATE_UNLISTED",
)


def _gate_objections(evidence: Evidence) -> Iterator[tuple[str, str]]:
    # An expected failure has a reason of its own, and a failing gate in it is expected.
    counted = [
        decision
        for decision in evidence.decisions
        if evidence.outcomes.get(decision.test or "") != "xfailed"
    ]
    for status in ("fail", "inconclusive", "error"):
        for decision in counted:
            if decision.status == status:
                yield decision.reason, f"{decision.test} {decision.gate}"
    for test, reason, message in evidence.evaluation_errors:
        if evidence.outcomes.get(test or "") != "xfailed":
            yield reason, f"{test}: {message}"
    models = _gated_models(evidence)
    if len(models) > 1:
        names = ", ".join(models)
        yield "MIXED_MODELS", f"the gates were decided on several models: {names}"


def _gated_models(evidence: Evidence) -> list[str]:
    models = {d.model.identity(): str(d.model) for d in evidence.decisions if d.model}
    return sorted(models.values())


def verdict_document(
    *,
    run_id: str,
    status: str,
    reason: str,
    detail: str,
    evidence: Evidence,
    gates: Sequence[Mapping[str, Any]],
    manifest: Manifest | None,
    provenance: Mapping[str, Any],
    evaluations: Sequence[Mapping[str, Any]],
    times: tuple[float, float | None],
) -> dict[str, Any]:
    """Return the verdict as strict JSON builtins."""
    models = [decision.model for decision in evidence.decisions if decision.model]
    model = models[0] if models else None
    datasets = {data["digest"]: data for data in (e["dataset"] for e in evaluations)}
    return {
        "schema": SCHEMA,
        "run_id": run_id,
        "status": status,
        "reason": reason,
        "detail": detail,
        "exit_status": evidence.exit_status,
        "started_at": times[0],
        "finished_at": times[1],
        "model": None
        if model is None
        else {
            "scheme": model.scheme,
            "name": model.name,
            "version": model.version,
            "digest": model.digest,
            "pinned": model.pinned,
            "requested": model.requested,
            "requests": sorted({m.requested for m in models if m.requested}),
            "gated": _gated_models(evidence),
            "aliases": dict(model.aliases),
        },
        "gates": list(gates),
        "undecided": [
            {"test": test, "gate": gate, "cause": cause}
            for test, gate, cause in evidence.undecided
        ],
        "datasets": list(datasets.values()),
        "evaluations": [
            _evaluation_entry(number, evaluation)
            for number, evaluation in enumerate(evaluations, 1)
        ],
        "stored_replies": {
            "rows": sum(evaluation["cached"] for evaluation in evaluations),
            "oldest": min(
                (e["oldest_reply"] for e in evaluations if e["oldest_reply"]),
                default=None,
            ),
        },
        "early_stops": [
            {
                "test": evaluation["test"],
                "dataset": evaluation["dataset"]["name"],
                "dataset_digest": evaluation["dataset"]["digest"],
                **evaluation["early_stop"],
            }
            for evaluation in evaluations
            if evaluation.get("early_stop")
        ],
        "tries": dict(evidence.rerun),
        "manifest": None
        if manifest is None
        else {"path": str(manifest.path), "digest": manifest.digest},
        **provenance,
        "mlflow_run_id": None,
    }


def _evaluation_entry(number: int, evaluation: Mapping[str, Any]) -> dict[str, Any]:
    """Return what reports show, and what a later run needs to compare with the rows."""
    data, params = evaluation["dataset"], evaluation["params"]
    return {
        "number": number,
        "name": evaluation["name"],
        "test": evaluation["test"],
        "model": params["model"],
        "dataset_digest": data["digest"],
        "request_digest": params["request_digest"],
        "rows": data["rows"],
        "repeats": params.get("repeats", 1),
        "predictions_digest": evaluation["predictions_digest"],
        "rows_digest": evaluation["rows_digest"],
        "redacted_digest": evaluation.get("redacted_digest"),
        "rows_span": list(evaluation["rows_span"]),
        "early_stopped": evaluation["early_stop"] is not None,
        "started_at": evaluation["started_at"],
        "duration_s": evaluation["duration_s"],
        "confidence": evaluation["confidence"],
        "metrics": evaluation["metrics"],
        "definitions": evaluation["definitions"],
        "usage": evaluation["usage"],
        "columns": plain(evaluation.get("columns")),
        "table": evaluation.get("table"),
    }
