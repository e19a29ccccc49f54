"""A Databricks workspace on 127.0.0.1, as far as serving and models are documented.

It keeps endpoints, replaces a config as a whole, refuses an update beside another one,
and comes up, or does not, after a number of looks. Every write is kept, and each kind
of request can be made to fail. It is what the real SDK talks to in these tests; no
workspace has confirmed it.
"""

from __future__ import annotations

import copy
import json
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any
from typing import NamedTuple
from urllib.parse import parse_qsl
from urllib.parse import unquote
from urllib.parse import urlsplit

from .catalog import PREFIX as CATALOG
from .catalog import Catalog


TOKEN = "dapi-workspace-canary-0123456789"
HANG_S = 12.0
PREFIX = "/api/2.0/serving-endpoints"
CODES = {
    400: "INVALID_PARAMETER_VALUE",
    401: "UNAUTHENTICATED",
    403: "PERMISSION_DENIED",
    404: "RESOURCE_DOES_NOT_EXIST",
    409: "RESOURCE_CONFLICT",
    429: "REQUEST_LIMIT_EXCEEDED",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
}


class Write(NamedTuple):
    """A request that may change something, and what became of it."""

    method: str
    path: str
    body: Any
    status: int


class Refused(Exception):
    """The request is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        # Clients may be killed: that is what some tests are about.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*arguments)


class Workspace:
    """A server whose endpoints are read and changed as the serving API does it.

    Attributes:
        endpoints: By name, as GET gives them.
        catalog: Its models.
        writes: Every write, refused ones included, in the order of arrival.
        looks: How often an endpoint is read before an update of it has come to its end.
        fate: What becomes of an update: ``ready``, ``fail`` or ``never``.
        faults: For a method and the end of a path, what happens to its next requests:
            a status, ``lose`` (it is done, and the connection drops), ``drop``, or
            ``hang`` (the connection drops after a while).
        patient: Whether an update beside another one is taken, and replaces it.
        on_write: Called with the number of each write, before it is done.
    """

    def __init__(self) -> None:
        self.endpoints: dict[str, dict[str, Any]] = {}
        self.catalog = Catalog()
        self.writes: list[Write] = []
        self.asked: list[tuple[str, Any]] = []
        self.looks, self.fate, self.patient = 1, "ready", False
        self.faults: dict[tuple[str, str], list[int | str]] = defaultdict(list)
        self.on_write: Callable[[int], object] = lambda number: None
        self.answer: Callable[[str, str], str] = lambda entity, message: message.upper()
        self._left: dict[str, int] = {}
        self._lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        """What the SDK finds this workspace by."""
        return {"DATABRICKS_HOST": self.url, "DATABRICKS_TOKEN": TOKEN}

    @property
    def deploys(self) -> list[Write]:
        """The writes that were accepted and change what is served."""
        return [
            write
            for write in self.writes
            if write.status == 200 and not write.path.endswith("/tags")
        ]

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

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        workspace = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _handle(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                content = self.rfile.read(length)
                path, query = urlsplit(self.path)[2:4]
                path = unquote(path)
                body = json.loads(content) if content else dict(parse_qsl(query))
                fault = workspace._fault(self.command, path)
                if fault in ("drop", "hang"):
                    time.sleep(HANG_S if fault == "hang" else 0)
                    self.close_connection = True
                    return
                try:
                    status, answer = (
                        200,
                        workspace._do(self.command, path, body, self.headers, fault),
                    )
                except Refused as refused:
                    status = refused.status
                    answer = {"error_code": CODES[status], "message": str(refused)}
                if fault == "lose":
                    self.close_connection = True
                    return
                self._reply(status, answer)

            def do_GET(self) -> None:
                self._handle()

            def do_POST(self) -> None:
                self._handle()

            def do_PUT(self) -> None:
                self._handle()

            def do_PATCH(self) -> None:
                self._handle()

            def do_DELETE(self) -> None:
                self._handle()

            def _reply(self, status: int, answer: Any) -> None:
                content = json.dumps(answer).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                if status in (429, 503):
                    self.send_header("Retry-After", "1")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        return Handler

    def _fault(self, method: str, path: str) -> int | str | None:
        with self._lock:
            for (verb, end), faults in self.faults.items():
                if verb == method and path.endswith(end) and faults:
                    return faults[0] if faults[0] == "always" else faults.pop(0)
        return None

    def _do(
        self, method: str, path: str, body: Any, headers: Any, fault: int | str | None
    ) -> Any:
        if path.startswith("/.well-known"):
            raise Refused(404, "no such page")
        with self._lock:
            writes = method != "GET" and not path.endswith("/invocations")
            if writes:
                self.on_write(len(self.writes) + 1)
            try:
                if headers.get("Authorization") != f"Bearer {TOKEN}":
                    raise Refused(401, "the token is not valid")
                if isinstance(fault, int):
                    raise Refused(fault, f"a fault of {fault}")
                answer = self._route(method, path, body)
            except Refused as refused:
                if writes:
                    self.writes.append(Write(method, path, body, refused.status))
                raise
            if writes:
                self.writes.append(Write(method, path, copy.deepcopy(body), 200))
            return answer

    def _route(self, method: str, path: str, body: Any) -> Any:
        if path.endswith("/invocations"):
            return self._invoke(path, body)
        if path.startswith(CATALOG):
            answer = self.catalog.answer(method, path, body)
            if answer is None:
                raise Refused(404, f"there is no {body}")
            return answer
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
