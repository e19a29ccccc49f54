"""MLflow: registered models, tracked runs, registry aliases.

Importing MLflow and opening its store costs several CPU seconds; nothing here does so
before a hook needs it.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import AsyncIterator
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import asynccontextmanager
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import CallError
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.errors import ModelError
from pytest_llmeval.hooks import hookimpl
from pytest_llmeval.models import in_thread
from pytest_llmeval.records import Ask
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Plan
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply
from pytest_llmeval.records import digest_of
from pytest_llmeval.text import cut
from pytest_llmeval.text import one_line
from pytest_llmeval.text import redact


if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities.model_registry import ModelVersion


EXPERIMENT = "llmeval"
LONGEST_VALUE = 5_000
"""MLflow cuts longer parameters and tags."""
DATASET_DIGEST_LENGTH = 36


@hookimpl(trylast=True)
def pytest_llmeval_load_model(model: str, settings: Settings) -> MlflowModel | None:
    """Load ``models:/…`` and ``runs:/…`` as pyfunc models."""
    if not model.startswith(("models:/", "runs:/")):
        return None
    return MlflowModel(_resolve(model, _connect(settings.tracking_uri)))


@hookimpl(trylast=True)
def pytest_llmeval_tracker(uri: str, settings: Settings) -> MlflowTracker:
    """Track runs in the MLflow store at any URI."""
    return MlflowTracker(uri, settings)


@hookimpl(trylast=True)
def pytest_llmeval_deploy_target(
    target: str, settings: Settings
) -> RegistryTarget | None:
    """Give ``registry:NAME@ALIAS``."""
    if not target.startswith("registry:"):
        return None
    name, _, alias = target.removeprefix("registry:").rpartition("@")
    if not name or not alias:
        raise ConfigurationError(
            f"{target!r} is not of the form registry:NAME@ALIAS, for example "
            "registry:docs-qa@champion"
        )
    return RegistryTarget(name, alias, settings)


def _connect(uri: str) -> MlflowClient:
    """Import MLflow, point it at the store, and keep its chatter down."""
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
    os.environ.setdefault("MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR", "false")
    import mlflow

    for name in ("alembic", "mlflow.store.db.utils", "mlflow.tracking"):
        logging.getLogger(name).setLevel(logging.WARNING)
    mlflow.set_tracking_uri(uri)
    return mlflow.MlflowClient(tracking_uri=uri)


def _resolve(model: str, client: MlflowClient) -> ModelRef:
    """Resolve a model URI to exactly one version, once."""
    from mlflow.exceptions import MlflowException

    if model.startswith("runs:/"):
        run_id, _, path = model.removeprefix("runs:/").partition("/")
        return ModelRef(
            scheme="runs", name=path, version=run_id, pinned=True, requested=model
        )
    name, _, version = model.removeprefix("models:/").partition("/")
    name, _, alias = name.partition("@")
    if name.startswith("m-") and not version and not alias:
        return ModelRef(scheme="models", name=name, pinned=True, requested=model)
    try:
        if alias:
            found = client.get_model_version_by_alias(name, alias)
        elif version == "latest":
            found = _latest(client, name)
        elif version.isdigit():
            found = client.get_model_version(name, version)
        else:
            raise ConfigurationError(
                f"{model!r} names no version; write models:/{name}@ALIAS, "
                f"models:/{name}/3 or models:/{name}/latest"
            )
        aliases = dict(client.get_registered_model(name).aliases)
    except MlflowException as error:
        raise ModelError(
            f"cannot resolve {model} in the registry: {one_line(error.message)}"
        ) from None
    return ModelRef(
        scheme="models",
        name=name,
        version=str(found.version),
        digest=digest_of(
            [found.source, found.run_id, found.creation_timestamp, found.name]
        ),
        pinned=True,
        requested=model,
        aliases={key: str(value) for key, value in sorted(aliases.items())},
    )


def _latest(client: MlflowClient, name: str) -> ModelVersion:
    versions = client.search_model_versions(f"name = '{name}'")
    if not versions:
        raise ModelError(f"the registry has no version of {name!r}")
    return max(versions, key=lambda version: int(version.version))


class MlflowModel:
    """A pyfunc model; its code is loaded with the first question."""

    concurrency: int | None = None
    sees_example = False

    def __init__(self, ref: ModelRef) -> None:
        self.ref = ref
        self._loaded: Any = None

    @asynccontextmanager
    async def session(self) -> AsyncIterator[Ask]:
        """Load the model, which runs its code."""
        if self._loaded is None:
            import mlflow

            try:
                self._loaded = mlflow.pyfunc.load_model(self._uri())
            except Exception as error:  # loading runs the model's own code
                raise ModelError(
                    f"cannot load {self.ref}: {type(error).__name__}: {error}"
                ) from error

        async def ask(prompt: Prompt) -> Reply:
            try:
                text = await in_thread(self._predict, prompt)
            except Exception as error:  # the model's own code
                message = f"{type(error).__name__}: {one_line(error, 500)}"
                raise CallError("exception", message) from error
            if not isinstance(text, str):
                kind = type(text).__name__
                raise CallError("malformed", f"predict gave {kind}, expected text")
            return Reply(text=text)

        yield ask

    def close(self) -> None:
        """Forget the loaded model."""
        self._loaded = None

    def _uri(self) -> str:
        if self.ref.scheme == "runs":
            return f"runs:/{self.ref.version}/{self.ref.name}"
        version = f"/{self.ref.version}" if self.ref.version else ""
        return f"models:/{self.ref.name}{version}"

    def _predict(self, prompt: Prompt) -> Any:
        metadata = self._loaded.metadata
        task = (metadata.metadata or {}).get("task", "")
        params = dict(prompt.params)
        if task == "agent/v1/responses":
            answer = self._loaded.predict({"input": prompt.messages, **params})
            return answer["output"][-1]["content"][-1]["text"]
        if task in ("llm/v1/chat", "agent/v1/chat", "agent/v2/chat"):
            answer = self._loaded.predict({"messages": prompt.messages, **params})
            if "choices" in answer:
                return answer["choices"][0]["message"]["content"]
            return answer["messages"][-1]["content"]
        schema = metadata.get_input_schema()
        if schema is not None and schema.has_input_names():
            import pandas

            names = schema.input_names()
            answers = self._loaded.predict(
                pandas.DataFrame({names[0]: [prompt.text]}), params
            )
        else:
            answers = self._loaded.predict([prompt.text], params or None)
        if hasattr(answers, "tolist"):
            answers = answers.tolist()
        if hasattr(answers, "iloc"):
            answers = answers.iloc[:, 0].tolist()
        return (
            answers[0] if isinstance(answers, list) and len(answers) == 1 else answers
        )


class MlflowTracker:
    """One parent run per pytest session, one child per evaluation.

    Written at the end in a few batches: a store row or an artifact per example would
    cost more than the evaluation.
    """

    def __init__(self, uri: str, settings: Settings) -> None:
        self._client = _connect(uri)
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


class RegistryTarget:
    """An alias of a registered model."""

    def __init__(self, name: str, alias: str, settings: Settings) -> None:
        self._name, self._alias = name, alias
        self._client = _connect(settings.tracking_uri)

    def plan(self, verdict: Mapping[str, Any]) -> Plan:
        """Compare the verdict's model with the registry."""
        model = verdict["model"]
        target = f"registry:{self._name}@{self._alias}"
        if model["scheme"] != "models" or model["name"] != self._name:
            raise DeploymentRefused(
                "MODEL_MISMATCH",
                f"the run evaluated {model['requested']}, and {target} takes versions "
                f"of models:/{self._name} only",
            )
        version = model["version"]
        aliases = self._aliases()
        self._check_source(model, aliases)
        seen = model["aliases"].get(self._alias)
        current = aliases.get(self._alias)
        tags = self._client.get_model_version(self._name, version).tags
        if current == version and tags.get("llmeval.run_id"):
            return Plan(
                target=target,
                summary=f"{target} names version {version} already",
                changes=(),
            )
        if current != seen:
            raise DeploymentRefused(
                "SUPERSEDED",
                f"{target} named version {seen} when the run started and names "
                f"{current} now: another deployment came in between; evaluate again",
            )
        before = f"version {current}" if current else "nothing"
        return Plan(
            target=target,
            summary=f"{target}: {before} -> version {version}",
            changes=(
                f"tag version {version} of {self._name} with run, verdict and commit",
                f"set alias {self._alias} of {self._name} to version {version}",
            ),
        )

    def _check_source(
        self, model: Mapping[str, Any], aliases: Mapping[str, str]
    ) -> None:
        version = model["version"]
        for requested in model["requests"]:
            _, at, alias = requested.rpartition("@")
            if at:
                current = aliases.get(alias)
            elif requested.endswith("/latest"):
                current = str(_latest(self._client, self._name).version)
            else:
                continue
            if current != version:
                raise DeploymentRefused(
                    "MODEL_MOVED",
                    f"{requested} named version {version} when the run started and "
                    f"names {current} now; evaluate again",
                )

    def apply(self, verdict: Mapping[str, Any], tags: Mapping[str, str]) -> str:
        """Tag the version, set the alias last, and read it back."""
        version = verdict["model"]["version"]
        for key, value in tags.items():
            self._client.set_model_version_tag(self._name, version, key, value)
        self._client.set_registered_model_alias(self._name, self._alias, version)
        live = self._aliases().get(self._alias)
        if live != version:
            raise ModelError(
                f"{self._name}@{self._alias} was set to version {version} and reads "
                f"back as {live}"
            )
        return f"{self._name}@{self._alias} is version {version}"

    def _aliases(self) -> dict[str, str]:
        aliases = self._client.get_registered_model(self._name).aliases
        return {alias: str(version) for alias, version in aliases.items()}
