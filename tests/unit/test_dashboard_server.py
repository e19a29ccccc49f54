"""Who may read the dashboard, and what its answers say of themselves."""

from __future__ import annotations

import http.client
import json
import re
import subprocess
import sys
import threading
from urllib.parse import urlencode

import pytest

from pytest_llmeval import cli
from pytest_llmeval.dashboard import assets
from pytest_llmeval.dashboard.answers import Answers
from pytest_llmeval.dashboard.build import build_page
from pytest_llmeval.dashboard.server import Server
from pytest_llmeval.dashboard.source import open_history
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import MissingDependency
from tests.history import small


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return small.write_folder(tmp_path_factory.mktemp("history"), small.records())


@pytest.fixture(scope="module")
def answers(folder):
    return Answers(open_history(str(folder)), folder / "no runs")


@pytest.fixture(scope="module")
def server(answers):
    with Server(answers) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def ask(server, path="", method="GET", secret=None, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.server_port, timeout=10)
    path = f"/{server.secret if secret is None else secret}/{path}"
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    content = answer.read()
    connection.close()
    return answer, content


def test_page_is_there_for_whoever_has_its_address(server):
    answer, content = ask(server)
    assert (answer.status, answer.getheader("Content-Type")) == (
        200,
        "text/html; charset=utf-8",
    )
    assert b"History of evaluations" in content


@pytest.mark.parametrize("name", ["", "page.js", "data/version", "data/trend"])
@pytest.mark.parametrize("secret", ["", "x" * 43, "%C3%A9", "..", "%00"])
def test_nothing_is_there_without_the_secret(server, name, secret):
    answer, content = ask(server, name, secret=secret)
    assert answer.status == 403
    assert content == b"open the address that llmeval printed\n"
    assert server.secret.encode() not in content


def test_secret_is_another_in_each_server(server, answers):
    with Server(answers) as other:
        assert other.secret != server.secret
        assert len(other.secret) >= 43


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:80", "127.0.0.1", "[::1]"]
)
def test_another_name_of_the_host_is_refused(server, host):
    answer, _ = ask(server, Host=host)
    assert answer.status == 403
    answer, _ = ask(server, Host=f"localhost:{server.server_port}")
    assert answer.status == 200


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"])
def test_nothing_is_taken(server, method):
    answer, _ = ask(server, method=method)
    assert answer.status == 501


def test_only_this_machine_is_served(server):
    assert server.server_address[0] == "127.0.0.1"


@pytest.mark.parametrize(
    "name",
    [
        "../runs",
        "data/",
        "data/nothing",
        "data/../page.js",
        "%2e%2e/x",
        "page.html",
        "//",
    ],
)
def test_nothing_else_is_there(server, name):
    answer, _ = ask(server, name)
    assert answer.status == 404


def test_every_answer_has_the_strict_headers(server):
    for name in ("", "page.js", "data/version", "data/lists", "none"):
        answer, _ = ask(server, name)
        policy = answer.getheader("Content-Security-Policy")
        assert policy.startswith(
            "default-src 'none'; style-src 'self'; script-src 'self'"
        )
        assert "unsafe" not in policy
        assert answer.getheader("X-Content-Type-Options") == "nosniff"
        assert answer.getheader("Referrer-Policy") == "no-referrer"
        assert answer.getheader("Cache-Control") == "no-store"
        assert answer.getheader("Set-Cookie") is None


def test_version_is_sent_again_only_when_runs_have_come_in(tmp_path):
    folder = small.write_folder(tmp_path, small.records(2))
    with Server(Answers(open_history(str(folder)), tmp_path)) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        first, _ = ask(server, "data/version")
        tag = first.getheader("ETag")
        again, content = ask(server, "data/version", **{"If-None-Match": tag})
        assert (again.status, content) == (304, b"")
        small.write_folder(folder, small.records(3))
        third, _ = ask(server, "data/version", **{"If-None-Match": tag})
        assert third.status == 200
        assert third.getheader("ETag") != tag
        server.shutdown()


def test_wrong_questions_are_told_what_is_wrong(server):
    answer, content = ask(server, "data/run?" + urlencode({"run": "../x"}))
    assert (answer.status, content) == (400, b"run must be the id of a run\n")
    answer, content = ask(server, "data/run?run=none")
    assert (answer.status, content) == (400, b"the history has no run 'none'\n")
    answer, _ = ask(server, "data/run?" + "&".join(["a=b"] * 50))
    assert answer.status == 400


def test_a_port_that_is_taken_is_said(server, answers):
    with pytest.raises(ConfigurationError, match="leave --port out to take a free one"):
        Server(answers, server.server_port)


def test_command_serves_until_it_is_interrupted_and_logs_no_address(folder):
    code = "import sys; from pytest_llmeval.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "dashboard", "--no-open"]
    with subprocess.Popen(
        [*command, "--history", str(folder)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        line = process.stdout.readline()
        port, secret = re.fullmatch(
            r"dashboard: http://127\.0\.0\.1:(\d+)/([\w-]{43})/ \(Ctrl-C ends it\)\n",
            line,
        ).groups()
        connection = http.client.HTTPConnection("127.0.0.1", int(port), timeout=10)
        connection.request("GET", f"/{secret}/data/lists")
        assert json.load(connection.getresponse())["metrics"] == ["f1"]
        connection.close()
        process.send_signal(2)
        out, err = process.communicate(timeout=20)
    assert (out, err, process.returncode) == ("ended\n", "", 0)


def test_command_names_the_next_step_where_there_is_no_history(tmp_path, capsys):
    assert cli.main(["dashboard", "--dir", str(tmp_path)]) == 1
    assert "write it with: llmeval export" in capsys.readouterr().err


def test_built_file_is_written_and_bounded(folder, tmp_path, capsys, answers):
    file = tmp_path / "history.html"
    assert cli.main(["dashboard", "--history", str(folder), "--build", str(file)]) == 0
    assert re.match(rf"wrote {file}: \d+ answers of ", capsys.readouterr().out)
    assert file.stat().st_size < 400_000
    small_one = build_page(answers, most_bytes=5_000)
    assert len(small_one.text) < 200_000
    assert re.search(r"; \d+ answers would have made it too large$", small_one.note)


def test_built_file_lets_through_its_own_texts_and_no_address(answers):
    text = build_page(answers).text
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)[1]
    assert policy.startswith("default-src &#39;none&#39;; style-src &#39;sha256-")
    assert "unsafe" not in policy
    assert "http:" not in policy
    assert not re.search(r"<(script|link)[^>]* (src|href)=", text)


def test_missing_charts_name_the_extra(monkeypatch):
    monkeypatch.setattr(assets, "CHARTS", "duckdb_not_there")
    monkeypatch.setitem(
        sys.modules["pytest_llmeval.errors"].EXTRAS, "duckdb_not_there", "dashboard"
    )
    with pytest.raises(MissingDependency, match=r"pytest-llmeval-gate\[dashboard\]"):
        assets.read_assets()
