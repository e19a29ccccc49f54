"""What goes to a job: a suite as an archive, and this package as a wheel."""

import importlib.metadata
import io
import json
import os
import subprocess
import sys
import tarfile
import time
import zipfile
from pathlib import Path

import pytest

import pytest_llmeval
from pytest_llmeval.backends.databricks.suite import pack_suite
from pytest_llmeval.backends.databricks.wheel import DISTRIBUTION
from pytest_llmeval.backends.databricks.wheel import own_wheel
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.provenance import SOURCE
from pytest_llmeval.provenance import describe_source
from pytest_llmeval.provenance import read_provenance
from pytest_llmeval.records.jobs import asked_files


GIT = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
GIT += ("-c", "protocol.file.allow=always")


def git(folder, *arguments):
    subprocess.run((*GIT, *arguments), cwd=folder, check=True, capture_output=True)


def write(folder, **files):
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "project"
    write(folder, pytest_dot_ini="[pytest]\n", evals__test_a_dot_py="A = 1\n")
    return folder


@pytest.fixture
def checkout(folder):
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "suite")
    return folder


def packed(folder, *paths):
    return pack_suite(folder, paths or ("evals",), folder)


def names(suite):
    with tarfile.open(fileobj=io.BytesIO(suite.content)) as archive:
        return archive.getnames()


def test_archive_has_the_same_bytes_for_the_same_files(checkout, monkeypatch):
    first = packed(checkout)
    monkeypatch.setattr(time, "time", lambda: 1_000_000_000.0)
    for path in checkout.rglob("*.py"):
        os.utime(path, (1, 1))
        path.chmod(0o600)
    assert packed(checkout) == first
    assert names(first) == ["evals/test_a.py", "pytest.ini", SOURCE]
    write(checkout, evals__test_a_dot_py="A = 2\n")
    assert packed(checkout).name != first.name
    with tarfile.open(fileobj=io.BytesIO(packed(checkout).content)) as archive:
        source = json.load(archive.extractfile(SOURCE))
    assert source["dirty"] is True


def test_without_git_hidden_files_and_caches_stay_here(folder):
    write(
        folder,
        _dot_env="TOKEN=1",
        venv__x="",
        mlruns__x="",
        data__rows_dot_csv="a",
    )
    for name in (".hidden", "evals/__pycache__"):
        (folder / name).mkdir()
        (folder / name / "x").touch()
    suite = packed(folder)
    assert names(suite) == ["data/rows.csv", "evals/test_a.py", "pytest.ini", SOURCE]
    assert suite.untracked == ()


def test_files_of_submodules_go_and_untracked_ones_are_named(checkout, tmp_path):
    other = tmp_path / "other"
    write(other, rows_dot_csv="a")
    git(other, "init", "--quiet")
    git(other, "add", "--all")
    git(other, "commit", "--quiet", "--message", "rows")
    git(checkout, "submodule", "add", "--quiet", str(other), "evals/data")
    write(checkout, evals__new_dot_py="")
    suite = packed(checkout)
    assert "evals/data/rows.csv" in names(suite)
    assert suite.untracked == ("evals/new.py",)


def test_links_inside_are_files_there_and_those_that_leave_are_refused(checkout):
    (checkout / "evals/link.py").symlink_to("test_a.py")
    git(checkout, "add", "--all")
    suite = packed(checkout)
    with tarfile.open(fileobj=io.BytesIO(suite.content)) as archive:
        assert archive.getmember("evals/link.py").isfile()
        assert archive.extractfile("evals/link.py").read() == b"A = 1\n"
    (checkout / "evals/out.txt").symlink_to("/etc/hostname")
    git(checkout, "add", "--all")
    with pytest.raises(ConfigurationError, match=r"'evals/out.txt' .* leads out of it"):
        packed(checkout)


def test_a_root_without_ini_file_and_git_is_refused(folder):
    (folder / "pytest.ini").unlink()
    with pytest.raises(ConfigurationError, match="which has no ini file and is no"):
        packed(folder)


def test_wheel_is_the_same_each_time_and_installs(tmp_path):
    wheel = own_wheel()
    assert own_wheel() == wheel
    path, site = tmp_path / wheel.name, tmp_path / "site"
    path.write_bytes(wheel.content)
    pip = (sys.executable, "-m", "pip", "install", "--quiet", "--no-index")
    subprocess.run((*pip, "--no-deps", "--target", site, path), check=True)
    (found,) = importlib.metadata.distributions(name=DISTRIBUTION, path=[str(site)])
    assert wheel.name.split("-")[1] == found.version
    points = {point.name: point.value for point in found.entry_points}
    assert points["llmeval-job"] == "pytest_llmeval.job:main"
    assert "pytest11" in {point.group for point in found.entry_points}
    recorded = {str(file): file.hash for file in found.files}
    with zipfile.ZipFile(path) as archive:
        assert set(archive.namelist()) <= set(recorded)
    package = [name for name in recorded if name.startswith("pytest_llmeval/")]
    assert "pytest_llmeval/py.typed" in package
    endings = {name.rpartition(".")[2] for name in package}
    assert {"py", "html", "css"} <= endings
    root = Path(pytest_llmeval.__file__).parent
    here = {
        path.relative_to(root.parent).as_posix()
        for path in root.rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }
    assert {name for name in package if not name.endswith(".pyc")} == here


def test_commit_is_that_of_git_then_of_the_file_then_of_the_environment(
    checkout, tmp_path, monkeypatch
):
    for name in ("GITHUB_SHA", "CI", "GIT_COMMIT"):
        monkeypatch.delenv(name, raising=False)
    commit = read_provenance(checkout).commit
    sent = tmp_path / "sent"
    sent.mkdir()
    assert read_provenance(sent).commit is None
    monkeypatch.setenv("GITHUB_SHA", "of-the-environment")
    assert read_provenance(sent).commit == "of-the-environment"
    assert read_provenance(sent).dirty is True
    (sent / SOURCE).write_text(json.dumps(describe_source(checkout)))
    known = read_provenance(sent)
    assert (known.commit, known.dirty) == (commit, False)
    (checkout / SOURCE).write_text(
        json.dumps({"commit": "x", "branch": "b", "dirty": False, "place": {}})
    )
    assert read_provenance(checkout).commit == commit


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"commit": "x", "branch": "b"}'])
def test_a_broken_file_says_nothing_of_a_clean_commit(tmp_path, monkeypatch, text):
    monkeypatch.setenv("GITHUB_SHA", "abc")
    (tmp_path / SOURCE).write_text(text)
    known = read_provenance(tmp_path)
    assert (known.commit, known.dirty) == ("abc", True)


def test_reports_that_are_asked_for_are_found_in_either_form():
    given = ["-n", "2", "--junitxml=a.xml", "--llmeval-html", "b.html", "-q"]
    assert asked_files(given) == [("a.xml", True), ("b.html", False)]
    for hostile in ("/a.xml", "../a.xml", "a/../../b.xml", ""):
        with pytest.raises(ConfigurationError, match="gone after the job"):
            asked_files(["--junit-xml", hostile])
    with pytest.raises(ConfigurationError, match="gone after the job"):
        asked_files(["--llmeval-markdown"])
