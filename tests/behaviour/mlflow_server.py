"""A real MLflow server, and ways for it to be away."""

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


class MlflowServer:
    """``mlflow server`` on 127.0.0.1 with its store in a folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = (sys.executable, "-m", "mlflow", "server", "--workers", "1")
        store = f"sqlite:///{self._folder / 'server.db'}"
        artifacts = (self._folder / "artifacts").as_uri()
        options = ("--backend-store-uri", store, "--artifacts-destination", artifacts)
        address = ("--host", "127.0.0.1", "--port", str(self.port))
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                (*command, *options, *address),
                cwd=self._folder,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self.pid = self._process.pid
        deadline = time.monotonic() + 120
        while not self._answers():
            assert time.monotonic() < deadline, "mlflow server did not start"
            time.sleep(0.2)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(f"{self.url}/health", timeout=5) as reply:
                return bool(reply.status == 200)
        except (urllib.error.URLError, OSError):
            return False

    def kill(self) -> None:
        if self._process.poll() is None:
            os.killpg(self.pid, signal.SIGKILL)
            self._process.wait()


class Proxy:
    """Stands before a server: counts requests, and answers as it is told to.

    `before_answer` gets the number of the request, from 1, when the server has done
    what was asked, and returns whether the answer is passed on. `refuse` gets method
    and path before that, and returns the status of a refusal, or 0.
    """

    def __init__(self, port: int) -> None:
        self.requests: list[str] = []
        self.authorizations: set[str | None] = set()
        self.before_answer: Callable[[int], bool] = lambda number: True
        self.refuse: Callable[[str], int] = lambda request: 0
        lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def forward(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                body = self.rfile.read(length)
                with lock:
                    outer.requests.append(f"{self.command} {self.path}")
                    number = len(outer.requests)
                outer.authorizations.add(self.headers.get("Authorization"))
                status = outer.refuse(f"{self.command} {self.path}")
                if status:
                    self.send_response(status)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                server = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
                server.request(self.command, self.path, body, dict(self.headers))
                reply = server.getresponse()
                content = reply.read()
                server.close()
                if not outer.before_answer(number):
                    self.close_connection = True
                    return
                self.send_response(reply.status)
                self.send_header("Content-Type", reply.headers["Content-Type"] or "")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = forward  # noqa: N815

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: object, client_address: object) -> None:
                pass  # the client was killed: that is what the proxy is for

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class SilentServer:
    """Accepts connections and never answers; or says 503 to each request."""

    def __init__(self, *, answer: bytes = b"") -> None:
        self.connections = 0
        self._answer = answer
        self._held: list[socket.socket] = []
        self._closing = False
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._thread = threading.Thread(target=self._accept)
        self._thread.start()

    def _accept(self) -> None:
        while True:
            connection, _ = self._socket.accept()
            if self._closing:
                connection.close()
                return
            self.connections += 1
            if self._answer:
                connection.recv(65_536)
                connection.sendall(self._answer)
                connection.close()
            else:
                self._held.append(connection)

    def close(self) -> None:
        self._closing = True
        socket.create_connection(self._socket.getsockname()).close()
        self._thread.join()
        for connection in (*self._held, self._socket):
            connection.close()
