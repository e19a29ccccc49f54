"""`llmeval databricks` where a run, an archive or a token is not what it seems."""

import signal
import tarfile

import pytest

from pytest_llmeval.backends.databricks import watching
from pytest_llmeval.cli import main
from tests.databricks.storage import VOLUME

from .remote import RUN_ID
from .remote import SENT
from .remote import leave
from .remote import start


GREEN = {"exit_status": 0, "run_id": RUN_ID}
TIMES = ("--cron", "0 0 6 * * ?", "--timezone", "Europe/Berlin")
SET = ("databricks", "schedule", "set", "nightly", *TIMES, "--volume", VOLUME)
RUN_NOW = ("databricks", "schedule", "run", "nightly")
RED = "def test_qa():\n    assert False\n"


@pytest.fixture
def sent(suite, workspace, monkeypatch):
    suite.commit()
    monkeypatch.chdir(suite.path)
    workspace.jobs.work = leave(workspace, GREEN)
    return suite


@pytest.mark.parametrize(
    ("text", "more"),
    [
        (None, ("--", "-k", "other")),
        (None, ("--install", "pluggy>=1")),
        (RED, ()),
    ],
    ids=["other arguments", "another requirement", "other code"],
)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_token_does_not_turn_something_else_green(
    sent, workspace, capsys, text, more, moment
):
    once = (*SENT, "--token", "build-7")
    assert main([*once]) == 0
    if text is not None:
        sent.write("evals/test_qa.py", text)
    if moment == "after":  # the first look at the run fails
        workspace.faults["GET", "runs/get"] = [403]
    assert main([*once, *more]) == 1
    assert "has started the run 103 before, with another suite" in (
        capsys.readouterr().err
    )
    assert len(workspace.jobs.started) == 1


def test_schedule_that_was_changed_runs_again_in_the_same_attempt_of_ci(
    sent, workspace, monkeypatch
):
    monkeypatch.setenv("GITHUB_RUN_ID", "7")
    assert main([*SET]) == 0
    for _ in range(2):
        assert main([*RUN_NOW]) == 0
    assert len(workspace.jobs.started) == 1
    assert main([*SET, "--", "-k", "other"]) == 0
    assert main([*RUN_NOW]) == 0
    assert len(workspace.jobs.started) == 2


def test_token_does_not_turn_a_changed_schedule_green(sent, workspace, capsys):
    run = (*RUN_NOW, "--token", "build-7")
    assert main([*SET]) == 0
    assert main([*run]) == 0
    assert main([*SET, "--", "-k", "other"]) == 0
    assert main([*run]) == 1
    assert "has started the run 103 before" in capsys.readouterr().err


def test_archive_whose_link_leads_to_another_run_is_refused(sent, workspace):
    other = sent.path / ".llmeval/runs/20260101-000000-000000"
    other.mkdir(parents=True)
    (other / "verdict.json").write_text("kept")
    link = tarfile.TarInfo("run/junit.xml")
    link.type, link.linkname = tarfile.SYMTYPE, f"../{other.name}/verdict.json"
    members = {"run/verdict.json": b"{}", link.name: link}
    workspace.jobs.work = leave(workspace, GREEN, members=members)
    assert main([*SENT]) == 13
    assert (other / "verdict.json").read_text() == "kept"


def test_what_a_workspace_calls_a_page_is_shown_as_text(
    sent, workspace, capsys, monkeypatch
):
    monkeypatch.setattr(workspace.jobs, "url", "http://x/\x1b]0;owned\x07\n::error::")
    assert main([*SENT]) == 0
    told = capsys.readouterr().out
    assert "\x1b" not in told
    assert "\n::error" not in told


def test_checkout_that_git_does_not_read_is_not_sent_as_a_whole(
    sent, workspace, capsys
):
    (sent.path / ".git/HEAD").unlink()
    assert main([*SENT]) == 1
    assert "git does not say which files it tracks" in capsys.readouterr().err
    assert workspace.writes == []


@pytest.mark.parametrize("option", ["--install", "--experiment"])
def test_password_in_what_everybody_sees_is_not_sent(sent, workspace, capsys, option):
    assert main([*SENT, option, "tiny @ https://me:hunter22@host/tiny.zip"]) == 1
    told = capsys.readouterr().err
    assert "https://[redacted]@host/tiny.zip' holds a secret" in told
    assert workspace.writes == []


def test_user_of_a_key_is_no_secret(sent, workspace):
    tiny = "tiny @ git+ssh://git@github.com/o/tiny"
    assert main([*SENT, "--install", tiny]) == 0
    (environment,) = workspace.jobs.started[0].settings["environments"]
    assert tiny in environment["spec"]["dependencies"]


def _ended(workspace):
    return [run for run in workspace.jobs.started if run.stopped.wait(10)]


@pytest.mark.parametrize("last", ["wheel: ", "run 103: "])
def test_nobody_reads_what_is_said_and_no_run_goes_on(sent, workspace, last):
    workspace.jobs.work = "pending"
    process = start(sent, *SENT)
    while not process.stdout.readline().startswith(last):
        pass
    process.stdout.close()
    assert process.wait(60) != 0
    assert len(_ended(workspace)) == 1


def test_closed_terminal_ends_the_run(sent, workspace):
    workspace.jobs.work = "pending"
    # Whatever started these tests may ignore that signal, as nohup does.
    process = start(sent, *SENT, before=("env", "--default-signal=HUP"))
    while not process.stdout.readline().startswith("PENDING"):
        pass
    process.send_signal(signal.SIGHUP)
    process.communicate(timeout=60)
    assert process.returncode == 130
    assert len(_ended(workspace)) == 1


def test_end_of_a_log_is_shown_that_is_larger_than_memory(
    sent, workspace, capsys, monkeypatch
):
    monkeypatch.setattr(watching, "LONGEST_LOG", 100)
    log = b"".join(b"line %d\n" % number for number in range(1000))
    workspace.jobs.work = leave(workspace, GREEN, log=log)
    assert main([*SENT]) == 0
    told = capsys.readouterr().out
    assert f"| ({len(log) - 100:,} bytes are left out: {VOLUME}/runs/" in told
    assert "| line 999\n" in told
    assert "| line 500\n" not in told
