"""What llmeval gc removes, what it never removes, and what a kill leaves behind."""

import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from filelock import FileLock

from pytest_llmeval.claims import Owner
from pytest_llmeval.cli import main
from pytest_llmeval.errors import BaselineError
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.predictions import Predictions
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply
from pytest_llmeval.retention import Limits
from pytest_llmeval.retention import carry_out
from pytest_llmeval.retention import make_plan
from pytest_llmeval.services import Service
from pytest_llmeval.store import find_run
from pytest_llmeval.store import stored_run


DAY = 86_400.0


@pytest.fixture
def home(tmp_path):
    home = tmp_path / ".llmeval"
    (home / "runs").mkdir(parents=True)
    return home


@pytest.fixture
def llmeval(tmp_path, monkeypatch, capsys):
    """Run the command in tmp_path; return status, output lines and error text."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", io.StringIO())
    (tmp_path / "pytest.ini").touch()

    def llmeval(*arguments):
        status = main(["gc", *arguments])
        out, err = capsys.readouterr()
        return status, out.splitlines(), err

    return llmeval


def leave(home, name, days_old, *, rows=1_000, **verdict):
    """Write the folder of a run that ended so many days ago."""
    folder, ended_at = home / "runs" / name, time.time() - days_old * DAY
    folder.mkdir()
    document = {"run_id": name, "finished_at": ended_at, "gates": [], **verdict}
    (folder / "verdict.json").write_text(json.dumps(document), "utf-8")
    (folder / "results.jsonl").write_bytes(b"x" * rows)
    for path in (*folder.iterdir(), folder):
        os.utime(path, (ended_at, ended_at))
    return folder


def make_last(home, name):
    (home / "last").write_text(f"{name}\n", "utf-8")


def names(home):
    return sorted(path.name for path in (home / "runs").iterdir())


def planned(home, named=(), **limits):
    plan = make_plan(home, Limits(**limits), named)
    return {(one.kind, one.name) for one in plan.remove}, plan.kept


def store(home, days_old):
    """Store a prediction for each age in days."""
    with Predictions(home / "predictions.db", run_id="run") as predictions:
        for number, days in enumerate(days_old):
            key, text = bytes([number]) * 16, "x" * 10_000
            predictions.add(key, Prediction(reply=Reply(text=text)))
            predictions.commit()
            predictions._database.run(
                "UPDATE predictions SET stored_at = stored_at - ? WHERE key = ?",
                (days * DAY, key),
            )


def test_runs_older_than_an_age_go(home, llmeval):
    for name, days in (("old", 91), ("young", 89), ("now", 0)):
        leave(home, name, days)
    make_last(home, "now")
    status, out, _ = llmeval("--older-than", "90d", "--yes")
    assert status == 0
    assert out[0].split() == ["run", "old", "0.0", "MB", "91", "d", "old"]
    assert names(home) == ["now", "young"]
    assert not (home / "trash").exists()


def test_what_would_go_is_shown_and_asked_for(home, llmeval, monkeypatch):
    leave(home, "old", 91)
    status, out, _ = llmeval("--older-than", "90d", "--dry-run")
    assert (status, names(home)) == (0, ["old"])
    assert out[-1].startswith("to remove: 0.0 MB of 0.0 MB in ")
    status, _, err = llmeval("--older-than", "90d")
    assert (status, names(home)) == (1, ["old"])
    assert "Nobody is here to ask: say --yes" in err
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("builtins.input", lambda question: "n")
    status, out, _ = llmeval("--older-than", "90d")
    assert (status, out[-1], names(home)) == (1, "nothing was removed", ["old"])
    monkeypatch.setattr("builtins.input", lambda question: "y")
    assert llmeval("--older-than", "90d")[0] == 0
    assert names(home) == []


def test_the_ini_file_says_what_a_team_keeps(home, llmeval, tmp_path):
    leave(home, "old", 91)
    leave(home, "rows", 31)
    leave(home, "young", 1)
    ini = "[pytest]\nllmeval_keep_age = 90d\nllmeval_keep_rows_age = 30d\n"
    (tmp_path / "pytest.ini").write_text(ini, "utf-8")
    _, out, _ = llmeval("--json", "--yes")
    document = json.loads("\n".join(out))
    assert [(one["kind"], one["name"]) for one in document["remove"]] == [
        ("run", "old"),
        ("rows", "rows"),
    ]
    assert document["removed"] is True
    assert document["freed_bytes"] > 2_000
    assert names(home) == ["rows", "young"]


def test_no_limit_is_an_error_that_names_them(home, llmeval):
    status, _, err = llmeval("--yes")
    assert status == 1
    assert "nothing says what may go: give --older-than" in err


def test_machines_are_not_asked(home, llmeval):
    assert "--json asks nothing" in llmeval("--json", "--keep", "1")[2]


@pytest.mark.parametrize(
    "given", [("--older-than", "90"), ("--max-size", "5"), ("--keep", "-1")]
)
def test_an_amount_without_a_unit_is_refused(home, llmeval, given):
    with pytest.raises(SystemExit):
        llmeval(*given, "--dry-run")


@pytest.mark.parametrize("ini", ["llmeval_keep_age = 3", "llmeval_keep_size = 1 GB"])
def test_an_amount_of_the_ini_file_is_checked(home, llmeval, tmp_path, ini):
    (tmp_path / "pytest.ini").write_text(f"[pytest]\n{ini}\n", "utf-8")
    status, _, err = llmeval("--dry-run")
    assert status == 1
    assert ini.split()[0] in err


def test_a_folder_that_is_not_there_is_named(llmeval):
    status, _, err = llmeval("--keep", "1")
    assert status == 1
    assert "there is no folder" in err


def test_only_the_newest_runs_stay(home):
    for days in range(5):
        leave(home, f"r{days}", days)
    assert planned(home, keep=2)[0] == {("run", "r2"), ("run", "r3"), ("run", "r4")}


def test_the_newest_runs_stay_however_old(home):
    for days in (100, 101, 102):
        leave(home, f"r{days}", days)
    assert planned(home, keep=2, older_than_s=90 * DAY)[0] == {("run", "r102")}


def test_the_last_run_stays(home):
    leave(home, "old", 91)
    make_last(home, "old")
    removed, kept = planned(home, older_than_s=90 * DAY, rows_older_than_s=0.0)
    assert (removed, kept) == (set(), {"old": "it is the last run"})


def attempt(home, **entry):
    line = {"plans": [{"target": "t"}], "reason": "DEPLOYED", **entry}
    with (home / "deployments.jsonl").open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")


def test_what_was_deployed_stays_and_what_was_refused_goes(home):
    for name in ("live", "refused"):
        leave(home, name, 91)
    attempt(home, run_id="live")
    attempt(home, run_id="refused", plans=[], reason="VERDICT_FAILED")
    removed, kept = planned(home, older_than_s=90 * DAY)
    assert removed == {("run", "refused")}
    assert kept == {"live": "a deployment names it"}


def test_a_run_that_was_deployed_elsewhere_says_so_itself(home):
    for name, reason in (("live", "DEPLOYED"), ("planned", "DRY_RUN")):
        folder = leave(home, name, 91)
        books = {"reason": reason, "plans": [{"target": "t"}]}
        (folder / "deployment.json").write_text(json.dumps(books), "utf-8")
    assert planned(home, older_than_s=90 * DAY)[0] == {("run", "planned")}


def test_what_a_broken_deployment_leads_to_stays(home):
    folder = leave(home, "broken", 91)
    books = {"schema": 2, "reason": "APPLYING", "run_id": "r", "plans": []}
    (folder / "deployment.json").write_text(json.dumps(books), "utf-8")
    (home / "deploying").write_text(f"{folder / 'deployment.json'}\n", "utf-8")
    assert planned(home, older_than_s=90 * DAY)[0] == set()


def test_nothing_goes_while_the_books_of_a_deployment_cannot_be_read(home):
    leave(home, "old", 91)
    (home / "deploying").write_text("/nowhere/deployment.json\n", "utf-8")
    with pytest.raises(ConfigurationError, match="its books"):
        planned(home, older_than_s=90 * DAY)


@pytest.mark.parametrize("content", ['{"schema": 1, "status": "pending"}', "{"])
def test_what_mlflow_does_not_have_yet_stays(home, content):
    (leave(home, "old", 91) / "tracking.json").write_text(content, "utf-8")
    (leave(home, "done", 91) / "tracking.json").write_text(
        '{"schema": 1, "status": "done"}', "utf-8"
    )
    removed, kept = planned(home, older_than_s=90 * DAY)
    assert removed == {("run", "done")}
    assert kept == {"old": "it is to be uploaded: llmeval sync"}


def test_a_run_that_goes_on_stays(home):
    folder = leave(home, "old", 91)
    owner = Owner(folder / "running")
    owner.begin()
    assert planned(home, keep=0)[1] == {"old": "it is running"}
    owner.end()
    assert planned(home, keep=0)[0] == {("run", "old")}


def test_a_run_whose_service_lives_stays(home):
    folder = leave(home, "old", 91) / "services"
    folder.mkdir()
    service = Service(folder, "spark-x")
    assert service.begin()
    assert planned(home, keep=0)[1] == {"old": "it is running"}
    service._life.release()
    assert planned(home, keep=0)[0] == {("run", "old")}


def test_a_run_without_an_end_stays_for_a_day(home):
    folder = leave(home, "killed", 2, finished_at=None)
    assert planned(home, keep=0)[0] == {("run", "killed")}
    (folder / "budget.db").touch()
    assert planned(home, keep=0)[1] == {"killed": "it is running"}


def test_the_baseline_of_a_run_that_stays_does_too(home):
    leave(home, "older", 93)
    leave(home, "base", 92, gates=[{"compared": {"run_id": "older"}}])
    leave(home, "young", 1, gates=[{"compared": {"run_id": "base"}}, {}])
    removed, kept = planned(home, older_than_s=90 * DAY, rows_older_than_s=30 * DAY)
    assert removed == {("run", "older")}
    assert kept == {"base": "it is the baseline of young"}


def test_a_baseline_that_the_manifest_names_stays(home, llmeval, tmp_path):
    leave(home, "base", 92)
    leave(home, "other", 92)
    leave(home, "old", 92)
    (tmp_path / "evals").mkdir()
    entry = '[[gate]]\ntest = "t"\nmetric = "m"\nop = ">="\nbaseline = "{}"\n'
    text = "schema = 1\n" + entry.format("base") + entry.format(".llmeval/runs/other")
    (tmp_path / "evals" / "gates.toml").write_text(text, "utf-8")
    assert llmeval("--older-than", "90d", "--yes")[0] == 0
    assert names(home) == ["base", "other"]


def test_rows_go_and_the_verdict_stays(home, llmeval):
    folder = leave(home, "old", 31)
    (folder / "report.html").write_text("rows too", "utf-8")
    (folder / "deployment.json").write_text("{}", "utf-8")
    verdict = (folder / "verdict.json").read_bytes()
    assert llmeval("--rows-older-than", "30d", "--yes")[0] == 0
    left = {path.name for path in folder.iterdir()}
    assert left == {"verdict.json", "deployment.json", "rows-removed"}
    assert (folder / "verdict.json").read_bytes() == verdict
    assert find_run(home, "old") is None
    _, out, _ = llmeval("--rows-older-than", "30d", "--yes")
    assert out[-1].startswith("nothing to remove")


def test_the_folder_is_made_to_fit_by_rows_then_runs_then_predictions(home):
    for name, days in (("a", 3), ("b", 2), ("c", 1)):
        leave(home, name, days, rows=1_000_000)
    make_last(home, "c")
    store(home, [0] * 30)
    total = make_plan(home, Limits(keep=9)).total_bytes
    assert total > 3_300_000
    cases = {
        total: [],
        total - 500_000: [("rows", "a")],
        total - 1_500_000: [("rows", "a"), ("rows", "b")],
        total - 2_000_100: [("rows", "b"), ("run", "a")],
        1_100_000: [("run", "a"), ("run", "b"), ("predictions", "predictions.db")],
    }
    for most, wanted in cases.items():
        plan = make_plan(home, Limits(max_bytes=most))
        assert [(one.kind, one.name) for one in plan.remove] == wanted
    carry_out(home, Limits(max_bytes=1_100_000), plan)
    assert names(home) == ["c"]
    assert 1_000_000 < make_plan(home, Limits(keep=9)).total_bytes <= 1_150_000


def test_old_predictions_go_and_newer_ones_stay(home, llmeval):
    store(home, [100, 95, 1])
    _, out, _ = llmeval("--older-than", "90d", "--yes")
    assert out[0].endswith("2 predictions older than 90 d")
    with Predictions(home / "predictions.db", run_id="run") as predictions:
        found = predictions.find([bytes([number]) * 16 for number in range(3)])
    assert list(found) == [bytes([2]) * 16]


def table(home, answers, run_id, days_old):
    """Leave a table of rows that Spark has written, beside the answers behind it."""
    place = home / "spark" / answers / "scores" / f"{run_id}-0123abcd"
    place.mkdir(parents=True)
    (place / "part.parquet").write_bytes(b"x" * 5_000)
    at = time.time() - days_old * DAY
    for path in (place / "part.parquet", *place.relative_to(home).parents):
        os.utime(home / path, (at, at))
    os.utime(place, (at, at))
    return place


def test_rows_in_spark_go_with_their_run_and_answers_when_nothing_needs_them(home):
    leave(home, "20260101-000000-aaaaaa", 91)
    leave(home, "20260301-000000-bbbbbb", 31)
    first = table(home, "k1", "20260101-000000-aaaaaa", 91)
    second = table(home, "k2", "20260301-000000-bbbbbb", 91)
    limits = Limits(older_than_s=90 * DAY)
    plan = make_plan(home, limits)
    assert {(one.kind, one.name) for one in plan.remove} == {
        ("run", "20260101-000000-aaaaaa"),
        ("answers", "k1"),
    }
    carry_out(home, limits, plan)
    assert not first.parent.parent.exists()
    assert second.exists()
    limits = Limits(rows_older_than_s=30 * DAY)
    carry_out(home, limits, make_plan(home, limits))
    assert not second.exists()


def test_no_link_is_followed(home, tmp_path):
    outside = leave_outside(tmp_path)
    (home / "runs" / "linked").symlink_to(outside)
    inner = leave(home, "old", 91)
    (inner / "link").symlink_to(outside)
    (home / "spark").symlink_to(outside)
    limits = Limits(keep=0)
    plan = make_plan(home, limits)
    assert {one.name for one in plan.remove} == {"old"}
    assert plan.total_bytes < 100_000
    carry_out(home, limits, plan)
    assert names(home) == ["linked"]
    assert len(list(outside.rglob("*"))) == 3


def leave_outside(tmp_path):
    outside = tmp_path / "outside"
    (outside / "scores").mkdir(parents=True)
    (outside / "verdict.json").write_text('{"finished_at": 1}', "utf-8")
    (outside / "large").write_bytes(b"x" * 1_000_000)
    return outside


@pytest.mark.parametrize("name", ["runs", "trash"])
def test_a_folder_that_is_a_link_is_left_alone(home, tmp_path, name):
    outside = leave_outside(tmp_path)
    if name == "runs":
        (home / "runs").rmdir()
        (home / "runs").symlink_to(outside)
        assert planned(home, keep=0)[0] == set()
    else:
        leave(home, "old", 91)
        (home / "trash").symlink_to(outside)
        plan = make_plan(home, Limits(keep=0))
        with pytest.raises(ConfigurationError, match="is a link"):
            carry_out(home, Limits(keep=0), plan)
        assert names(home) == ["old"]
    assert len(list(outside.rglob("*"))) == 3


@pytest.mark.parametrize(
    "text",
    [
        "[]",
        "{",
        '{"finished_at": "x", "gates": 3}',
        '{"finished_at": NaN, "gates": [3, {"compared": []}]}',
        '{"finished_at": -1e400, "gates": [{"compared": {"run_id": ["/"]}}]}',
        "[" * 100_000,
    ],
)
def test_a_verdict_that_says_anything_harms_nobody(home, text):
    folder = leave(home, "odd", 91)
    at = time.time() - 91 * DAY
    (folder / "verdict.json").write_text(text, "utf-8")
    os.utime(folder / "verdict.json", (at, at))
    leave(home, "old", 92)
    removed, _ = planned(home, older_than_s=90 * DAY)
    assert removed == {("run", "odd"), ("run", "old")}


def test_a_run_that_comes_to_be_needed_meanwhile_stays(home):
    leave(home, "old", 91)
    limits = Limits(older_than_s=90 * DAY)
    agreed = make_plan(home, limits)
    make_last(home, "old")
    assert carry_out(home, limits, agreed).remove == []
    assert names(home) == ["old"]


def test_what_nobody_agreed_to_stays(home):
    leave(home, "old", 91)
    limits = Limits(older_than_s=90 * DAY)
    agreed = make_plan(home, limits)
    leave(home, "later", 92)
    carry_out(home, limits, agreed)
    assert names(home) == ["later"]


def test_rows_that_were_removed_are_no_baseline_and_say_why(home):
    leave(home, "old", 31)
    limits = Limits(rows_older_than_s=DAY)
    carry_out(home, limits, make_plan(home, limits))
    run = stored_run(home / "runs" / "old")
    with pytest.raises(BaselineError, match="llmeval gc has removed its rows"):
        run.open_rows(1)


KILLED = """
import os, signal, sys
from pathlib import Path
from pytest_llmeval.retention import Limits, carry_out, make_plan
from pytest_llmeval.retention import remove

count = int(sys.argv[2])
def counting(event, args):
    global count
    if event in ("os.rename", "os.remove", "os.rmdir", "shutil.rmtree"):
        count -= 1
        if count < 0:
            os.kill(os.getpid(), signal.SIGKILL)
sys.addaudithook(counting)
home, limits = Path(sys.argv[1]), Limits(older_than_s=86_400.0 * 90,
    rows_older_than_s=86_400.0 * 30)
carry_out(home, limits, make_plan(home, limits))
"""


@pytest.mark.parametrize("steps", range(12))
def test_a_kill_at_any_step_leaves_whole_runs_or_none(home, steps):
    for number in range(3):
        leave(home, f"old{number}", 91)
    leave(home, "rows", 31)
    leave(home, "young", 1)
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(home), str(steps)], check=False, timeout=60
    )
    assert done.returncode == -signal.SIGKILL
    for run in (home / "runs").iterdir():
        left = {path.name for path in run.iterdir()}
        assert "verdict.json" in left
        assert "results.jsonl" in left or "rows-removed" in left
    limits = Limits(older_than_s=90 * DAY, rows_older_than_s=30 * DAY)
    carry_out(home, limits, make_plan(home, limits))
    assert names(home) == ["rows", "young"]
    assert not (home / "trash").exists()
    assert not (home / "runs" / "rows" / "results.jsonl").exists()


def test_what_a_killed_one_left_goes_with_the_next(home, llmeval):
    (home / "trash" / "old.00").mkdir(parents=True)
    status, out, _ = llmeval("--keep", "1", "--yes")
    assert status == 0
    assert out[0].startswith("trash")
    assert not (home / "trash").exists()


def test_several_at_once_do_no_harm(home):
    for number in range(40):
        leave(home, f"old{number:02}", 91)
    leave(home, "young", 1)
    script = "import sys; from pytest_llmeval.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", script, "gc", "--older-than", "90d", "--yes"]
    started = [
        subprocess.Popen(
            [*command, "--dir", str(home)],
            cwd=home.parent,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for _ in range(3)
    ]
    said = [one.communicate(timeout=100)[0] for one in started]
    assert [one.returncode for one in started] == [0, 0, 0], said
    assert names(home) == ["young"]


def test_a_deployment_keeps_it_away(home, monkeypatch):
    leave(home, "old", 91)
    monkeypatch.setattr("pytest_llmeval.retention.remove.WAIT_S", 0.1)
    plan = make_plan(home, Limits(keep=0))
    with (
        FileLock(home / "deploy.lock"),
        pytest.raises(ConfigurationError, match="a deployment has held"),
    ):
        carry_out(home, Limits(keep=0), plan)
    assert names(home) == ["old"]
    carry_out(home, Limits(keep=0), plan)
    assert names(home) == []


def test_the_folder_may_be_named(tmp_path, llmeval):
    other = tmp_path / "other"
    (other / "runs").mkdir(parents=True)
    leave(other, "old", 91)
    assert llmeval("--dir", str(Path("other")), "--keep", "0", "--yes")[0] == 0
    assert names(other) == []
