"""Projects with a real MLflow registry in SQLite, and what was deployed there."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import mlflow
import pytest

from .conftest import Suite


MODEL = """\
import mlflow
from mlflow.pyfunc import PythonModel


class Shout(PythonModel):
    def predict(self, model_input: list[str]) -> list[str]:
        return [text.upper() for text in model_input]


mlflow.models.set_model(Shout())
"""
REGISTRY = "registry:qa@champion"


class Registered(Suite):
    """A committed suite with a manifest whose model is models:/qa@candidate.

    There are the versions 1 and 2 of qa, `candidate` is 1 and `champion` unset.
    """

    target = REGISTRY
    runs: dict[int, str]
    """The run that has evaluated each version, where they are evaluated."""

    def verdict_of(self, version: int) -> str:
        return f".llmeval/runs/{self.runs[version]}/verdict.json"

    def deploy(self, command: str, *arguments: str) -> pytest.RunResult:
        return self.llmeval("deploy", command, "--target", self.target, *arguments)

    def apply(self, version: int, *arguments: str) -> pytest.RunResult:
        verdict = ("--verdict", self.verdict_of(version))
        return self.deploy("apply", "--yes", *verdict, *arguments)

    def deployment_of(self, version: int) -> dict[str, Any]:
        path = (self.path / self.verdict_of(version)).with_name("deployment.json")
        document: dict[str, Any] = json.loads(path.read_text())
        return document

    def outcome_of(self, version: int) -> str:
        reason: str = self.deployment_of(version)["reason"]
        return reason

    @property
    def attempts(self) -> list[dict[str, Any]]:
        lines = (self.path / ".llmeval/deployments.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


def make_registered(folder: Path) -> Registered:
    """Log and register the model, write the suite, and commit both."""
    suite = Registered(folder)
    _register(folder)
    suite.write("evals/conftest.py", "")
    ini = (suite.path / "pytest.ini").read_text()
    suite.write("pytest.ini", f"{ini}llmeval_model = models:/qa@candidate\n")
    suite.update_gates()
    shutil.rmtree(suite.path / ".llmeval")
    suite.commit()
    return suite


def _register(folder: Path) -> None:
    source = folder.with_name("model.py")
    source.write_text(MODEL)
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    made = mlflow.MlflowClient()
    # Outside the project, because copies of it share the artifacts.
    artifacts = folder.with_name("mlartifacts").as_uri()
    experiment = made.create_experiment("models", artifact_location=artifacts)
    with mlflow.start_run(experiment_id=experiment):
        for _ in range(2):
            mlflow.pyfunc.log_model(
                name="qa",
                python_model=str(source),
                registered_model_name="qa",
                pip_requirements=[],
            )
    made.set_registered_model_alias("qa", "candidate", "1")


def evaluate_both(suite: Registered) -> Registered:
    """Evaluate both versions, which pass."""
    suite.runs = {}
    for version in (1, 2):
        assert suite.run("evals", "--llmeval-model", f"models:/qa/{version}").ret == 0
        suite.runs[version] = suite.run_directory.name
    return suite


def copy_of(suite: Registered, folder: Path) -> Registered:
    shutil.copytree(suite.path, folder)
    copied = Registered(folder)
    copied.runs = getattr(suite, "runs", {})
    return copied


def client(project: Suite) -> mlflow.MlflowClient:
    return mlflow.MlflowClient(f"sqlite:///{project.path / 'mlflow.db'}")


def aliases(project: Suite) -> dict[str, int]:
    found = client(project).get_registered_model("qa").aliases
    return {alias: int(version) for alias, version in found.items()}
