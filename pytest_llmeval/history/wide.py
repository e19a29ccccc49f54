"""The view ``metrics_wide``: a column for each metric, as spreadsheets like it."""

from __future__ import annotations

import re
from collections.abc import Callable
from collections.abc import Iterable


MOST_METRICS = 200
"""Of the view; databases bound the number of columns."""
LONGEST_NAME = 50
FROM_RUNS = ("run_id", "day", "started_at", "status", "model", "model_version")
FROM_EVALUATIONS = ("evaluation", "name", "suite", "test", "dataset")
FROM_METRICS = ("slice_by", "slice_value")


def wide_query(
    metrics: Iterable[str],
    *,
    quote: Callable[[str], str] | None = None,
    place: str = "",
) -> str:
    """Return the query behind the view.

    Args:
        metrics: Their names; the first `MOST_METRICS` of them, sorted, get columns.
        quote: Writes a text as a literal; as standard SQL has it by default.
        place: Stands before the names of tables, with its dot.
    """
    literal = quote or standard_literal
    heads = [
        *(f"r.{name}" for name in FROM_RUNS),
        *(f"e.{name}" for name in FROM_EVALUATIONS),
        *(f"m.{name}" for name in FROM_METRICS),
    ]
    chosen = sorted(set(metrics))[:MOST_METRICS]
    cells = [
        f"max(CASE WHEN m.metric = {literal(metric)} THEN m.{part} END) AS {name}"
        for metric, column in column_names(chosen).items()
        for part, name in (
            ("value", column),
            ("lower", f"{column}_lower"),
            ("upper", f"{column}_upper"),
        )
    ]
    return (
        f"SELECT {', '.join(heads)},\n  "
        + ",\n  ".join([*cells, "max(m.n) AS n"])
        + f"\nFROM {place}metrics m"
        + f"\nJOIN {place}runs r ON r.run_id = m.run_id"
        + f"\nJOIN {place}evaluations e"
        + " ON e.run_id = m.run_id AND e.evaluation = m.evaluation"
        + f"\nGROUP BY {', '.join(heads)}"
    )


def column_names(metrics: Iterable[str]) -> dict[str, str]:
    """Return for each metric a name that needs no quotes, and that no other has."""
    taken = {*FROM_RUNS, *FROM_EVALUATIONS, *FROM_METRICS, "n"}
    names: dict[str, str] = {}
    for metric in metrics:
        # The prefix keeps words of SQL, such as "order", and numbers from the front.
        base = "m_" + re.sub(r"[^a-z0-9]+", "_", metric.lower()).strip("_")
        base = base[:LONGEST_NAME]
        name, number = base, 1
        while {name, f"{name}_lower", f"{name}_upper"} & taken:
            number += 1
            name = f"{base}_{number}"
        names[metric] = name
        taken |= {name, f"{name}_lower", f"{name}_upper"}
    return names


def standard_literal(text: str) -> str:
    """Return a text as a literal of SQLite, PostgreSQL and DuckDB."""
    return "'" + text.replace("'", "''") + "'"
