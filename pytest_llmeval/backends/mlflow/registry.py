"""Aliases of registered models, as targets of a deployment."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.backends.mlflow.connection import connect
from pytest_llmeval.backends.mlflow.model import latest_version
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.records import Live
from pytest_llmeval.records import Move
from pytest_llmeval.records import Note
from pytest_llmeval.records import Plan
from pytest_llmeval.records import State
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe
from pytest_llmeval.text import utc


if TYPE_CHECKING:
    from mlflow.entities.model_registry import RegisteredModel


NOTHING = "none"
"""Stands in a tag for the version before the first one."""


class RegistryTarget:
    """An alias of a registered model; live is ``{"version": "3"}``, or None there."""

    order = 1

    def __init__(self, name: str, alias: str, settings: Settings) -> None:
        self.name = f"registry:{name}@{alias}"
        self.place = f"{safe(settings.tracking_uri)} {name}@{alias}"
        self._model, self._alias = name, alias
        self._client = connect(settings.tracking_uri, settings.home)

    def read(self) -> State:
        """Return the version that the alias names, with its tags."""
        from mlflow.exceptions import MlflowException

        try:
            version = self._live()["version"]
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            version = None  # the model has no version at all
        if version is None:
            return State(live={"version": None}, text="nothing")
        tags = self._tags(version)
        return State(live={"version": version}, text=f"version {version}", tags=tags)

    def plan(self, verdict: Mapping[str, Any] | None, move: Move, state: State) -> Plan:
        """Compare the verdict's model with the registry."""
        if move.step in ("challenge", "withdraw"):
            return self._stays(state)
        if verdict is None:
            return self._plan_back(state)
        version = self._version_of(verdict, move)
        if move.step == "deploy":
            self._check_source(verdict["model"])
        plan = self._plan_to(state, version)
        if not plan.changes:
            return plan
        firsts = [g for g in verdict["gates"] if g["reason"] == "FIRST_VERSION"]
        if firsts and state.live["version"] is not None:
            raise self._not_compared(firsts[0], state)
        self._check_seen(verdict, state)
        notes = (
            f"FIRST_VERSION: {gate['test']} {gate['metric']} had nothing to compare "
            "with, and passed"
            for gate in firsts
        )
        return replace(plan, notes=tuple(notes))

    def _version_of(self, verdict: Mapping[str, Any], move: Move) -> str:
        """Return the version to deploy, when it is one of this model and is there."""
        from mlflow.exceptions import MlflowException

        model = verdict["model"]
        scheme, name, version = model["scheme"], model["name"], model["version"]
        wanted = "models" if move.step == "deploy" else "endpoints"
        if scheme == "endpoints":
            name, _, version = str(version).rpartition("/")
        if scheme != wanted or name != self._model or not version:
            evaluate = (
                f"models:/{self._model}/VERSION"
                if wanted == "models"
                else "endpoints:/ENDPOINT@challenger"
            )
            raise DeploymentRefused(
                "MODEL_MISMATCH",
                f"the run evaluated {model['requested'] or model['name']}, and "
                f"{self.name} takes versions of {self._model}; evaluate one with: "
                f"pytest evals --llmeval-model {evaluate}",
            )
        try:
            self._client.get_model_version(self._model, version)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise DeploymentRefused(
                "MODEL_MISSING",
                f"version {version} of {self._model} is not in the registry any more: "
                f"{one_line(error.message)}",
            ) from None
        return str(version)

    def _plan_to(self, state: State, version: str | None) -> Plan:
        to = "nothing" if version is None else f"version {version}"
        if state.live["version"] != version:
            summary = f"{self.name}: {state.text} -> {to}"
            changes = [f"alias {self._alias} of {self._model}: {state.text} -> {to}"]
        elif version is not None and "llmeval.run_id" not in state.tags:
            summary = f"{self.name} stays at {to}, which gets its run"
            changes = [f"tags of {to} of {self._model}: its run"]
        else:
            return self._stays(state)
        return Plan(
            target=self.name,
            before=state.live,
            after={"version": version},
            changes=tuple(changes),
            summary=summary,
        )

    def _stays(self, state: State) -> Plan:
        return Plan(
            target=self.name,
            before=state.live,
            after=state.live,
            changes=(),
            summary=f"{self.name} stays at {state.text}",
        )

    def _plan_back(self, state: State) -> Plan:
        previous = state.tags.get(self._previous_tag)
        if previous is None:
            raise DeploymentRefused(
                "NOTHING_TO_ROLL_BACK",
                f"{self.name} names {state.text}, and no deployment has written down "
                "what it named before; set it by hand, or deploy another version",
            )
        return self._plan_to(state, None if previous == NOTHING else previous)

    @property
    def _previous_tag(self) -> str:
        return f"llmeval.previous.{self._alias}"

    def _check_source(self, model: Mapping[str, Any]) -> None:
        """Refuse when what was asked for names another version by now."""
        version, aliases = model["version"], self._aliases()
        for requested in model["requests"]:
            _, at, alias = requested.rpartition("@")
            if at:
                current = aliases.get(alias)
            elif requested.endswith("/latest"):
                current = str(latest_version(self._client, self._model).version)
            else:
                continue
            if current != version:
                raise DeploymentRefused(
                    "MODEL_MOVED",
                    f"{requested} named version {version} when the run started and "
                    f"names {current} now; evaluate again",
                )

    def _check_seen(self, verdict: Mapping[str, Any], state: State) -> None:
        """Refuse when another deployment came in between."""
        model, current = verdict["model"], state.live["version"]
        if model["scheme"] == "models":
            seen = model["aliases"].get(self._alias)
            is_same = seen == current
            then = f"named version {seen} when the run started"
        else:  # the aliases are not known, the time is
            is_same = not state.is_deployed_since(verdict["started_at"])
            then = f"was set at {state.deployed_at}, after the run started"
        if not is_same:
            raise DeploymentRefused(
                "SUPERSEDED",
                f"{self.name} {then} and names {state.text} now: another deployment "
                "came in between; evaluate again",
            )

    def _not_compared(self, gate: Mapping[str, Any], state: State) -> DeploymentRefused:
        """Return the refusal of a gate that had nothing to compare with."""
        return DeploymentRefused(
            "BASELINE_MISSING",
            f"{self.name} names {state.text}, and the gate {gate['test']} "
            f"{gate['metric']} passed because {gate['baseline']!r} names none; compare "
            "with the live version",
        )

    def write(
        self, before: Live, after: Live, tags: Mapping[str, str], note: Note
    ) -> None:
        """Tag the version, then set the alias."""
        version = after["version"]
        self._check_live(before, after)
        if tags and version is not None:
            note(f"tag version {version} of {self._model}")
            if before != after:
                tags = {**tags, self._previous_tag: before["version"] or NOTHING}
            self.mark(version, tags)
        if before != after and self._live() != after:
            self._move_alias(before, version, note)

    def _move_alias(self, before: Live, version: str | None, note: Note) -> None:
        """Set the alias unless somebody else does so at the same time.

        MLflow has no compare-and-set: whoever announces a move last may make it, and
        the others see that before they make theirs. Between that look and the move a
        few milliseconds are left.
        """
        intent, nonce = f"llmeval.deploying.{self._alias}", os.urandom(8).hex()
        note(f"announce the move of {self._model}@{self._alias}")
        announced = f"{nonce} {platform.node()}"
        self._client.set_registered_model_tag(self._model, intent, announced)
        model = self._client.get_registered_model(self._model)
        if model.tags.get(intent) != announced or _alias(model, self._alias) != before:
            raise self._superseded(_alias(model, self._alias))
        if version is None:
            note(f"remove alias {self._alias} of {self._model}")
            self._client.delete_registered_model_alias(self._model, self._alias)
        else:
            note(f"set alias {self._alias} of {self._model} to version {version}")
            self._client.set_registered_model_alias(self._model, self._alias, version)
        self._client.delete_registered_model_tag(self._model, intent)
        if before["version"] is not None:
            left = {f"llmeval.left.{self._alias}": utc(time.time())}
            self.mark(before["version"], left)

    def _check_live(self, before: Live, after: Live) -> None:
        live = self._live()
        if live not in (before, after):
            raise self._superseded(live)

    def _superseded(self, live: Live) -> DeploymentRefused:
        return DeploymentRefused(
            "SUPERSEDED",
            f"another deployment to {self.name} is going on, or has just set it to "
            f"version {live['version']}; evaluate again",
        )

    def _live(self) -> Live:
        return _alias(self._client.get_registered_model(self._model), self._alias)

    def live(self) -> tuple[str, Mapping[str, str]]:
        """Return the version that the alias names, and its tags."""
        version = self._aliases().get(self._alias)
        if version is None:
            raise DeploymentRefused(
                "BASELINE_MISSING",
                f"no version of {self._model} has the alias {self._alias}; deploy one "
                f"with: pytest evals --llmeval-deploy {self.name}",
            )
        return version, self._tags(version)

    def mark(self, version: str, tags: Mapping[str, str]) -> None:
        """Tag a version; the alias stays."""
        for key, value in tags.items():
            self._client.set_model_version_tag(self._model, version, key, value)

    def _tags(self, version: str) -> dict[str, str]:
        return dict(self._client.get_model_version(self._model, version).tags)

    def _aliases(self) -> dict[str, str]:
        aliases = self._client.get_registered_model(self._model).aliases
        return {alias: str(version) for alias, version in aliases.items()}


def _alias(model: RegisteredModel, alias: str) -> Live:
    version = model.aliases.get(alias)
    return {"version": None if version is None else str(version)}
