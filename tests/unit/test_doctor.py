"""Each check of `llmeval doctor` by itself, against real files and servers."""

import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing
from http.server import BaseHTTPRequestHandler
from http.server import ThreadingHTTPServer

import pytest

from pytest_llmeval.config import Settings
from pytest_llmeval.doctor import model
from pytest_llmeval.doctor import packages
from pytest_llmeval.doctor import place
from pytest_llmeval.doctor import project as projects
from pytest_llmeval.doctor import reach
from pytest_llmeval.doctor import services
from pytest_llmeval.doctor.findings import Finding
from pytest_llmeval.doctor.findings import run_checks
from pytest_llmeval.doctor.project import Project
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply


class Site:
    """An HTTP server that answers each path with a status, headers and a body."""

    def __init__(self):
        self.pages, self.seen = {}, []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                outer.seen.append((self.path, self.headers.get("Authorization")))
                status, headers, body = outer.pages.get(self.path, (404, {}, b""))
                self.send_response(status)
                for name, value in headers.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def site():
    site = Site()
    yield site
    site.close()


@pytest.fixture
def dead_url():
    """The address of a port that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    return f"http://127.0.0.1:{port}"


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch, tmp_path):
    prefixes = ("CI", "GITHUB_", "DATABRICKS_", "SPARK_", "MLFLOW_", "JAVA_")
    for name in list(os.environ):
        if name.startswith(prefixes) or name in place.SECRETS:
            monkeypatch.delenv(name)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))


@pytest.fixture
def about(tmp_path):
    """Make a project in tmp_path, whose model loads, with these settings."""

    def about(loaded=None, **settings):
        return Project(
            rootdir=str(tmp_path),
            settings=Settings(rootdir=tmp_path, **settings),
            model={"ref": "x"} if loaded is None else loaded,
        )

    return about


def only(findings):
    (finding,) = findings
    return finding


def test_checks_run_at_once_and_report_in_their_order():
    meet = threading.Barrier(2, timeout=5)

    def check_one(subject):
        meet.wait()
        time.sleep(0.1)
        yield Finding("ok", "one", subject)

    def check_two(subject):
        meet.wait()
        yield Finding("ok", "two", subject)

    found = run_checks((check_one, check_two), "x")
    assert found == [Finding("ok", "one", "x"), Finding("ok", "two", "x")]


def test_a_check_that_hangs_or_breaks_is_a_problem_and_the_others_count():
    ended = threading.Event()

    def check_slow(_):
        ended.wait(20)
        return []

    def check_broken(_):
        raise RuntimeError("boom")

    def check_fine(_):
        return [Finding("ok", "fine", "")]

    began = time.monotonic()
    slow, broken, fine = run_checks((check_slow, check_broken, check_fine), 0, 0.2)
    ended.set()
    assert time.monotonic() - began < 5
    assert (slow.status, slow.subject) == ("problem", "slow")
    assert "not come to its end within 0.2 s" in slow.text
    assert (broken.status, broken.subject) == ("problem", "broken")
    assert "RuntimeError: boom" in broken.text
    assert fine.status == "ok"


def test_no_model_is_a_note(about):
    found = only(model.check_model(about()))
    assert found.status == "note"
    assert "--llmeval-model" in found.next


@pytest.mark.parametrize(
    ("loaded", "text"),
    [({"error": "no such thing"}, "no such thing"), ({}, "did not load within 30 s")],
)
def test_a_model_that_does_not_load_is_a_problem(about, loaded, text):
    found = only(model.check_model(about(loaded, model="gguf:x")))
    assert found.status == "problem"
    assert text in found.text


def test_a_model_file_is_named_with_its_size(about, tmp_path):
    (tmp_path / "tiny.gguf").write_bytes(b"GGUF" + bytes(2_999_996))
    found = only(model.check_model(about(model="gguf:tiny.gguf")))
    assert found.status == "ok"
    assert f"3 MB in {tmp_path / 'tiny.gguf'}" in found.text


LIST = b'{"data": [{"id": "a"}, {"id": "b"}]}'


@pytest.mark.parametrize(
    ("name", "status", "body", "expected", "text"),
    [
        ("#a", 200, LIST, "ok", "answers"),
        ("#c", 200, LIST, "note", "does not list c, but: a, b"),
        ("#c", 200, b"[]", "ok", "answers"),
        ("#c", 200, b"hello", "ok", "answers"),
        ("", 200, LIST, "ok", "answers"),
        ("", 404, b"", "ok", "lists no models (HTTP 404)"),
        ("", 501, b"", "ok", "lists no models (HTTP 501)"),
        ("", 302, b"", "ok", "lists no models (HTTP 302)"),
        ("", 401, b"", "problem", "refuses the key (HTTP 401)"),
        ("", 403, b"", "problem", "refuses the key (HTTP 403)"),
        ("", 503, b"", "problem", "it answers HTTP 503"),
    ],
)
def test_an_endpoint_is_judged_by_its_list_of_models(
    about, site, name, status, body, expected, text
):
    site.pages["/v1/models"] = (status, {}, body)
    found = only(model.check_model(about(model=f"{site.url}/v1{name}")))
    assert found.status == expected
    assert text in found.text


@pytest.mark.parametrize("end", ["/v1/", "/v1/completions", "/v1/chat/completions"])
def test_the_list_is_beside_the_completions(about, site, end):
    site.pages["/v1/models"] = (200, {}, LIST)
    assert only(model.check_model(about(model=site.url + end))).status == "ok"
    assert [path for path, _ in site.seen] == ["/v1/models"]


def test_keys_go_to_their_own_host_only(about, site, monkeypatch):
    other = Site()
    monkeypatch.setenv("LLMEVAL_API_KEY", "ours-12345678")
    monkeypatch.setenv("OPENAI_API_KEY", "theirs-12345678")
    monkeypatch.setenv("OPENAI_BASE_URL", f"{site.url}/openai")
    moved = {"Location": f"{other.url}/models"}
    site.pages["/v1/models"] = (302, moved, b"")
    only(model.check_model(about(model=f"{site.url}/v1")))
    only(model.check_model(about(model="openai:/a")))
    other.close()
    assert site.seen == [
        ("/v1/models", "Bearer ours-12345678"),
        ("/openai/models", "Bearer theirs-12345678"),
    ]
    assert other.seen == []


def test_an_endpoint_that_is_dead_or_hangs_is_a_problem(about, dead_url, monkeypatch):
    found = only(model.check_model(about(model=dead_url)))
    assert found.status == "problem"
    assert "does not answer: Connection refused" in found.text
    monkeypatch.setattr(reach, "LIMIT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        began = time.monotonic()
        found = only(model.check_model(about(model=url)))
    assert time.monotonic() - began < 3
    assert "does not answer: timed out" in found.text


def test_every_extra_is_reported_once_or_more():
    found = list(packages.check_extras(None))
    assert {finding.text.partition(":")[0] for finding in found} == set(packages.EXTRAS)
    xdist = next(f for f in found if f.text.startswith("xdist"))
    assert xdist == (
        "ok",
        "extra",
        f"xdist: pytest-xdist {packages.version_of('pytest-xdist')}",
        "",
    )


@pytest.mark.parametrize(
    ("needs", "status", "text"),
    [
        ("pytest>=8", "ok", "x: pytest "),
        ("pytest<8", "problem", "is not <8"),
        ("no-such-package", "note", "x: no-such-package is not installed"),
    ],
)
def test_an_extra_is_missing_or_of_the_wrong_version(needs, status, text):
    found = packages._check_extra("x", packages.Requirement(needs))
    assert found.status == status
    assert text in found.text
    assert status == "ok" or 'pip install "pytest-llmeval-gate[x]"' in found.next


def test_the_package_of_the_same_folder_is_a_problem(tmp_path, monkeypatch):
    assert only(packages.check_package(None)).status == "ok"
    info = tmp_path / "pytest_llmeval-9.9.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: pytest-llmeval\nVersion: 9.9\n")
    monkeypatch.syspath_prepend(tmp_path)
    _, clash = packages.check_package(None)
    assert clash.status == "problem"
    assert "pytest-llmeval 9.9 is installed too" in clash.text
    assert "pip uninstall -y pytest-llmeval pytest-llmeval-gate" in clash.next


def contents(folder):
    return {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in folder.rglob("*")
    }


@pytest.fixture
def store(tmp_path):
    path = tmp_path / ".llmeval" / "predictions.db"
    with Predictions(path, run_id="1") as predictions:
        for i in range(3):
            predictions.add(bytes([i]) * 16, Prediction(reply=Reply(text="x")))
    return path


def test_a_store_is_counted_and_left_as_it_is(about, store, tmp_path):
    before = contents(tmp_path)
    found = only(place.check_store(about()))
    assert found.status == "ok"
    assert found.text.startswith("3 predictions, 0.0 of 1024 MB, writable: ")
    assert contents(tmp_path) == before


def test_a_store_that_a_run_is_using_is_counted_with_what_the_run_added(about, store):
    with Predictions(store, run_id="2") as predictions:
        predictions.add(b"z" * 16, Prediction(reply=Reply(text="x")))
        predictions.commit()
        found = only(place.check_store(about()))
    assert found.text.startswith("4 predictions")


def test_no_store_is_made(about, tmp_path):
    found = only(place.check_store(about()))
    assert (found.status, contents(tmp_path)) == ("ok", {})
    assert "no predictions are stored yet" in found.text


def test_a_store_of_another_version_or_none_is_a_problem(about, store):
    with closing(sqlite3.connect(store)) as database:
        database.execute("PRAGMA user_version = 1")
    found = only(place.check_store(about()))
    assert (found.status, "has schema 1, and 2 is read" in found.text) == (
        "problem",
        True,
    )
    store.write_bytes(b"hello" * 1000)
    found = only(place.check_store(about()))
    assert found.status == "problem"
    assert "cannot be read: file is not a database" in found.text


def test_runs_are_counted_and_the_last_is_named(about, tmp_path):
    assert only(place.check_runs(about())).text.startswith("0 in ")
    (tmp_path / ".llmeval" / "runs" / "a").mkdir(parents=True)
    (tmp_path / ".llmeval" / "last").write_text("a\n")
    found = only(place.check_runs(about()))
    assert found.status == "ok"
    assert found.text.startswith("1 in ")
    assert found.text.endswith("the last is a")


def test_a_file_where_the_folder_should_be_is_a_problem(about, tmp_path):
    (tmp_path / "taken").write_text("")
    (tmp_path / "taken").chmod(0o755)
    found = only(place.check_runs(about(directory="taken")))
    assert found.status == "problem"
    assert "cannot be written" in found.text
    assert "--llmeval-dir" in found.next


@pytest.mark.parametrize(
    ("settings", "status"),
    [({}, "note"), ({"require": True}, "problem"), ({"deploy": "r:a@b"}, "problem")],
)
def test_no_manifest_is_a_problem_where_one_is_needed(about, settings, status):
    found = only(place.check_manifest(about(**settings)))
    assert found.status == status
    assert "llmeval gates update" in found.next


def test_a_manifest_is_counted_or_refused(about, tmp_path):
    path = tmp_path / "gates.toml"
    gate = '[[gate]]\ntest = "t"\nmetric = "m"\nop = ">="\n'
    path.write_text(f"schema = 1\n{gate}{gate}")
    found = only(place.check_manifest(about(manifest="gates.toml")))
    assert found.status == "ok"
    assert found.text.startswith("2 gates in gates.toml, sha256:")
    path.write_text("schema = 9\n")
    found = only(place.check_manifest(about(manifest="gates.toml")))
    assert found.status == "problem"
    assert "not a gate manifest of schema 1" in found.text


def test_the_commit_and_whether_files_differ_from_it(about, tmp_path):
    found = only(place.check_git(about()))
    assert (found.status, "no commit is known" in found.text) == ("note", True)
    (tmp_path / "a").write_text("1")
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    for command in (("init", "-q"), ("add", "a"), ("commit", "-qm", "a")):
        subprocess.run((*git, *command), cwd=tmp_path, check=True)
    found = only(place.check_git(about()))
    assert (found.status, found.text.endswith(", clean")) == ("ok", True)
    (tmp_path / "a").write_text("2")
    found = only(place.check_git(about()))
    assert (found.status, "tracked files differ" in found.text) == ("note", True)


@pytest.mark.parametrize(
    ("environment", "refs", "status", "text"),
    [
        ({}, "", "ok", "no CI system is detected"),
        ({"GITHUB_ACTIONS": "true"}, "", "note", "GitHub Actions is detected; no dep"),
        (
            {"GITHUB_ACTIONS": "true", "GITHUB_REF_PROTECTED": "true"},
            "",
            "ok",
            "a deployment may come from here",
        ),
        ({"JENKINS_URL": "x", "BRANCH_NAME": "a"}, "", "note", "the ref 'a' is not li"),
        ({"JENKINS_URL": "x", "BRANCH_NAME": "a"}, "a", "ok", "Jenkins is detected"),
    ],
)
def test_ci_and_whether_it_may_deploy(
    about, monkeypatch, environment, refs, status, text
):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    found = only(place.check_ci(about(deploy_refs=refs)))
    assert found.status == status
    assert text in found.text


def test_keys_are_named_and_not_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "short")
    monkeypatch.setenv("LLMEVAL_SIGNING_KEY", "k" * 40)
    found = only(place.check_environment(None))
    assert found.text == "keys that are set: OPENAI_API_KEY, LLMEVAL_SIGNING_KEY"


def test_a_tracking_server_is_asked_whether_it_is_well(about, site, dead_url):
    site.pages["/health"] = (200, {}, b"OK")
    found = only(services.check_mlflow(about(tracking=site.url)))
    assert (found.status, found.text) == ("ok", f"{site.url} answers")
    site.pages["/health"] = (503, {}, b"")
    found = only(services.check_mlflow(about(tracking=site.url)))
    assert (found.status, "HTTP 503" in found.text) == ("problem", True)
    site.pages.clear()
    found = only(services.check_mlflow(about(tracking=site.url)))
    assert (found.status, "answers HTTP 404" in found.text) == ("note", True)
    found = only(services.check_mlflow(about(tracking=dead_url)))
    assert (found.status, "Connection refused" in found.text) == ("problem", True)
    assert "--llmeval-tracking" in found.next


def test_a_tracking_database_is_connected_to(about, dead_url):
    with socket.create_server(("127.0.0.1", 0)) as server:
        uri = f"postgresql+x://u:secret@127.0.0.1:{server.getsockname()[1]}/db"
        found = only(services.check_mlflow(about(tracking=uri)))
    assert (found.status, "takes connections" in found.text) == ("ok", True)
    assert "secret" not in found.text
    uri = dead_url.replace("http", "mysql")
    found = only(services.check_mlflow(about(tracking=uri)))
    assert (found.status, "Connection refused" in found.text) == ("problem", True)


def test_a_tracking_file_is_looked_at_and_not_made(about, tmp_path):
    found = only(services.check_mlflow(about()))
    assert (found.status, contents(tmp_path)) == ("ok", {})
    assert "mlflow.db will be made by the first run" in found.text
    (tmp_path / "mlflow.db").write_bytes(b"")
    assert only(services.check_mlflow(about())).text.endswith("mlflow.db is there")
    taken = f"sqlite:///{tmp_path}/mlflow.db/x.db"
    assert only(services.check_mlflow(about(tracking=taken))).status == "problem"
    assert only(services.check_mlflow(about(tracking="off"))).text == "tracking is off"


def test_a_spark_server_is_connected_to_and_its_token_not_shown(monkeypatch, dead_url):
    dead = dead_url.replace("http", "sc")
    monkeypatch.setenv("SPARK_REMOTE", f"{dead}/;token=hush-hush;user_id=me")
    remote = next(f for f in services.check_spark(None) if "SPARK_REMOTE" in f.text)
    assert (remote.status, "Connection refused" in remote.text) == ("note", True)
    assert "hush" not in remote.text
    with socket.create_server(("127.0.0.1", 0)) as server:
        live = f"sc://127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("SPARK_REMOTE", live)
        remote = next(f for f in services.check_spark(None) if live in f.text)
    assert remote == ("ok", "spark", f"SPARK_REMOTE {live} takes connections", "")


def java_in(folder, version):
    java = folder / "bin" / "java"
    java.parent.mkdir()
    java.write_text(f"#!/bin/sh\necho 'openjdk version \"{version}\"' >&2\n")
    java.chmod(0o755)


@pytest.mark.parametrize(
    ("version", "status"),
    [("21.0.1", "ok"), ("17", "ok"), ("11.0.2", "note"), ("1.8.0_392", "note")],
)
def test_java_is_new_enough_or_not(tmp_path, monkeypatch, version, status):
    java_in(tmp_path, version)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    *_, java = services.check_spark(None)
    assert (java.status, java.subject) == (status, "java")
    assert java.text == f"Java {version}: {tmp_path / 'bin' / 'java'}"


def test_no_java_is_a_note(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    *_, java = services.check_spark(None)
    assert java[:3] == ("note", "java", "Java is not found")
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    *_, java = services.check_spark(None)
    assert (java.status, "No such file" in java.text) == ("note", True)


@pytest.mark.parametrize(
    ("settings", "status"),
    [
        ({}, "note"),
        ({"tracking": "databricks"}, "problem"),
        ({"model": "endpoints:/qa"}, "problem"),
    ],
)
def test_databricks_is_a_problem_where_it_is_needed(
    about, monkeypatch, dead_url, settings, status
):
    found = only(services.check_databricks(about(**settings)))
    assert (found.status, "no host is configured" in found.text) == (status, True)
    monkeypatch.setenv("DATABRICKS_HOST", dead_url)
    found = only(services.check_databricks(about(**settings)))
    assert (found.status, "Connection refused" in found.text) == (status, True)


def test_the_databricks_host_of_a_profile_is_found(about, tmp_path, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        url = f"http://127.0.0.1:{server.getsockname()[1]}"
        text = f"[DEFAULT]\n[qa]\nhost = {url}\ntoken = dapi-hush\n"
        (tmp_path / "databrickscfg").write_text(text)
        assert "no host" in only(services.check_databricks(about())).text
        monkeypatch.setenv("DATABRICKS_CONFIG_PROFILE", "qa")
        found = only(services.check_databricks(about()))
    assert found.status == "ok"
    assert f"{url} from the profile qa in " in found.text
    assert "hush" not in found.text


def _hang_up(server):
    server.accept()[0].close()


def test_a_server_without_a_certificate_that_counts_is_not_reached():
    with socket.create_server(("127.0.0.1", 0)) as server:
        thread = threading.Thread(target=_hang_up, args=(server,))
        thread.start()
        failure = reach.connect(f"https://127.0.0.1:{server.getsockname()[1]}")
        thread.join()
    assert failure
    assert reach.connect("nowhere") == "the URL names no host and port"


def test_a_suite_that_takes_for_ever_to_import_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(projects, "LIMIT_S", 1)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "conftest.py").write_text("import time\ntime.sleep(60)\n")
    began = time.monotonic()
    found = projects.read_project([]).problem
    assert time.monotonic() - began < 20
    assert found.status == "problem"
    assert "did not read its configuration within 1 s" in found.text


def test_nothing_heavy_is_imported():
    script = (
        "import sys; from pytest_llmeval.doctor import examine; examine(['--rootdir',"
        " sys.argv[1]]); heavy = {'mlflow', 'pandas', 'pyspark', 'databricks', 'numpy',"
        " 'scipy', 'aiohttp', 'pytest'}; sys.exit(str(heavy & set(sys.modules)))"
    )
    done = subprocess.run(
        [sys.executable, "-c", script, "."], capture_output=True, text=True, check=False
    )
    assert done.stderr.strip() == "set()"
