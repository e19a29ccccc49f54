"""Evaluates: reads the data, asks the model, scores the rows."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import nullcontext
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pluggy

from pytest_llmeval import stats
from pytest_llmeval.calls import Limits
from pytest_llmeval.calls import ask_all
from pytest_llmeval.config import Settings
from pytest_llmeval.datasets import load_dataset
from pytest_llmeval.errors import MetricError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.gate import USUAL_CONFIDENCE
from pytest_llmeval.gate import is_finite
from pytest_llmeval.gate import is_number
from pytest_llmeval.gate import is_range
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.metrics import find_metrics
from pytest_llmeval.models import build_request
from pytest_llmeval.models import load_model
from pytest_llmeval.models import render
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.predictions import key_maker
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Example
from pytest_llmeval.records import Metric
from pytest_llmeval.records import MetricValue
from pytest_llmeval.records import Model
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Progress
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Recorder
from pytest_llmeval.records import Request
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.records import digest_of
from pytest_llmeval.records import is_missing
from pytest_llmeval.results import EvalResults


PROGRESS_EVERY_S = 0.2


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What every evaluation of a run shares."""

    settings: Settings
    hook: pluggy.HookRelay
    run_id: str
    recorder: Recorder | None = None
    progress: Progress | None = None
    folder: Path | None = None
    """What relative data paths start from, before the rootdir."""


def evaluate(
    model: Any = None,
    data: Any = None,
    metrics: Sequence[str | Metric | Callable[..., Any]] = (),
    *,
    name: str | None = None,
    prompt: str | Sequence[Mapping[str, str]] | None = None,
    params: Mapping[str, Any] | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    settings: Settings | None = None,
) -> EvalResults:
    r"""Evaluate a model on a dataset, without a pytest session.

    Costs one model call per example, but for stored predictions. Runs its own event
    loop in a thread, so that it works in notebooks.

    Args:
        model: A model string, a callable ``f(prompt: str) -> str`` (sync or async; it
            gets the whole `Example` when its parameter is named ``example``), or a
            `Model`.
        data: A path, a pandas frame, a list of mappings, or a `DatasetRef`.
        metrics: Names of metrics, `Metric` objects, or callables
            ``f(prediction: str, example: Example) -> float | bool``.
        name: Names the evaluation in reports; the dataset's name by default.
        prompt: Template with columns in braces: ``"{context}\n\n{input}"``, or a list
            of chat messages (``role`` user or assistant, ``content`` a template) that
            ends with the user's. Without one the input is the user message.
        params: ``system`` for the system message, and generation parameters such as
            ``max_tokens`` and ``temperature``.
        columns: Data columns where their names differ from the usual ones.
        settings: Concurrency, time-outs, stored predictions and the like.

    Returns:
        Rows and metric values, in the order of the data.

    Raises:
        LLMEvalError: model, data, metrics or prompt cannot be used.
    """
    manager = headless_manager()
    engine = Engine(
        settings=settings or Settings(),
        hook=manager.hook,
        run_id=f"adhoc-{time.time_ns()}",
    )
    loaded = load_model(model or engine.settings.model, engine.hook, engine.settings)
    try:
        return run_evaluation(
            engine,
            loaded,
            data,
            metrics,
            name=name,
            prompt=prompt,
            params=params,
            columns=columns,
        )
    finally:
        if loaded is not model:
            loaded.close()


def run_evaluation(
    engine: Engine,
    model: Model,
    data: Any,
    metrics: Iterable[str | Metric | Callable[..., Any]],
    *,
    name: str | None = None,
    prompt: str | Sequence[Mapping[str, str]] | None = None,
    params: Mapping[str, Any] | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    further_metrics: Iterable[Metric | Callable[..., Any]] = (),
) -> EvalResults:
    """Evaluate with what a session shares; see `evaluate` for the arguments."""
    started_at, clock = time.time(), time.perf_counter()
    definitions = find_metrics(metrics, engine.hook, further_metrics)
    if data is None:
        raise MetricError("evaluate() needs data=, for example a path to a jsonl file")
    dataset = load_dataset(
        data, engine.hook, engine.settings, columns=columns, folder=engine.folder
    )
    _check_references(dataset, definitions.values())
    request = build_request(prompt, params, dataset.columns)
    rows = _ask_and_score(engine, model, dataset, request, definitions)
    good = [row for row in rows if not row.errors]
    confidence = engine.settings.confidence
    return EvalResults(
        name=name or dataset.name,
        model=model.ref,
        request=request,
        dataset=dataset,
        rows=rows,
        values={
            metric.name: _metric_value(
                metric, good, len(rows) - len(good), confidence or USUAL_CONFIDENCE
            )
            for metric in definitions.values()
        },
        definitions=definitions,
        started_at=started_at,
        duration_s=time.perf_counter() - clock,
        confidence=confidence,
        recorder=engine.recorder,
    )


def _check_references(dataset: Dataset, metrics: Iterable[Metric]) -> None:
    needing = [metric.name for metric in metrics if metric.needs_references]
    bare = [example.id for example in dataset.examples if not example.references]
    if needing and bare:
        raise MetricError(
            f"{', '.join(needing)} compare with references, and {len(bare)} of "
            f"{len(dataset.examples)} rows of {dataset.name} have none: "
            f"{', '.join(bare[:5])}{' …' if len(bare) > 5 else ''}; "
            'name their column with columns={"references": …}'
        )


def _ask_and_score(
    engine: Engine,
    model: Model,
    dataset: Dataset,
    request: Request,
    metrics: Mapping[str, Metric],
) -> tuple[Row, ...]:
    """Return one row per example, in order, asking only for what is not stored."""
    cache = engine.settings.cache
    prompts = render(request, dataset)
    with nullcontext() if cache == "off" else _open_store(engine) as store:
        keys, finish = _keys(engine, store, model, dataset, request, prompts)
        stored = store.find(keys) if store is not None and cache != "refresh" else {}
        rows: list[Row | None] = [
            _score(prompt.example, stored[key], metrics) if key in stored else None
            for prompt, key in zip(prompts, keys, strict=True)
        ]

        def answered(index: int, prediction: Prediction) -> None:
            if store is not None:
                store.add(keys[index], prediction)
                store.commit()
            rows[index] = _score(prompts[index].example, prediction, metrics)

        if cache == "only":
            _refuse_missing(model, dataset, rows)
        _ask_missing(engine, model, prompts, rows, answered)
        finished = tuple(
            row or _unanswered(prompt.example)
            for row, prompt in zip(rows, prompts, strict=True)
        )
        if not any(row.prediction.error for row in finished):
            finish()
    return finished


def _open_store(engine: Engine) -> Predictions:
    return Predictions(
        engine.settings.home / "predictions.db",
        run_id=engine.run_id,
        limit_bytes=int(engine.settings.cache_mb * 1_000_000),
    )


def _refuse_missing(model: Model, dataset: Dataset, rows: Sequence[Row | None]) -> None:
    pairs = zip(rows, dataset.examples, strict=True)
    ids = [example.id for row, example in pairs if row is None]
    if ids:
        raise ModelError(
            f"--llmeval-cache only: {len(ids)} of {len(rows)} rows of {dataset.name} "
            f"have no stored prediction of {model.ref}: "
            f"{', '.join(ids[:5])}{' …' if len(ids) > 5 else ''}"
        )


def _ask_missing(
    engine: Engine,
    model: Model,
    prompts: Sequence[Prompt],
    rows: Sequence[Row | None],
    answered: Callable[[int, Prediction], None],
) -> None:
    """Ask for the rows that are still None, and show the progress."""
    missing = [(index, prompts[index]) for index, row in enumerate(rows) if row is None]
    if not missing:
        return

    def progress() -> None:
        if engine.progress is not None:
            known = [row for row in rows if row is not None]
            errors = sum(bool(row.errors) for row in known)
            engine.progress(len(known), len(rows), errors)

    limits = Limits(
        concurrency=engine.settings.concurrency,
        timeout_s=engine.settings.timeout_s,
        attempts=engine.settings.attempts,
    )
    progress()
    _run_loop(lambda: ask_all(model, missing, limits, answered), progress)


def _unanswered(example: Example) -> Row:
    """Return the row of an example that nothing came back for: it must not vanish."""
    error = RowError(id=example.id, kind="missing", message="no reply and no error")
    return _score(example, Prediction(error=error), {})


def _keys(
    engine: Engine,
    store: Predictions | None,
    model: Model,
    dataset: Dataset,
    request: Request,
    prompts: Sequence[Prompt],
) -> tuple[list[bytes], Callable[[], None]]:
    """Return the store's key of each prompt, and what to call when all are answered."""
    if store is None:
        return [b""] * len(prompts), lambda: None
    generation, finish = None, lambda: None
    if not model.ref.pinned:
        evaluation = digest_of([model.ref.identity(), request.digest, dataset.digest])
        replayed = engine.settings.cache == "only" or engine.settings.gates is not None
        current = store.generation(evaluation, model.ref.instance, latest=replayed)
        generation = current

        def finish() -> None:
            store.finish(evaluation)

    key = key_maker(model.ref, request, generation, sees_example=model.sees_example)
    keys = [key(prompt) for prompt in prompts]
    return keys, finish


def _run_loop(work: Callable[[], Any], progress: Callable[[], None]) -> None:
    """Run a coroutine in a thread of its own and show progress meanwhile."""
    failures: list[BaseException] = []
    loop = asyncio.new_event_loop()
    task: list[asyncio.Task[None]] = []

    async def main() -> None:
        task.append(asyncio.ensure_future(work()))
        await task[0]

    def target() -> None:
        try:
            with asyncio.Runner(loop_factory=lambda: loop) as runner:
                runner.run(main())
        except BaseException as error:  # noqa: BLE001  # raised again by the caller
            failures.append(error)

    thread = threading.Thread(target=target, name="llmeval-loop", daemon=True)
    thread.start()
    try:
        while thread.is_alive():
            thread.join(PROGRESS_EVERY_S)
            progress()
    except BaseException:
        with suppress(RuntimeError):  # the loop may have ended just now
            if task:
                loop.call_soon_threadsafe(task[0].cancel)
        thread.join(5.0)
        raise
    if failures:
        raise failures[0]


def _score(
    example: Example, prediction: Prediction, metrics: Mapping[str, Metric]
) -> Row:
    """Score one row by every row-level metric."""
    if prediction.error is not None:
        return Row(
            example=example,
            prediction=prediction,
            scores={},
            errors=(prediction.error,),
        )
    scores: dict[str, float] = {}
    errors: list[RowError] = []
    for name, metric in metrics.items():
        if metric.score is None:
            continue
        try:
            raw = metric.score(prediction, example)
        except Exception as error:  # noqa: BLE001  # may be the user's: a row's error
            message = f"{name}: {type(error).__name__}: {error}"
            errors.append(RowError(id=example.id, kind="scorer", message=message))
            continue
        problem = _problem(raw)
        if problem is None:
            scores[name] = float(raw)
        else:
            message = f"{name} returned {raw!r:.100}"
            errors.append(RowError(id=example.id, kind=problem, message=message))
    return Row(
        example=example, prediction=prediction, scores=scores, errors=tuple(errors)
    )


def _problem(raw: object) -> str | None:
    """Return why a score is unusable: numpy numbers and bools are fine."""
    if type(raw).__name__ in ("bool", "bool_"):
        return None
    if is_missing(raw):
        return "not_finite"
    if not is_number(raw):
        return "bad_type"
    return None if is_finite(raw) else "not_finite"


def _metric_value(
    metric: Metric, rows: Sequence[Row], errors: int, confidence: float
) -> MetricValue:
    value = lower = upper = None
    if rows and metric.aggregate is not None:
        try:
            value = metric.aggregate(
                [row.prediction for row in rows], [row.example for row in rows]
            )
        except Exception as error:
            raise MetricError(
                f"{metric.name} raised {type(error).__name__}: {error}; the answers "
                "are in the predictions store, so the same command asks for none again"
            ) from error
        if not is_finite(value):
            raise MetricError(f"{metric.name} is {value!r:.60}, not a finite number")
    elif rows:
        scores = [row.scores[metric.name] for row in rows]
        value = stats.mean(scores)
        if is_range(metric.range) and _within(scores, metric.range):
            lower = stats.lower_bound(scores, confidence, *metric.range)
            upper = stats.upper_bound(scores, confidence, *metric.range)
    return MetricValue(
        name=metric.name,
        value=value,
        lower=lower,
        upper=upper,
        confidence=None if lower is None else confidence,
        n=len(rows),
        errors=errors,
    )


def _within(scores: Sequence[float], bounds: tuple[float, float]) -> bool:
    return bounds[0] <= min(scores) and max(scores) <= bounds[1]
