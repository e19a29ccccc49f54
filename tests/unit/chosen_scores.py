"""Evaluations whose scores a test chooses."""

from pytest_llmeval import Metric


UNIT = Metric(
    name="unit", score=lambda p, e: e.metadata["score"], range=(0, 1), source="data"
)


def echo(prompt: str) -> str:
    if prompt == "broken":
        raise RuntimeError("no answer")
    return f"echo {prompt}"


def table(scores, **columns):
    rows = [{"id": f"r{i}", "input": f"q{i}"} for i in range(len(scores))]
    for i, row in enumerate(rows):
        row["score"] = scores[i]
        row.update((name, values[i]) for name, values in columns.items())
    return rows
