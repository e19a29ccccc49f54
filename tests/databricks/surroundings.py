"""Who asks, which secrets there are, and which machines can be had."""

from __future__ import annotations

import base64
import re
from typing import Any

from .wire import Refused
from .wire import Request


USER = "somebody@example.org"
CLUSTER = "1201-080000-evals000"


def _runtime(version: str, name: str, spark: str, scala: str) -> dict[str, str]:
    includes = f"(includes Apache Spark {spark}, Scala {scala})"
    return {"key": f"{version}.x-scala{scala}", "name": f"{name} {includes}"}


def _node(name: str, cores: int, memory_mb: int, disks: int) -> dict[str, Any]:
    instance = {"instance_type_id": name, "local_disks": disks}
    return {
        "node_type_id": name,
        "instance_type_id": name,
        "description": name,
        "category": "General Purpose",
        "num_cores": cores,
        "memory_mb": memory_mb,
        "num_gpus": 0,
        "is_deprecated": False,
        "node_instance_type": {**instance, "local_disk_size_gb": 75 * disks},
    }


RUNTIMES = [
    _runtime("17.3", "17.3 LTS", "4.0.0", "2.13"),
    _runtime("17.2", "17.2 Beta", "4.0.0", "2.12"),
    _runtime("17.1", "17.1", "4.0.0", "2.12"),
    _runtime("16.4", "16.4 LTS", "3.5.2", "2.12"),
    _runtime("15.4", "15.4 LTS", "3.5.0", "2.12"),
]
NODES = [
    _node("m5.large", 2, 8_192, 0),
    _node("m5d.large", 2, 8_192, 1),
    _node("m5d.xlarge", 4, 16_384, 1),
]


class Surroundings:
    """What a job needs beside its files.

    Attributes:
        secrets: By scope and key.
        clusters: The identifiers of those that exist.
        permissions: By the identifier of a job, as they were given.
    """

    def __init__(self) -> None:
        self.secrets: dict[str, dict[str, str]] = {}
        self.clusters = {CLUSTER}
        self.permissions: dict[str, list[dict[str, Any]]] = {}

    def answer(self, request: Request) -> Any:
        """Return what these APIs answer."""
        method, path = request.method, request.path
        if (method, path) == ("GET", "/api/2.0/preview/scim/v2/Me"):
            return {"id": "1", "userName": USER, "active": True}
        if (method, path) == ("GET", "/api/2.0/secrets/get"):
            return self._secret(request.query)
        if (method, path) == ("GET", "/api/2.1/clusters/spark-versions"):
            return {"versions": RUNTIMES}
        if (method, path) == ("GET", "/api/2.1/clusters/list-node-types"):
            return {"node_types": NODES}
        if path.startswith("/api/2.0/permissions/jobs/"):
            return self._permit(method, path.rpartition("/")[2], request)
        raise Refused(404, f"no such API: {method} {path}")

    def secret(self, scope: str, key: str) -> str:
        """Return a secret's value."""
        if scope not in self.secrets:
            raise Refused(404, f"Scope {scope} does not exist!")
        if key not in self.secrets[scope]:
            raise Refused(404, f"Secret {key} does not exist in scope {scope}!")
        return self.secrets[scope][key]

    def resolved(self, text: str) -> str:
        """Return it with each ``{{secrets/SCOPE/KEY}}`` replaced by the value."""
        reference = re.compile(r"\{\{secrets/([^/}]+)/([^/}]+)\}\}")
        return reference.sub(lambda found: self.secret(*found.groups()), text)

    def _secret(self, query: dict[str, str]) -> Any:
        value = self.secret(query["scope"], query["key"])
        return {
            "key": query["key"],
            "value": base64.b64encode(value.encode()).decode(),
        }

    def _permit(self, method: str, job: str, request: Request) -> Any:
        given = self.permissions.setdefault(job, [])
        if method in ("PUT", "PATCH"):
            new = request.body["access_control_list"]
            self.permissions[job] = new if method == "PUT" else [*given, *new]
        return {
            "object_id": f"/jobs/{job}",
            "object_type": "job",
            "access_control_list": self.permissions[job],
        }
