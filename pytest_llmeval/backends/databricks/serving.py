"""Serving endpoints of Databricks, as targets of a deployment."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from pytest_llmeval.backends.databricks.entities import Entity
from pytest_llmeval.backends.databricks.entities import config_of
from pytest_llmeval.backends.databricks.entities import entity_name
from pytest_llmeval.backends.databricks.entities import from_live
from pytest_llmeval.backends.databricks.entities import of_model
from pytest_llmeval.backends.databricks.entities import read_entities
from pytest_llmeval.backends.databricks.entities import to_live
from pytest_llmeval.backends.databricks.workspace import Workspace
from pytest_llmeval.backends.databricks.workspace import WorkspaceError
from pytest_llmeval.backends.databricks.workspace import endpoint_path
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DeploymentRefused
from pytest_llmeval.records import Live
from pytest_llmeval.records import Move
from pytest_llmeval.records import Note
from pytest_llmeval.records import Plan
from pytest_llmeval.records import State


NONE: Live = {"exists": False, "entities": []}
NO_VERSION = "none"
LONGEST_TAG = 256


class ServingTarget:
    """An endpoint of Databricks model serving.

    Live is whether it exists, and each served entity with model, version and share.
    Which of two versions is the challenger is read from that: the smaller share.
    """

    order = 0

    def __init__(self, endpoint: str, settings: Settings) -> None:
        self._endpoint, self._workspace = endpoint, Workspace(settings)
        self.name = f"serving:{endpoint}"
        self.place = f"{self._workspace.host} {endpoint}"

    def read(self) -> State:
        """Return what the endpoint serves, and whether it is changing."""
        found = self._workspace.find_endpoint(self._endpoint)
        if found is None:
            return State(live=NONE, text="no endpoint")
        state, is_busy = found.get("state") or {}, _is_updating(found)
        entities = read_entities(found.get("config") or {})
        live: dict[str, Any] = {"exists": True, "entities": to_live(entities)}
        if not is_busy and state.get("ready") == "NOT_READY":
            live["ready"] = False
        text = ", ".join(map(str, entities)) or "nothing"
        return State(
            live=live,
            text=text if live.get("ready", True) else f"{text}, not ready",
            busy=is_busy,
            challenger=bool(_split_model(entities)),
            problem=_problem(found),
            tags={
                tag["key"]: tag.get("value") or "" for tag in found.get("tags") or ()
            },
        )

    def plan(self, verdict: Mapping[str, Any] | None, move: Move, state: State) -> Plan:
        """Compare the verdict's model with what the endpoint serves."""
        if verdict is None:
            return self._plan_back(move, state)
        model, version = self._model_of(verdict, move)
        entities = from_live(state.live)
        ours = of_model(entities, model)
        if not state.live["exists"]:
            wanted = self._first(model, version, move)
        elif not ours:
            raise DeploymentRefused(
                "MODEL_MISMATCH",
                f"{self.name} serves {state.text} and no version of {model}, so there "
                "is no share of the traffic to take over; add one by hand first",
            )
        elif move.step == "challenge":
            wanted = self._challenge(ours, version, move.traffic)
        else:
            if move.step == "promote":
                self._check_challenger(ours, version)
            wanted = _all_to(ours, version)
        plan = self._plan_to(state, entities, wanted, model)
        if plan.changes:
            self._check_seen(verdict, state, ours)
        return plan

    def _model_of(self, verdict: Mapping[str, Any], move: Move) -> tuple[str, str]:
        """Return the registered model and version that the verdict speaks for."""
        model = verdict["model"]
        scheme, name, version = model["scheme"], model["name"], model["version"]
        if move.step == "promote":
            if scheme == "endpoints" and name == self._endpoint:
                registered, _, number = str(version).rpartition("/")
                return registered, number
            evaluate = f"endpoints:/{self._endpoint}@challenger"
        elif scheme == "models" and version:
            return str(name), str(version)
        else:
            evaluate = "models:/NAME/VERSION"
        raise DeploymentRefused(
            "MODEL_MISMATCH",
            f"the run evaluated {model['requested'] or name}; to {move.step} at "
            f"{self.name}, evaluate with: pytest evals --llmeval-model {evaluate}",
        )

    def _first(self, model: str, version: str, move: Move) -> list[Entity]:
        if move.step != "deploy":
            raise DeploymentRefused(
                "MODEL_MISMATCH",
                f"there is no {self.name}, so no version to {move.step} beside; deploy "
                "one with: llmeval deploy apply",
            )
        return [Entity(entity_name(model, version), model, version, 100)]

    def _challenge(
        self, ours: Sequence[Entity], version: str, traffic: int
    ) -> list[Entity]:
        champion, *others = ours
        if champion.version == version and not others:
            return list(ours)
        if [other for other in others if other.version != version]:
            raise DeploymentRefused(
                "CHALLENGER_THERE",
                f"{self.name} has a challenger already: {others[0]}; promote it, or "
                f"take it away with: llmeval deploy rollback --target {self.name}",
            )
        share = sum(entity.traffic for entity in ours)
        if 2 * traffic >= share:
            raise DeploymentRefused(
                "TRAFFIC_TOO_LARGE",
                f"{self.name} gives {champion.model} {share} % of its traffic, and a "
                f"challenger gets less than half of that, not {traffic} %",
            )
        name = entity_name(champion.model, version)
        return [
            replace(champion, traffic=share - traffic),
            Entity(name, champion.model, version, traffic),
        ]

    def _check_challenger(self, ours: Sequence[Entity], version: str) -> None:
        """Refuse to promote what is not there as the challenger any more."""
        if len(ours) == 1 and ours[0].version == version:
            return  # it is promoted already
        if len(ours) != 2 or ours[1].version != version:
            raise DeploymentRefused(
                "MODEL_MOVED",
                f"version {version} of {ours[0].model} is not the challenger at "
                f"{self.name}, which serves {', '.join(map(str, ours))}; evaluate "
                f"again with: pytest evals --llmeval-model endpoints:/{self._endpoint}"
                "@challenger",
            )

    def _check_seen(
        self, verdict: Mapping[str, Any], state: State, ours: Sequence[Entity]
    ) -> None:
        """Refuse when a deployment has come in between."""
        is_later = state.is_deployed_since(verdict["started_at"])
        if is_later and _describes(state.tags, ours):
            raise DeploymentRefused(
                "SUPERSEDED",
                f"{self.name} serves {state.text} since {state.deployed_at}, after the "
                "run started: another deployment came in between; evaluate again",
            )

    def _plan_back(self, move: Move, state: State) -> Plan:
        entities = from_live(state.live)
        if move.step == "withdraw":
            model = _split_model(entities)
            ours = of_model(entities, model)
            wanted = _all_to(ours, ours[0].version) if ours else []
            return self._plan_to(state, entities, wanted, model)
        model = state.tags.get("llmeval.model", "")
        ours = of_model(entities, model)
        previous = state.tags.get("llmeval.previous", NO_VERSION)
        if not _describes(state.tags, ours) or previous == NO_VERSION:
            raise DeploymentRefused(
                "NOTHING_TO_ROLL_BACK",
                f"{self.name} serves {state.text}, and its tags do not say what it "
                "served before; deploy another version, or set it by hand",
            )
        wanted = _all_to(ours, previous)
        return self._plan_to(state, entities, wanted, model)

    def _plan_to(
        self, state: State, entities: Sequence[Entity], ours: list[Entity], model: str
    ) -> Plan:
        kept = [entity for entity in entities if entity.model != model]
        wanted = sorted([*kept, *ours], key=lambda entity: entity.name)
        after: Live = {"exists": True, "entities": to_live(wanted)}
        text = ", ".join(map(str, wanted))
        changes: tuple[str, ...] = ()
        if not state.live["exists"]:
            changes = (f"create endpoint {self._endpoint}: {text}",)
        elif after != state.live:
            changes = (f"endpoint {self._endpoint}: {state.text} -> {text}",)
        others = ", ".join(map(str, kept))
        return Plan(
            target=self.name,
            before=state.live,
            after=after,
            changes=changes,
            summary=f"{self.name}: {state.text} -> {text}"
            if changes
            else f"{self.name} stays at {text}",
            notes=(f"stays as it is: {others}",) if changes and kept else (),
        )

    def write(
        self, before: Live, after: Live, tags: Mapping[str, str], note: Note
    ) -> None:
        """Replace the config of the endpoint, then its tags."""
        found = self._workspace.find_endpoint(self._endpoint)
        config = {} if found is None else found.get("config") or {}
        live: Live = NONE
        if found is not None:
            live = {"exists": True, "entities": to_live(read_entities(config))}
        if not any(_is_same(live, state) for state in (before, after)):
            shown = ", ".join(map(str, from_live(live))) or "nothing"
            raise DeploymentRefused(
                "SUPERSEDED",
                f"{self.name} serves {shown} now: somebody else has changed it; "
                "evaluate again",
            )
        model = _changed_model(before, after)
        if not after["exists"]:
            self._send(note, "DELETE", endpoint_path(self._endpoint))
        elif not live["exists"]:
            created = config_of({}, from_live(after), model)
            body = {"name": self._endpoint, "config": created}
            self._send(note, "POST", "/api/2.0/serving-endpoints", body)
        elif live != after or _is_updating(found):
            body = config_of(config, from_live(after), model)
            self._send(note, "PUT", endpoint_path(self._endpoint, "/config"), body)
        if tags:
            self._tag(before, after, model, tags, note)

    def _send(
        self,
        note: Note,
        method: str,
        path: str,
        body: Mapping[str, Any] | None = None,
    ) -> None:
        note(f"{method} {path}")
        self._workspace.write(method, path, body)

    def _tag(
        self,
        before: Live,
        after: Live,
        model: str,
        tags: Mapping[str, str],
        note: Note,
    ) -> None:
        """Say at the endpoint what is live; without it only a roll back knows less."""
        (champion, *_) = of_model(from_live(after), model)
        old = of_model(from_live(before), model)
        told = {"llmeval.model": model}
        if not old or old[0].version != champion.version:
            previous = old[0].version if old else NO_VERSION
            told |= {"llmeval.version": champion.version, "llmeval.previous": previous}
            told |= {key: tags[key] for key in tags if len(tags[key]) <= LONGEST_TAG}
        added = [{"key": key, "value": value} for key, value in told.items()]
        path = endpoint_path(self._endpoint, "/tags")
        try:
            self._send(note, "PATCH", path, {"add_tags": added})
        except WorkspaceError as error:
            note(f"the tags are missing: {error}")


def _all_to(ours: Sequence[Entity], version: str) -> list[Entity]:
    """Return the one entity that gets what all of ours have."""
    share = sum(entity.traffic for entity in ours)
    model = ours[0].model
    name = next(
        (entity.name for entity in ours if entity.version == version),
        entity_name(model, version),
    )
    return [Entity(name, model, version, share)]


def _split_model(entities: Sequence[Entity]) -> str:
    """Return the one model that is served in two versions, or nothing."""
    models = Counter(entity.model for entity in entities)
    split = [model for model, versions in models.items() if versions == 2]
    return split[0] if len(split) == 1 else ""


def _changed_model(before: Live, after: Live) -> str:
    """Return the model whose entities differ between two states."""
    old, new = from_live(before), from_live(after)
    differ = [entity for entity in (*new, *old) if (entity in old) != (entity in new)]
    return (differ or new)[0].model


def _is_same(live: Live, state: Live) -> bool:
    """Return whether a state is live; an endpoint that never came up has nothing."""
    if live["exists"] and not live["entities"]:
        return True
    return bool(
        live["exists"] == state["exists"] and live["entities"] == state["entities"]
    )


def _describes(tags: Mapping[str, str], ours: Sequence[Entity]) -> bool:
    """Return whether the tags are about the version with the largest share."""
    return bool(ours) and tags.get("llmeval.version") == ours[0].version


def _is_updating(found: Mapping[str, Any] | None) -> bool:
    state = (found or {}).get("state") or {}
    return bool(state.get("config_update") == "IN_PROGRESS")


def _problem(found: Mapping[str, Any]) -> str:
    """Return why the last update did not succeed, as the endpoint says it."""
    state = found.get("state") or {}
    word = str(state.get("config_update") or "")
    if word not in ("UPDATE_FAILED", "UPDATE_CANCELED"):
        return ""
    configs = [found.get("pending_config") or {}, found.get("config") or {}]
    messages = [
        str((entity.get("state") or {}).get("deployment_state_message") or "")
        for config in configs
        for entity in config.get("served_entities") or ()
        if (entity.get("state") or {}).get("deployment") == "DEPLOYMENT_FAILED"
    ]
    return ": ".join([word, *filter(None, messages[:1])])
