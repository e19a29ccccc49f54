"""Plugins of a project veto runs and take part in deployments, and are never missed."""

import shutil

import pytest

from .registry import aliases


pytestmark = pytest.mark.filterwarnings("ignore")
TARGET = ("--target", "registry:qa@champion")
DEPLOY = ("evals", "--llmeval-deploy", "registry:qa@champion")
VETO = """\
import pytest


def pytest_llmeval_gate(verdict):
    verdict["status"] = "pass"
    verdict["gates"].clear()
    return {said}
"""
HOOK = """\
from pathlib import Path


def pytest_llmeval_deploy(verdict, plan):
    line = verdict["run_id"] + " " + plan[0].summary
    Path("deployed.txt").write_text(line)
    {then}
"""


def add_module(project, text):
    """Write a module that the ini value llmeval_plugins names."""
    ini = (project.path / "pytest.ini").read_text()
    ini += "pythonpath = .\nllmeval_plugins = acme_deploys\n"
    project.write("pytest.ini", ini)
    project.write("acme_deploys.py", text)
    project.commit()


@pytest.mark.parametrize(
    ("said", "messages"),
    [
        ("'the freeze lasts until Monday'", ["the freeze lasts until Monday"]),
        ("['one', 'two']", ["one", "two"]),
        ("True", ["True is neither a sentence nor None"]),
        ("1 / 0", ["it failed: ZeroDivisionError: division by zero"]),
        ("exit(0)", ["it failed: SystemExit: 0"]),
        ("pytest.fail('too risky')", ["it failed: Failed: too risky"]),
    ],
)
def test_veto_blocks_a_verdict_that_passes(project, said, messages):
    add_module(project, VETO.format(said=said))
    result = project.run(*DEPLOY)
    assert result.ret == 1
    verdict = project.verdict
    assert (verdict["status"], verdict["reason"]) == ("fail", "VETOED")
    assert verdict["detail"] == f"acme_deploys: {messages[0]}"
    assert verdict["vetoes"] == [
        {"plugin": "acme_deploys", "message": message} for message in messages
    ]
    assert len(verdict["gates"]) == 1, "a copy was given"
    result.stdout.fnmatch_lines(
        [f"veto of acme_deploys: {message}" for message in messages]
    )
    assert project.deployment["reason"] == "VETOED"
    assert aliases(project) == {"candidate": 1}


def test_veto_without_a_deployment_leaves_the_exit_status(project):
    add_module(project, VETO.format(said="'no'"))
    assert project.run("evals").ret == 0
    assert project.run("evals", "--llmeval-require").ret == 1
    assert project.llmeval("deploy", "apply", "--yes", *TARGET).ret == 10
    assert project.deployment["reason"] == "VETOED"


def test_veto_never_makes_a_verdict_pass(project):
    source = (project.path / "evals/data.jsonl").read_text()
    project.write("evals/data.jsonl", source.replace("WORD", "other"))
    add_module(project, VETO.format(said="'no'"))
    project.run(*DEPLOY)
    assert project.verdict["reason"] == "GATE_FAILED"
    assert project.verdict["vetoes"] == [{"plugin": "acme_deploys", "message": "no"}]


def test_hook_is_called_by_the_run_and_by_the_command(project):
    add_module(project, HOOK.format(then="pass"))
    assert project.run(*DEPLOY).ret == 0
    path = project.path / "deployed.txt"
    run = f"{project.run_directory.name} registry:qa@champion"
    assert path.read_text() == f"{run}: nothing -> version 1"
    assert project.verdict["deploy_hooks"] == ["acme_deploys"]
    path.unlink()
    assert project.llmeval("deploy", "rollback", "--yes", *TARGET).ret == 0
    assert not path.exists(), "it is about deployments"
    assert project.llmeval("deploy", "apply", "--yes", *TARGET).ret == 0
    assert path.read_text() == f"{run}: nothing -> version 1"


def test_hook_that_raises_brings_the_alias_back(project):
    add_module(project, HOOK.format(then="raise RuntimeError('no capacity')"))
    result = project.run(*DEPLOY)
    assert result.ret == 11
    assert project.deployment["reason"] == "DEPLOY_FAILED"
    result.stdout.fnmatch_lines(
        ["not deployed: DEPLOY_FAILED: RuntimeError: no capacity; *back to nothing"]
    )
    assert aliases(project) == {"candidate": 1}
    calls = [call["call"] for call in project.deployment["calls"]]
    assert calls[-1] == "remove alias champion of qa"


def test_hook_of_a_conftest_is_missed_by_the_command(project):
    project.write("evals/conftest.py", HOOK.format(then="pass"))
    project.commit()
    assert project.run("evals").ret == 0
    result = project.llmeval("deploy", "apply", "--yes", *TARGET)
    assert result.ret == 10
    result.stdout.fnmatch_lines(
        ["not deployed: HOOK_MISSING: *evals/conftest.py*llmeval_plugins*"]
    )
    assert aliases(project) == {"candidate": 1}
    assert project.run(*DEPLOY).ret == 0, "the run itself has it"


def test_plugin_that_cannot_be_imported_is_a_usage_error(project):
    add_module(project, "import nowhere_to_be_found")
    result = project.run("evals")
    assert result.ret == 4
    result.stderr.fnmatch_lines(
        ["ERROR: llmeval: llmeval_plugins names 'acme_deploys'*pythonpath = .*"]
    )
    assert not (project.path / ".llmeval").exists()
    assert project.llmeval("deploy", "status", *TARGET).ret == 4


@pytest.mark.parametrize(
    ("source", "cause"),
    [
        ("import nowhere_to_be_found", "ModuleNotFoundError: No module named 'nowhere"),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("def broken(:", "SyntaxError: "),
    ],
)
def test_why_a_plugin_cannot_be_imported_is_said(suite, source, cause):
    suite.set_ini(pythonpath=".", llmeval_plugins="acme_deploys")
    suite.write("acme_deploys.py", source)
    result = suite.run("evals")
    assert result.ret == 4
    result.stderr.fnmatch_lines([f"ERROR: llmeval: llmeval_plugins *({cause}*"])


SKIPPED = "import pytest\n\npytest.importorskip('nowhere_to_be_found')\n"


@pytest.mark.parametrize(
    ("source", "arguments"),
    [("", ("-p", "no:acme_deploys")), (SKIPPED, ()), (SKIPPED, ("-n", "2"))],
    ids=["blocked", "skipped", "skipped-workers"],
)
def test_plugin_that_is_not_loaded_is_a_usage_error(suite, source, arguments):
    suite.set_ini(pythonpath=".", llmeval_plugins="acme_deploys")
    suite.write("acme_deploys.py", source)
    result = suite.run("evals", *arguments)
    assert result.ret == 4
    result.stderr.fnmatch_lines(["ERROR: *names 'acme_deploys', which is not loaded*"])


def test_what_loads_the_plugins_cannot_be_blocked(suite):
    suite.set_ini(pythonpath=".", llmeval_plugins="acme_deploys")
    suite.write("acme_deploys.py", VETO.format(said="'no'"))
    suite.run("evals", "-p", "no:llmeval-plugins")
    assert suite.verdict["reason"] == "VETOED"


EARLY = """\
import os

assert "LLMEVAL_SIGNING_KEY" not in os.environ


def pytest_addoption(parser):
    parser.addoption("--acme")
"""


@pytest.mark.parametrize("workers", [(), ("-n", "2")])
def test_plugins_are_loaded_without_the_key_and_before_conftest(
    suite, monkeypatch, workers
):
    monkeypatch.setenv("LLMEVAL_SIGNING_KEY", "a long signing key")
    suite.set_ini(pythonpath=".", llmeval_plugins="acme_deploys")
    suite.write("acme_deploys.py", EARLY)
    conftest = (suite.path / "evals/conftest.py").read_text()
    suite.write("evals/conftest.py", f"import acme_deploys\n{conftest}")
    arguments = ("evals", "-W", "error::pytest.PytestWarning", "--acme", "1")
    assert suite.run(*arguments, *workers).ret == 0


@pytest.mark.parametrize("workers", [(), ("-n", "0"), ("-n", "2")])
@pytest.mark.parametrize(
    ("place", "arguments"),
    [("evals/sub/conftest.py", ("evals",)), ("evals/conftest.py", ("-q",))],
    ids=["in a subfolder", "of no folder named"],
)
def test_hooks_that_only_workers_know_block_as_they_do_without(
    suite, place, arguments, workers
):
    hooks = VETO.format(said="'no'") + HOOK.format(then="pass")
    before = suite.path / place
    known = before.read_text() if before.exists() else ""
    suite.write(place, f"{hooks}{known}")
    source = (suite.path / "evals/test_qa.py").read_text()
    suite.write("evals/sub/test_sub.py", source.replace("data.j", "../data.j"))
    suite.run(*arguments, *workers)
    verdict = suite.verdict
    assert verdict["reason"] == "VETOED"
    assert [veto["plugin"] for veto in verdict["vetoes"]] == [place]
    is_asked = workers != ("-n", "2")
    assert (verdict["vetoes"][0]["message"] == "no") == is_asked
    assert verdict["deploy_hooks"] == [place]


def test_workers_load_the_plugins_too(project):
    add_module(project, HOOK.format(then="pass"))
    shutil.rmtree(project.path / ".llmeval", ignore_errors=True)
    assert project.run(*DEPLOY, "-n", "2").ret == 0
    assert project.verdict["deploy_hooks"] == ["acme_deploys"]
    assert (project.path / "deployed.txt").exists()
