"""Serving endpoints of a workspace, as far as the API for them is documented.

A config is replaced as a whole, an update is refused beside another one, and an
endpoint comes up, or does not, after a number of looks.
"""

from __future__ import annotations

import copy
import time
from collections.abc import Callable
from typing import Any

from .wire import Refused
from .wire import Request


PREFIX = "/api/2.0/serving-endpoints"
SERVED = "/serving-endpoints/"


class Endpoints:
    """Endpoints that are read and changed as the serving API does it.

    Attributes:
        endpoints: By name, as GET gives them.
        asked: The entity and the body of each invocation.
        looks: How often an endpoint is read before an update of it has come to its end.
        fate: What becomes of an update: ``ready``, ``fail`` or ``never``.
        patient: Whether an update beside another one is taken, and replaces it.
        answer: What an entity says to a message.
    """

    def __init__(self) -> None:
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.asked: list[tuple[str, Any]] = []
        self.looks, self.fate, self.patient = 1, "ready", False
        self.answer: Callable[[str, str], str] = lambda entity, message: message.upper()
        self._left: dict[str, int] = {}

    def serve(self, name: str, *entities: dict[str, Any], **config: Any) -> None:
        """Put an endpoint there that is ready, its first entity with all traffic."""
        served = [{"scale_to_zero_enabled": False, **entity} for entity in entities]
        shares = [100, *(0 for _ in served[1:])]
        routes = [
            {"served_entity_name": entity["name"], "traffic_percentage": share}
            for entity, share in zip(served, shares, strict=True)
        ]
        given = {"served_entities": served, "traffic_config": {"routes": routes}}
        self.endpoints[name] = self._made(name, {**given, **config})
        self._settle(name)

    def serves(self, name: str) -> dict[str, int]:
        """Return the share of each version, as ``{"qa/2": 100}``."""
        config = self.endpoints[name]["config"]
        shares = {
            route["served_entity_name"]: route["traffic_percentage"]
            for route in config["traffic_config"]["routes"]
        }
        return {
            f"{entity['entity_name']}/{entity['entity_version']}": shares[
                entity["name"]
            ]
            for entity in config["served_entities"]
        }

    def tags(self, name: str) -> dict[str, str]:
        return {tag["key"]: tag["value"] for tag in self.endpoints[name]["tags"]}

    def serving(self, request: Request) -> Any:
        """Return what the serving API answers."""
        method, path, body = request.method, request.path, request.body
        if path.endswith("/invocations"):
            return self._invoke(path, body)
        if (method, path) == ("POST", PREFIX):
            return self._create(body)
        name, _, part = path.removeprefix(f"{PREFIX}/").partition("/")
        if name not in self.endpoints:
            raise Refused(404, f"there is no endpoint {name}")
        if (method, part) == ("GET", ""):
            return self._look(name)
        if (method, part) == ("DELETE", ""):
            return self.endpoints.pop(name) and {}
        if (method, part) == ("PUT", "config"):
            return self._update(name, body)
        if (method, part) == ("PATCH", "tags"):
            kept = {tag["key"]: tag for tag in self.endpoints[name]["tags"]}
            kept |= {tag["key"]: tag for tag in body["add_tags"]}
            self.endpoints[name]["tags"] = list(kept.values())
            return {"tags": list(kept.values())}
        raise Refused(404, f"no such API: {method} {path}")

    def _create(self, body: Any) -> Any:
        name = body["name"]
        if name in self.endpoints:
            raise Refused(400, f"the endpoint {name} exists")
        endpoint = self._made(name, _checked(body["config"]))
        self.endpoints[name] = endpoint
        return copy.deepcopy(endpoint)

    def _made(self, name: str, config: Any) -> dict[str, Any]:
        self._left[name] = self.looks
        return {
            "name": name,
            "creator": "somebody@example.org",
            "config": {},
            "pending_config": _told(config, 1),
            "state": {"ready": "NOT_READY", "config_update": "IN_PROGRESS"},
            "tags": [],
            "last_updated_timestamp": int(time.time() * 1000),
        }

    def _update(self, name: str, body: Any) -> Any:
        endpoint = self.endpoints[name]
        state = endpoint["state"]
        if state["config_update"] == "IN_PROGRESS":
            if not self.patient:
                raise Refused(409, f"the endpoint {name} is being updated")
            self.fate = "ready"  # of the new update, which replaces that one
        version = endpoint["config"].get("config_version", 0) + 1
        endpoint["pending_config"] = _told(_checked(body), version)
        state["config_update"] = "IN_PROGRESS"
        self._left[name] = self.looks
        endpoint["last_updated_timestamp"] = int(time.time() * 1000)
        return copy.deepcopy(endpoint)

    def _look(self, name: str) -> Any:
        endpoint = self.endpoints[name]
        if endpoint["state"]["config_update"] == "IN_PROGRESS":
            self._left[name] -= 1
            if self._left[name] <= 0 and self.fate != "never":
                self._settle(name)
        return copy.deepcopy(endpoint)

    def _settle(self, name: str) -> None:
        """Bring an update to its end."""
        endpoint = self.endpoints[name]
        pending = endpoint["pending_config"]
        if self.fate == "fail":
            endpoint["state"]["config_update"] = "UPDATE_FAILED"
            for entity in pending["served_entities"]:
                entity["state"] = {
                    "deployment": "DEPLOYMENT_FAILED",
                    "deployment_state_message": "the container did not start",
                }
            self.fate = "ready"
            return
        for entity in pending["served_entities"]:
            entity["state"] = {"deployment": "DEPLOYMENT_READY"}
        endpoint["config"], endpoint["pending_config"] = pending, None
        endpoint["state"] = {"ready": "READY", "config_update": "NOT_UPDATING"}

    def _invoke(self, path: str, body: Any) -> Any:
        _, _, name, *rest = path.split("/")
        served = {
            entity["name"]
            for entity in self.endpoints[name]["config"]["served_entities"]
        }
        entity = rest[1] if rest[0] == "served-models" else next(iter(served))
        if entity not in served:
            raise Refused(404, f"{name} serves no {entity}")
        message = body["messages"][-1]["content"]
        self.asked.append((entity, body))
        text = self.answer(entity, message)
        return {
            "choices": [{"message": {"role": "assistant", "content": text}}],
            "usage": {"prompt_tokens": 3, "completion_tokens": 2},
        }


def _checked(config: Any) -> Any:
    shares = [
        route["traffic_percentage"] for route in config["traffic_config"]["routes"]
    ]
    names = [entity["name"] for entity in config["served_entities"]]
    routed = [
        route["served_entity_name"] for route in config["traffic_config"]["routes"]
    ]
    for entity in config["served_entities"]:
        for field in ("creator", "creation_timestamp", "state"):
            if field in entity:
                raise Refused(400, f"{field} is no field of an input")
    if sum(shares) != 100 or set(routed) != set(names) or len(set(names)) < len(names):
        raise Refused(400, f"the routes {routed} with {shares} are not valid")
    return config


def _told(config: Any, version: int) -> dict[str, Any]:
    """Return a config as GET gives it: with defaults, and fields of the output."""
    entities = [
        {
            "workload_type": "CPU",
            "workload_size": "Small",
            **copy.deepcopy(entity),
            "creator": "somebody@example.org",
            "creation_timestamp": 1_700_000_000_000,
        }
        for entity in config["served_entities"]
    ]
    told = {**copy.deepcopy(config), "served_entities": entities}
    if "auto_capture_config" in told:
        told["auto_capture_config"]["state"] = {"payload_table": {"status": "READY"}}
    return {**told, "config_version": version}
