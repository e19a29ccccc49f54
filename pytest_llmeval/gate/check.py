"""What a gate may say, before any row is looked at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import get_args

from pytest_llmeval import repeats
from pytest_llmeval.config import check_confidence
from pytest_llmeval.config import nearest
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import OPS
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Missing
from pytest_llmeval.records import OnError
from pytest_llmeval.records import is_finite
from pytest_llmeval.records import is_number
from pytest_llmeval.records import is_range
from pytest_llmeval.results import EvalResults


class Undecidable(Exception):
    """The gate is in error, for this reason."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def problem_of(gate: Gate) -> str | None:
    """Return what makes a gate undecidable whatever the rows are, or None."""
    try:
        check_gate(gate)
    except Undecidable as error:
        return str(error)
    return None


def check_gate(gate: Gate) -> None:
    """Refuse arguments that have no meaning; wrong types are errors of the gate."""
    if not isinstance(gate.metric, str):
        raise Undecidable(
            "BAD_TYPE", f"the metric {gate.metric!r:.100} is no name of a metric"
        )
    if not isinstance(gate.op, str) or gate.op not in OPS:
        raise Undecidable("BAD_TYPE", f"op={gate.op!r} is none of: {', '.join(OPS)}")
    _check_threshold(gate)
    _check_confidence(gate)
    if gate.kind == "change":
        _check_change(gate)
    elif gate.kind == "quantile":
        _check_quantile(gate)
    _check_slice(gate)
    _check_error_policy(gate)


def _check_threshold(gate: Gate) -> None:
    threshold, name = gate.threshold, _threshold_name(gate)
    if not is_number(threshold):
        raise Undecidable(
            "BAD_TYPE",
            f"{name} {threshold!r} is {type(threshold).__name__}, "
            "not a number; write it without quotes, for example 0.4",
        )
    if not is_finite(threshold):
        raise Undecidable(
            "NOT_FINITE", f"{name} is {threshold!r:.60}, not a finite number"
        )


def _threshold_name(gate: Gate) -> str:
    """Return what the suite calls the threshold."""
    if gate.kind != "change":
        return "the threshold"
    return "max_drop" if gate.op == ">=" else "min_gain"


def _check_confidence(gate: Gate) -> None:
    if gate.confidence is None:
        return
    try:
        check_confidence(gate.confidence)
    except ConfigurationError as error:
        raise Undecidable("BAD_TYPE", str(error)) from None
    if gate.op in ("==", "!="):
        raise Undecidable(
            "BAD_TYPE",
            f"{gate.op} compares point values and takes no confidence; leave "
            "confidence= out",
        )


def _check_change(gate: Gate) -> None:
    if gate.confidence is None:
        raise Undecidable(
            "BAD_TYPE",
            "a change is decided by a bound only: give a confidence such as 0.95",
        )
    if gate.op == ">=" and gate.threshold > 0:
        raise Undecidable(
            "BAD_TYPE",
            f"max_drop={-gate.threshold:g} is below 0: say how large a drop may be, "
            "for example 0.02; a gain is asked for with assert_improved",
        )
    if gate.op == ">" and gate.threshold < 0:
        raise Undecidable(
            "BAD_TYPE",
            f"min_gain={gate.threshold:g} is below 0: say how large a gain must be; a "
            "drop is allowed with assert_no_regression",
        )
    if gate.missing not in get_args(Missing):
        raise Undecidable(
            "BAD_TYPE",
            f"missing={gate.missing!r} is none of: {', '.join(get_args(Missing))}",
        )


def _check_quantile(gate: Gate) -> None:
    share: object = gate.quantile
    if not (is_number(share) and 0 < share < 1):
        percent = is_number(share) and 1 < share < 100
        hint = f"; did you mean {share / 100:g}?" if percent else ""  # type: ignore[operator]  # a number
        raise Undecidable(
            "BAD_TYPE", f"q={share!r} is no share between 0 and 1, such as 0.95{hint}"
        )
    if gate.op in ("==", "!="):
        raise Undecidable(
            "BAD_TYPE", f"{gate.op} has no meaning for a quantile: use an order"
        )


def _check_slice(gate: Gate) -> None:
    where: object = gate.where
    if where is not None and not isinstance(where, Mapping):
        raise Undecidable(
            "BAD_TYPE", f'where={where!r} is no mapping such as {{"topic": "a"}}'
        )
    if any(value is None for value in (gate.where or {}).values()):
        raise Undecidable(
            "BAD_TYPE", f"where={where!r} holds None; name a value of the column"
        )
    rows: object = gate.min_rows
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int)):
        raise Undecidable("BAD_TYPE", f"min_rows={rows!r} is not a whole number")
    if gate.cluster is not None and not isinstance(gate.cluster, str):
        raise Undecidable("BAD_TYPE", f"cluster={gate.cluster!r} names no column")


def _check_error_policy(gate: Gate) -> None:
    if gate.on_error not in get_args(OnError):
        raise Undecidable(
            "BAD_TYPE",
            f"on_error={gate.on_error!r} is none of: {', '.join(get_args(OnError))}",
        )
    if gate.on_error == "worst" and gate.op in ("==", "!="):
        raise Undecidable(
            "BAD_TYPE", f'on_error="worst" has no meaning with {gate.op}: use an order'
        )
    rate: object = gate.max_error_rate
    if rate is not None and not (is_number(rate) and 0 <= rate <= 1):
        raise Undecidable(
            "BAD_TYPE", f"max_error_rate={rate!r} is no share between 0 and 1"
        )
    if (gate.on_error == "exclude") != (rate is not None):
        raise Undecidable(
            "BAD_TYPE",
            'on_error="exclude" and max_error_rate= go together: say which share of '
            "rows may be left out, for example 0.01",
        )


def find_metric(results: EvalResults, gate: Gate) -> Metric:
    """Return the gate's metric as the evaluation defines it."""
    metric = repeats.find_metric(
        results.definitions, results.request.repeats, gate.metric
    )
    if metric is None:
        known = list(results.definitions)
        raise Undecidable(
            "METRIC_MISSING",
            f"the evaluation has no metric {gate.metric!r}; it has: "
            f"{', '.join(known)}{nearest(str(gate.metric), known)}",
        )
    if gate.kind != "metric" and is_corpus(metric):
        raise Undecidable(
            "UNSUPPORTED",
            f"{metric.name} is computed over all rows together, so that it has no "
            "quantiles, and no change of single rows: gate it with assert_metric",
        )
    return metric


def is_corpus(metric: Metric) -> bool:
    """Return whether a metric is one number for all rows, and no mean of scores."""
    return metric.aggregate is not None


def score_range(gate: Gate, metric: Metric) -> tuple[float, float] | None:
    """Return the lowest and highest score, where they are known."""
    for pair in (gate.bounds, metric.range):
        if pair is not None and not is_range(pair):
            raise Undecidable(
                "BAD_TYPE",
                f"bounds={pair!r} are not two finite numbers (lowest, highest)",
            )
    if gate.bounds and metric.range and tuple(gate.bounds) != tuple(metric.range):
        raise Undecidable(
            "BAD_TYPE",
            f"{metric.name} declares the range {metric.range!r}, and bounds= is for "
            "metrics that declare none",
        )
    bounds = metric.range or gate.bounds
    by_mean = gate.kind != "quantile" and not is_corpus(metric)
    if bounds is None and gate.confidence is not None and by_mean:
        advice = (
            'give bounds=(lowest, highest), compare the point value with confidence="'
            'point", or gate a quantile with assert_quantile'
        )
        if gate.kind == "change":
            advice = "gate a quantile with assert_quantile, or declare Metric(range=…)"
        raise Undecidable(
            "UNBOUNDED",
            f"{metric.name} has no known range, which a confidence needs: {advice}",
        )
    return bounds


def change_range(gate: Gate, metric: Metric) -> tuple[float, float]:
    """Return the range of the metric that a change is of, which the bar must fit."""
    bounds = score_range(gate, metric)
    if bounds is None:
        raise Undecidable("UNBOUNDED", f"{metric.name} has no known range")
    width = bounds[1] - bounds[0]
    check_bar(gate, (-width, width))
    return bounds


def check_bar(gate: Gate, bounds: tuple[float, float] | None) -> None:
    """Refuse a threshold that no value could reach, or that every value does."""
    if bounds is None or bounds[0] <= gate.threshold <= bounds[1]:
        return
    percent = bounds == (0.0, 1.0) and 1.0 < gate.threshold <= 100.0
    hint = f"; did you mean {gate.threshold / 100:g}?" if percent else ""
    of = "the metric's range" if gate.kind != "change" else "the range of changes"
    raise Undecidable(
        "OUT_OF_RANGE",
        f"the threshold {gate.threshold!r} is outside {of} {bounds[0]:g} to "
        f"{bounds[1]:g}{hint}",
    )
