"""`llmeval databricks run` where the workspace fails, and where jobs leave nonsense."""

import json
import re
import tarfile

import pytest

from pytest_llmeval.backends.databricks import storage
from pytest_llmeval.backends.databricks import watching
from pytest_llmeval.cli import main
from pytest_llmeval.cli.databricks import following

from .remote import RUN_ID
from .remote import SENT
from .remote import leave
from .remote import packed


RUN = {"run/verdict.json": b"{}"}
GREEN = {"exit_status": 0, "run_id": RUN_ID}
COMMAND = re.compile(r"^\s*::|##\w*\[")


@pytest.fixture
def sent(suite, workspace, monkeypatch):
    """A committed suite; nobody waits for long, and jobs are green at once."""
    from databricks.sdk.clock import RealClock

    suite.commit()
    monkeypatch.chdir(suite.path)
    monkeypatch.setattr(storage, "PAUSES_S", (0.01, 0.01, 0.01))
    monkeypatch.setattr(watching, "SHORTEST_PAUSE_S", 0.02)
    monkeypatch.setattr(watching, "LOG_PAUSE_S", 0.02)
    monkeypatch.setattr(following, "ANSWER_S", 5.0)
    sleep = RealClock.sleep
    monkeypatch.setattr(RealClock, "sleep", lambda self, s: sleep(self, s / 50))
    workspace.jobs.work = leave(workspace, GREEN)
    return suite


ANY = (
    ("PUT", "/files"),
    ("PUT", ".tar.gz"),
    ("PUT", ".whl"),
    ("POST", "runs/submit"),
    ("GET", "runs/get"),
    ("GET", "result.json"),
    ("GET", "results.tar.gz"),
    ("GET", "junit.xml"),
)


@pytest.mark.parametrize("fault", [429, 503, 500, "drop", "lose"])
def test_each_request_is_repeated_after_a_passing_fault(sent, workspace, fault):
    for request in ANY:
        workspace.faults[request] = [fault]
    assert main([*SENT]) == 0
    assert not [key for key, faults in workspace.faults.items() if faults]
    (run,) = workspace.jobs.started
    assert run.state.result == "SUCCESS"
    assert sent.run_directory.name == RUN_ID


@pytest.mark.parametrize("fault", [401, 403])
@pytest.mark.parametrize("request_", ANY, ids=" ".join)
def test_a_refusal_is_told_and_leaves_no_run(sent, workspace, capsys, request_, fault):
    if request_[1] == "runs/get":
        workspace.jobs.work = "pending"
    workspace.faults[request_] = [fault] * 9
    assert main([*SENT]) == 13
    told = capsys.readouterr().out
    hint = "log in again" if fault == 401 else "these credentials need"
    assert f"a fault of {fault}; {hint}" in told
    for run in workspace.jobs.started:
        run.begun.wait(5)
    assert [run for run in workspace.jobs.active if not run.why_stopped] == []


def test_a_lost_submit_starts_one_run_and_an_endless_one_is_told(
    sent, workspace, capsys, monkeypatch
):
    workspace.faults["POST", "runs/submit"] = ["lose"] * 3
    assert main([*SENT]) == 0
    assert len(workspace.jobs.started) == 1
    workspace.faults["POST", "runs/submit"] = ["lose"] * 999
    monkeypatch.setattr(following, "ANSWER_S", 1.0)
    assert main([*SENT]) == 13
    told = capsys.readouterr().out
    found = re.search(r"with --token (\S+) finds it, or starts it", told)
    assert len(workspace.jobs.started) == 2
    workspace.faults.clear()
    assert main([*SENT, "--token", found[1]]) == 0
    assert len(workspace.jobs.started) == 2


@pytest.mark.parametrize(
    ("work", "words"),
    [
        ("fail", "FAILED: Workload failed, see run output for details"),
        ("timeout", "TERMINATED TIMEDOUT: Timed out."),
        ("cancel", "TERMINATED CANCELED: Run cancelled."),
        ("succeed", "TERMINATED SUCCESS"),
    ],
)
def test_a_run_without_a_result_is_status_13(sent, workspace, capsys, work, words):
    workspace.jobs.work = work
    assert main([*SENT]) == 13
    lines = capsys.readouterr().out.splitlines()
    assert words in lines[-1]
    assert "ended without a result" in lines[-1]
    assert f"see {workspace.url}/jobs/" in lines[-1]
    assert ("| RuntimeError: it failed" in lines) == (work == "fail")


def test_a_run_that_never_begins_is_cancelled_after_the_timeout(
    sent, workspace, capsys, monkeypatch
):
    workspace.jobs.work = "pending"
    wait = following.Following.wait
    monkeypatch.setattr(
        following.Following, "wait", lambda self, noted, _: wait(self, noted, 0.1)
    )
    assert main([*SENT]) == 13
    told = capsys.readouterr().out
    assert "it takes longer than 0 s; ending the run" in told
    assert "TERMINATED CANCELED" in told
    assert workspace.jobs.active == []


@pytest.mark.parametrize(
    "result",
    [
        b"",
        b'{"exit_sta',
        b"[]",
        b"\xff",
        b'"0"',
        b"0",
        {"exit_status": "0", "run_id": RUN_ID},
        {"exit_status": True, "run_id": RUN_ID},
        {"exit_status": False, "run_id": RUN_ID},
        {"exit_status": 0.0, "run_id": RUN_ID},
        {"exit_status": 256, "run_id": RUN_ID},
        {"exit_status": -1, "run_id": RUN_ID},
        {"exit_status": 0, "run_id": "../../x"},
        {"exit_status": 0, "run_id": 7},
        {"exit_status": None, "run_id": RUN_ID},
        {},
    ],
)
def test_what_is_no_result_is_status_13(sent, workspace, capsys, result):
    text = result if isinstance(result, bytes) else json.dumps(result).encode()
    workspace.jobs.work = leave(workspace, text)
    assert main([*SENT]) == 13
    assert not (sent.path / ".llmeval/runs").exists()
    told = capsys.readouterr().out
    assert "is not what a job has written" in told or "without a result" in told


def test_a_result_of_0_of_a_run_that_failed_is_not_green(sent, workspace, capsys):
    def work(run, task):
        leave(workspace, GREEN)(run, task)
        raise RuntimeError("afterwards")

    workspace.jobs.work = work
    assert main([*SENT]) == 13
    assert "the suite ended with 0, and the run did not: INTERNAL_ERROR FAILED" in (
        capsys.readouterr().out
    )


def _member(name, kind, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, target
    return member


@pytest.mark.parametrize(
    "members",
    [
        {"../escaped": b"x", **RUN},
        {"run/../../../escaped": b"x", **RUN},
        {"run": _member("run", tarfile.SYMTYPE, "/etc")},
        {"run": _member("run", tarfile.SYMTYPE, "../../../evals")},
        {"a/verdict.json": b"{}", "run": _member("run", tarfile.SYMTYPE, "a")},
        {"a": _member("a", tarfile.LNKTYPE, "/etc/hostname"), **RUN},
        {"run/verdict.json": _member("run/verdict.json", tarfile.CHRTYPE)},
        {"run": b"a file"},
        {"run/other": b"no verdict"},
        {"files/0": b"no run"},
        {},
    ],
    ids=lambda members: ",".join(members) or "empty",
)
def test_a_hostile_archive_writes_nothing(sent, workspace, capsys, members):
    before = sorted(sent.path.rglob("*"))
    runs = sent.path / ".llmeval/runs" / RUN_ID
    runs.mkdir(parents=True)
    (runs / "verdict.json").write_text("earlier")
    workspace.jobs.work = leave(workspace, GREEN, members=members)
    assert main([*SENT]) == 13
    told = capsys.readouterr().out
    assert "is not what a job has packed" in told or "has no run" in told
    assert (runs / "verdict.json").read_text() == "earlier"
    kept = [path for path in sent.path.rglob("*") if ".llmeval" not in path.parts]
    assert sorted(kept) == before
    assert not list(sent.path.parent.rglob("escaped*"))


def test_waiting_replaces_no_file_and_no_other_run(sent, workspace, capsys):
    members = {**RUN, "files/0": b"<of-the-job/>"}
    workspace.jobs.work = leave(workspace, GREEN, members=members)
    (sent.path / "junit.xml").write_text("mine")
    assert main([*SENT, "--detach", "--", "--junitxml=junit.xml"]) == 0
    wait = ["databricks", "wait", str(workspace.jobs.started[0].run_id)]
    assert main(wait) == 0
    assert (sent.path / "junit.xml").read_text() == "mine"
    assert "a report is not written" in capsys.readouterr().out
    (sent.path / "junit.xml").unlink()
    assert main(wait) == 0
    assert (sent.path / "junit.xml").read_text() == "<of-the-job/>"

    verdict = sent.run_directory / "verdict.json"
    verdict.write_text('{"of": "another"}')
    assert main(wait) == 1
    assert verdict.read_text() == '{"of": "another"}'
    assert f"{RUN_ID} is another run of that name" in capsys.readouterr().err


def test_torn_archive_is_told_and_a_large_one_taken(sent, workspace, capsys):
    whole = packed({"run/verdict.json": b"{}"})
    leaves = leave(workspace, GREEN)

    def work(run, task):
        leaves(run, task)
        (archive,) = workspace.storage.folder.rglob("results.tar.gz")
        archive.write_bytes(whole[: len(whole) // 2])

    workspace.jobs.work = work
    assert main([*SENT]) == 13
    assert "is not what a job has packed: " in capsys.readouterr().out
    rows = b'{"row": 1}\n' * 1_000_000
    members = {"run/verdict.json": b"{}", "run/results.jsonl": rows}
    workspace.jobs.work = leave(workspace, GREEN, members=members)
    assert main([*SENT]) == 0
    assert (sent.run_directory / "results.jsonl").stat().st_size == len(rows)


def test_lines_of_a_log_are_no_commands_of_the_terminal_or_of_github(
    sent, workspace, capsys
):
    log = b"\x1b[31mred\x1b]0;title\x07\n::error::x\n ##[add-mask]y\n\xff\xfe\n\r::z\n"
    workspace.jobs.work = leave(workspace, GREEN, log=log)
    assert main([*SENT]) == 0
    told = capsys.readouterr().out
    assert "red" in told
    assert "\x1b" not in told
    assert "\x07" not in told
    assert not [line for line in told.splitlines() if COMMAND.search(line)]


def test_no_word_for_long_is_status_13_and_leaves_the_run_alone(
    sent, workspace, capsys, monkeypatch
):
    monkeypatch.setattr(watching, "LOST_S", 0.5)
    monkeypatch.setattr(following, "ANSWER_S", 1.0)
    workspace.jobs.work = "pending"
    workspace.faults["GET", "runs/get"] = [500] * 99
    assert main([*SENT]) == 13
    told = capsys.readouterr().out
    (run,) = workspace.jobs.active
    assert "no answer, trying again: the run" in told
    assert f"Wait for it with: llmeval databricks wait {run.run_id}" in told
