"""An ordinary assert on a metric value, explained as a gate is."""

from __future__ import annotations

from collections.abc import Iterable

from pytest_llmeval.gate.check import is_corpus
from pytest_llmeval.gate.decide import worst_rows
from pytest_llmeval.gate.explain import apart
from pytest_llmeval.gate.explain import worst_lines
from pytest_llmeval.gate.select import Kept
from pytest_llmeval.records import MetricValue
from pytest_llmeval.records import WorstRow
from pytest_llmeval.records import is_finite
from pytest_llmeval.redaction import NO_RULES
from pytest_llmeval.redaction import Redaction
from pytest_llmeval.repeats import by_example
from pytest_llmeval.results import EvalResults
from pytest_llmeval.results import interval
from pytest_llmeval.results import number
from pytest_llmeval.text import one_line


MIRRORED = {">=": "<=", ">": "<", "<=": ">=", "<": ">", "==": "==", "!=": "!="}


def explain_assert(
    op: str,
    left: object,
    right: object,
    evaluated: Iterable[EvalResults],
    redaction: Redaction = NO_RULES,
) -> list[str] | None:
    """Return lines on a metric value that an assert compares with a number.

    Args:
        op: How they are compared.
        left: What stands before the operator: the metric value, or the number.
        right: What stands behind it.
        evaluated: The evaluations that the value may be of; its worst rows are shown
            when it is of one of them.
        redaction: What is taken out of those rows.

    Returns:
        The lines; None for any other comparison.
    """
    if isinstance(right, MetricValue):
        op, left, right = MIRRORED.get(op, ""), right, left
    if op not in MIRRORED or not isinstance(left, MetricValue) or not is_finite(right):
        return None
    name, shown = one_line(left.name, 120), (number(left.value), number(right))
    if left.value is not None:
        shown = apart(left.value, float(right))
    bounds = interval(left.lower, left.upper, left.confidence)
    lines = [
        f"{name} {shown[0]} {op} {shown[1]}",
        f"interval {bounds}, n={left.n}, errors={left.errors}",
        "this is no gate: it is not in the verdict; use "
        f'assert_metric(results, "{name}", "{op}", {float(right)!r})',
    ]
    if op in ("==", "!="):
        lines.append("a metric value equals no number; float() gives the one it has")
    return lines + worst_lines(_rows_behind(left, op, evaluated, redaction))


def _rows_behind(
    value: MetricValue,
    op: str,
    evaluated: Iterable[EvalResults],
    redaction: Redaction,
) -> tuple[WorstRow, ...]:
    """Return the rows to look at; none when the value is of no evaluation given."""
    for results in evaluated:
        asks = results.source is not None and not results.source.begun
        # Reading a value of results that nobody read before would ask the model.
        if not asks and results.values.get(value.name) is value:
            worst = _worst_in(results, value.name, op)
            return redaction.worst(worst, results.dataset.columns)
    return ()


def _worst_in(results: EvalResults, name: str, op: str) -> tuple[WorstRow, ...]:
    examples = by_example(results, name)
    metric, columns = examples.definitions[name], examples.columns
    if is_corpus(metric):
        return ()
    scores = columns.scores[name]
    good = [at for at in range(len(columns.ids)) if at not in columns.failed]
    kept = Kept(good, [scores[at] for at in good])
    return worst_rows(examples, kept, op, metric.range)
