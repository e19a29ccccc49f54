"""A real local server that speaks the chat protocol and counts what it is asked."""

import json
import threading
import time
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer


def chat(text, **rest):
    message = {"role": "assistant", "content": text}
    return {"choices": [{"message": message}], **rest}


class Server(ThreadingHTTPServer):
    """Answers with `script`, one entry after another, the last one for ever.

    An entry is a body, or status, headers and body; a list of bytes is sent in pieces.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.script, self.requests = [chat("4")], []
        self.lock = threading.Lock()
        self.url = f"http://127.0.0.1:{self.server_port}/v1"

    def handle_error(self, request, client_address):
        """Clients may hang up: that is what some tests are about."""


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        server = self.server
        with server.lock:
            server.requests.append(
                (time.monotonic(), self.path, dict(self.headers), json.loads(body))
            )
            step = server.script.pop(0) if len(server.script) > 1 else server.script[0]
        status, headers, answer = step if isinstance(step, tuple) else (200, {}, step)
        if isinstance(answer, dict):
            answer = json.dumps(answer).encode()
        pieces = answer if isinstance(answer, list) else [answer]
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(sum(map(len, pieces))))
        self.end_headers()
        for piece in pieces:
            self.wfile.write(piece)
            self.wfile.flush()
            time.sleep(0.05 * (len(pieces) > 1))

    def log_message(self, *args):
        pass
