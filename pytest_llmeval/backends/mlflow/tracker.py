"""Finished runs in MLflow: one parent per pytest session, one child per evaluation."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_llmeval.backends.mlflow.connection import connect
from pytest_llmeval.config import Settings
from pytest_llmeval.text import cut
from pytest_llmeval.text import redact


EXPERIMENT = "llmeval"
LONGEST_VALUE = 5_000
"""MLflow cuts longer parameters and tags."""
DATASET_DIGEST_LENGTH = 36


class MlflowTracker:
    """One parent run per pytest session, one child per evaluation.

    Written at the end in a few batches: a store row or an artifact per example would
    cost more than the evaluation.
    """

    def __init__(self, uri: str, settings: Settings) -> None:
        self._client = connect(uri)
        self._settings = settings
        self._experiment = self._find_experiment(uri)
        self._parent: str | None = None

    def _find_experiment(self, uri: str) -> str:
        given = os.environ.get("MLFLOW_EXPERIMENT_ID")
        if given:
            return given
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME") or EXPERIMENT
        found = self._client.get_experiment_by_name(name)
        if found is not None:
            return str(found.experiment_id)
        folder = None
        if uri.startswith("sqlite:"):  # MLflow would take the working directory
            folder = (self._settings.rootdir / "mlartifacts").as_uri()
        return str(self._client.create_experiment(name, artifact_location=folder))

    def _start(self, name: str, started_at: float, parent: str | None = None) -> str:
        from mlflow.utils.mlflow_tags import MLFLOW_PARENT_RUN_ID

        run = self._client.create_run(
            self._experiment,
            start_time=int(started_at * 1000),
            run_name=name,
            tags={MLFLOW_PARENT_RUN_ID: parent} if parent else {},
        )
        return str(run.info.run_id)

    @contextmanager
    def child(self, name: str, run_name: str, started_at: float) -> Iterator[Any]:
        """Open a child run that is MLflow's active run inside the block."""
        import mlflow

        if self._parent is None:
            self._parent = self._start(run_name, started_at)
        child = self._start(name, started_at, self._parent)
        with mlflow.start_run(run_id=child) as active:
            yield active

    def log_run(self, run: Mapping[str, Any]) -> str:
        """Write parent and children; the parent stays open for the verdict."""
        from mlflow.entities import Metric
        from mlflow.entities import RunTag

        if self._parent is None:
            self._parent = self._start(run["name"], run["started_at"])
        for evaluation in run["evaluations"]:
            self._log_evaluation(evaluation, self._parent)
        now = int(run["finished_at"] * 1000)
        self._client.log_batch(
            self._parent,
            metrics=[Metric(k, float(v), now, 0) for k, v in run["metrics"].items()],
            tags=[RunTag(k, _fit(v)) for k, v in run["tags"].items() if v],
        )
        return self._parent

    def _log_evaluation(self, evaluation: Mapping[str, Any], parent: str) -> None:
        from mlflow.entities import Dataset
        from mlflow.entities import DatasetInput
        from mlflow.entities import InputTag
        from mlflow.entities import Metric
        from mlflow.entities import Param
        from mlflow.entities import RunTag

        run_id = evaluation["mlflow_run_id"] or self._start(
            evaluation["name"], evaluation["started_at"], parent
        )
        end = int(1000 * (evaluation["started_at"] + evaluation["duration_s"]))
        metrics = []
        for name, value in evaluation["metrics"].items():
            for part, item in value.items():
                key = name if part == "value" else f"{name}/{part}"
                if item is not None:
                    metrics.append(Metric(key, float(item), end, 0))
        self._client.log_batch(
            run_id,
            metrics=metrics,
            params=[
                Param(key, _fit(value))
                for key, value in evaluation["params"].items()
                if value is not None
            ],
            tags=[RunTag("llmeval.test", _fit(evaluation["test"]))],
        )
        data = evaluation["dataset"]
        source = {"uri": data["name"], "digest": data["digest"], "rows": data["rows"]}
        short = data["digest"].removeprefix("sha256:")[:DATASET_DIGEST_LENGTH]
        entry = Dataset(
            name=_fit(data["name"])[:500],
            digest=short,
            source_type="llmeval",
            source=json.dumps(source),
        )
        context = InputTag("mlflow.data.context", "evaluation")
        self._client.log_inputs(run_id, datasets=[DatasetInput(entry, [context])])
        with Path(evaluation["rows_file"]).open("rb") as file:
            start, stop = evaluation["rows_span"]
            file.seek(start)
            text = file.read(stop - start).decode("ascii")
        self._client.log_text(run_id, text, "results.jsonl")
        self._client.set_terminated(run_id, "FINISHED", end_time=end)

    def log_verdict(self, path: str, *, passed: bool, finished_at: float) -> None:
        """Add the verdict to the parent run and end it."""
        if self._parent is None:
            return
        self._client.log_artifact(self._parent, path)
        self._client.set_terminated(
            self._parent,
            "FINISHED" if passed else "FAILED",
            end_time=int(finished_at * 1000),
        )


def _fit(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return cut(redact(text), LONGEST_VALUE)
