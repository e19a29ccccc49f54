"""From a gate and results to a decision, and from a decision to sentences."""

from __future__ import annotations

import math
import numbers
import operator
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import TypeGuard
from typing import get_args

from pytest_llmeval import stats
from pytest_llmeval.config import check_confidence
from pytest_llmeval.config import nearest
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import OPS
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import OnError
from pytest_llmeval.records import Row
from pytest_llmeval.records import WorstRow
from pytest_llmeval.records import canonical
from pytest_llmeval.records import is_missing
from pytest_llmeval.results import EvalResults
from pytest_llmeval.results import number
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


COMPARE: Mapping[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    ">": operator.gt,
    "<=": operator.le,
    "<": operator.lt,
    "==": operator.eq,
    "!=": operator.ne,
}
OPPOSITE = {">=": "<", ">": "<=", "<=": ">", "<": ">="}
WORST_SHOWN = 3
NAMED_ROWS = 5
MOST_DIGITS = 17
USUAL_CONFIDENCE = 0.95


class _Undecidable(Exception):
    """The gate is in error, for this reason."""

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(detail)
        self.reason = reason


def decide_gate(results: EvalResults, gate: Gate) -> Decision:
    """Decide a gate on results.

    Never raises for anything about the gate or the data: what is wrong comes back as a
    decision with status ``error``, so that it is recorded like any other.
    """
    blank = Decision(
        gate=gate,
        status="error",
        reason="",
        cached=results.cached,
        model=results.model,
        dataset=results.dataset.name,
        dataset_digest=results.dataset.digest,
        rows=len(results.dataset.examples),
        request_digest=results.request.digest,
    )
    try:
        decision = _decide(results, gate, blank)
    except _Undecidable as error:
        return replace(blank, reason=error.reason, detail=str(error))
    if gate.on_error == "exclude" and decision.errors:
        strict = replace(gate, on_error="worst", max_error_rate=None)
        return replace(decision, at_worst=decide_gate(results, strict).status)
    return decision


def _decide(results: EvalResults, gate: Gate, blank: Decision) -> Decision:
    _check_gate(gate)
    _check_rows(gate)
    metric = _metric(results, gate)
    rows = _select(results, gate)
    if gate.min_rows is not None and len(rows) < gate.min_rows:
        raise _Undecidable(
            "TOO_FEW_ROWS", f"{len(rows)} rows, and min_rows={gate.min_rows}"
        )
    if metric.name == "latency_ms" and any(row.prediction.stored_at for row in rows):
        raise _Undecidable(
            "CACHED_LATENCY",
            "some replies come from the predictions store, so their latency is not of "
            "this run; ask again with --llmeval-cache refresh",
        )
    bounds = _bounds(gate, metric)
    kept, errors = _apply_error_policy(rows, gate, metric, bounds)
    blank = replace(blank, n=len(kept), errors=errors, rows=len(rows))
    if metric.score is None or metric.aggregate is not None:
        return _decide_corpus(kept, gate, metric, blank)
    scores = [score for _, score in kept]
    _check_range(kept, bounds, gate)
    value = row_mean = stats.mean(scores)
    if gate.cluster is not None:
        scores = _cluster_means(kept, gate.cluster)
        value = stats.mean(scores)
    blank = replace(
        blank, value=value, row_mean=row_mean if gate.cluster else None, n=len(scores)
    )
    decided = _decide_point if gate.confidence is None else _decide_interval
    decision = decided(scores, gate, blank, bounds)
    if decision.status == "pass":
        return decision
    return replace(decision, worst=_worst(kept, gate.op, bounds))


def is_number(value: object) -> TypeGuard[float]:
    """Return whether a value is a real number; numpy's are, a bool is not."""
    return not isinstance(value, bool) and isinstance(value, numbers.Real)


def is_finite(value: object) -> TypeGuard[float]:
    """Return whether a value is a number that a float can hold."""
    try:
        return is_number(value) and math.isfinite(value)
    except OverflowError:
        return False


def _check_gate(gate: Gate) -> None:
    """Refuse arguments that have no meaning; wrong types are errors of the gate."""
    if not isinstance(gate.metric, str):
        raise _Undecidable(
            "BAD_TYPE", f"the metric {gate.metric!r:.100} is no name of a metric"
        )
    if not isinstance(gate.op, str) or gate.op not in OPS:
        raise _Undecidable("BAD_TYPE", f"op={gate.op!r} is none of: {', '.join(OPS)}")
    threshold: object = gate.threshold
    if not is_number(threshold):
        raise _Undecidable(
            "BAD_TYPE",
            f"the threshold {threshold!r} is {type(threshold).__name__}, "
            "not a number; write it without quotes, for example 0.4",
        )
    if not is_finite(threshold):
        raise _Undecidable(
            "NOT_FINITE", f"the threshold is {threshold!r:.60}, not a finite number"
        )
    if gate.confidence is not None:
        try:
            check_confidence(gate.confidence)
        except ConfigurationError as error:
            raise _Undecidable("BAD_TYPE", str(error)) from None
        if gate.op in ("==", "!="):
            raise _Undecidable(
                "BAD_TYPE",
                f"{gate.op} compares point values and takes no confidence; leave "
                "confidence= out",
            )


def _check_rows(gate: Gate) -> None:
    """Refuse arguments about rows that have no meaning."""
    where: object = gate.where
    if where is not None and not isinstance(where, Mapping):
        raise _Undecidable(
            "BAD_TYPE", f'where={where!r} is no mapping such as {{"topic": "a"}}'
        )
    if any(value is None for value in (gate.where or {}).values()):
        raise _Undecidable(
            "BAD_TYPE", f"where={where!r} holds None; name a value of the column"
        )
    rows: object = gate.min_rows
    if rows is not None and (isinstance(rows, bool) or not isinstance(rows, int)):
        raise _Undecidable("BAD_TYPE", f"min_rows={rows!r} is not a whole number")
    if gate.cluster is not None and not isinstance(gate.cluster, str):
        raise _Undecidable("BAD_TYPE", f"cluster={gate.cluster!r} names no column")
    if gate.on_error not in get_args(OnError):
        raise _Undecidable(
            "BAD_TYPE",
            f"on_error={gate.on_error!r} is none of: {', '.join(get_args(OnError))}",
        )
    if gate.on_error == "worst" and gate.op in ("==", "!="):
        raise _Undecidable(
            "BAD_TYPE", f'on_error="worst" has no meaning with {gate.op}: use an order'
        )
    rate: object = gate.max_error_rate
    if rate is not None and not (is_number(rate) and 0 <= rate <= 1):
        raise _Undecidable(
            "BAD_TYPE", f"max_error_rate={rate!r} is no share between 0 and 1"
        )
    if (gate.on_error == "exclude") != (rate is not None):
        raise _Undecidable(
            "BAD_TYPE",
            'on_error="exclude" and max_error_rate= go together: say which share of '
            "rows may be left out, for example 0.01",
        )


def _metric(results: EvalResults, gate: Gate) -> Metric:
    if gate.metric not in results.definitions:
        known = list(results.definitions)
        raise _Undecidable(
            "METRIC_MISSING",
            f"the evaluation has no metric {gate.metric!r}; it has: "
            f"{', '.join(known)}{nearest(str(gate.metric), known)}",
        )
    return results.definitions[gate.metric]


def _select(results: EvalResults, gate: Gate) -> list[Row]:
    rows = list(results.rows)
    expected = [example.id for example in results.dataset.examples]
    found = Counter(row.example.id for row in rows)
    if found != Counter(expected):
        missing = [row_id for row_id in expected if row_id not in found]
        doubled = [row_id for row_id, times in found.items() if times > 1]
        raise _Undecidable(
            "ROWS_MISSING" if missing or not doubled else "DUPLICATE_ROWS",
            f"the results have {len(rows)} rows and the dataset {len(expected)}; "
            f"missing: {_name_ids(missing)}; more than once: {_name_ids(doubled)}",
        )
    for column, wanted in (gate.where or {}).items():
        if not any(column in row.example.metadata for row in rows):
            raise _Undecidable(
                "ZERO_ROWS", f"where= names a column {column!r} that the data lacks"
            )
        rows = [
            row
            for row in rows
            if not is_missing(row.example.metadata.get(column))
            and canonical(row.example.metadata[column]) == canonical(wanted)
        ]
    if not rows:
        raise _Undecidable("ZERO_ROWS", f"no row has {gate.where!r}")
    return rows


def is_range(bounds: object) -> TypeGuard[tuple[float, float]]:
    """Return whether a value is a pair of finite numbers, the lower one first."""
    if not isinstance(bounds, (tuple, list)) or len(bounds) != 2:
        return False
    low, high = bounds
    return is_finite(low) and is_finite(high) and bool(low < high)


def _name_ids(ids: Sequence[str]) -> str:
    named = ", ".join(one_line(row_id, 60) for row_id in ids[:NAMED_ROWS])
    return f"{named} …" if len(ids) > NAMED_ROWS else named or "none"


def _bounds(gate: Gate, metric: Metric) -> tuple[float, float] | None:
    for pair in (gate.bounds, metric.range):
        if pair is not None and not is_range(pair):
            raise _Undecidable(
                "BAD_TYPE",
                f"bounds={pair!r} are not two finite numbers (lowest, highest)",
            )
    if gate.bounds and metric.range and tuple(gate.bounds) != tuple(metric.range):
        raise _Undecidable(
            "BAD_TYPE",
            f"{metric.name} declares the range {metric.range!r}, and bounds= is for "
            "metrics that declare none",
        )
    bounds = metric.range or gate.bounds
    if bounds is None and gate.confidence is not None:
        raise _Undecidable(
            "UNBOUNDED",
            f"{metric.name} has no known range, which a confidence needs: give "
            "bounds=(lowest, highest), or compare the point value with "
            'confidence="point"',
        )
    if bounds is not None and not bounds[0] <= gate.threshold <= bounds[1]:
        percent = bounds == (0.0, 1.0) and 1.0 < gate.threshold <= 100.0
        hint = f"; did you mean {gate.threshold / 100:g}?" if percent else ""
        raise _Undecidable(
            "OUT_OF_RANGE",
            f"the threshold {gate.threshold!r} is outside the metric's range "
            f"{bounds[0]:g} to {bounds[1]:g}{hint}",
        )
    return bounds


def _apply_error_policy(
    rows: Sequence[Row],
    gate: Gate,
    metric: Metric,
    bounds: tuple[float, float] | None,
) -> tuple[list[tuple[Row, float]], int]:
    """Return rows with the scores that count, and how many rows had an error."""
    good = [row for row in rows if not row.errors]
    bad = [row for row in rows if row.errors]
    kept = [(row, row.scores.get(metric.name, 0.0)) for row in good]
    if not bad:
        return kept, 0
    if gate.on_error == "exclude" and gate.max_error_rate is not None:
        rate = len(bad) / len(rows)
        if rate > gate.max_error_rate:
            raise _Undecidable(
                "TOO_MANY_ERRORS",
                f"{len(bad)} of {len(rows)} rows are in error, {rate:.3g} of them, and "
                f"max_error_rate={gate.max_error_rate:g}: {_name_errors(bad)}",
            )
        if not kept:
            raise _Undecidable("ZERO_ROWS", f"no row is left: {_name_errors(bad)}")
        return kept, len(bad)
    if gate.on_error == "worst":
        if bounds is None or metric.aggregate is not None:
            raise _Undecidable(
                "UNBOUNDED",
                f'on_error="worst" needs the range of {metric.name}: give bounds=',
            )
        worst = bounds[1] if gate.op in ("<=", "<") else bounds[0]
        return kept + [(row, worst) for row in bad], len(bad)
    kinds = {error.kind for row in bad for error in row.errors}
    known = {"not_finite": "NOT_FINITE", "bad_type": "BAD_TYPE"}
    reason = next((known[k] for k in sorted(kinds) if k in known), "ROWS_MISSING")
    raise _Undecidable(
        reason,
        f"{len(bad)} of {len(rows)} rows could not be evaluated, so {metric.name} has "
        f"no honest value: {_name_errors(bad)}. Run the same command again to ask only "
        'for those, or decide what they count for with on_error="worst"',
    )


def _name_errors(rows: Sequence[Row]) -> str:
    named = "; ".join(
        f"{one_line(row.example.id, 60)} ({row.errors[0].kind}: "
        f"{one_line(row.errors[0].message)})"
        for row in rows[:NAMED_ROWS]
    )
    more = len(rows) - NAMED_ROWS
    return f"{named}; and {more} more" if more > 0 else named


def _check_range(
    kept: Sequence[tuple[Row, float]], bounds: tuple[float, float] | None, gate: Gate
) -> None:
    if bounds is None:
        return
    for row, score in kept:
        if not bounds[0] <= score <= bounds[1]:
            raise _Undecidable(
                "OUT_OF_RANGE",
                f"row {one_line(row.example.id, 60)} has {gate.metric} = {score!r}, "
                f"outside the range {bounds[0]:g} to {bounds[1]:g}",
            )


def _cluster_means(kept: Sequence[tuple[Row, float]], column: str) -> list[float]:
    clusters: dict[bytes, list[float]] = {}
    for row, score in kept:
        if is_missing(row.example.metadata.get(column)):
            raise _Undecidable(
                "ROWS_MISSING",
                f"row {one_line(row.example.id, 60)} has no column {column!r}, which "
                "cluster= names",
            )
        name = canonical(row.example.metadata[column])
        clusters.setdefault(name, []).append(score)
    return [stats.mean(scores) for scores in clusters.values()]


def _decide_corpus(
    kept: Sequence[tuple[Row, float]], gate: Gate, metric: Metric, blank: Decision
) -> Decision:
    if gate.confidence is not None or gate.cluster is not None:
        raise _Undecidable(
            "UNSUPPORTED",
            f"{metric.name} is computed over all rows together and is no mean of row "
            "scores, so there is no confidence bound for it yet: compare the point "
            'value with confidence="point"',
        )
    if metric.aggregate is None:
        raise _Undecidable("METRIC_MISSING", f"{metric.name} has no aggregate")
    try:
        value = metric.aggregate(
            [row.prediction for row, _ in kept], [row.example for row, _ in kept]
        )
    except Exception as error:  # the metric may be the user's
        message = f"{metric.name} raised {type(error).__name__}: {error}"
        raise _Undecidable("METRIC_ERROR", message) from error
    if not is_number(value):
        raise _Undecidable("BAD_TYPE", f"{metric.name} is {value!r:.60}, not a number")
    if not is_finite(value):
        raise _Undecidable("NOT_FINITE", f"{metric.name} is {value!r:.60}")
    if metric.range and not metric.range[0] <= value <= metric.range[1]:
        raise _Undecidable(
            "OUT_OF_RANGE",
            f"{metric.name} is {value!r}, outside its range {metric.range[0]:g} to "
            f"{metric.range[1]:g}",
        )
    return _decide_point([], gate, replace(blank, value=float(value)), None)


def _decide_point(
    scores: Sequence[float],
    gate: Gate,
    blank: Decision,
    bounds: tuple[float, float] | None,
) -> Decision:
    value = blank.value
    if value is None or not math.isfinite(value):
        raise _Undecidable("NOT_FINITE", f"{gate.metric} is {value!r}")
    if not COMPARE[gate.op](value, gate.threshold):
        return replace(blank, status="fail", reason="GATE_FAILED")
    point_only = None
    if scores and bounds is not None and gate.op not in ("==", "!="):
        strict = replace(gate, confidence=USUAL_CONFIDENCE)
        point_only = _decide_interval(scores, strict, blank, bounds).status
    return replace(blank, status="pass", reason="OK", point_only=point_only)


def _decide_interval(
    scores: Sequence[float],
    gate: Gate,
    blank: Decision,
    bounds: tuple[float, float] | None,
) -> Decision:
    if bounds is None or gate.confidence is None:
        raise _Undecidable("UNBOUNDED", f"{gate.metric} has no known range")
    low, high = bounds
    lower = stats.lower_bound(scores, gate.confidence, low, high)
    upper = stats.upper_bound(scores, gate.confidence, low, high)
    blank = replace(blank, method="gaffke", lower=lower, upper=upper)
    at_least = gate.op in (">=", ">")
    if COMPARE[gate.op](lower if at_least else upper, gate.threshold):
        return replace(blank, status="pass", reason="OK")
    # A gate fails only when the whole interval lies on the wrong side of the bar.
    if COMPARE[OPPOSITE[gate.op]](upper if at_least else lower, gate.threshold):
        return replace(blank, status="fail", reason="GATE_FAILED")
    return replace(
        blank,
        status="inconclusive",
        reason="INCONCLUSIVE",
        rows_needed=_rows_needed(scores, gate, gate.confidence, bounds),
    )


def _rows_needed(
    scores: Sequence[float],
    gate: Gate,
    confidence: float,
    bounds: tuple[float, float],
) -> int | None:
    """Return about how many rows like these would decide, whichever way it goes."""
    low, high = bounds
    bar = gate.threshold
    if stats.mean(scores) >= bar:
        return stats.rows_to_decide(
            scores, confidence, low, high, reaches=lambda bound: bound >= bar
        )
    mirrored = [-score for score in scores]
    return stats.rows_to_decide(
        mirrored, confidence, -high, -low, reaches=lambda bound: bound >= -bar
    )


def _worst(
    kept: Sequence[tuple[Row, float]], op: str, bounds: tuple[float, float] | None
) -> tuple[WorstRow, ...]:
    """Return the rows to look at first; a row with the best score is none of them."""
    highest_first = op in ("<=", "<")
    best = bounds[not highest_first] if bounds else None
    ordered = sorted(
        (pair for pair in kept if pair[1] != best),
        key=lambda pair: pair[1],
        reverse=highest_first,
    )
    return tuple(
        WorstRow(
            id=row.example.id,
            input=row.example.input,
            expected=row.example.references,
            got=row.prediction.text,
            score=score,
        )
        for row, score in ordered[:WORST_SHOWN]
    )


def explain(decision: Decision) -> str:
    """Return the sentences that a person reads: one line, then the worst rows."""
    lines = [headline(decision)]
    if decision.worst:
        lines.append("worst rows:")
    for row in decision.worst:
        expected = " | ".join(row.expected)
        lines += [
            f"  {one_line(row.id, 80)}  score {number(row.score)}",
            f"    input:    {one_line(row.input)}",
            *([f"    expected: {one_line(expected)}"] if row.expected else []),
            f"    got:      {one_line(row.got)}",
        ]
    return "\n".join(lines)


def headline(decision: Decision) -> str:
    """Return the decision in one sentence or two."""
    gate = decision.gate
    where = f" where {gate.where!r}" if gate.where else ""
    name = one_line(f"{gate.metric}{where}", 120)
    if decision.status == "error":
        return f"{name}: error {decision.reason}: {safe(decision.detail)}"
    value, bar = _apart(decision.value or 0.0, float(gate.threshold))
    evidence = f"{name} {value} ({_evidence(decision)})"
    if decision.status == "inconclusive":
        return (
            f"{evidence} is inconclusive against {gate.op} {bar}; {_advice(decision)}"
        )
    holds = decision.status == "pass"
    if not holds:
        return f"{evidence} is {_FAILED[gate.op]} {bar}"
    sentence = f"{evidence} is {gate.op} {bar}"
    if decision.point_only is not None:
        percent = f"{100 * USUAL_CONFIDENCE:g} %"
        sentence += f"; point only: at {percent} this would be {decision.point_only}"
    return sentence


def _apart(value: float, bar: float) -> tuple[str, str]:
    """Return both with so many decimals that they look different when they are."""
    shown = number(value), number(bar)
    digits = 4
    while shown[0] == shown[1] and value != bar and digits <= MOST_DIGITS:
        shown = f"{value:.{digits}g}", f"{bar:.{digits}g}"
        digits += 1
    return shown


_FAILED = {
    ">=": "below",
    ">": "not above",
    "<=": "above",
    "<": "not below",
    "==": "not equal to",
    "!=": "equal to",
}


def _evidence(decision: Decision) -> str:
    gate = decision.gate
    parts = []
    if decision.lower is not None and gate.confidence is not None:
        at_least = gate.op in (">=", ">")
        percent = f"{100 * gate.confidence:g} %"
        if (decision.status == "pass") == at_least or decision.status == "inconclusive":
            parts.append(f"{percent} lower bound {number(decision.lower)}")
        if (decision.status == "pass") != at_least or decision.status == "inconclusive":
            parts.append(f"{percent} upper bound {number(decision.upper)}")
    unit = f" {gate.cluster} clusters" if gate.cluster else ""
    parts.append(f"n={decision.n}{unit}")
    if decision.row_mean is not None:
        parts.append(f"row mean {number(decision.row_mean)}")
    if decision.errors:
        policy = "counted at the worst" if gate.on_error == "worst" else "left out"
        parts.append(f"{decision.errors} rows in error {policy}")
    if decision.cached:
        parts.append(f"{decision.cached} stored replies")
    return ", ".join(parts)


def _advice(decision: Decision) -> str:
    gate, needed = decision.gate, decision.rows_needed
    if needed is None:
        return (
            "the value is so close to the bar that not even a million rows like these "
            "would decide; choose another bar"
        )
    unit = f"{gate.cluster} clusters" if gate.cluster else "rows"
    above = decision.value is not None and decision.value >= gate.threshold
    passes = above == (gate.op in (">=", ">"))
    return f"about {needed} {unit} like these would {'pass' if passes else 'fail'}"
