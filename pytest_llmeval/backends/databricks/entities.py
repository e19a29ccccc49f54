"""What a serving endpoint serves: its entities and the shares of its traffic.

Pure functions over the JSON of the serving API: they read, change and compare.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from dataclasses import dataclass
from typing import Any


OUTPUT_ONLY = ("creator", "creation_timestamp", "state", "foundation_model")
"""Fields of an entity that the API tells and does not take."""
LONGEST_NAME = 63
FIRST_SETTINGS = {"workload_size": "Small", "scale_to_zero_enabled": True}
"""Of the first entity of an endpoint that we create."""


@dataclass(frozen=True, slots=True)
class Entity:
    """A version of a model that an endpoint serves."""

    name: str
    model: str
    version: str
    traffic: int
    """In percent of all requests."""

    def __str__(self) -> str:
        version = f" version {self.version}" if self.version else ""
        return f"{self.model}{version} ({self.traffic} %)"


def read_entities(config: Mapping[str, Any]) -> list[Entity]:
    """Return what a config serves, by name."""
    shares = {
        route.get("served_entity_name") or route.get("served_model_name"): int(
            route["traffic_percentage"]
        )
        for route in (config.get("traffic_config") or {}).get("routes") or ()
    }
    served = config.get("served_entities") or ()
    unrouted = 100 if len(served) == 1 and not shares else 0
    found = [
        Entity(
            name=str(entity["name"]),
            model=str(entity.get("entity_name") or entity["name"]),
            version=str(entity.get("entity_version") or ""),
            traffic=shares.get(entity["name"], unrouted),
        )
        for entity in served
    ]
    return sorted(found, key=lambda entity: entity.name)


def to_live(entities: Iterable[Entity]) -> list[dict[str, Any]]:
    """Return entities as builtins."""
    return [asdict(entity) for entity in entities]


def from_live(live: Mapping[str, Any]) -> list[Entity]:
    """Return the entities of a state."""
    return [Entity(**entity) for entity in live["entities"]]


def of_model(entities: Iterable[Entity], model: str) -> list[Entity]:
    """Return the entities of a model, the one with the largest share first."""
    ours = [entity for entity in entities if entity.model == model]
    return sorted(ours, key=lambda entity: -entity.traffic)


def entity_name(model: str, version: str) -> str:
    """Return the name of a new entity, in the characters that Databricks allows."""
    end = f"-{version}"
    short = re.sub(r"[^A-Za-z0-9_-]", "-", model)[: LONGEST_NAME - len(end)]
    return short + end


def config_of(
    config: Mapping[str, Any], wanted: Sequence[Entity], model: str
) -> dict[str, Any]:
    """Return the config that serves what is wanted; what is not ours stays as it is.

    The API replaces the whole config. What is served already keeps its settings, since
    they are what was evaluated; a new entity takes those, and the environment
    variables, of the one of our model that has the largest share now.

    Args:
        config: The present one.
        wanted: Every entity that is to be served, of whatever model.
        model: Ours.
    """
    present = {entity["name"]: entity for entity in config.get("served_entities") or ()}
    ours = of_model(read_entities(config), model)
    template = present[ours[0].name] if ours else FIRST_SETTINGS
    served = [
        _taken(present[entity.name])
        if entity.name in present
        else _input(template, entity)
        for entity in wanted
    ]
    routes = [
        {"served_entity_name": entity.name, "traffic_percentage": entity.traffic}
        for entity in wanted
    ]
    changed: dict[str, Any] = {
        "served_entities": served,
        "traffic_config": {"routes": routes},
    }
    capture = config.get("auto_capture_config")
    if capture:
        kept = {key: value for key, value in capture.items() if key != "state"}
        changed["auto_capture_config"] = kept
    return changed


def _input(template: Mapping[str, Any], entity: Entity) -> dict[str, Any]:
    return _taken(template) | {
        "name": entity.name,
        "entity_name": entity.model,
        "entity_version": entity.version,
    }


def _taken(entity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in entity.items() if key not in OUTPUT_ONLY}
