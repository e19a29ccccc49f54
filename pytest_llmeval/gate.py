"""From a gate and results to a decision, and from a decision to sentences."""

from __future__ import annotations

import heapq
import math
import operator
import time
from collections import Counter
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple
from typing import get_args

from pytest_llmeval import stats
from pytest_llmeval.config import check_confidence
from pytest_llmeval.config import nearest
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.records import OPS
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Example
from pytest_llmeval.records import Gate
from pytest_llmeval.records import Metric
from pytest_llmeval.records import OnError
from pytest_llmeval.records import Row
from pytest_llmeval.records import WorstRow
from pytest_llmeval.records import canonical
from pytest_llmeval.records import is_finite
from pytest_llmeval.records import is_missing
from pytest_llmeval.records import is_number
from pytest_llmeval.records import is_range
from pytest_llmeval.repeats import by_example
from pytest_llmeval.repeats import find_metric
from pytest_llmeval.repeats import rows_of
from pytest_llmeval.repeats import score_of
from pytest_llmeval.results import EvalResults
from pytest_llmeval.results import number
from pytest_llmeval.text import age
from pytest_llmeval.text import first_few
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
    try:
        test = _ask(results, gate)
        examples = by_example(results, gate.metric)
    except (_Undecidable, LLMEvalError) as error:
        reason = getattr(error, "reason", "CONFIGURATION")
        blank = _blank(by_example(results), gate)
        return replace(blank, reason=reason, detail=str(error))
    blank = _blank(examples, gate)
    try:
        if test is not None:
            return _decide_early(examples, gate, blank, test)
        decision = _decide(examples, gate, blank)
    except _Undecidable as error:
        return replace(blank, reason=error.reason, detail=str(error))
    if gate.on_error == "exclude" and decision.errors:
        strict = replace(gate, on_error="worst", max_error_rate=None)
        return replace(decision, at_worst=decide_gate(results, strict).status)
    return decision


def _blank(results: EvalResults, gate: Gate) -> Decision:
    """Return the decision of which everything is known but how it comes out."""
    return Decision(
        gate=gate,
        status="error",
        reason="",
        cached=results.cached,
        oldest_reply=results.oldest_reply,
        model=results.model,
        dataset=results.dataset.name,
        dataset_digest=results.dataset.digest,
        rows=len(results.dataset.ids),
        errors=len(results.columns.failed),
        repeats=results.request.repeats,
        request_digest=results.request.digest,
    )


def _ask(results: EvalResults, gate: Gate) -> stats.BettingTest | None:
    """Ask for the rows that a gate needs, where the evaluation has not asked for all.

    Returns:
        The test that has stopped the asking; None where the gate is on all rows.
    """
    if results.source is None:
        return None
    results.source.begin()
    _check_gate(gate)
    _check_rows(gate)
    metric = _metric(results, gate)
    _check_count(gate, len(results.dataset.ids))
    bounds = _bounds(gate, metric)
    if bounds is None or gate.confidence is None or not _may_stop(gate, metric, bounds):
        results.source.ask()
        return None
    low, high = bounds
    test = stats.BettingTest(gate.threshold, gate.confidence, low, high)

    def is_decided(rows: Sequence[Row]) -> bool:
        if any(row.errors for row in rows):
            return True  # no further row can make the gate pass
        score = score_of(rows, gate.metric)
        if not low <= score <= high:
            return True
        test.add([score])
        return test.decided is not None

    results.source.ask(is_decided)
    return test


def _may_stop(gate: Gate, metric: Metric, bounds: tuple[float, float]) -> bool:
    """Return whether the betting test serves a gate; the others are on all rows."""
    is_mean = metric.score is not None and metric.aggregate is None
    is_of_all = not gate.where and gate.cluster is None and gate.on_error == "fail"
    return is_mean and is_of_all and bounds[0] < gate.threshold < bounds[1]


def _decide_early(
    results: EvalResults, gate: Gate, blank: Decision, test: stats.BettingTest
) -> Decision:
    """Decide by the betting test alone, on the rows that it has counted."""
    metric = _metric(results, gate)
    bounds = _bounds(gate, metric)
    last = test.rows if test.decided else test.rows + 1  # the row that ended it, if any
    positions = range(min(last, len(results.rows)))
    _check_latency(results, metric, positions)
    kept, _ = _apply_error_policy(results, positions, gate, metric, bounds)
    _check_range(results, kept, bounds, gate)
    blank = replace(
        blank,
        method="betting",
        value=stats.mean(kept.scores),
        n=len(kept.scores),
        errors=0,
    )
    if test.decided is None:
        decision = replace(blank, status="inconclusive", reason="INCONCLUSIVE")
    elif (test.decided == "above") == (gate.op in (">=", ">")):
        return replace(blank, status="pass", reason="OK")
    else:
        decision = replace(blank, status="fail", reason="GATE_FAILED")
    return replace(decision, worst=_worst(results, kept, gate.op, bounds))


def _check_count(gate: Gate, rows: int) -> None:
    if gate.min_rows is not None and rows < gate.min_rows:
        raise _Undecidable("TOO_FEW_ROWS", f"{rows} rows, and min_rows={gate.min_rows}")


def _check_latency(
    results: EvalResults, metric: Metric, positions: Sequence[int]
) -> None:
    stored_at = results.columns.numbers["stored_at"]
    if metric.name == "latency_ms" and any(stored_at[at] > 0 for at in positions):
        raise _Undecidable(
            "CACHED_LATENCY",
            "some replies come from the predictions store, so their latency is not of "
            "this run; ask again with --llmeval-cache refresh",
        )


def _decide(results: EvalResults, gate: Gate, blank: Decision) -> Decision:
    _check_gate(gate)
    _check_rows(gate)
    metric = _metric(results, gate)
    positions = _select(results, gate)
    _check_count(gate, len(positions))
    _check_latency(results, metric, positions)
    bounds = _bounds(gate, metric)
    kept, errors = _apply_error_policy(results, positions, gate, metric, bounds)
    blank = replace(blank, n=len(kept.positions), errors=errors, rows=len(positions))
    if metric.score is None or metric.aggregate is not None:
        return _decide_corpus(results, kept, gate, metric, blank)
    _check_range(results, kept, bounds, gate)
    scores = kept.scores
    value = row_mean = stats.mean(scores)
    if gate.cluster is not None:
        scores = _cluster_means(results, kept, gate.cluster)
        value = stats.mean(scores)
    blank = replace(
        blank, value=value, row_mean=row_mean if gate.cluster else None, n=len(scores)
    )
    decided = _decide_point if gate.confidence is None else _decide_interval
    decision = decided(scores, gate, blank, bounds)
    if decision.status == "pass":
        return decision
    return replace(decision, worst=_worst(results, kept, gate.op, bounds))


class _Kept(NamedTuple):
    """The rows that count, and the scores that they count with."""

    positions: Sequence[int]
    scores: Sequence[float]


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
    metric = find_metric(results.definitions, results.request.repeats, gate.metric)
    if metric is None:
        known = list(results.definitions)
        raise _Undecidable(
            "METRIC_MISSING",
            f"the evaluation has no metric {gate.metric!r}; it has: "
            f"{', '.join(known)}{nearest(str(gate.metric), known)}",
        )
    return metric


def _select(results: EvalResults, gate: Gate) -> Sequence[int]:
    """Return the positions of the rows that the gate is about."""
    _check_ids(results)
    positions: Sequence[int] = range(len(results.dataset.ids))
    if not gate.where:
        return positions
    for column in gate.where:
        if column not in results.dataset.filled:
            raise _Undecidable(
                "ZERO_ROWS", f"where= names a column {column!r} that the data lacks"
            )
    wanted = {column: canonical(value) for column, value in gate.where.items()}
    examples = (row.example for row in results.rows)
    positions = [at for at, one in enumerate(examples) if _matches(one, wanted)]
    if not positions:
        raise _Undecidable("ZERO_ROWS", f"no row has {gate.where!r}")
    return positions


def _check_ids(results: EvalResults) -> None:
    """Refuse rows that are not exactly those of the dataset."""
    ids, expected = results.columns.ids, results.dataset.ids
    if ids is expected or Counter(ids) == Counter(expected):
        return
    found = Counter(ids)
    missing = [row_id for row_id in expected if row_id not in found]
    doubled = [row_id for row_id, times in found.items() if times > 1]
    raise _Undecidable(
        "ROWS_MISSING" if missing or not doubled else "DUPLICATE_ROWS",
        f"the results have {len(ids)} rows and the dataset {len(expected)}; missing: "
        f"{first_few(missing)}; more than once: {first_few(doubled)}",
    )


def _matches(example: Example, wanted: Mapping[str, bytes]) -> bool:
    return all(
        not is_missing(example.metadata.get(column))
        and canonical(example.metadata[column]) == value
        for column, value in wanted.items()
    )


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
    results: EvalResults,
    positions: Sequence[int],
    gate: Gate,
    metric: Metric,
    bounds: tuple[float, float] | None,
) -> tuple[_Kept, int]:
    """Return the rows that count, and how many rows had an error."""
    failed = set(results.columns.failed)
    bad = [at for at in positions if at in failed]
    good = [at for at in positions if at not in failed] if bad else positions
    scores = results.columns.scores.get(metric.name)
    kept = _Kept(good, [scores[at] for at in good] if scores is not None else [])
    if not bad:
        return kept, 0
    named = _name_errors([results.rows[at] for at in bad[:NAMED_ROWS]], len(bad))
    if gate.on_error == "exclude" and gate.max_error_rate is not None:
        rate = len(bad) / len(positions)
        if rate > gate.max_error_rate:
            raise _Undecidable(
                "TOO_MANY_ERRORS",
                f"{len(bad)} of {len(positions)} rows are in error, {rate:.3g} of "
                f"them, and max_error_rate={gate.max_error_rate:g}: {named}",
            )
        if not good:
            raise _Undecidable("ZERO_ROWS", f"no row is left: {named}")
        return kept, len(bad)
    if gate.on_error == "worst":
        if bounds is None or metric.aggregate is not None:
            raise _Undecidable(
                "UNBOUNDED",
                f'on_error="worst" needs the range of {metric.name}: give bounds=',
            )
        worst = bounds[1] if gate.op in ("<=", "<") else bounds[0]
        return _Kept([*good, *bad], [*kept.scores, *[worst] * len(bad)]), len(bad)
    raise _Undecidable(
        _error_reason(results, bad),
        f"{len(bad)} of {len(positions)} rows could not be evaluated, so {metric.name} "
        f"has no honest value: {named}. Run the same command again to ask only for "
        'those, or decide what they count for with on_error="worst"',
    )


def _error_reason(results: EvalResults, bad: Sequence[int]) -> str:
    known = {"budget": "BUDGET", "not_finite": "NOT_FINITE", "bad_type": "BAD_TYPE"}
    if known.keys().isdisjoint(results.columns.kinds):
        return "ROWS_MISSING"
    kinds = {error.kind for at in bad for error in results.rows[at].errors}
    return next((known[kind] for kind in known if kind in kinds), "ROWS_MISSING")


def _name_errors(rows: Sequence[Row], count: int) -> str:
    named = "; ".join(
        f"{one_line(row.example.id, 60)} ({row.errors[0].kind}: "
        f"{one_line(row.errors[0].message)})"
        for row in rows
    )
    more = count - len(rows)
    return f"{named}; and {more} more" if more > 0 else named


def _check_range(
    results: EvalResults,
    kept: _Kept,
    bounds: tuple[float, float] | None,
    gate: Gate,
) -> None:
    if bounds is None or bounds[0] <= min(kept.scores) <= max(kept.scores) <= bounds[1]:
        return
    for at, score in zip(*kept, strict=True):
        if not bounds[0] <= score <= bounds[1]:
            raise _Undecidable(
                "OUT_OF_RANGE",
                f"row {one_line(results.columns.ids[at], 60)} has {gate.metric} = "
                f"{score!r}, outside the range {bounds[0]:g} to {bounds[1]:g}",
            )


def _cluster_means(results: EvalResults, kept: _Kept, column: str) -> list[float]:
    clusters: dict[bytes, list[float]] = {}
    for at, score in zip(*kept, strict=True):
        example = results.rows[at].example
        if is_missing(example.metadata.get(column)):
            raise _Undecidable(
                "ROWS_MISSING",
                f"row {one_line(example.id, 60)} has no column {column!r}, which "
                "cluster= names",
            )
        name = canonical(example.metadata[column])
        clusters.setdefault(name, []).append(score)
    return [stats.mean(scores) for scores in clusters.values()]


def _decide_corpus(
    results: EvalResults, kept: _Kept, gate: Gate, metric: Metric, blank: Decision
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
    rows = [row for at in kept.positions for row in rows_of(results, at)]
    try:
        value = metric.aggregate(
            [row.prediction for row in rows], [row.example for row in rows]
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
    results: EvalResults, kept: _Kept, op: str, bounds: tuple[float, float] | None
) -> tuple[WorstRow, ...]:
    """Return the rows to look at first; a row with the best score is none of them."""
    highest_first = op in ("<=", "<")
    best = bounds[not highest_first] if bounds else None
    pick = heapq.nlargest if highest_first else heapq.nsmallest
    pairs = (pair for pair in zip(*kept, strict=True) if pair[1] != best)
    worst = pick(WORST_SHOWN, pairs, key=lambda pair: pair[1])
    rows = [(results.rows[at], score) for at, score in worst]
    return tuple(
        WorstRow(
            id=row.example.id,
            input=row.example.input,
            expected=row.example.references,
            got=row.prediction.text,
            score=score,
        )
        for row, score in rows
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
    if decision.method == "betting":
        percent = f"{100 * (gate.confidence or 0.0):g} %"
        parts.append(
            f"betting test at {percent} on {decision.n} of {decision.rows} rows"
        )
    else:
        unit = f" {gate.cluster} clusters" if gate.cluster else ""
        parts.append(f"n={decision.n}{unit}")
    if decision.repeats > 1:
        parts.append(f"{decision.repeats} repeats")
    if decision.row_mean is not None:
        parts.append(f"row mean {number(decision.row_mean)}")
    if decision.errors:
        policy = "counted at the worst" if gate.on_error == "worst" else "left out"
        parts.append(f"{decision.errors} rows in error {policy}")
    if decision.cached:
        old = ""
        if decision.oldest_reply is not None:
            old = f" up to {age(time.time() - decision.oldest_reply)} old"
        parts.append(f"{decision.cached} stored replies{old}")
    return ", ".join(parts)


def _advice(decision: Decision) -> str:
    gate, needed = decision.gate, decision.rows_needed
    if decision.method == "betting":
        return (
            "all rows were asked, and the test that may stop early needs more; add "
            "rows, because another test on these would be a second try"
        )
    if needed is None:
        return (
            "the value is so close to the bar that not even a million rows like these "
            "would decide; choose another bar"
        )
    unit = f"{gate.cluster} clusters" if gate.cluster else "rows"
    above = decision.value is not None and decision.value >= gate.threshold
    passes = above == (gate.op in (">=", ">"))
    return f"about {needed} {unit} like these would {'pass' if passes else 'fail'}"
