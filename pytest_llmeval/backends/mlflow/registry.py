"""Aliases of registered models, as targets of a deployment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pytest_llmeval.backends.mlflow.connection import connect
from pytest_llmeval.backends.mlflow.model import latest_version
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.errors import ModelError
from pytest_llmeval.records import Plan


class RegistryTarget:
    """An alias of a registered model."""

    def __init__(self, name: str, alias: str, settings: Settings) -> None:
        self._name, self._alias = name, alias
        self._client = connect(settings.tracking_uri, settings.home)

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
        if current is not None:
            _check_compared(verdict, target, current)
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
                current = str(latest_version(self._client, self._name).version)
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
        self.mark(version, tags)
        self._client.set_registered_model_alias(self._name, self._alias, version)
        live = self._aliases().get(self._alias)
        if live != version:
            raise ModelError(
                f"{self._name}@{self._alias} was set to version {version} and reads "
                f"back as {live}"
            )
        return f"{self._name}@{self._alias} is version {version}"

    def live(self) -> tuple[str, Mapping[str, str]]:
        """Return the version that the alias names, and its tags."""
        version = self._aliases().get(self._alias)
        if version is None:
            raise DeploymentRefused(
                "BASELINE_MISSING",
                f"no version of {self._name} has the alias {self._alias}; deploy one "
                f"with: pytest evals --llmeval-deploy registry:{self._name}@"
                f"{self._alias}",
            )
        found = self._client.get_model_version(self._name, version)
        return version, dict(found.tags)

    def mark(self, version: str, tags: Mapping[str, str]) -> None:
        """Tag a version; the alias stays."""
        for key, value in tags.items():
            self._client.set_model_version_tag(self._name, version, key, value)

    def _aliases(self) -> dict[str, str]:
        aliases = self._client.get_registered_model(self._name).aliases
        return {alias: str(version) for alias, version in aliases.items()}


def _check_compared(verdict: Mapping[str, Any], target: str, version: str) -> None:
    """Refuse gates that had nothing to compare with, where a version is live."""
    for gate in verdict["gates"]:
        if gate["reason"] == "FIRST_VERSION":
            raise DeploymentRefused(
                "BASELINE_MISSING",
                f"{target} names version {version}, and the gate {gate['test']} "
                f"{gate['metric']} passed because {gate['baseline']!r} names none; "
                "compare with the live version",
            )
