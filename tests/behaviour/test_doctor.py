"""`llmeval doctor` and the refusal of what is mistyped, as a user meets them."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from .conftest import ModelServer
from .conftest import Suite


HOOK = """\
from pytest_llmeval import CallableModel, hookimpl

print("hello from the suite")


def loud(prompt):
    return prompt.upper()


@hookimpl
def pytest_llmeval_load_model(model):
    if model == "ours:x":
        return CallableModel(loud, version="7")
"""
FILES = {
    "pytest.ini": "[pytest]\nllmeval_concurrency = 7\n",
    "pyproject.toml": "[tool.pytest.ini_options]\nllmeval_concurrency = 7\n",
    "tox.ini": "[pytest]\nllmeval_concurrency = 7\n",
    "setup.cfg": "[tool:pytest]\nllmeval_concurrency = 7\n",
}
REGISTER = """\
import sys
import mlflow
client = mlflow.MlflowClient(tracking_uri=sys.argv[1])
client.create_registered_model("qa")
client.create_model_version("qa", "file:///nowhere")
client.set_registered_model_alias("qa", "candidate", "1")
"""


def diagnose(suite: Suite, *arguments: str) -> tuple[int, dict[str, Any]]:
    result = suite.llmeval("doctor", "--json", *arguments)
    assert not result.errlines
    document: dict[str, Any] = json.loads("\n".join(result.outlines))
    return int(result.ret), document


def setting(document: dict[str, Any], name: str) -> tuple[str, str]:
    """Return value and source."""
    line = next(line for line in document["settings"] if line["name"] == name)
    return line["value"], line["source"]


def finding(document: dict[str, Any], subject: str) -> dict[str, str]:
    found: dict[str, str]
    found = next(one for one in document["findings"] if one["subject"] == subject)
    return found


def contents(folder: Path) -> dict[Path, Any]:
    return {
        path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes())
        for path in folder.rglob("*")
    }


@pytest.fixture(autouse=True)
def _no_databricks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DATABRICKS_HOST", raising=False)
    monkeypatch.delenv("PYTEST_ADDOPTS", raising=False)
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))


@pytest.mark.parametrize("name", FILES)
def test_settings_come_from_the_ini_file_that_pytest_reads(
    suite: Suite, name: str
) -> None:
    (suite.path / "pytest.ini").unlink()
    suite.write(name, FILES[name])
    status, document = diagnose(suite, "evals")
    assert (status, document["status"]) == (0, "note")
    assert document["rootdir"] == str(suite.path)
    assert document["inifile"] == str(suite.path / name)
    assert setting(document, "llmeval_concurrency") == ("7", name)
    assert setting(document, "llmeval_attempts") == ("3", "default")


def test_another_ini_file_and_rootdir_can_be_named(suite: Suite) -> None:
    suite.write("ci/slow.ini", "[pytest]\nllmeval_timeout = 90\n")
    _, document = diagnose(suite, "-c", "ci/slow.ini", "--rootdir", "ci")
    assert document["rootdir"] == str(suite.path / "ci")
    assert setting(document, "llmeval_timeout") == ("90", "slow.ini")
    assert setting(document, "llmeval_confidence") == ("none", "default")


def test_a_setting_names_which_of_its_places_won(
    suite: Suite, monkeypatch: pytest.MonkeyPatch
) -> None:
    ini = "[pytest]\naddopts = --llmeval-attempts 4 --llmeval-early-stop\n"
    suite.write("pytest.ini", f"{ini}llmeval_concurrency = 1\nllmeval_timeout = 2\n")
    monkeypatch.setenv("PYTEST_ADDOPTS", "--llmeval-max-requests=9")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{suite.path}/m.db")
    _, document = diagnose(
        suite, "--llmeval-concurrency=8", "-o", "llmeval_timeout=5", "--llmeval-require"
    )
    for name, expected in {
        "llmeval_concurrency": ("8", "--llmeval-concurrency on the command line"),
        "--llmeval-require": ("on", "--llmeval-require on the command line"),
        "llmeval_timeout": ("5", "-o"),
        "llmeval_attempts": ("4", "--llmeval-attempts in addopts"),
        "llmeval_early_stop": ("on", "--llmeval-early-stop in addopts"),
        "llmeval_max_requests": ("9", "--llmeval-max-requests in PYTEST_ADDOPTS"),
        "llmeval_tracking": (
            f"sqlite:///{suite.path}/m.db",
            "MLFLOW_TRACKING_URI in the environment",
        ),
    }.items():
        assert setting(document, name) == expected


def test_a_model_of_the_suites_own_hook_loads_and_its_output_is_no_trouble(
    suite: Suite,
) -> None:
    suite.write("conftest.py", HOOK)
    status, document = diagnose(suite, "--llmeval-model", "ours:x")
    assert status == 0
    text = finding(document, "model")["text"]
    assert text == "ours:x is python:conftest:loud/7"


def test_an_unknown_model_is_a_problem(suite: Suite) -> None:
    status, document = diagnose(suite, "--llmeval-model", "ggfu:smollm2")
    assert (status, document["status"]) == (1, "problem")
    found = finding(document, "model")
    assert found["status"] == "problem"
    assert "unknown model scheme" in found["text"]
    assert "did you mean 'gguf:'?" in found["text"]


def test_a_model_server_is_never_asked_for_a_completion(
    suite: Suite, model_server: ModelServer
) -> None:
    suite.ask(model_server)
    status, document = diagnose(suite)
    assert (status, finding(document, "model")["status"]) == (0, "ok")
    assert model_server.requests == []


def test_a_registered_model_is_resolved_and_no_store_is_made(suite: Suite) -> None:
    candidate = ("--llmeval-model", "models:/qa@candidate")
    status, document = diagnose(suite, *candidate)
    assert status == 1
    assert "mlflow.db yet" in finding(document, "model")["text"]
    assert not (suite.path / "mlflow.db").exists()
    uri = f"sqlite:///{suite.path / 'mlflow.db'}"
    command = (sys.executable, "-c", REGISTER, uri)
    subprocess.run(command, check=True, capture_output=True, cwd=suite.path)
    before = contents(suite.path)
    status, document = diagnose(suite, *candidate)
    assert status == 0
    text = finding(document, "model")["text"]
    assert text == "models:/qa@candidate is models:/qa/1"
    assert contents(suite.path) == before


def test_nothing_is_written(suite: Suite, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    assert suite.run().ret == 0
    for compiled in list(suite.path.rglob("__pycache__")):
        shutil.rmtree(compiled)
    before = contents(suite.path)
    result = suite.llmeval("doctor", "evals", "--llmeval-tracking", "auto")
    assert result.ret == 0
    result.stdout.fnmatch_lines(["ok * store * 40 predictions, *"])
    assert contents(suite.path) == before


@pytest.mark.parametrize("form", [(), ("--json",)])
def test_no_secret_is_shown(
    suite: Suite, monkeypatch: pytest.MonkeyPatch, form: tuple[str, ...]
) -> None:
    for name in ("OPENAI_API_KEY", "DATABRICKS_TOKEN", "LLMEVAL_SIGNING_KEY"):
        monkeypatch.setenv(name, "canary-12345678")
    monkeypatch.setenv("SPARK_REMOTE", "sc://127.0.0.1:1/;token=canary-12345678")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://me:canary-pass@127.0.0.1:1")
    monkeypatch.setenv("DATABRICKS_HOST", "http://me:canary-pass@127.0.0.1:1")
    suite.write("evals/conftest.py", "raise ValueError('canary-12345678')\n")
    for model in ("http://me:canary-pass@127.0.0.1:1/v1", "x:canary-12345678"):
        for paths in (("evals",), ("--noconftest",)):
            options = ("--llmeval-tracking", "auto", "--llmeval-model", model)
            result = suite.llmeval("doctor", *form, *paths, *options)
            assert result.ret == 1
            assert "canary" not in str(result.outlines) + str(result.errlines)
            assert "OPENAI_API_KEY" in str(result.outlines)


def test_text_has_a_status_on_each_line_and_says_what_to_do(suite: Suite) -> None:
    result = suite.llmeval("doctor", "--llmeval-model", "gguf:nowhere.gguf")
    assert result.ret == 1
    result.stdout.fnmatch_lines(
        [
            f"rootdir  {suite.path}",
            "inifile  */pytest.ini",
            "ok       llmeval_confidence * 0.95 *pytest.ini",
            "problem  model * no model file *",
            "         * next: *",
            "1 problem, * note*",
        ]
    )
    starts = {line[:9].strip() for line in result.outlines[2:-1]}
    assert starts == {"ok", "note", "problem", ""}


def test_a_value_that_is_not_allowed_is_a_problem_with_its_place(suite: Suite) -> None:
    suite.set_ini(llmeval_attempts="many")
    for arguments, text, place in (
        ((), "llmeval_attempts = 'many' is not a whole number", "pytest.ini"),
        (
            ("--llmeval-attempts", "0"),
            "--llmeval-attempts = '0' must be at least 1",
            "--llmeval-attempts on the command line",
        ),
    ):
        status, document = diagnose(suite, *arguments)
        found = finding(document, "settings")
        assert (status, found["text"]) == (1, text)
        assert found["next"] == f"correct it: {place}"


def test_what_pytest_says_is_passed_on(suite: Suite) -> None:
    suite.write("conftest.py", "import nowhere_to_be_found\n")
    status, document = diagnose(suite)
    assert status == 1
    found = finding(document, "settings")
    assert "No module named 'nowhere_to_be_found'" in found["text"]
    assert document["settings"] == []
    assert finding(document, "git")["status"] == "note"


def test_a_blocked_plugin_is_a_problem(suite: Suite) -> None:
    suite.write("pytest.ini", "[pytest]\n")
    status, document = diagnose(suite, "-p", "no:pytest_llmeval.pytest_plugin")
    assert status == 1
    text = finding(document, "settings")["text"]
    assert text.startswith("pytest does not load the plugin")


MISTYPED = [
    ("llmeval_confidense = 0.95", "did you mean 'llmeval_confidence'?"),
    ("llmeval_require = true", "for the command line only: --llmeval-require"),
    ("llmeval-cache = on", "did you mean 'llmeval_cache'?"),
    ("llmeval_xyzzy = 1", "the ini values are: llmeval_attempts, "),
]


@pytest.mark.parametrize(("line", "hint"), MISTYPED)
def test_an_ini_value_that_nobody_knows_is_refused_before_any_test(
    suite: Suite, line: str, hint: str
) -> None:
    suite.write("pytest.ini", f"[pytest]\n{line}\n")
    result = suite.run()
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    name = line.partition(" ")[0]
    said = f"llmeval: {name} in {suite.path / 'pytest.ini'} is not an ini value"
    assert said in str(result.stderr)
    assert hint in str(result.stderr)
    assert not (suite.path / ".llmeval").exists()
    status, document = diagnose(suite)
    assert status == 1
    assert hint in finding(document, "settings")["text"]


def test_an_unknown_value_of_minus_o_is_refused(suite: Suite) -> None:
    result = suite.run("evals", "-o", "llmeval_confidense=0.9")
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines(
        ["*llmeval: llmeval_confidense in -o is not an ini value; did you mean*"]
    )


def test_an_ini_value_of_another_plugin_is_left_alone(suite: Suite) -> None:
    suite.write(
        "conftest.py",
        "def pytest_addoption(parser):\n    parser.addini('llmeval_judge', 'ours')\n",
    )
    suite.set_ini(llmeval_judge="x")
    assert suite.run("-W", "error").ret == 0


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("--llmeval-modle=x", "  --llmeval-modle: did you mean '--llmeval-model'?"),
        (
            "--llmeval-confidence=0.9",
            "  --llmeval-confidence: it is an ini value: -o llmeval_confidence=VALUE",
        ),
    ],
)
def test_a_mistyped_option_is_refused_with_what_may_be_meant(
    suite: Suite, option: str, hint: str
) -> None:
    result = suite.run("evals", option)
    assert result.ret == pytest.ExitCode.USAGE_ERROR
    assert hint in result.errlines


def test_an_option_of_another_plugin_is_left_alone(suite: Suite) -> None:
    suite.write(
        "conftest.py",
        "def pytest_addoption(parser):\n    parser.addoption('--llmeval-modle')\n",
    )
    assert suite.run("evals", "--llmeval-modle=x").ret == 0
