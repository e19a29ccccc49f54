"""Evaluations by an engine, each of them once; and their Spark, which ends with us."""

import json
from collections.abc import Callable
from contextlib import chdir
from contextlib import contextmanager
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

from pytest_llmeval import DatasetRef
from pytest_llmeval import EvalResults
from pytest_llmeval import Settings
from pytest_llmeval import evaluate
from pytest_llmeval.backends.spark.session import open_session
from pytest_llmeval.datasets import find_data
from pytest_llmeval.datasets import load_dataset
from pytest_llmeval.datasets import read_rows
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.records import Dataset
from pytest_llmeval.services import stop_all

from . import suites


ROOT = Path(__file__).parents[2]


class Engine:
    """An engine with what it has evaluated.

    Args:
        data: Files and other forms of data, by their names.
        settings: Its own; without `spark` it is the local one.
    """

    def __init__(self, data: dict[str, Any], settings: Settings) -> None:
        self.data, self.settings = data, settings
        self.name = "local" if settings.spark is None else "spark"
        self._found: dict[str, EvalResults] = {}

    def __getitem__(self, name: str) -> EvalResults:
        if name not in self._found:
            self._found[name] = EVALUATIONS[name](self)
        return self._found[name]

    def evaluate(self, *arguments: Any, **options: Any) -> EvalResults:
        settings = options.pop("settings", self.settings)
        options.setdefault("engine", self.name)
        return evaluate(*arguments, settings=settings, **options)

    def dataset(self, data: Any, **selection: Any) -> Dataset:
        """Return what is selected of data, without asking anybody about it."""
        hook, settings = headless_manager().hook, self.settings
        ref = find_data(DatasetRef(source=data, **selection), settings)
        if self.name == "local":
            return load_dataset(ref, hook, settings)
        table = hook.pytest_llmeval_open_table(
            ref=ref,
            settings=settings,
            read=lambda: read_rows(replace(ref, prepare=None), hook, settings),
            is_wanted=True,
        )
        dataset: Dataset = table.dataset
        return replace(dataset, ids=sorted(dataset.ids))

    @cached_property
    def session(self) -> Any:
        return open_session(self.settings).spark

    @property
    def address(self) -> str:
        """Where the Spark serves that all evaluations here share."""
        (file,) = self.settings.services.glob("spark-*.json")
        found = json.loads(file.read_text())
        token = f"/;token={found['token']}" if found["token"] else ""
        return f"sc://localhost:{found['port']}{token}"  # by this name without TLS


@contextmanager
def spark_engine(data: dict[str, Any], folder: Path, spark: str):
    """Evaluate in a Spark that is started by the product, and stopped after it."""
    settings = settings_in(folder, spark=spark, services=folder / "services")
    engine = Engine(data, settings)
    try:
        with chdir(folder):  # where Sail saves tables
            assert engine.session is not None
        yield engine
    finally:
        stop_all(settings.services)


def settings_in(folder: Path, **given: Any) -> Settings:
    """Return settings for suites of this repository that write to a folder."""
    shared = {"cache": "off", "attempts": 1, "spark_tasks": 2, "confidence": 0.95}
    return Settings(rootdir=ROOT, directory=str(folder), **{**shared, **given})


def _hostile(engine: Engine) -> EvalResults:
    metrics = [suites.letters, suites.SMALL, suites.COST]
    return engine.evaluate(
        suites.hostile_model,
        engine.data["hostile"],
        metrics,
        prompt=suites.PROMPT,
        params={"system": "Say it.\n\ud800", "max_tokens": 7},
    )


def _before(engine: Engine) -> EvalResults:
    metrics = [suites.UNIT, suites.COST, "token_f1", suites.right]
    return engine.evaluate(suites.before, engine.data["csv"], metrics)


def _after(engine: Engine) -> EvalResults:
    metrics = [suites.UNIT, suites.COST, "token_f1", suites.right]
    return engine.evaluate(suites.after, engine.data["frame"], metrics)


def _repeats(engine: Engine) -> EvalResults:
    data, metrics = suites.GRADED[:40], [suites.right, suites.COST]
    return engine.evaluate(suites.Unsteady(), data, metrics, repeats=3)


def _moments(engine: Engine) -> EvalResults:
    data, prompt = engine.data["moments"], suites.MOMENTS_PROMPT
    return engine.evaluate(suites.echo, data, [suites.SMALL], prompt=prompt)


EVALUATIONS: dict[str, Callable[[Engine], EvalResults]] = {
    "hostile": _hostile,
    "before": _before,
    "after": _after,
    "repeats": _repeats,
    "moments": _moments,
}
