"""A suite in a project of its own, run by pytest in a subprocess."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

import pytest

from . import case_suites


if TYPE_CHECKING:
    from databricks.sdk import WorkspaceClient

    from tests.databricks.workspace import Workspace

    from .registry import Registered

INI = """\
[pytest]
addopts = -p no:cacheprovider
llmeval_tracking = off
llmeval_confidence = 0.95
"""
RIGHT = """\
from pytest_llmeval import CallableModel

import pytest


@pytest.fixture
def llmeval_model():
    return CallableModel(lambda prompt: prompt.upper(), version="1")
"""
PINNED = """\
import json
import urllib.request

import pytest

from pytest_llmeval import CallableModel


def ask(prompt: str) -> str:
    body = json.dumps({{"messages": [{{"content": prompt}}]}}).encode()
    with urllib.request.urlopen("{url}/chat/completions", body) as reply:
        return json.load(reply)["choices"][0]["message"]["content"]


@pytest.fixture
def llmeval_model():
    return CallableModel(ask, version="1")
"""
IGNORED = ".llmeval/\nmlflow.db\nmlartifacts/\n__pycache__/\n"
ROWS = [{"id": f"r{i}", "input": f"word {i}", "answer": f"WORD {i}"} for i in range(40)]
PASSING = """\
from pytest_llmeval import assert_metric

DATA = "data.jsonl"


def test_quality(evaluate):
    results = evaluate(data=DATA, metrics=["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.9)
"""


class Suite:
    """A project with a suite in evals/ whose model answers all 40 rows right."""

    def __init__(self, path: Path, python: str = sys.executable) -> None:
        self.path, self._pytest = path, (python, "-m", "pytest")
        self.ini: dict[str, object] = {}
        if (path / "evals").exists():  # a copy of one that was made before
            return
        self.write("pytest.ini", INI)
        self.write("evals/conftest.py", RIGHT)
        self.write("evals/test_qa.py", PASSING)
        self.write_rows("evals/data.jsonl", ROWS)

    def write(self, name: str, text: str) -> None:
        path = self.path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")

    def write_rows(self, name: str, rows: list[dict[str, Any]]) -> None:
        self.write(name, "".join(json.dumps(row) + "\n" for row in rows))

    def run(self, *arguments: str) -> pytest.RunResult:
        return self.run_under((), *arguments)

    def run_under(self, wrapper: tuple[str, ...], *arguments: str) -> pytest.RunResult:
        """Run pytest by a command that changes what it may do."""
        return self._run(*wrapper, *self._pytest, *(arguments or ("evals",)))

    def run_optimized(self, *arguments: str) -> pytest.RunResult:
        """Run pytest in a Python that leaves assert statements out."""
        return self._run(sys.executable, "-O", "-m", "pytest", *arguments)

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        """Start pytest in a process group of its own, as a shell does."""
        return subprocess.Popen(
            (*self._pytest, *(arguments or ("evals",))),
            cwd=self.path,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    def llmeval(self, *arguments: str) -> pytest.RunResult:
        return self._run(str(Path(sys.executable).with_name("llmeval")), *arguments)

    def _run(self, *command: str) -> pytest.RunResult:
        started = time.monotonic()
        done = subprocess.run(
            command,
            cwd=self.path,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )
        print(done.stdout, done.stderr, sep="\n")  # shown when the test fails
        return pytest.RunResult(
            done.returncode,
            done.stdout.splitlines(),
            done.stderr.splitlines(),
            time.monotonic() - started,
        )

    def set_ini(self, **values: object) -> None:
        self.ini.update(values)
        lines = "".join(f"{name} = {value}\n" for name, value in self.ini.items())
        self.write("pytest.ini", INI + lines)

    def ask(self, server: ModelServer) -> None:
        """Have the server's model evaluated, which is not pinned."""
        self.write("evals/conftest.py", "")
        self.set_ini(llmeval_model=server.url)

    def ask_pinned(self, server: ModelServer) -> None:
        """Have a callable evaluated that asks the server, and that has a version."""
        self.write("evals/conftest.py", PINNED.format(url=server.url))

    def update_gates(self) -> None:
        assert self.llmeval("gates", "update").ret == 0

    def commit(self) -> str:
        git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
        self.write(".gitignore", IGNORED)
        for command in (
            ("git", "init", "--quiet"),
            ("git", "add", "--all"),
            (*git, "commit", "--quiet", "--message", "suite"),
        ):
            subprocess.run(command, cwd=self.path, check=True)
        return subprocess.check_output(
            ("git", "rev-parse", "HEAD"), cwd=self.path, text=True
        ).strip()

    @property
    def run_directory(self) -> Path:
        home = self.path / ".llmeval"
        return home / "runs" / (home / "last").read_text().strip()

    @property
    def verdict(self) -> dict[str, Any]:
        return self._json("verdict.json")

    @property
    def deployment(self) -> dict[str, Any]:
        return self._json("deployment.json")

    def _json(self, name: str) -> dict[str, Any]:
        document: dict[str, Any] = json.loads((self.run_directory / name).read_text())
        return document

    @property
    def rows(self) -> list[dict[str, Any]]:
        lines = (self.run_directory / "results.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]


FOREIGN = ("CI", "GITHUB_", "BUILD_", "GIT_", "MLFLOW_", "LLMEVAL_", "PYTEST_XDIST_")


def as_on_a_laptop(patch: pytest.MonkeyPatch) -> None:
    """Take away what the tests' own surroundings, and MLflow in them, have set."""
    for name in list(os.environ):
        if name.startswith(FOREIGN):
            patch.delenv(name)
    patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(autouse=True, scope="module")
def _laptop_of_fixtures() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        as_on_a_laptop(patch)
        yield


@pytest.fixture(autouse=True)
def _laptop(monkeypatch: pytest.MonkeyPatch) -> None:
    as_on_a_laptop(monkeypatch)


@pytest.fixture
def suite(tmp_path: Path) -> Suite:
    return Suite(tmp_path)


class ModelServer:
    """An OpenAI-compatible server on 127.0.0.1 that counts its requests."""

    def __init__(self) -> None:
        self.requests: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.in_flight = self.most_in_flight = 0
        self.answer: Callable[[str], str] = str.upper
        self.status: Callable[[str], int] = lambda message: 200
        self.retry_after_s: float | None = None
        self.closing = threading.Event()
        self._alarm: tuple[int, Callable[[], object]] | None = None
        lock, outer = threading.Lock(), self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                length = int(self.headers["Content-Length"])
                content = self.rfile.read(length)
                if len(content) < length:  # the client died while it sent this
                    return
                body = json.loads(content)
                with lock:
                    outer.requests.append(body)
                    outer.headers.append(dict(self.headers))
                    outer.in_flight += 1
                    outer.most_in_flight = max(outer.most_in_flight, outer.in_flight)
                    outer._ring()
                message = body["messages"][-1]["content"]
                status = outer.status(message)
                text = outer.answer(message)
                with lock:  # before the client can know, who may send the next one
                    outer.in_flight -= 1
                self._reply(status, text)

            def _reply(self, status: int, text: str) -> None:
                reply = {
                    "choices": [{"message": {"role": "assistant", "content": text}}],
                    "usage": {"prompt_tokens": 3, "completion_tokens": 2},
                }
                content = json.dumps(reply).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(content)))
                if outer.retry_after_s is not None and status == 429:
                    self.send_header("Retry-After", f"{outer.retry_after_s:g}")
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *arguments: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128  # with the default of 5, clients wait seconds

            def handle_error(self, *arguments: Any) -> None:
                # Clients may hang up: that is what some tests are about.
                if not isinstance(sys.exception(), ConnectionError):
                    super().handle_error(*arguments)

        self._server = Server(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}/v1"

    def call_at(self, requests: int, action: Callable[[], object]) -> None:
        """Call something once, when that many requests have come."""
        self._alarm = (requests, action)

    def _ring(self) -> None:
        if self._alarm is not None and len(self.requests) >= self._alarm[0]:
            (_, action), self._alarm = self._alarm, None
            action()

    @property
    def asked(self) -> list[str]:
        """The message of each request, in the order of arrival."""
        return [body["messages"][-1]["content"] for body in list(self.requests)]

    @property
    def repeated(self) -> int:
        """Requests beyond the first for the same message."""
        asked = self.asked
        return len(asked) - len(set(asked))

    def slowly(self, message: str) -> str:
        """Answer as by default, after 20 ms."""
        time.sleep(0.02)
        return message.upper()

    def together(self, requests: int) -> Callable[[str], str]:
        """Return an answer that waits until so many requests are in flight at once."""
        full = threading.Event()

        def answer(message: str) -> str:
            if self.in_flight >= requests:
                full.set()
            full.wait(20)
            return self.slowly(message)

        return answer

    def hang(self, message: str) -> str:
        """Answer when the server closes."""
        self.closing.wait()
        return message

    def stop_listening(self) -> None:
        self._server.shutdown()
        self._server.socket.close()

    def close(self) -> None:
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def model_server() -> Iterator[ModelServer]:
    server = ModelServer()
    yield server
    server.close()


@pytest.fixture
def workspace(monkeypatch: pytest.MonkeyPatch) -> Iterator[Workspace]:
    """A Databricks workspace that executes jobs; it is the configured one."""
    from tests.databricks.workspace import Workspace

    server = Workspace()
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    yield server
    server.close()


@pytest.fixture
def client(workspace: Workspace) -> WorkspaceClient:
    """The real SDK's client of that workspace."""
    from databricks.sdk import WorkspaceClient

    return WorkspaceClient()


@pytest.fixture
def cases(suite: Suite) -> Suite:
    """A suite of 40 cases, of which two are answered wrong."""
    suite.write(
        "evals/conftest.py",
        case_suites.MODEL.replace("{wrong}", repr(case_suites.WRONG)),
    )
    suite.write("evals/test_qa.py", case_suites.CASES)
    return suite


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registered]:
    """A project that is copied for each test: to make it takes ten seconds."""
    from .registry import make_registered

    with pytest.MonkeyPatch.context() as patch:
        as_on_a_laptop(patch)
        yield make_registered(tmp_path_factory.mktemp("registered") / "project")


@pytest.fixture
def project(template: Registered, tmp_path: Path) -> Registered:
    """A project with a registry, of which nothing is evaluated."""
    from .registry import copy_of

    return copy_of(template, tmp_path / "project")


@pytest.fixture(scope="session")
def both(
    template: Registered, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Registered]:
    from .registry import copy_of
    from .registry import evaluate_both

    copied = copy_of(template, tmp_path_factory.mktemp("evaluated") / "project")
    with pytest.MonkeyPatch.context() as patch:
        as_on_a_laptop(patch)
        yield evaluate_both(copied)


@pytest.fixture
def evaluated(both: Registered, tmp_path: Path) -> Registered:
    """A project with a passing run for each of the versions 1 and 2."""
    from .registry import copy_of

    return copy_of(both, tmp_path / "project")
