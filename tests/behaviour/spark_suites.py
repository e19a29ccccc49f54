"""Suites that are evaluated in Spark, and models that count at a server."""

from __future__ import annotations

import json
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pytest_llmeval import CallableModel
from pytest_llmeval.config import Settings

from .conftest import Suite


TASKS = 2
ROWS_PER_TASK = 20
WAVE = TASKS * ROWS_PER_TASK
"""Rows that are asked for again at most, when a run is killed."""
PASSING = """\
from pytest_llmeval import assert_metric


def test_quality(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"], engine="spark")
    assert_metric(results, "exact_match", ">=", 0.9)
"""


def rows_of(number: int) -> list[dict[str, Any]]:
    return [
        {"id": f"r{i}", "input": f"word {i}", "answer": f"WORD {i}"}
        for i in range(number)
    ]


def settings_in(folder: Path, **changes: Any) -> Settings:
    """Return settings for evaluations without pytest, by the Sail of this process."""
    values: dict[str, Any] = {
        "spark": "sail",
        "spark_tasks": TASKS,
        "spark_rows_per_task": ROWS_PER_TASK,
    }
    return Settings(rootdir=folder, **values | changes)


def asking(url: str) -> Callable[[str], str]:
    """Return a function that asks a server, and travels by value."""

    def ask(prompt: str) -> str:
        body = json.dumps({"messages": [{"content": prompt}]}).encode()
        with urllib.request.urlopen(f"{url}/chat/completions", body) as reply:
            text: str = json.load(reply)["choices"][0]["message"]["content"]
            return text

    return ask


def pinned(url: str, version: str = "1") -> CallableModel:
    return CallableModel(asking(url), version=version)


def in_spark(suite: Suite, rows: int = 40, **ini: object) -> None:
    """Have a suite evaluate so many rows in Sail."""
    suite.write("evals/test_qa.py", PASSING)
    suite.write_rows("evals/data.jsonl", rows_of(rows))
    suite.set_ini(
        llmeval_spark="sail",
        llmeval_spark_tasks=TASKS,
        llmeval_spark_rows_per_task=ROWS_PER_TASK,
        **ini,
    )
