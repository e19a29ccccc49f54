"""A real HTTP server on 127.0.0.1 that takes messages, or does not."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer


class Webhook(ThreadingHTTPServer):
    """Answers with `script`, one status after another, the last one for ever.

    An entry is a status, or status and headers, or a number of seconds to be silent.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.got, self.times = [200], [], []
        self.url = f"http://127.0.0.1:{self.server_port}/services/T0/B0/s3cr3tpath"
        self._thread = threading.Thread(target=self.serve_forever)
        self._thread.start()

    @property
    def texts(self):
        """The text of each request, also of those that were refused."""
        return [json.loads(body)["text"] for _, body in self.got]

    def close(self):
        self.shutdown()
        self.server_close()
        self._thread.join()

    def handle_error(self, request, client_address):
        """Clients give up: that is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        server.got.append((dict(self.headers), body))
        server.times.append(time.monotonic())
        step = server.script.pop(0) if len(server.script) > 1 else server.script[0]
        if isinstance(step, float):
            time.sleep(step)
            step = 200
        status, headers = step if isinstance(step, tuple) else (step, {})
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_GET(self):
        self.server.got.append((dict(self.headers), b'{"text": "GET"}'))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *arguments):
        pass
