"""Rows as a run's file has them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from pytest_llmeval.baselines import StoredRows


def entry(row_id: str, score: float | None = 1.0, **given: Any) -> dict[str, Any]:
    """Return a row of the metric ``right``; without a score it is in error."""
    error = {"kind": "timeout", "message": "no answer", "attempts": 3}
    return {
        "evaluation": 1,
        "id": row_id,
        "input": f"input of {row_id}",
        "references": ["yes"],
        "context": None,
        "metadata": {},
        "prediction": "no" if score is not None else None,
        "errors": [error] if score is None else [],
        "scores": {"right": score} if score is not None else {},
        "latency_ms": 100.0,
        "queue_ms": 1.0,
        "attempts": 1,
        "stored_at": None,
        "prompt_tokens": 3,
        "output_tokens": 2,
        "cost_usd": None,
        **given,
    }


def store(folder: Path, *entries: dict[str, Any], repeats: int = 1) -> StoredRows:
    path = folder / "results.jsonl"
    path.write_text("".join(json.dumps(one) + "\n" for one in entries), "ascii")
    return StoredRows(path.open("rb"), 1, ["right"], repeats)


def evaluation(**given: Any) -> dict[str, Any]:
    """Return what the verdict says of such rows."""
    definition = {"range": [0, 1], "higher_is_better": True, "source": ""}
    return {
        "number": 1,
        "name": "qa",
        "repeats": 1,
        "confidence": 0.95,
        "definitions": {"right": definition},
        **given,
    }
