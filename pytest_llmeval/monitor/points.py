"""From the sampled calls of a day to records of the history tables."""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import NamedTuple

from pytest_llmeval import stats
from pytest_llmeval.errors import MetricError
from pytest_llmeval.history.arrow import to_arrow
from pytest_llmeval.history.places import HistoryPlace
from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.metrics import built_in_metrics
from pytest_llmeval.monitor.calls import Call
from pytest_llmeval.monitor.signals import signals
from pytest_llmeval.records import Example
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply
from pytest_llmeval.records.traffic import midnight
from pytest_llmeval.text import redactor
from pytest_llmeval.text import safe


CONFIDENCE = 0.95
MOST_SLICES = 20
"""Of a column; the most frequent values."""
LONGEST_KEY = 300
SOURCE = "traffic"


class Measure(NamedTuple):
    """A metric of calls."""

    score: Callable[[Call], float | None]
    high: float | None
    """End of its range, which begins at 0."""
    is_higher_better: bool | None


class Wrote(NamedTuple):
    """What became of the days."""

    new: int
    changed: int
    same: int


def measures(labelled: Sequence[str]) -> dict[str, Measure]:
    """Return the signals, and the metrics of calls whose right answer is known.

    Raises:
        MetricError: a name is none of a metric that scores a row from 0 to 1 by its
            references.
    """
    better = {"higher": True, "lower": False, None: None}
    found = {
        signal.name: Measure(signal.score, signal.high, better[signal.better])
        for signal in signals().values()
    }
    known = {
        name: metric
        for name, metric in built_in_metrics().items()
        if metric.needs_references and metric.score and metric.range == (0.0, 1.0)
    }
    for name in labelled:
        if name not in known:
            raise MetricError(
                f"{name!r} scores no single answer by a label; the metrics that do "
                f"are: {', '.join(known)}"
            )
        found[name] = Measure(_labelled(known[name]), 1.0, True)
    return found


def _labelled(metric: Metric) -> Callable[[Call], float | None]:
    def score(call: Call) -> float | None:
        if call.reference is None or call.output is None or metric.score is None:
            return None
        example = Example(id=call.id, input=call.input, references=(call.reference,))
        prediction = Prediction(reply=Reply(text=call.output))
        return float(metric.score(prediction, example))

    return score


def write_days(
    days: Mapping[datetime.date, Sequence[Call]],
    place: HistoryPlace,
    *,
    model: str,
    source: str,
    labelled: Sequence[str] = (),
    slices: Sequence[str] = (),
    compared: Mapping[datetime.date, Sequence[dict[str, Any]]] | None = None,
) -> Wrote:
    """Write each day as a run of its own, or again where it has become another.

    A day of which fewer calls are there than before stays: its log is being removed.

    Args:
        days: The sample of each.
        place: The history.
        model: As it was asked for.
        source: Where the traffic was read.
        labelled: Metrics of calls that have a label.
        slices: Columns that metrics are cut by.
        compared: Further metrics of a day, from its inputs.
    """
    stored = place.read("runs", ["run_id", "rows", "digest"]).to_pylist()
    known = {record["run_id"]: record for record in stored}
    chosen, redact = measures(labelled), redactor()
    tables: dict[str, list[dict[str, Any]]] = {}
    new = changed = 0
    for day, calls in days.items():
        records = _records(day, calls, chosen, slices, redact)
        records += (compared or {}).get(day, ())
        run = _run(day, calls, safe(model, redact=redact), source, records)
        before = known.get(run["run_id"])
        if before is not None:
            has_fewer = run["rows"] < (before["rows"] or 0)
            if has_fewer or before["digest"] == run["digest"]:
                continue
        new += before is None
        changed += before is not None
        head = {name: run[name] for name in ("run_id", "day", "started_at")}
        evaluation = _evaluation(calls, safe(source, redact=redact))
        tables.setdefault("runs", []).append(run)
        tables.setdefault("evaluations", []).append(
            {**run, **evaluation, "evaluation": 1}
        )
        tables.setdefault("metrics", []).extend({**head, **one} for one in records)
    if tables:
        place.replace({name: to_arrow(BY_NAME[name], tables[name]) for name in tables})
        place.finish()
    return Wrote(new, changed, len(days) - new - changed)


def whose(model: str, source: str) -> str:
    """Return a name for the traffic of a model that is fit for files."""
    text = f"{model}\n{source}".encode("utf-8", "replace")
    return hashlib.sha256(text).hexdigest()[:8]


def _run(
    day: datetime.date,
    calls: Sequence[Call],
    model: str,
    source: str,
    records: Sequence[Mapping[str, Any]],
) -> dict[str, Any]:
    content = json.dumps([len(calls), *records], sort_keys=True)
    return {
        "run_id": f"traffic-{day}-{whose(model, source)}",
        "day": day,
        "started_at": midnight(day),
        "finished_at": midnight(day + datetime.timedelta(days=1)),
        "source": SOURCE,
        "model": model,
        "model_requested": model,
        "rows": len(calls),
        "has_rows": False,
        "prompt_tokens": _sum(call.prompt_tokens for call in calls),
        "output_tokens": _sum(call.output_tokens for call in calls),
        "cost_usd": _sum(call.cost_usd for call in calls),
        "digest": hashlib.sha256(content.encode()).hexdigest(),
    }


def _evaluation(calls: Sequence[Call], source: str) -> dict[str, Any]:
    latencies = sorted(c.latency_ms for c in calls if c.latency_ms is not None)
    return {
        "name": source,
        "dataset": source,
        "repeats": 1,
        "confidence": CONFIDENCE,
        "latency_p50_ms": _quantile(latencies, 0.5),
        "latency_p95_ms": _quantile(latencies, 0.95),
    }


def _records(
    day: datetime.date,
    calls: Sequence[Call],
    chosen: Mapping[str, Measure],
    slices: Sequence[str],
    redact: Callable[[str], str],
) -> list[dict[str, Any]]:
    """Return the metrics of a day, over all calls and over each slice."""
    parts = [("", "", calls), *_cut(calls, slices)]
    records = {}
    for by, value, some in parts:
        for name, measure in chosen.items():
            numbers = _measured(some, measure)
            if numbers is None:
                continue
            key = (
                name,
                safe(by, LONGEST_KEY, redact),
                safe(value, LONGEST_KEY, redact),
            )
            records[key] = {
                "evaluation": 1,
                **dict(zip(("metric", "slice_by", "slice_value"), key, strict=True)),
                **numbers,
                "higher_is_better": measure.is_higher_better,
            }
    return list(records.values())


def _cut(
    calls: Sequence[Call], slices: Sequence[str]
) -> Iterator[tuple[str, str, list[Call]]]:
    for by in slices:
        counts = Counter(call.slices[by] for call in calls if by in call.slices)
        frequent = sorted(counts, key=lambda value: (-counts[value], value))
        for value in frequent[:MOST_SLICES]:
            yield by, value, [c for c in calls if c.slices.get(by) == value]


def _measured(calls: Sequence[Call], measure: Measure) -> dict[str, Any] | None:
    """Return a metric with its bounds; None where no call has a score."""
    given = [measure.score(call) for call in calls]
    scores = [float(score) for score in given if score is not None]
    if not scores:
        return None
    lower = upper = confidence = None
    if measure.high is not None:
        confidence = CONFIDENCE
        lower = stats.lower_bound(scores, CONFIDENCE, 0.0, measure.high)
        upper = stats.upper_bound(scores, CONFIDENCE, 0.0, measure.high)
    return {
        "value": stats.mean(scores),
        "lower": lower,
        "upper": upper,
        "confidence": confidence,
        "n": len(scores),
        "errors": len(calls) - len(scores),
    }


def _sum(numbers: Iterator[Any]) -> Any:
    """Return the sum of what is known; None where nothing is."""
    known = [number for number in numbers if number is not None]
    return sum(known) if known else None


def _quantile(ordered: Sequence[float], share: float) -> float | None:
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None
