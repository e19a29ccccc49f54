"""A finished run as records of the history tables.

What a verdict file says is not trusted: a value of another kind becomes an empty cell,
texts are redacted, cut and made harmless.
"""

from __future__ import annotations

import datetime
import hashlib
import json
import math
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import Any
from typing import TypeAlias

from pytest_llmeval.history.runs import FinishedRun
from pytest_llmeval.history.runs import NotExported
from pytest_llmeval.history.schema import SCHEMA_VERSION
from pytest_llmeval.records import plain
from pytest_llmeval.text import one_line
from pytest_llmeval.text import redactor
from pytest_llmeval.text import safe
from pytest_llmeval.text import sanitize


Record: TypeAlias = dict[str, Any]
Records: TypeAlias = dict[str, list[Record]]
"""Records by the name of their table."""
"""Returns a row of ``results.jsonl`` without what must not leave the run directory."""
USAGE = ("requests", "prompt_tokens", "output_tokens")
GATE_NUMBERS = ("threshold", "confidence", "value", "lower", "upper")
LIVE = ("DEPLOYED", "NOOP", "RESTORED")
LARGEST_WHOLE = 2**63
LONGEST_KEY = 300


def digest_of(run: FinishedRun) -> str:
    """Return what changes when the records of a run do."""
    attempts = [[one.get(name) for name in _ATTEMPT_STATE] for one in run.attempts]
    parts = [SCHEMA_VERSION, run.verdict_digest, run.mlflow_run_id, attempts]
    return hashlib.sha256(json.dumps(parts, default=str).encode()).hexdigest()


_ATTEMPT_STATE = ("id", "reason", "ended_at")


class Recorder:
    """Makes records of runs; one for many of them, because it knows the secrets."""

    def __init__(self) -> None:
        self._redact = redactor()

    def records(self, run: FinishedRun) -> Records:
        """Return the records of a run in all tables but ``rows``.

        Raises:
            NotExported: its verdict is of another form than ours.
        """
        try:
            return self._records(run)
        except NotExported:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise NotExported(
                f"its verdict has another form: {type(error).__name__}: "
                f"{one_line(error)}"
            ) from None

    def attempt(self, attempt: Mapping[str, Any], model: str | None = None) -> Record:
        """Return the record of a deployment."""
        text = self._text
        began_at = _time(attempt.get("began_at")) or _time(0.0)
        reason = text(attempt.get("reason"))
        return {
            "deployment_id": self._key(attempt["id"]),
            "run_id": text(attempt.get("run_id")),
            "day": began_at and began_at.date(),
            **{name: text(attempt.get(name)) for name in ("target", "step", "message")},
            "traffic": _whole(attempt.get("traffic")),
            "model": model,
            "began_at": began_at,
            "ended_at": _time(attempt.get("ended_at")),
            "reason": reason,
            "is_live": reason in LIVE,
            "actor": text(attempt.get("who")),
        }

    def rows(self, run: FinishedRun) -> Iterator[Record]:
        """Yield the records of a run in the table ``rows``.

        Raises:
            NotExported: they cannot be read.
        """
        day = _start(run).date()
        for entry in run.verdict["evaluations"]:
            try:
                for line in run.rows(entry):
                    row = run.redaction.apply(json.loads(line), entry.get("columns"))
                    yield {
                        "run_id": self._key(run.run_id),
                        "evaluation": entry["number"],
                        "day": day,
                        **self._row(row),
                    }
            except (OSError, ValueError, KeyError, TypeError) as error:
                raise NotExported(
                    f"its rows cannot be read: {type(error).__name__}: "
                    f"{one_line(error)}"
                ) from None

    def _records(self, run: FinishedRun) -> Records:
        verdict = run.verdict
        started_at = _start(run)
        head = {
            "run_id": self._key(run.run_id),
            "day": started_at.date(),
            "started_at": started_at,
        }
        model = self._text(_model(verdict))
        gates = [
            {**head, "gate": number, **self._gate(gate, verdict["evaluations"])}
            for number, gate in enumerate(verdict["gates"], 1)
        ]
        metrics = [
            {**head, **metric}
            for entry in verdict["evaluations"]
            for metric in self._metrics(entry)
        ]
        return {
            "runs": [{**head, **self._run(run), "model": model}],
            "evaluations": [
                {**head, **self._evaluation(entry, verdict)}
                for entry in verdict["evaluations"]
            ],
            "metrics": metrics + _slices(gates, verdict["gates"], metrics),
            "gates": gates,
            "deployments": [self.attempt(one, model) for one in run.attempts],
        }

    def _run(self, run: FinishedRun) -> Record:
        verdict, text = run.verdict, self._text
        finished_at = _time(verdict["finished_at"])
        model = verdict.get("model") or {}
        usage = [entry.get("usage") or {} for entry in verdict["evaluations"]]
        decisions = [gate.get("decision") for gate in verdict["gates"]]
        words = ("pass", "fail", "inconclusive", "error")
        versions = verdict.get("versions") or {}
        return {
            "source": "suite",
            "finished_at": finished_at,
            "duration_s": finished_at and (finished_at - _start(run)).total_seconds(),
            **{
                name: text(verdict.get(name)) for name in ("status", "reason", "detail")
            },
            "exit_status": _whole(verdict.get("exit_status")),
            **{
                f"model_{name}": text(model.get(name))
                for name in ("scheme", "name", "version", "digest", "requested")
            },
            "model_pinned": _flag(model.get("pinned")),
            "git_commit": text(verdict.get("commit")),
            "git_branch": text(verdict.get("branch")),
            "dirty": _flag(verdict.get("dirty")),
            "ci_url": text(verdict.get("ci_url")),
            **{f"gates_{word}": decisions.count(word) for word in words},
            "rows": _sum(_answers(entry) for entry in verdict["evaluations"]),
            **{name: _sum(_whole(one.get(name)) for one in usage) for name in USAGE},
            "cost_usd": _sum(_real(one.get("cost_usd")) for one in usage),
            "mlflow_run_id": text(run.mlflow_run_id),
            "version": text(versions.get("pytest-llmeval-gate")),
            "has_rows": False,
            "digest": digest_of(run),
        }

    def _evaluation(
        self, entry: Mapping[str, Any], verdict: Mapping[str, Any]
    ) -> Record:
        text, usage = self._text, entry.get("usage") or {}
        digest = entry.get("dataset_digest")
        known = verdict.get("datasets") or []
        names = [data.get("name") for data in known if data.get("digest") == digest]
        texts = ("name", "test", "model", "request_digest", "predictions_digest")
        latencies = ("latency_p50_ms", "latency_p95_ms", "queue_p95_ms")
        return {
            "evaluation": _number_of(entry),
            "started_at": _time(entry.get("started_at")),
            "duration_s": _real(entry.get("duration_s")),
            **{name: text(entry.get(name)) for name in texts},
            "suite": _suite(text(entry.get("test"))),
            "dataset": text(next(iter(names), None)),
            "dataset_digest": text(digest),
            "rows": _whole(entry.get("rows")),
            "repeats": _whole(entry.get("repeats")),
            "early_stopped": _flag(entry.get("early_stopped")),
            "confidence": _real(entry.get("confidence")),
            "rows_asked": _whole(usage.get("rows")),
            **{name: _whole(usage.get(name)) for name in USAGE},
            "cost_usd": _real(usage.get("cost_usd")),
            **{name: _real(usage.get(name)) for name in latencies},
        }

    def _metrics(self, entry: Mapping[str, Any]) -> Iterator[Record]:
        definitions = entry.get("definitions") or {}
        for name, numbers in entry["metrics"].items():
            definition = definitions.get(name) or {}
            yield {
                "evaluation": _number_of(entry),
                "metric": self._key(name),
                "slice_by": "",
                "slice_value": "",
                **{part: _real(numbers.get(part)) for part in _INTERVAL},
                "confidence": _real(entry.get("confidence")),
                "n": _whole(numbers.get("n")),
                "errors": _whole(numbers.get("errors")),
                "higher_is_better": _flag(definition.get("higher_is_better")),
            }

    def _gate(
        self, gate: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]
    ) -> Record:
        text = self._text
        where = gate.get("where") or {}
        texts = ("test", "op", "method", "baseline", "decision", "reason")
        return {
            "metric": self._key(gate.get("metric")),
            "evaluation": _evaluation_of(gate, evaluations),
            **{name: text(gate.get(name)) for name in texts},
            # Further lines quote rows.
            "text": text(str(gate.get("text", "")).partition("\n")[0]),
            "suite": _suite(text(gate.get("test"))),
            "kind": text(gate.get("kind", "metric")),
            "slice_by": self._key(", ".join(map(str, where))),
            "slice_value": self._key(", ".join(map(_shown, where.values()))),
            **{name: _real(gate.get(name)) for name in GATE_NUMBERS},
            "n": _whole(gate.get("n")),
            "errors": _whole(gate.get("errors")),
        }

    def _row(self, row: Mapping[str, Any]) -> Record:
        error: Mapping[str, Any] = next(iter(row.get("errors") or ()), {})
        texts = ("input", "context", "prediction")
        return {
            "id": self._key(row["id"]),
            **{name: self._whole_text(row.get(name)) for name in texts},
            "repeat": _whole(row.get("repeat")) or 0,
            "expected": self._json(row.get("references") or []),
            "metadata": self._json(row.get("metadata") or {}),
            "error_kind": self._text(error.get("kind")),
            "error_message": self._text(error.get("message")),
            "scores": self._json(row.get("scores") or {}),
            "latency_ms": _real(row.get("latency_ms")),
            "prompt_tokens": _whole(row.get("prompt_tokens")),
            "output_tokens": _whole(row.get("output_tokens")),
            "cost_usd": _real(row.get("cost_usd")),
        }

    def _text(self, value: object) -> str | None:
        return None if value is None else safe(value, redact=self._redact)

    def _key(self, value: object) -> str:
        """Return a text for a primary key, of which databases bound the length."""
        return safe(value, LONGEST_KEY, redact=self._redact)

    def _whole_text(self, value: object) -> str | None:
        """Return a text of any length; it stands in a cell of its own."""
        return None if value is None else sanitize(self._redact(str(value)))

    def _json(self, value: object) -> str:
        # JSON escapes what is not printable; ASCII alone holds no lone surrogate.
        return self._redact(json.dumps(plain(value)))


_INTERVAL = ("value", "lower", "upper")


def _start(run: FinishedRun) -> datetime.datetime:
    started_at = _time(run.verdict["started_at"])
    if started_at is None:
        raise NotExported("its verdict does not say when it began")
    return started_at


def _slices(
    gates: Sequence[Record],
    entries: Sequence[Mapping[str, Any]],
    metrics: Sequence[Record],
) -> list[Record]:
    """Return the metrics of slices that gates were about, each of them once."""
    whole = {(one["evaluation"], one["metric"]): one for one in metrics}
    found: dict[tuple[Any, ...], Record] = {}
    for gate, entry in zip(gates, entries, strict=True):
        base = whole.get((gate["evaluation"], gate["metric"]))
        special = any(entry.get(name) for name in ("quantile", "cluster", "baseline"))
        if base is None or special or gate["kind"] != "metric" or not gate["slice_by"]:
            continue
        key = (*(gate[name] for name in _SLICE_KEY),)
        numbers = {name: gate[name] for name in _SLICE_NUMBERS}
        found.setdefault(
            key, {**base, **numbers, **dict(zip(_SLICE_KEY, key, strict=True))}
        )
    return list(found.values())


_SLICE_KEY = ("evaluation", "metric", "slice_by", "slice_value")
_SLICE_NUMBERS = ("value", "lower", "upper", "confidence", "n", "errors")


def _evaluation_of(
    gate: Mapping[str, Any], evaluations: Sequence[Mapping[str, Any]]
) -> int | None:
    """Return the evaluation that a gate is about: the first that fits."""
    same = ("test", "dataset_digest", "request_digest")
    fitting = (
        entry
        for entry in evaluations
        if all(entry.get(name) == gate.get(name) for name in same)
        and gate.get("metric") in entry["metrics"]
    )
    entry = next(fitting, None)
    return None if entry is None else _number_of(entry)


def _number_of(entry: Mapping[str, Any]) -> int:
    number = _whole(entry["number"])
    if number is None:
        raise ValueError("an evaluation without a number")
    return number


def _model(verdict: Mapping[str, Any]) -> str | None:
    """Return the model as its evaluations name it."""
    names = (entry.get("model") for entry in verdict["evaluations"])
    return next((name for name in names if isinstance(name, str)), None)


def _answers(entry: Mapping[str, Any]) -> int | None:
    rows, repeats = _whole(entry.get("rows")), _whole(entry.get("repeats", 1))
    return None if rows is None or repeats is None else rows * repeats


def _suite(test: str | None) -> str | None:
    return test and test.partition("::")[0]


def _shown(value: object) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _sum(numbers: Iterable[Any]) -> Any:
    """Return the sum; None where a part of it is not known, or there is none."""
    parts = list(numbers)
    return None if None in parts or not parts else sum(parts)


def _real(value: object) -> float | None:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not is_number:
        return None
    try:
        number = float(value)  # type: ignore[arg-type]  # it is a number
    except OverflowError:
        return None
    return number if math.isfinite(number) else None


def _whole(value: object) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int):
        return None
    return value if -LARGEST_WHOLE <= value < LARGEST_WHOLE else None


def _flag(value: object) -> bool | None:
    return value if isinstance(value, bool) else None


def _time(value: object) -> datetime.datetime | None:
    seconds = _real(value)
    try:
        return (
            None
            if seconds is None
            else datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        )
    except (ValueError, OverflowError, OSError):
        return None
