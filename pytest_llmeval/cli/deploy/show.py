"""What ``llmeval deploy`` prints: lines for people, or JSON for machines."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Mapping
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.text import redact_within
from pytest_llmeval.text import redactor
from pytest_llmeval.text import safe
from pytest_llmeval.text import utc


if TYPE_CHECKING:
    from pytest_llmeval.deploy.outcome import Outcome
    from pytest_llmeval.records import State


def as_json(document: Mapping[str, Any]) -> str:
    """Return a document as JSON, secrets taken out."""
    return json.dumps(redact_within(document, redactor()), indent=2)


def plan_lines(outcome: Outcome) -> Iterator[str]:
    """Yield what changes at each target, and what a person should know."""
    for plan in outcome.plans:
        yield safe(plan.target)
        for change in plan.changes or ("stays as it is",):
            yield f"  {'~ ' if plan.changes else ''}{safe(change)}"
        for note in plan.notes:
            yield f"  {safe(note)}"
    if outcome.attempt:
        yield outcome.attempt


def state_lines(name: str, state: State) -> Iterator[str]:
    """Yield what is live at a target, and what it carries."""
    busy = ", changing right now" if state.busy else ""
    problem = f" ({state.problem})" if state.problem else ""
    yield f"{name}  {safe(state.text)}{busy}{safe(problem)}"
    for tag, value in sorted(state.tags.items()):
        if tag.startswith("llmeval."):
            yield f"  {safe(tag.removeprefix('llmeval.')):<18} {safe(value)}"


def attempt_line(attempt: Mapping[str, Any]) -> str:
    """Return when an attempt was made, how it ended, what it was about, and by whom."""
    who, about = attempt["who"]["actor"], attempt["run_id"] or attempt["step"]
    text = f"{attempt['reason']} {attempt['target']}, {about}, by {who}"
    return f"{utc(attempt['began_at'])}  {safe(text)}"
