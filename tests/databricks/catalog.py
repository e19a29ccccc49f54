"""Models in Unity Catalog, as far as MLflow's client asks; part of a workspace."""

from __future__ import annotations

from collections import defaultdict
from typing import Any


PREFIX = "/api/2.0/mlflow/unity-catalog/"


class Catalog:
    """Registered models with versions, aliases and tags; every write is kept."""

    def __init__(self) -> None:
        self.versions: dict[str, list[str]] = {}
        self.aliases: dict[str, dict[str, str]] = defaultdict(dict)
        self.tags: dict[tuple[str, str], dict[str, str]] = defaultdict(dict)
        """By model and version; those of the model itself under the version ``""``."""
        self.writes: list[tuple[str, str]] = []

    def answer(self, method: str, path: str, given: dict[str, Any]) -> Any:
        """Return what the API answers, None where there is no such thing."""
        what, name = path.removeprefix(PREFIX), given["name"]
        if name not in self.versions:
            return None
        version = str(given.get("version", ""))
        if method != "GET":
            self.writes.append((method, what))
        if what == "registered-models/get":
            aliases = self.aliases[name].items()
            return {
                "registered_model": {
                    "name": name,
                    "aliases": [{"alias": a, "version": v} for a, v in aliases],
                    "tags": self._listed(name, ""),
                }
            }
        if what == "model-versions/get":
            if version not in self.versions[name]:
                return None
            tags = self._listed(name, version)
            found = {"name": name, "version": version, "status": "READY", "tags": tags}
            return {"model_version": found}
        if what.endswith("/set-tag"):
            self.tags[name, version][given["key"]] = given["value"]
        elif what.endswith("/delete-tag"):
            self.tags[name, version].pop(given["key"], None)
        elif what == "registered-models/alias" and method == "DELETE":
            self.aliases[name].pop(given["alias"], None)
        elif what == "registered-models/alias":
            self.aliases[name][given["alias"]] = version
        else:
            return None
        return {}

    def _listed(self, name: str, version: str) -> list[dict[str, str]]:
        tags = self.tags[name, version].items()
        return [{"key": key, "value": value} for key, value in tags]
