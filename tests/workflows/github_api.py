"""As much of GitHub's REST API as a comment takes, on 127.0.0.1."""

from __future__ import annotations

import itertools
import json
import re
import threading
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs
from urllib.parse import urlsplit


BOT = "github-actions[bot]"
LONGEST = 65_536


class GitHubApi:
    """Pull requests with comments, and a token that may write the latter."""

    token = "a token of the job"

    def __init__(self) -> None:
        self.pulls: list[dict[str, Any]] = []
        self.comments: dict[int, list[dict[str, Any]]] = {}
        self.refused: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self._answer(*outer.get(self.path))

            def do_POST(self) -> None:
                self._write()

            def do_PATCH(self) -> None:
                self._write()

            def _write(self) -> None:
                content = self.rfile.read(int(self.headers["Content-Length"]))
                if self.headers["Authorization"] != f"Bearer {outer.token}":
                    self._answer(401, {"message": "Bad credentials"})
                    return
                self._answer(*outer.write(self.command, self.path, json.loads(content)))

            def _answer(self, status: int, document: object) -> None:
                content = json.dumps(document).encode()
                if status >= 400:
                    outer.refused.append(f"{self.command} {self.path}: {status}")
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def open_pull(self, number: int, head: str, sha: str, repository: int) -> None:
        """Open a pull request; the head is such as ``owner:branch``."""
        owner, _, branch = head.partition(":")
        pull_head = {
            "label": head,
            "ref": branch,
            "sha": sha,
            "user": {"login": owner},
            "repo": {"id": repository},
        }
        self.pulls.append({"number": number, "state": "open", "head": pull_head})
        self.comments[number] = []

    def comment(self, number: int, login: str, body: str) -> None:
        ids = [one["id"] for all_ in self.comments.values() for one in all_]
        comment = {
            "id": max(ids, default=0) + 1,
            "user": {"login": login},
            "body": body,
        }
        self.comments[number].append(comment)

    def get(self, path: str) -> tuple[int, object]:
        url = urlsplit(path)
        asked = {name: values[0] for name, values in parse_qs(url.query).items()}
        if url.path == "/repos/acme/qa/pulls":
            return 200, [
                pull
                for pull in self.pulls
                if pull["state"] == asked["state"]
                and pull["head"]["label"] == asked["head"]
            ]
        if found := re.fullmatch(r"/repos/acme/qa/issues/(\d+)/comments", url.path):
            size, page = int(asked.get("per_page", 30)), int(asked.get("page", 1))
            comments = self.comments[int(found[1])]
            return 200, comments[size * (page - 1) : size * page]
        return 404, {"message": "Not Found"}

    def write(self, method: str, path: str, document: Any) -> tuple[int, object]:
        body = document["body"]
        if len(body) > LONGEST:
            return 422, {"message": f"body is too long (maximum is {LONGEST})"}
        line = f"{method} {path}"
        if found := re.fullmatch(r"POST /repos/acme/qa/issues/(\d+)/comments", line):
            self.comment(int(found[1]), BOT, body)
            return 201, self.comments[int(found[1])][-1]
        if found := re.fullmatch(r"PATCH /repos/acme/qa/issues/comments/(\d+)", line):
            for comment in itertools.chain(*self.comments.values()):
                if comment["id"] == int(found[1]):
                    comment["body"] = body
                    return 200, comment
        return 404, {"message": "Not Found"}

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
