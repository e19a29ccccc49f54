"""What a baseline has to be for any gate on a change."""

from __future__ import annotations

from dataclasses import replace

from pytest_llmeval.errors import BaselineError
from pytest_llmeval.gate.check import Undecidable
from pytest_llmeval.gate.errors import NAMED_ROWS
from pytest_llmeval.gate.errors import Bad
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.results import Baseline
from pytest_llmeval.results import EvalResults
from pytest_llmeval.text import first_few
from pytest_llmeval.text import one_line


def without_baseline(error: BaselineError, gate: Gate, blank: Decision) -> Decision:
    """Return the decision on a change from nothing, where that may pass.

    Raises:
        Undecidable: it may not.
    """
    if gate.missing == "first" and error.is_first:
        return replace(
            blank, status="pass", reason="FIRST_VERSION", detail=one_line(error, 500)
        )
    raise Undecidable(error.reason, str(error))


def check_baseline(
    results: EvalResults, baseline: Baseline, metric: Metric, difference: str = ""
) -> None:
    """Refuse a baseline of other data, scored by another metric, or not whole.

    Args:
        results: What is compared with it.
        baseline: What was found.
        metric: What they are compared by.
        difference: Which rows differ, where that is known.
    """
    check_whole(baseline.early_stopped, baseline.origin)
    if baseline.dataset_digest != results.dataset.digest:
        raise Undecidable(
            "DATASET_CHANGED",
            f"{baseline.origin} evaluated other rows than {results.dataset.name} has "
            f"now{difference}; evaluate the baseline's model on these rows, and "
            "name that run, or give its EvalResults",
        )
    _check_source(baseline, metric)
    _check_answered(baseline)


def _check_answered(baseline: Baseline) -> None:
    if baseline.table is not None:
        rows, count = baseline.table.sizes()
        first = baseline.table.failed(NAMED_ROWS) if count else ()
    else:
        rows, failed = len(baseline.columns.ids), sorted(baseline.columns.failed)
        count, first = len(failed), [baseline.rows[at] for at in failed[:NAMED_ROWS]]
    if count:
        bad = Bad(rows, count, first, ())
        raise Undecidable(
            "BASELINE_UNUSABLE",
            f"{count} rows of {baseline.origin} are in error: {bad.named}; name a "
            "baseline whose rows all have an answer",
        )


def check_whole(early_stopped: bool, whose: str) -> None:
    """Refuse rows beyond an early stop, which have no score."""
    if early_stopped:
        raise Undecidable(
            "EARLY_STOPPED",
            f"{whose} stopped early, so that rows have no score to compare; run it "
            "without --llmeval-early-stop",
        )


def _check_source(baseline: Baseline, metric: Metric) -> None:
    if metric.name not in baseline.sources:
        raise Undecidable(
            "BASELINE_UNUSABLE",
            f"{baseline.origin} has no metric {metric.name!r}; it has: "
            f"{first_few(baseline.sources)}; evaluate it again with that metric",
        )
    source = baseline.sources[metric.name]
    if source != metric.source:
        raise Undecidable(
            "METRIC_CHANGED",
            f"{metric.name} is {one_line(metric.source) or 'without a source'} now and "
            f"was {one_line(source) or 'without a source'} in {baseline.origin}; "
            "evaluate the baseline's model again with the metric of now",
        )
