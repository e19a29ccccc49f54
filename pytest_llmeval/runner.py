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
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any
from typing import NamedTuple

import pluggy

from pytest_llmeval.asked import AskedRows
from pytest_llmeval.asked import shuffled
from pytest_llmeval.asking import Asking
from pytest_llmeval.baselines import Baselines
from pytest_llmeval.budget import Budget
from pytest_llmeval.budget import open_budget
from pytest_llmeval.config import Settings
from pytest_llmeval.config import nearest
from pytest_llmeval.datasets import find_data
from pytest_llmeval.datasets import load_dataset
from pytest_llmeval.datasets import read_rows
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import MetricError
from pytest_llmeval.gate import USUAL_CONFIDENCE
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.metrics import check_references
from pytest_llmeval.metrics import check_rows_only
from pytest_llmeval.metrics import find_metrics
from pytest_llmeval.models import build_request
from pytest_llmeval.models import load_model
from pytest_llmeval.models import renderer
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import DatasetRef
from pytest_llmeval.records import Metric
from pytest_llmeval.records import MetricValue
from pytest_llmeval.records import Model
from pytest_llmeval.records import Progress
from pytest_llmeval.records import Recorder
from pytest_llmeval.records import Request
from pytest_llmeval.records import Row
from pytest_llmeval.records import ScoreTable
from pytest_llmeval.records import Table
from pytest_llmeval.records import TableJob
from pytest_llmeval.results import Columns
from pytest_llmeval.results import EvalResults
from pytest_llmeval.rows import RowLog
from pytest_llmeval.scoring import MetricValues
from pytest_llmeval.scoring import TableValues
from pytest_llmeval.supply import evaluation_key
from pytest_llmeval.supply import generation_of
from pytest_llmeval.text import redactor


ENGINES = ("local", "spark")
ROWS_SHOWN = 1_000
"""Of an evaluation whose rows lie in a table: those that reports show."""


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
    spark: Callable[[], Any] | None = None
    """Gives the suite's Spark session; found by the settings when None."""


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
    engine: str | None = None,
    settings: Settings | None = None,
) -> EvalResults:
    r"""Evaluate a model on a dataset, without a pytest session.

    Costs one model call per example and repeat, but for stored predictions. Runs its
    own event loop in a thread, so that it works in notebooks.

    Args:
        model: A model string, a callable ``f(prompt: str) -> str`` (sync or async; it
            gets the whole `Example` when its parameter is named ``example``), or a
            `Model`.
        data: A path, a pandas frame, a list of mappings, what Spark reads (the name of
            a table, a query, ``delta:/path``, a path in cloud storage, a Spark
            DataFrame), or a `DatasetRef`.
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
        engine: ``local`` asks from this process, ``spark`` where the data lies. None
            takes Spark for data that only Spark reads and that has more rows than the
            ini value ``llmeval_spark_above``.
        settings: Concurrency, time-outs, stored predictions and the like.

    Returns:
        Rows and metric values, in the order of the data.

    Raises:
        LLMEvalError: model, data, metrics or prompt cannot be used.
    """
    settings = settings or Settings()
    shared = Engine(
        settings=settings,
        hook=headless_manager().hook,
        run_id=f"adhoc-{time.time_ns()}",
        budget=open_budget(settings, None, time.monotonic()),
    )
    given = model or settings.model
    loaded = load_model(given, shared.hook, settings)
    try:
        return run_evaluation(
            shared,
            loaded,
            data,
            metrics,
            name=name,
            prompt=prompt,
            params=params,
            columns=columns,
            repeats=repeats,
            where=engine,
            given=given,
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
    where: str | None = None,
    given: Any = None,
    further_metrics: Iterable[Metric | Callable[..., Any]] = (),
) -> EvalResults:
    """Evaluate with what a session shares.

    See `evaluate` for the arguments that it has too, ``engine`` there being `where`.

    Args:
        engine: What is shared.
        model: The loaded model.
        data: What is evaluated.
        metrics: What rows are scored by.
        name: Names the evaluation.
        prompt: How the model is asked.
        params: Likewise.
        columns: Which column is which.
        repeats: How often each example is asked.
        where: ``local``, ``spark``, or None for what the data takes.
        given: What the suite named the model by.
        further_metrics: Metrics that are known by name here.
    """
    started_at, clock = time.time(), time.perf_counter()
    definitions = find_metrics(metrics, engine.hook, further_metrics)
    if data is None:
        raise MetricError("evaluate() needs data=, for example a path to a jsonl file")
    ref = find_data(data, engine.settings, columns=columns, folder=engine.folder)
    ref = replace(ref, spark=ref.spark or engine.spark)
    table = _open_table(engine, ref, where)
    is_here = table is None or _is_small(table, engine, where)
    try:
        if table is None or is_here:
            dataset = load_dataset(ref, engine.hook, engine.settings)
        else:
            dataset = table.dataset
        check_references(dataset, definitions.values())
        request = build_request(prompt, params, dataset.columns, repeats)
        evaluation = _Evaluation(engine, model, given, dataset, request, definitions)
        if table is None or is_here:
            found = evaluation.here()
        else:
            found = evaluation.there(table)
        if table is not None:
            dataset = replace(dataset, origin=table.origin)
    finally:
        if table is not None:
            table.close()
    baselines = engine.baselines or Baselines(engine.settings)
    return EvalResults(
        name=name or dataset.name,
        model=model.ref,
        request=request,
        dataset=dataset,
        rows=found.rows,
        values=found.values,
        definitions=definitions,
        started_at=started_at,
        duration_s=time.perf_counter() - clock,
        confidence=engine.settings.confidence,
        recorder=engine.recorder,
        find_baseline=partial(baselines.find, engine.hook),
        source=found.rows if isinstance(found.rows, AskedRows) else None,
        table=found.table,
    )


def _open_table(engine: Engine, ref: DatasetRef, where: str | None) -> Table | None:
    """Return the data as what is evaluated where it lies; None to read it here.

    Raises:
        ConfigurationError: there is no such engine.
    """
    if where not in (None, *ENGINES):
        raise ConfigurationError(
            f"engine={where!r:.60} is none of: {', '.join(ENGINES)}"
            + nearest(str(where), ENGINES)
        )
    if where == "local":
        return None
    settings = engine.settings
    table: Table | None = engine.hook.pytest_llmeval_open_table(
        ref=ref,
        settings=settings,
        read=lambda: read_rows(replace(ref, prepare=None), engine.hook, settings),
        is_wanted=where == "spark",
    )
    if table is None and where == "spark":
        raise ConfigurationError("no plugin evaluates in Spark")
    return table


def _is_small(table: Table, engine: Engine, where: str | None) -> bool:
    """Return whether so few rows are asked from this process."""
    return where is None and table.count() <= engine.settings.spark_above


class _Found(NamedTuple):
    """What an evaluation has come to."""

    rows: Sequence[Row]
    values: Mapping[str, MetricValue]
    table: ScoreTable | None = None


@dataclass(frozen=True, slots=True)
class _Evaluation:
    """What one evaluation asks and scores, at once or as its gates need it."""

    engine: Engine
    model: Model
    given: Any
    dataset: Dataset
    request: Request
    metrics: Mapping[str, Metric]

    def here(self) -> _Found:
        """Ask from this process: for all rows, or with early stop as gates ask."""
        names = [metric.name for metric in self.metrics.values() if metric.score]
        columns = Columns(self.dataset.ids, names, self.request.repeats)
        log = RowLog(columns, self.dataset.columns, redactor(), self.engine.scratch)
        rows = self._ask(log)
        values = MetricValues(
            self.metrics, lambda: rows.columns, rows, self._confidence
        )
        if isinstance(rows, RowLog):
            dict(values)  # a corpus metric that raises ends the evaluation
        return _Found(rows, values)

    @property
    def _confidence(self) -> float:
        return self.engine.settings.confidence or USUAL_CONFIDENCE

    def there(self, table: Table) -> _Found:
        """Ask where the rows lie."""
        check_rows_only(self.metrics.values())
        renderer(self.request, self.dataset)  # a template that does not fit says so
        engine, model = self.engine, self.model
        evaluation = evaluation_key(model.ref, self.request, self.dataset)
        with _open_store(engine) as store:
            scores = table.evaluate(
                TableJob(
                    given=self.given,
                    model=model,
                    request=self.request,
                    metrics=self.metrics,
                    run_id=engine.run_id,
                    generation=generation_of(model, evaluation, store, engine.settings),
                    budget=engine.budget,
                    progress=engine.progress,
                )
            )
            if store is not None and not model.ref.pinned and not scores.tally.failed:
                store.finish(evaluation)
        values = TableValues(
            self.metrics, scores, self.request.repeats, self._confidence
        )
        dict(values)
        return _Found(scores.shown(ROWS_SHOWN), values, scores)

    def _ask(self, log: RowLog) -> RowLog | AskedRows:
        """Ask for all rows; with early stop for the first, and then as gates ask.

        Only a recorder closes results that are open, so without one none are.
        """
        if not self.engine.settings.early_stop or self.engine.recorder is None:
            with self._asking(log, None) as asking:
                asking.run()
            return log
        seed = self.dataset.digest
        order = shuffled(self.dataset.ids, seed)

        def fill(left: Sequence[int], is_enough: Callable[[], bool]) -> None:
            with self._asking(log, left) as asking:
                asking.run(is_enough)

        def finish() -> None:
            with self._asking(log, []) as asking:
                asking.finish()

        rows = AskedRows(log, order, seed, fill=fill, finish=finish)
        rows.start()
        return rows

    @contextmanager
    def _asking(self, log: RowLog, order: Sequence[int] | None) -> Iterator[Asking]:
        engine = self.engine
        with _open_store(engine) as store:
            yield Asking(
                settings=engine.settings,
                model=self.model,
                dataset=self.dataset,
                request=self.request,
                metrics=self.metrics,
                log=log,
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
