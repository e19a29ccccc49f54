"""The page on 127.0.0.1: for whoever has its address, and for reading only."""

from __future__ import annotations

import hashlib
import hmac
import secrets
import sys
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl
from urllib.parse import urlsplit

from pytest_llmeval.dashboard.answers import Answers
from pytest_llmeval.dashboard.answers import to_json
from pytest_llmeval.dashboard.assets import read_assets
from pytest_llmeval.dashboard.assets import render_page
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import LLMEvalError


ADDRESS = "127.0.0.1"
POLICY = (
    "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cache-Control": "no-store",
}
IDLE_S = 60
DATA = "data/"


class Server(ThreadingHTTPServer):
    """Serves the page and its answers.

    Every address begins with a secret that is new with each server; no cookie holds
    it, since browsers send those to all ports of a machine.

    Raises:
        ConfigurationError: the port is taken.
    """

    daemon_threads = True

    def __init__(self, answers: Answers, port: int = 0) -> None:
        self.answers = answers
        self.secret = secrets.token_urlsafe(32)
        assets = read_assets()
        self.files = {one.name: (one.kind, one.text.encode()) for one in assets}
        self.files[""] = ("text/html", render_page(assets).encode())
        try:
            super().__init__((ADDRESS, port), _Handler)
        except (OSError, OverflowError) as error:
            raise ConfigurationError(
                f"cannot serve on port {port} of {ADDRESS}: {error}; leave --port out "
                "to take a free one"
            ) from None

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of a browser that has gone away."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)

    @property
    def url(self) -> str:
        """The address of the page, with its secret."""
        return f"http://{ADDRESS}:{self.server_port}/{self.secret}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What a browser may call this server; another name is another site's."""
        return f"{ADDRESS}:{self.server_port}", f"localhost:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Server
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "llmeval", ""
    timeout = IDLE_S

    def do_GET(self) -> None:
        """Answer with a file of the page, or with an answer as JSON."""
        if self.headers.get("Host") not in self.server.hosts:
            self._refuse(HTTPStatus.FORBIDDEN, "this server has another name")
            return
        address = urlsplit(self.path)
        _, secret, name = [*address.path.split("/", 2), "", ""][:3]
        expected = self.server.secret.encode()
        if not hmac.compare_digest(secret.encode("utf-8", "replace"), expected):
            self._refuse(HTTPStatus.FORBIDDEN, "open the address that llmeval printed")
        elif name in self.server.files:
            kind, content = self.server.files[name]
            self._send(HTTPStatus.OK, f"{kind}; charset=utf-8", content)
        elif name.removeprefix(DATA) in ("version", *self.server.answers.names):
            self._answer(name.removeprefix(DATA), address.query)
        else:
            self._refuse(HTTPStatus.NOT_FOUND, "there is no such page")

    do_HEAD = do_GET  # noqa: N815  # the name of the class above

    def _answer(self, name: str, query: str) -> None:
        answers = self.server.answers
        try:
            if name == "version":
                tag = f'"{hashlib.sha256(answers.version().encode()).hexdigest()}"'
                if self.headers.get("If-None-Match") == tag:
                    self._send(HTTPStatus.NOT_MODIFIED, "", b"", ETag=tag)
                else:
                    self._send(HTTPStatus.OK, "application/json", b"{}", ETag=tag)
                return
            given = dict(parse_qsl(query, max_num_fields=20))
            content = to_json(answers.answer(name, given)).encode()
        except (LLMEvalError, ValueError) as error:
            self._refuse(HTTPStatus.BAD_REQUEST, str(error))
            return
        self._send(HTTPStatus.OK, "application/json", content)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._send(status, "text/plain; charset=utf-8", f"{why}\n".encode())

    def _send(
        self, status: HTTPStatus, kind: str, content: bytes, **headers: str
    ) -> None:
        self.send_response(status)
        for name, value in {**HEADERS, **headers}.items():
            self.send_header(name, value)
        if status != HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        if self.command != "HEAD" and content:
            self.wfile.write(content)

    def log_message(self, format: str, *arguments: object) -> None:  # noqa: A002  # the name of the class above
        """Say nothing: a log would hold the secret."""
