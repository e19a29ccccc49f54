"""Finished runs in MLflow: one parent per pytest session, one child per evaluation.

Written in a few batches: a store row or an artifact per example would cost more than
the evaluation.
"""

from __future__ import annotations

import datetime
import json
import re
import tempfile
import time
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from urllib.parse import urlsplit

from pytest_llmeval.backends.mlflow.connection import connect
from pytest_llmeval.backends.mlflow.connection import unreachable
from pytest_llmeval.history.runs import FinishedRun
from pytest_llmeval.history.runs import LeftOut
from pytest_llmeval.text import cut
from pytest_llmeval.text import utc


if TYPE_CHECKING:
    from mlflow.entities import DatasetInput
    from mlflow.entities import Run


RUN_TAG = "llmeval.run_id"
"""On the parent and on every child."""
EVALUATION_TAG = "llmeval.evaluation"
"""On the child of an evaluation: its number in the run, from 1."""
TEST_TAG = "llmeval.test"
PREDICTIONS_TAG = "llmeval.predictions"
STATUS_TAG = "llmeval.status"
"""On the child of an evaluation: the status of its run's verdict."""
CHANGED_TAG = "llmeval.changed_at"
"""On the parent: when it was last written to. MLflow itself keeps no such time."""
PARENT_TAG = "mlflow.parentRunId"
LONGEST_VALUE = 5_000
"""MLflow cuts longer parameters and tags."""
LONGEST_KEY = 250
LONGEST_DATASET_NAME = 500
DATASET_DIGEST_LENGTH = 36
CHUNK_BYTES = 1 << 20


class MlflowTracker:
    """Keeps runs in one MLflow store; every step may be repeated.

    Runs are found by their tags before they are created, and what a lost answer has
    created twice is deleted at the end.

    Args:
        uri: The tracking URI.
        home: The ``.llmeval`` folder.

    Raises:
        ConfigurationError: the store does not answer.
    """

    def __init__(self, uri: str, home: Path) -> None:
        self._uri, self._is_file = uri, uri.startswith("sqlite:")
        self._client = connect(uri, home)
        if self._is_file:  # it has been opened
            return
        try:
            self._client.search_experiments(max_results=1)
        except Exception as error:  # noqa: BLE001  # of a network, a proxy, a database
            raise unreachable(uri, error) from None

    @contextmanager
    def child(self, name: str, run: Mapping[str, Any]) -> Iterator[Any]:
        """Open a child run that is MLflow's active run inside the block."""
        import mlflow

        experiment = self._find_experiment(run)
        parent = self._find_parent(experiment, run, self._find_runs(experiment, run))
        tags = _child_tags(run, parent)
        child = self._start(experiment, name, run["started_at"], tags)
        active = mlflow.start_run(run_id=child, nested=True)  # another may be open
        try:
            yield active
        finally:
            _end_active(child)

    def log_run(self, run: Mapping[str, Any], rows: Path) -> str:
        """Write parent and children; the parent stays open for the verdict."""
        experiment = self._find_experiment(run)
        found = self._find_runs(experiment, run)
        parent = self._find_parent(experiment, run, found)
        kept = {parent}
        for evaluation in run["evaluations"]:
            tags = _child_tags(run, parent) | {
                EVALUATION_TAG: str(evaluation["number"]),
                TEST_TAG: evaluation["test"],
                PREDICTIONS_TAG: evaluation["predictions_digest"],
                STATUS_TAG: run["tags"]["llmeval.verdict"],
            }
            child = _child_of(evaluation, found)
            kept.add(self._log_evaluation(experiment, evaluation, child, tags, rows))
        self._log_values(parent, run, {**run["tags"], **_changed()})
        if not self._is_file:  # only the answer of a server can get lost
            self._delete_twins(self._find_runs(experiment, run), kept)
        return parent

    def log_verdict(self, run_id: str, run: Mapping[str, Any], verdict: Path) -> None:
        """Add the verdict to the parent run and end it."""
        self._client.log_artifact(run_id, str(verdict))
        status = "FINISHED" if run["passed"] else "FAILED"
        self._end(run_id, status, run["finished_at"])

    def find_predictions(
        self, run: Mapping[str, Any], test: str, params: Mapping[str, str]
    ) -> set[tuple[str, str]]:
        """Search by the hashes, which hold no quotes; then compare the rest."""
        found = run["experiment_id"] or self._experiment_named(run["experiment"])
        if found is None:
            return set()
        digests = {key: text for key, text in params.items() if "digest" in key}
        query = " and ".join(f"params.`{key}` = '{digests[key]}'" for key in digests)
        return {
            (child.data.tags[RUN_TAG], child.data.tags[PREDICTIONS_TAG])
            for child in self._search(str(found), query)
            if child.data.tags.get(TEST_TAG) == test
            and child.data.tags.get(STATUS_TAG) in ("pass", "fail")
            and params.items() <= child.data.params.items()
            and PREDICTIONS_TAG in child.data.tags
        }

    def log_deployment(
        self, run_id: str, deployment: Path, tags: Mapping[str, str]
    ) -> None:
        """Add the file and the tags to the parent run."""
        self._client.log_artifact(run_id, str(deployment))
        for key, value in _texts({**tags, **_changed()}).items():
            self._client.set_tag(run_id, key, value)

    def finished_runs(
        self, since: datetime.date | None
    ) -> Iterator[FinishedRun | LeftOut]:
        """Read back the runs, those that changed on a day or later, or all."""
        from pytest_llmeval.backends.mlflow.archive import MlflowArchive

        return MlflowArchive(self._client, self._uri).runs(since)

    def _find_experiment(self, run: Mapping[str, Any]) -> str:
        from mlflow.exceptions import MlflowException

        name = run["experiment"]
        found = run["experiment_id"] or self._experiment_named(name)
        if found is None:
            try:
                location = self._artifact_location()
                return str(self._client.create_experiment(name, location))
            except MlflowException as error:
                if error.error_code != "RESOURCE_ALREADY_EXISTS":
                    raise
            found = self._experiment_named(name)  # another process was first
        return str(found)

    def _experiment_named(self, name: str) -> str | None:
        found = self._client.get_experiment_by_name(name)
        return None if found is None else found.experiment_id

    def _artifact_location(self) -> str | None:
        """Return a folder beside a database file; a server has its own place."""
        if not self._is_file:
            return None
        # MLflow would take the working directory.
        database = Path(urlsplit(self._uri).path.removeprefix("/")).absolute()
        return (database.parent / "mlartifacts").as_uri()

    def _find_runs(self, experiment: str, run: Mapping[str, Any]) -> list[Run]:
        """Return every MLflow run that was made for a run, parents and children."""
        found = self._search(experiment, f"tags.`{RUN_TAG}` = '{run['run_id']}'")
        return sorted(found, key=lambda item: item.info.run_id)

    def _search(self, experiment: str, query: str) -> list[Run]:
        found: list[Run] = []
        token = None
        while True:
            page = self._client.search_runs([experiment], query, page_token=token)
            found += page
            token = page.token
            if not token:
                return found

    def _find_parent(
        self, experiment: str, run: Mapping[str, Any], found: Sequence[Run]
    ) -> str:
        for item in found:
            if PARENT_TAG not in item.data.tags:
                return str(item.info.run_id)
        name, tags = run["run_id"], {RUN_TAG: run["run_id"]}
        return self._start(experiment, name, run["started_at"], tags)

    def _start(
        self, experiment: str, name: str, started_at: float, tags: Mapping[str, Any]
    ) -> str:
        run = self._client.create_run(
            experiment,
            start_time=_milliseconds(started_at),
            run_name=name,
            tags=_texts(tags),
        )
        return str(run.info.run_id)

    def _log_evaluation(
        self,
        experiment: str,
        evaluation: Mapping[str, Any],
        child: Run | None,
        tags: Mapping[str, Any],
        rows: Path,
    ) -> str:
        if child is None:
            name, started_at = evaluation["name"], evaluation["started_at"]
            run_id = self._start(experiment, name, started_at, tags)
        else:
            run_id = child.info.run_id
        self._log_values(run_id, evaluation, tags)
        if child is None or not child.inputs.dataset_inputs:
            dataset = _dataset_input(evaluation["dataset"])
            self._client.log_inputs(run_id, datasets=[dataset])
        self._log_rows(run_id, rows, evaluation["rows_span"])
        self._end(run_id, "FINISHED", evaluation["finished_at"])
        return run_id

    def _log_values(
        self, run_id: str, item: Mapping[str, Any], tags: Mapping[str, Any]
    ) -> None:
        """Log the metrics, parameters and tags of a run or an evaluation at once."""
        from mlflow.entities import Metric
        from mlflow.entities import Param
        from mlflow.entities import RunTag

        # The same time at each try: MLflow then sees the same point, not a second one.
        at = _milliseconds(item["finished_at"])
        metrics, params = item["metrics"], _texts(item.get("params", {}))
        self._client.log_batch(
            run_id,
            metrics=[Metric(_key(k), float(v), at, 0) for k, v in metrics.items()],
            params=[Param(_key(key), value) for key, value in params.items()],
            tags=[RunTag(key, value) for key, value in _texts(tags).items()],
        )

    def _log_rows(self, run_id: str, rows: Path, span: Sequence[int]) -> None:
        with tempfile.TemporaryDirectory(prefix="llmeval-") as folder:
            copy = Path(folder) / "results.jsonl"
            _copy_span(rows, copy, span)
            self._client.log_artifact(run_id, str(copy))

    def _end(self, run_id: str, status: str, finished_at: float) -> None:
        self._client.set_terminated(run_id, status, _milliseconds(finished_at))

    def _delete_twins(self, found: Sequence[Run], kept: set[str]) -> None:
        for item in found:
            run_id, tags = item.info.run_id, item.data.tags
            opened_by_test = PARENT_TAG in tags and EVALUATION_TAG not in tags
            if run_id not in kept and not opened_by_test:
                self._client.delete_run(run_id)


def _end_active(run_id: str) -> None:
    """End an active run; those that were opened inside it stay open.

    MLflow's own pytest plugin opens one in a test, for the rest of the session.
    """
    import mlflow

    inner: list[str] = []
    while (active := mlflow.active_run()) is not None:
        mlflow.end_run()
        if active.info.run_id == run_id:
            break
        inner.append(active.info.run_id)
    for one in reversed(inner):
        mlflow.start_run(run_id=one, nested=True)


def _changed() -> dict[str, str]:
    return {CHANGED_TAG: utc(time.time())}


def _child_tags(run: Mapping[str, Any], parent: str) -> dict[str, str]:
    return {RUN_TAG: run["run_id"], PARENT_TAG: parent}


def _child_of(evaluation: Mapping[str, Any], found: Sequence[Run]) -> Run | None:
    """Return the child that the test has opened, or that an earlier try has made."""
    opened, number = evaluation["mlflow_run_id"], str(evaluation["number"])
    for item in found:
        if item.info.run_id == opened:
            return item
    tagged = (item for item in found if item.data.tags.get(EVALUATION_TAG) == number)
    return next(tagged, None)


def _dataset_input(data: Mapping[str, Any]) -> DatasetInput:
    from mlflow.entities import Dataset
    from mlflow.entities import DatasetInput
    from mlflow.entities import InputTag

    kind, source = _dataset_source(data)
    dataset = Dataset(
        name=cut(data["name"], LONGEST_VALUE)[:LONGEST_DATASET_NAME],
        digest=data["digest"].removeprefix("sha256:")[:DATASET_DIGEST_LENGTH],
        source_type=kind,
        source=json.dumps({**source, "digest": data["digest"], "rows": data["rows"]}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])


def _dataset_source(data: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """Return MLflow's type and fields of a source: as its own Spark datasets have."""
    kind, source = data.get("kind"), data.get("source")
    if kind in ("delta", "table"):
        where = "path" if kind == "delta" else "delta_table_name"
        version = data.get("version")
        if version is not None:
            return "delta_table", {where: source, "delta_table_version": version}
        return "spark", {"path" if kind == "delta" else "table_name": source}
    if kind == "sql":
        return "spark", {"sql": source}
    if kind in ("path", "file"):
        return "spark", {"path": source}
    return "llmeval", {"uri": data["name"]}


def _copy_span(source: Path, target: Path, span: Sequence[int]) -> None:
    start, stop = span
    with source.open("rb") as reader, target.open("wb") as writer:
        reader.seek(start)
        left = stop - start
        while left and (chunk := reader.read(min(left, CHUNK_BYTES))):
            writer.write(chunk)
            left -= len(chunk)
    if left:
        raise EOFError(f"{source} ends {left} bytes before the rows of the evaluation")


def _milliseconds(seconds: float) -> int:
    return int(seconds * 1000)


def _key(name: str) -> str:
    """Return a metric's or parameter's name with what MLflow refuses made `_`."""
    return re.sub(r"[^/\w.\- :]", "_", name)[:LONGEST_KEY]


def _texts(values: Mapping[str, Any]) -> dict[str, str]:
    return {
        key: cut(value if isinstance(value, str) else json.dumps(value), LONGEST_VALUE)
        for key, value in values.items()
        if value is not None
    }
