"""A Databricks workspace on 127.0.0.1, as far as it is documented and was seen.

It serves endpoints and models, keeps files and dashboards, and executes jobs. Every
write is kept, and each kind of request can be made to fail. It is what the real SDK
talks to in these tests; no workspace has confirmed it.
"""

from __future__ import annotations

import copy
import functools
import json
import sys
import tempfile
import threading
import time
from collections import defaultdict
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import Any
from typing import NamedTuple
from urllib.parse import parse_qsl
from urllib.parse import unquote
from urllib.parse import urlsplit

from . import catalog
from . import dashboards
from . import endpoints
from . import jobs
from . import storage
from .catalog import Catalog
from .dashboards import Dashboards
from .endpoints import Endpoints
from .jobs import Jobs
from .machine import Machine
from .storage import Storage
from .surroundings import Surroundings
from .wire import Refused
from .wire import Reply
from .wire import Request


TOKEN = "dapi-workspace-canary-0123456789"
HANG_S = 12.0


class Write(NamedTuple):
    """A request that may change something, and what became of it."""

    method: str
    path: str
    body: Any
    status: int


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *arguments: Any) -> None:
        # Clients may be killed: that is what some tests are about.
        if not isinstance(sys.exception(), ConnectionError):
            super().handle_error(*arguments)


class Workspace(Endpoints):
    """A server with the state of a workspace; its endpoints are its own attributes.

    Attributes:
        catalog: Its models.
        storage: Its volumes and workspace files.
        dashboards: Its Lakeview dashboards.
        around: Its secrets, clusters and permissions.
        machine: What executes tasks.
        jobs: Its jobs and their runs.
        writes: Every write, refused ones included, in the order of arrival.
        faults: For a method and the end of a path, what happens to its next requests:
            a status, ``lose`` (it is done, and the connection drops), ``drop``, or
            ``hang`` (the connection drops after a while).
        on_write: Called with the number of each write, before it is done.
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="workspace-")
        folder = Path(self._folder.name).resolve()
        self.catalog, self.around = Catalog(), Surroundings()
        self.storage = Storage(folder / "storage")
        self.dashboards = Dashboards(self.storage)
        self.machine = Machine(folder, self.storage, self.around)
        self.jobs = Jobs(self.machine, self.around.clusters)
        self.writes: list[Write] = []
        self.faults: dict[tuple[str, str], list[int | str]] = defaultdict(list)
        self.on_write: Callable[[int], object] = lambda number: None
        self._lock = threading.RLock()
        self._server = _Server(("127.0.0.1", 0), _handler(self))
        serve = functools.partial(self._server.serve_forever, poll_interval=0.02)
        threading.Thread(target=serve, daemon=True).start()
        self.url = self.jobs.url = f"http://127.0.0.1:{self._server.server_port}"
        self.machine.environment |= self.environment

    def close(self) -> None:
        self.jobs.close()
        self._server.shutdown()
        self._server.server_close()
        self._folder.cleanup()

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
            if write.path.startswith((endpoints.PREFIX, catalog.PREFIX))
            and write.status == 200
            and not write.path.endswith("/tags")
        ]

    def take_fault(self, method: str, path: str) -> int | str | None:
        """Return what is to happen to the next request of this kind."""
        with self._lock:
            for (verb, end), faults in self.faults.items():
                if verb == method and path.endswith(end) and faults:
                    return faults.pop(0)
        return None

    def do(self, request: Request, fault: int | str | None) -> Any:
        """Return the answer to a request, and keep it if it may change something."""
        if request.path.startswith("/.well-known"):
            raise Refused(404, "no such page")
        with self._lock:
            if request.method in ("GET", "HEAD") or request.path.endswith(
                "/invocations"
            ):
                return self._answer(request, fault)
            self.on_write(len(self.writes) + 1)
            body, status = copy.deepcopy(request.body), 200
            try:
                return self._answer(request, fault)
            except Refused as refused:
                status = refused.status
                raise
            finally:
                self.writes.append(Write(request.method, request.path, body, status))

    def _answer(self, request: Request, fault: int | str | None) -> Any:
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise Refused(401, "the token is not valid")
        if isinstance(fault, int):
            raise Refused(fault, f"a fault of {fault}")
        try:
            return self._part(request.path)(request)
        except KeyError as missing:
            raise Refused(400, f"Missing required field: {missing}") from missing

    def _part(self, path: str) -> Callable[[Request], Any]:
        """Return the part of the workspace that has the API at a path."""
        parts: dict[str, Callable[[Request], Any]] = {
            endpoints.PREFIX: self.serving,
            endpoints.SERVED: self.serving,
            catalog.PREFIX: self._model,
            storage.FILES: self.storage.volume_file,
            storage.DIRECTORIES: self.storage.volume_directory,
            storage.WORKSPACE: self._workspace_files,
            dashboards.PREFIX: self.dashboards.answer,
            jobs.PREFIX: self.jobs.answer,
        }
        for prefix, part in parts.items():
            if path.startswith(prefix):
                return part
        return self.around.answer

    def _workspace_files(self, request: Request) -> Any:
        """Answer for files and folders, and tell where a dashboard lies."""
        if request.path.endswith("/get-status"):
            status = self.dashboards.status(request.query.get("path", ""))
            if status is not None:
                return status
        return self.storage.workspace_files(request)

    def _model(self, request: Request) -> Any:
        answer = self.catalog.answer(request.method, request.path, request.body)
        if answer is None:
            raise Refused(404, f"there is no {request.body}")
        return answer


def _handler(workspace: Workspace) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def _handle(self) -> None:
            request = self._request()
            fault = workspace.take_fault(request.method, request.path)
            if fault in ("drop", "hang"):
                time.sleep(HANG_S if fault == "hang" else 0)
                self.close_connection = True
                return
            reply = _reply(workspace, request, fault)
            if fault == "lose":
                self.close_connection = True
                return
            self._send(reply)

        do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = _handle  # noqa: N815

        def _request(self) -> Request:
            length = int(self.headers.get("Content-Length") or 0)
            content = self.rfile.read(length)
            path, query = urlsplit(self.path)[2:4]
            fields = dict(parse_qsl(query))
            return Request(self.command, unquote(path), fields, content, self.headers)

        def _send(self, reply: Reply) -> None:
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status != 204:
                self.send_header("Content-Length", str(len(reply.content)))
            if reply.status in (429, 503):
                self.send_header("Retry-After", "1")
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(reply.content)

        def log_message(self, *arguments: object) -> None:
            pass

    return Handler


def _reply(workspace: Workspace, request: Request, fault: int | str | None) -> Reply:
    status = 200
    try:
        answer = workspace.do(request, fault)
    except Refused as refused:
        status = refused.status
        answer = {"error_code": refused.code, "message": str(refused)}
    if isinstance(answer, Reply):
        return answer
    content = json.dumps(answer).encode()
    return Reply(content, status, {"Content-Type": "application/json"})
