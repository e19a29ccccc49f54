"""Baselines that MLflow knows: the run tagged on a model version, a tracked run."""

from __future__ import annotations

import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from typing import BinaryIO

from pytest_llmeval.backends.mlflow.tracker import EVALUATION_TAG
from pytest_llmeval.backends.mlflow.tracker import PARENT_TAG
from pytest_llmeval.backends.mlflow.tracker import RUN_TAG
from pytest_llmeval.errors import BaselineError
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import StoredRun
from pytest_llmeval.store import find_run
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


def find_baseline(
    client: MlflowClient, name: str, model: ModelRef, home: Path
) -> StoredRun | None:
    """Return the run that an alias, a version or a run id stands for.

    An alias is looked up where the model under test was resolved, so that one that
    moves meanwhile changes nothing.

    Args:
        client: Of the tracking store.
        name: What the suite calls the baseline.
        model: The model under test.
        home: The ``.llmeval`` folder, where a run is looked for first.

    Returns:
        The run, or None when the name is none that MLflow knows.

    Raises:
        BaselineError: the name stands for no version, or for one without a run.
    """
    version = model.aliases.get(name, name if name.isdecimal() else None)
    if version is None or model.scheme != "models":
        found = find_tracked(client, name)
        if found is None and model.scheme == "models":
            raise _no_alias(name, model)
        return found
    shown = f"models:/{model.name}/{version}"
    run_id = _tags(client, model.name, version).get(RUN_TAG)
    if run_id is None:
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"{shown} carries no tag {RUN_TAG}, because it was not deployed by a "
            f"verdict; evaluate it with: pytest evals --llmeval-model {shown}, then: "
            f"llmeval baseline set RUN --alias {name}",
        )
    run = find_run(home, run_id) or find_tracked(client, run_id)
    if run is None:
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"{shown} is tagged with the run {one_line(run_id)}, which is neither in "
            f"{home / 'runs'} nor in MLflow; evaluate it again with: pytest evals "
            f"--llmeval-model {shown}, then: llmeval baseline set RUN --alias {name}",
        )
    return replace(run, model=shown)


def _no_alias(name: str, model: ModelRef) -> BaselineError:
    known = ", ".join(model.aliases) or "none"
    return BaselineError(
        "BASELINE_MISSING",
        f"no version of {model.name} has the alias {one_line(name)}, and no run has "
        f"this id; its aliases are: {known}. Deploy a first version with: pytest evals "
        f'--llmeval-deploy registry:{model.name}@{one_line(name)}; missing="first" '
        "lets it pass until then",
        # A run's id begins with the time, and no such alias is meant by mistake.
        is_first=model.version is not None and not name[:1].isdigit(),
    )


def _tags(client: MlflowClient, name: str, version: str) -> dict[str, str]:
    from mlflow.exceptions import MlflowException

    try:
        return dict(client.get_model_version(name, version).tags)
    except MlflowException as error:
        raise BaselineError(
            "BASELINE_MISSING",
            f"models:/{name}/{version} cannot be read from the registry: "
            f"{one_line(error.message)}",
        ) from None


def find_tracked(client: MlflowClient, run_id: str) -> StoredRun | None:
    """Return a tracked run; its rows are fetched when they are needed."""
    found = _search(client, run_id)
    parents = [run for run in found if PARENT_TAG not in run.data.tags]
    if not parents:
        return None
    origin = f"the run {run_id} (MLflow run {parents[0].info.run_id})"
    try:
        with _fetch(client, parents[0], "verdict.json") as file:
            verdict: dict[str, Any] = json.load(file)
    except Exception as error:  # noqa: BLE001  # of a network, or of a store's driver
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"the verdict of {origin} cannot be read: {one_line(error, 300)}; upload "
            f"it with: llmeval sync {run_id}",
        ) from None
    children = {run.data.tags.get(EVALUATION_TAG): run for run in found}

    def open_rows(number: int) -> BinaryIO:
        return _fetch(client, children[str(number)], "results.jsonl")

    return StoredRun(verdict=verdict, open_rows=open_rows, origin=origin)


def _search(client: MlflowClient, run_id: str) -> list[Run]:
    if "'" in run_id:  # no id of ours, and the end of the text in the query
        return []
    experiments = [item.experiment_id for item in client.search_experiments()]
    query = f"tags.`{RUN_TAG}` = '{run_id}'"
    found: list[Run] = []
    token = None
    while True:
        page = client.search_runs(experiments, query, page_token=token)
        found += page
        token = page.token
        if not token:
            return found


def _fetch(client: MlflowClient, run: Run, artifact: str) -> BinaryIO:
    """Return an artifact as a file that ends with its last use."""
    file: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115  # returned open
    with tempfile.TemporaryDirectory(prefix="llmeval-") as folder:
        path = client.download_artifacts(run.info.run_id, artifact, folder)
        with Path(path).open("rb") as source:
            shutil.copyfileobj(source, file)
    file.seek(0)
    return file
