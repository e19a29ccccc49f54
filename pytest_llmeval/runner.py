"""Evaluates: reads the data, asks the model, scores the rows."""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pluggy

from pytest_llmeval.asked import AskedRows
from pytest_llmeval.asked import shuffled
from pytest_llmeval.asking import Asking
from pytest_llmeval.baselines import Baselines
from pytest_llmeval.budget import Budget
from pytest_llmeval.budget import open_budget
from pytest_llmeval.config import Settings
from pytest_llmeval.datasets import load_dataset
from pytest_llmeval.errors import MetricError
from pytest_llmeval.gate import USUAL_CONFIDENCE
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.metrics import check_references
from pytest_llmeval.metrics import find_metrics
from pytest_llmeval.models import build_request
from pytest_llmeval.models import load_model
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import Metric
from pytest_llmeval.records import Model
from pytest_llmeval.records import Progress
from pytest_llmeval.records import Recorder
from pytest_llmeval.records import Request
from pytest_llmeval.results import Columns
from pytest_llmeval.results import EvalResults
from pytest_llmeval.rows import RowLog
from pytest_llmeval.scoring import MetricValues
from pytest_llmeval.text import redactor


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What every evaluation of a run shares."""

    settings: Settings
    hook: pluggy.HookRelay
    run_id: str
    recorder: Recorder | None = None
    progress: Progress | None = None
    budget: Budget | None = None
    baselines: Baselines | None = None
    """Found earlier in the run."""
    folder: Path | None = None
    """What relative data paths start from, before the rootdir."""
    scratch: Path | None = None
    """Where rows are kept while the results are in use; the system's by default."""


def evaluate(
    model: Any = None,
    data: Any = None,
    metrics: Sequence[str | Metric | Callable[..., Any]] = (),
    *,
    name: str | None = None,
    prompt: str | Sequence[Mapping[str, str]] | None = None,
    params: Mapping[str, Any] | None = None,
    columns: Mapping[str, str | Sequence[str]] | None = None,
    repeats: int = 1,
    settings: Settings | None = None,
) -> EvalResults:
    r"""Evaluate a model on a dataset, without a pytest session.

    Costs one model call per example and repeat, but for stored predictions. Runs its
    own event loop in a thread, so that it works in notebooks.

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
        repeats: How often each example is asked; its score is the mean.
        settings: Concurrency, time-outs, stored predictions and the like.

    Returns:
        Rows and metric values, in the order of the data.

    Raises:
        LLMEvalError: model, data, metrics or prompt cannot be used.
    """
    settings = settings or Settings()
    engine = Engine(
        settings=settings,
        hook=headless_manager().hook,
        run_id=f"adhoc-{time.time_ns()}",
        budget=open_budget(settings, None, time.monotonic()),
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
            repeats=repeats,
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
    repeats: int = 1,
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
    check_references(dataset, definitions.values())
    request = build_request(prompt, params, dataset.columns, repeats)
    names = [m.name for m in definitions.values() if m.score]
    columns_of_rows = Columns(dataset.ids, names, repeats)
    log = RowLog(columns_of_rows, dataset.columns, redactor(), engine.scratch)
    evaluation = _Evaluation(engine, model, dataset, request, definitions, log)
    rows = evaluation.rows()
    confidence = engine.settings.confidence
    baselines = engine.baselines or Baselines(engine.settings)
    values = MetricValues(
        definitions, lambda: rows.columns, rows, confidence or USUAL_CONFIDENCE
    )
    if isinstance(rows, RowLog):
        dict(values)  # a corpus metric that raises ends the evaluation
    return EvalResults(
        name=name or dataset.name,
        model=model.ref,
        request=request,
        dataset=dataset,
        rows=rows,
        values=values,
        definitions=definitions,
        started_at=started_at,
        duration_s=time.perf_counter() - clock,
        confidence=confidence,
        recorder=engine.recorder,
        find_baseline=partial(baselines.find, engine.hook),
        source=rows if isinstance(rows, AskedRows) else None,
    )


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """What one evaluation asks and scores, at once or as its gates need it."""

    engine: Engine
    model: Model
    dataset: Dataset
    request: Request
    metrics: Mapping[str, Metric]
    log: RowLog

    def rows(self) -> RowLog | AskedRows:
        """Ask for all rows; with early stop for the first, and then as gates ask.

        Only a recorder closes results that are open, so without one none are.
        """
        if not self.engine.settings.early_stop or self.engine.recorder is None:
            with self._asking(None) as asking:
                asking.run()
            return self.log
        seed = self.dataset.digest
        order = shuffled(self.dataset.ids, seed)
        rows = AskedRows(self.log, order, seed, fill=self._fill, finish=self._finish)
        rows.start()
        return rows

    def _fill(self, left: Sequence[int], is_enough: Callable[[], bool]) -> None:
        with self._asking(left) as asking:
            asking.run(is_enough)

    def _finish(self) -> None:
        with self._asking([]) as asking:
            asking.finish()

    @contextmanager
    def _asking(self, order: Sequence[int] | None) -> Iterator[Asking]:
        engine = self.engine
        with _open_store(engine) as store:
            yield Asking(
                settings=engine.settings,
                model=self.model,
                dataset=self.dataset,
                request=self.request,
                metrics=self.metrics,
                log=self.log,
                order=order,
                store=store,
                budget=engine.budget,
                progress=engine.progress,
            )


@contextmanager
def _open_store(engine: Engine) -> Iterator[Predictions | None]:
    settings = engine.settings
    if settings.cache == "off":
        yield None
        return
    path = settings.home / "predictions.db"
    limit = int(settings.cache_mb * 1e6)
    with Predictions(path, run_id=engine.run_id, limit_bytes=limit) as store:
        yield store
