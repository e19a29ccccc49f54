"""One run of the history, its rows, and the rows of two runs side by side."""

from __future__ import annotations

import json
from collections.abc import Callable
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pytest_llmeval.dashboard.choice import Choice
from pytest_llmeval.dashboard.queries import MOST
from pytest_llmeval.dashboard.source import History
from pytest_llmeval.dashboard.source import Record
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.report.run import read_run
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.text import one_line


WORST = 20
COMPARED = 100
NO_ROWS = "neither the history (see llmeval export --rows) nor --dir has the rows"
RUN = "select * from runs where run_id = :run"
EVALUATIONS = f"""
select evaluation, suite, test, name, model, dataset, rows, duration_s, latency_p50_ms,
       latency_p95_ms, prompt_tokens, output_tokens, cost_usd
from evaluations where run_id = :run order by evaluation limit {MOST}
"""
METRICS = f"""
select evaluation, metric, slice_by, slice_value, value, lower, upper, n, errors
from metrics where run_id = :run
order by evaluation, slice_by, slice_value, metric limit {2 * MOST}
"""
GATES = f"""
select test, metric, slice_by, slice_value, op, threshold, decision, reason, value,
       lower, upper, n, errors, text
from gates where run_id = :run order by gate limit {MOST}
"""
DEPLOYMENTS = f"""
select began_at, target, step, traffic, reason, message
from deployments where run_id = :run order by began_at limit {MOST}
"""
EVALUATION = """
select evaluation from evaluations
where run_id = :run and suite = :suite and name = :name order by evaluation
"""
ROWS = """
select id, repeat, input, expected, prediction, error_kind, error_message, scores,
       latency_ms
from rows where run_id = :run and evaluation = :evaluation
"""
DIRECTION = """
select max(case when higher_is_better then 1 else 0 end) as higher from metrics
where run_id = :run and metric = :metric
"""


def run(history: History, choice: Choice) -> Record:
    """Return all that the tables tell of one run.

    Raises:
        ConfigurationError: there is no such run.
    """
    found = history.ask(RUN, run=choice.run)
    if not found:
        raise ConfigurationError(f"the history has no run {choice.run!r}")
    facts = {name: value for name, value in found[0].items() if name != "file"}
    return {
        "run": facts,
        "evaluations": history.ask(EVALUATIONS, run=choice.run),
        "metrics": history.ask(METRICS, run=choice.run),
        "gates": history.ask(GATES, run=choice.run),
        "deployments": history.ask(DEPLOYMENTS, run=choice.run),
    }


def worst(history: History, choice: Choice, home: Path) -> Record:
    """Return the worst rows of an evaluation by a metric, those in error first."""
    rows, source = _rows(history, choice, choice.run, home)
    sign = _sign(history, choice)
    scored = [row for row in rows if row["score"] is not None or row["error"]]
    scored.sort(key=lambda row: (not row["error"], sign * (row["score"] or 0.0)))
    return {"rows": scored[:WORST], "of": len(rows), "source": source}


def compare(history: History, choice: Choice, home: Path) -> Record:
    """Return the rows whose score differs between two runs, the worsened ones first."""
    now, source = _rows(history, choice, choice.run, home)
    before, other = _rows(history, choice, choice.other, home)
    known = {(row["id"], row["repeat"]): row for row in before}
    sign = _sign(history, choice)
    pairs = [
        {
            **row,
            "before": found,
            "change": _change(row["score"], found["score"], sign),
        }
        for row in now
        if (found := known.get((row["id"], row["repeat"])))
    ]
    changed = [
        p for p in pairs if p["change"] != 0 or p["error"] or p["before"]["error"]
    ]
    changed.sort(key=lambda pair: (pair["change"] is not None, pair["change"] or 0.0))
    changes = [pair["change"] for pair in pairs if pair["change"] is not None]
    return {
        "rows": changed[:COMPARED],
        "of": len(pairs),
        "worse": sum(change < 0 for change in changes),
        "better": sum(change > 0 for change in changes),
        "same": sum(change == 0 for change in changes),
        "unscored": len(pairs) - len(changes),
        "only_now": len(now) - len(pairs),
        "only_before": len(before) - len(pairs),
        "source": source or other,
    }


def _change(now: float | None, before: float | None, sign: int) -> float | None:
    """Return by how much a row became better, also where less is better."""
    return None if now is None or before is None else sign * (now - before)


def _sign(history: History, choice: Choice) -> int:
    found = history.ask(DIRECTION, run=choice.run, metric=choice.metric)
    return -1 if found and found[0]["higher"] == 0 else 1


def _rows(
    history: History, choice: Choice, run_id: str, home: Path
) -> tuple[list[Record], str]:
    """Return the rows of one evaluation, and why there are none."""
    numbers = history.ask(EVALUATION, run=run_id, suite=choice.suite, name=choice.name)
    if not numbers:
        return [], "the run has no such evaluation"
    number = numbers[-1]["evaluation"]
    stored = history.ask(ROWS, run=run_id, evaluation=number)
    if stored:
        return [_of_table(row, choice.metric) for row in stored], ""
    if not RunDirectory(home, run_id).verdict.is_file():
        return [], f"{NO_ROWS} of {run_id}"
    try:
        return list(_of_folder(home, run_id, number, choice.metric)), ""
    except ConfigurationError as error:
        return [], one_line(error, 300)


def _of_folder(home: Path, run_id: str, number: int, metric: str) -> Iterable[Record]:
    found = read_run(home, run_id)
    for entry in found.verdict["evaluations"]:
        if entry["number"] == number:
            for row in found.rows(entry):
                yield _shown(row, row["scores"], row["references"], metric)


def _of_table(row: Record, metric: str) -> Record:
    errors = [{"kind": row["error_kind"], "message": row["error_message"]}]
    with_errors = {**row, "errors": errors if row["error_kind"] else []}
    return _shown(
        with_errors, _json(row["scores"], dict), _json(row["expected"], list), metric
    )


def _json(text: str | None, kind: Callable[[], Any]) -> Any:
    try:
        found = json.loads(text or "null")
    except (ValueError, RecursionError):
        return kind()
    return found if isinstance(found, kind) else kind()  # type: ignore[arg-type]


def _shown(row: Record, scores: Record, expected: list[Any], metric: str) -> Record:
    score = scores.get(metric)
    errors = [f"{one['kind']}: {one['message']}" for one in row["errors"]]
    return {
        "id": row["id"],
        "repeat": row.get("repeat", 0),
        "input": row["input"],
        "expected": "\n".join(map(str, expected)),
        "output": row["prediction"],
        "error": "; ".join(errors),
        "score": float(score) if isinstance(score, (int, float)) else None,
        "latency_ms": row.get("latency_ms"),
    }
