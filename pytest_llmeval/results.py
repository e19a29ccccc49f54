"""What an evaluation gives back: rows, metric values, and how they look."""

from __future__ import annotations

import html
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import field
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.config import nearest
from pytest_llmeval.errors import MetricError
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Metric
from pytest_llmeval.records import MetricValue
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Recorder
from pytest_llmeval.records import Request
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    import pandas


@dataclass(frozen=True, kw_only=True, repr=False)
class EvalResults:
    """One model's predictions on one dataset, scored.

    ``results["rouge1"]`` is a metric's value with its interval; ``float()`` takes it.
    """

    name: str
    model: ModelRef
    request: Request
    dataset: Dataset
    rows: Sequence[Row]
    """One per example of the dataset, in its order."""
    values: Mapping[str, MetricValue]
    definitions: Mapping[str, Metric]
    """The metrics that `values` were computed with."""
    started_at: float
    """Unix time in seconds."""
    duration_s: float
    confidence: float | None = None
    """Confidence of gates that give none."""
    recorder: Recorder | None = field(default=None, compare=False)

    def __getitem__(self, metric: str) -> MetricValue:
        try:
            return self.values[metric]
        except KeyError:
            raise MetricError(
                f"{self.name!r} has no metric {metric!r}; it has: "
                f"{', '.join(self.values)}{nearest(metric, list(self.values))}"
            ) from None

    @property
    def metrics(self) -> dict[str, float | None]:
        """Plain values by name; None where no row could be scored."""
        return {name: value.value for name, value in self.values.items()}

    @property
    def errors(self) -> list[RowError]:
        """Rows that could not be evaluated, with kind, message and attempts."""
        return [error for row in self.rows for error in row.errors]

    @property
    def cached(self) -> int:
        """Rows whose reply came from the predictions store."""
        return sum(row.prediction.stored_at is not None for row in self.rows)

    def summary(self) -> dict[str, Any]:
        """Return all but the rows as builtins."""
        request = self.request
        return {
            "name": self.name,
            "started_at": self.started_at,
            "duration_s": self.duration_s,
            "cached": self.cached,
            "dataset": {
                "name": self.dataset.name,
                "digest": self.dataset.digest,
                "rows": len(self.rows),
            },
            "metrics": {
                value.name: {
                    "value": value.value,
                    "lower": value.lower,
                    "upper": value.upper,
                    "n": value.n,
                    "errors": value.errors,
                }
                for value in self.values.values()
            },
            "params": {
                "model": str(self.model),
                "model_digest": self.model.digest,
                "dataset_digest": self.dataset.digest,
                "request_digest": request.digest,
                "prompt": request.prompt,
                "system": request.system,
                **{f"params.{key}": value for key, value in request.params.items()},
            },
        }

    def to_pandas(self) -> pandas.DataFrame:
        """Return a frame with one row per example.

        Columns: id, input, references, prediction, error, and one per metric.
        """
        import pandas

        columns = ("id", "input", "references", "prediction", "error")
        table = []
        for row in self.rows:
            entry = row.to_dict()
            scores = {name: row.scores.get(name) for name in self.values}
            table.append({column: entry[column] for column in columns} | scores)
        return pandas.DataFrame(table, columns=[*columns, *self.values])

    def __repr__(self) -> str:
        head = (
            f"<EvalResults {one_line(self.name)}: {len(self.rows)} rows, "
            f"{one_line(self.model)}, {len(self.errors)} errors>"
        )
        return "\n".join([head, *("  " + "  ".join(cells) for cells in self._table())])

    def _repr_html_(self) -> str:
        rows = "".join(
            "<tr>"
            + "".join(f"<td>{html.escape(cell.strip())}</td>" for cell in cells)
            + "</tr>"
            for cells in self._table()
        )
        caption = html.escape(
            f"{one_line(self.name)}: {len(self.rows)} rows, {one_line(self.model)}, "
            f"{len(self.errors)} errors"
        )
        return f"<table><caption>{caption}</caption>{rows}</table>"

    def _table(self) -> list[list[str]]:
        table = [["metric", "value", "interval", "n", "errors"]]
        table += [
            [
                value.name,
                number(value.value),
                interval(value.lower, value.upper, value.confidence),
                str(value.n),
                str(value.errors),
            ]
            for value in self.values.values()
        ]
        widths = [max(map(len, column)) for column in zip(*table, strict=True)]
        return [
            [cell.ljust(width) for cell, width in zip(cells, widths, strict=True)]
            for cells in table
        ]


def number(value: float | None) -> str:
    """Return a value with three decimals, more where they would round to nothing."""
    if value is None:
        return "none"
    return f"{value:.3f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3g}"


def interval(lower: float | None, upper: float | None, confidence: float | None) -> str:
    """Return ``0.381 to 0.482 at 95 %``, or a dash when there is no interval."""
    if lower is None or upper is None or confidence is None:
        return "-"
    return f"{number(lower)} to {number(upper)} at {100 * confidence:g} %"
