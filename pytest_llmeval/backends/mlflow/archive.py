"""Finished runs read back from MLflow, for the history: few requests, many runs."""

from __future__ import annotations

import datetime
import hashlib
import json
import tempfile
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any
from urllib.parse import unquote
from urllib.parse import urlsplit

from pytest_llmeval.backends.mlflow.tracker import CHANGED_TAG
from pytest_llmeval.backends.mlflow.tracker import EVALUATION_TAG
from pytest_llmeval.backends.mlflow.tracker import RUN_TAG
from pytest_llmeval.history.runs import FinishedRun
from pytest_llmeval.history.runs import LeftOut
from pytest_llmeval.history.runs import NotExported
from pytest_llmeval.history.runs import read_verdict
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run


PAGE = 1_000
FETCHES_AT_ONCE = 8
FEW_DAYS = 31
"""Up to so many days are asked for one by one, more of them by the month."""
PARENTS = "metrics.`gates/pass` >= 0"
"""Selects parents, so that the many numbers of their children are not read."""
DEPLOYMENT_TAG = "llmeval.deployment"


class MlflowArchive:
    """Reads the runs in one MLflow store.

    Args:
        client: Connected to it.
        uri: Its tracking URI.
    """

    def __init__(self, client: MlflowClient, uri: str) -> None:
        self._client = client
        # A file is often looked at on another machine than that which wrote it.
        file = urlsplit(uri).path.removeprefix("/") if uri.startswith("sqlite:") else ""
        self._folder = Path(file).absolute().parent / "mlartifacts" if file else None

    def runs(self, since: datetime.date | None) -> Iterator[FinishedRun | LeftOut]:
        """Yield the runs of ours, the newest first.

        Args:
            since: Only those that were uploaded, or deployed, on this day or later.
        """
        experiments = [one.experiment_id for one in self._client.search_experiments()]
        with ThreadPoolExecutor(FETCHES_AT_ONCE) as pool:
            for page in self._pages(experiments, since):
                yield from pool.map(self._read, page)

    def _pages(
        self, experiments: Sequence[str], since: datetime.date | None
    ) -> Iterator[list[Run]]:
        seen: set[str] = set()
        for query in [PARENTS] if since is None else _queries(since):
            token = None
            while True:
                page = self._client.search_runs(
                    experiments, query, max_results=PAGE, page_token=token
                )
                found = [run for run in page if run.info.run_id not in seen]
                seen.update(run.info.run_id for run in found)
                yield [run for run in found if RUN_TAG in run.data.tags]
                token = page.token
                if not token:
                    break

    def _read(self, parent: Run) -> FinishedRun | LeftOut:
        run_id = one_line(parent.data.tags[RUN_TAG])
        try:
            return self._finished(parent)
        except NotExported as error:
            return LeftOut(run_id=run_id, why=str(error))
        except Exception as error:  # noqa: BLE001  # of a network, or of a store
            why = f"its verdict is not there: {type(error).__name__}"
            return LeftOut(run_id=run_id, why=why, is_final=False)

    def _finished(self, parent: Run) -> FinishedRun:
        content = self._fetch(parent, "verdict.json")
        verdict = read_verdict(content)
        attempts: list[Mapping[str, Any]] = []
        if DEPLOYMENT_TAG in parent.data.tags:
            attempt = json.loads(self._fetch(parent, "deployment.json"))
            attempts = [attempt] if isinstance(attempt, dict) else []
        return FinishedRun(
            verdict=verdict,
            verdict_digest=hashlib.sha256(content).hexdigest(),
            attempts=[one for one in attempts if one.get("id")],
            mlflow_run_id=parent.info.run_id,
            rows=lambda entry: self._rows(parent, entry),
        )

    def _rows(self, parent: Run, entry: Mapping[str, Any]) -> list[bytes]:
        number, run_id = int(entry["number"]), parent.data.tags[RUN_TAG]
        if "'" in run_id:
            raise ValueError("its id is none of ours")
        query = (
            f"tags.`{RUN_TAG}` = '{run_id}' and tags.`{EVALUATION_TAG}` = '{number}'"
        )
        found = self._client.search_runs([parent.info.experiment_id], query)
        if not found:
            raise ValueError(f"evaluation {number} is not in MLflow")
        return self._fetch(found[0], "results.jsonl").splitlines()

    def _fetch(self, run: Run, artifact: str) -> bytes:
        """Return an artifact; a file of this machine without the way through MLflow."""
        from mlflow.store.artifact.artifact_repository_registry import (
            get_artifact_repository,
        )

        uri = run.info.artifact_uri
        if uri.startswith(("file:", "/")):
            return self._file(Path(unquote(urlsplit(uri).path)) / artifact).read_bytes()
        with tempfile.TemporaryDirectory(prefix="llmeval-") as folder:
            target = Path(folder) / artifact
            # Not download_artifacts, which would first ask whether it is a folder.
            get_artifact_repository(uri)._download_file(artifact, str(target))
            return target.read_bytes()

    def _file(self, path: Path) -> Path:
        """Return a file, or the one that stands for it beside a copied store."""
        if self._folder is None or path.exists():
            return path
        _, found, tail = str(path).rpartition("/mlartifacts/")
        return self._folder / tail if found else path


def _queries(since: datetime.date) -> Iterator[str]:
    """Yield queries for each day, or month, from a day until tomorrow."""
    last = datetime.datetime.now(datetime.UTC).date() + datetime.timedelta(days=1)
    days = [since + datetime.timedelta(days=n) for n in range((last - since).days + 1)]
    form = "%Y-%m-%d" if len(days) <= FEW_DAYS else "%Y-%m"
    for prefix in dict.fromkeys(day.strftime(form) for day in days):
        yield f"{PARENTS} and tags.`{CHANGED_TAG}` LIKE '{prefix}%'"
