"""`llmeval databricks run`: a suite that is really executed by the tests' workspace."""

import json
import tarfile
from typing import NamedTuple

import pytest

from tests.databricks.storage import VOLUME
from tests.databricks.surroundings import CLUSTER
from tests.databricks.workspace import Workspace

from .conftest import PASSING
from .conftest import Suite
from .conftest import as_on_a_laptop
from .remote import everything_kept
from .remote import head
from .remote import lasting
from .remote import outcomes
from .remote import send


# MLflow warns in many places, where a test makes its registry.
pytestmark = pytest.mark.filterwarnings("ignore")
TESTS = """\
import pytest

from pytest_llmeval import assert_metric


def test_quality(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match", "token_f1"])
    assert_metric(results, "exact_match", ">=", 0.9)
    assert_metric(results, "token_f1", ">=", 0.9)


@pytest.mark.parametrize("n", [1, "two [x]"])
def test_plain(n):
    assert n
"""
RED = PASSING.replace("0.9", "1.01")
EXITS = "def test_z():\n    raise SystemExit(0)\n"
DIES = "import os\n\ndef test_z():\n    os._exit(0)\n"
BREAKS = (
    "import os, sys\n\ndef test_z():\n    os.chdir('/')\n"
    "    sys.modules.clear()\n    assert 0\n"
)


class Both(NamedTuple):
    """The same suite run as a job and here, each with two workers."""

    there: Suite
    here: Suite
    workspace: Workspace
    done: pytest.RunResult
    files: list[str]
    """What the job and the command have left in the workspace."""


@pytest.fixture(scope="module")
def busy():
    """One workspace for all, which installs the wheel once."""
    workspace = Workspace()
    yield workspace
    workspace.close()


@pytest.fixture
def workspace(busy, monkeypatch):
    for name, value in busy.environment.items():
        monkeypatch.setenv(name, value)
    return busy


@pytest.fixture(scope="module")
def both(tmp_path_factory, busy):
    with pytest.MonkeyPatch.context() as patch:
        as_on_a_laptop(patch)
        there = Suite(tmp_path_factory.mktemp("there") / "project")
        there.write("evals/test_qa.py", TESTS)
        there.update_gates()
        there.write("evals/sub/test_more.py", "def test_more():\n    pass\n")
        there.commit()
        here = Suite(tmp_path_factory.mktemp("here") / "project")
        for path in ("evals/test_qa.py", "evals/gates.toml", "evals/sub/test_more.py"):
            here.write(path, (there.path / path).read_text())
        here.commit()
        asked = ("-n", "2", "--junitxml=out/report.xml")
        assert here.run("evals", *asked).ret == 0
        (there.path / "evals/notes.txt").touch()
        (there.path / "summary.md").touch()
        for name, value in busy.environment.items():
            patch.setenv(name, value)
        before = busy.storage.files("/")
        patch.setenv("GITHUB_STEP_SUMMARY", str(there.path / "summary.md"))
        done = send(there, "evals", "--", *asked)
        files = sorted({*busy.storage.files("/")} - {*before})
    return Both(there=there, here=here, workspace=busy, done=done, files=files)


def test_junit_of_a_job_says_what_that_of_a_local_run_says(both):
    assert both.done.ret == 0
    there = outcomes(both.there.path / "out/report.xml")
    assert there == outcomes(both.here.path / "out/report.xml")
    assert len(there) == 4
    (quality,) = [one for one in there if "quality" in one[0]]
    assert "llmeval.exact_match.decision=pass" in quality
    kept = both.there.run_directory / "junit.xml"
    assert outcomes(kept) == there


def test_verdict_of_a_job_is_that_of_a_local_run(both):
    there, here = lasting(both.there.verdict), lasting(both.here.verdict)
    assert there.pop("commit") == head(both.there)
    assert here.pop("commit") == head(both.here)
    assert there == here
    assert there["dirty"] is False
    assert there["status"] == "pass"
    both.done.stdout.fnmatch_lines(
        [
            "not in it, because git does not track them: 2 files (evals/notes.txt, *)",
            f"run *: {both.workspace.url}/jobs/*",
            "| verdict: pass",
            "TERMINATED SUCCESS (*)",
            "wrote out/report.xml",
            f"verdict file: {both.there.run_directory}/verdict.json",
        ]
    )


def test_reports_of_a_job_are_made_here(both):
    shown = both.there.llmeval("report", "last", "--html", "report.html")
    assert shown.ret == 0
    assert "exact_match" in (both.there.path / "report.html").read_text()
    summary = (both.there.path / "summary.md").read_text(encoding="utf-8")
    assert summary.startswith("## Verdict: pass\n")
    assert both.there.verdict["run_id"] in summary


def test_job_leaves_nothing_but_its_results(both):
    names = [path.rpartition("/")[2] for path in both.files]
    (suite,) = [path for path in both.files if "/suite-" in path]
    results = ["junit.xml", "pytest.log", "result.json", "results.tar.gz"]
    assert set(results) < set(names)
    assert {name.rpartition(".")[2] for name in names if name not in results} <= {
        "gz",
        "whl",
    }
    assert len(names) <= 6
    with tarfile.open(both.workspace.storage.local(suite)) as archive:
        sent = archive.getnames()
    assert "evals/notes.txt" not in sent
    assert "evals/test_qa.py" in sent


@pytest.mark.parametrize(
    ("name", "text", "arguments", "status"),
    [
        ("evals/test_qa.py", RED, (), 1),
        ("evals/test_z.py", "import nowhere\n", (), 2),
        ("evals/test_z.py", "", ("-k", "nothing"), 5),
        ("evals/test_z.py", "", ("--no-such-option",), 4),
        ("evals/test_z.py", EXITS, (), 1),
        ("evals/conftest.py", "raise SystemExit(0)\n", (), 13),
        ("evals/test_z.py", BREAKS, (), None),
        ("evals/test_z.py", DIES, (), 13),
    ],
)
def test_status_is_that_of_pytest_and_never_0_by_accident(
    workspace, suite, name, text, arguments, status
):
    suite.write(name, text)
    suite.commit()
    done = send(suite, "evals", "--", *arguments)
    assert done.ret != 0
    assert done.ret == status or status is None
    run = workspace.jobs.started[-1]
    assert run.state.result == "FAILED" or text == DIES
    (task,) = run.tasks
    assert not task.outcome.error.startswith("SystemExit")
    if status == 1:
        assert suite.verdict["exit_status"] == 1
    elif status is not None and status != 13:
        done.stdout.fnmatch_lines([f"nothing was evaluated; exit status {status}"])


def test_secret_reaches_the_suite_and_nobody_else(workspace, suite, monkeypatch):
    value = "kept-secret-0123456789"
    workspace.around.secrets = {"qa": {"word": value}}
    suite.write(
        "evals/test_z.py",
        "import os\n\ndef test_z():\n    print(os.environ['MY_WORD'])\n"
        "    assert os.environ['MY_WORD'] == 'other'\n",
    )
    suite.commit()
    done = send(suite, "--secret", "MY_WORD=qa/word", "--", "--junitxml=r.xml", "-s")
    assert done.ret == 1
    assert "MY_WORD" in (suite.path / "r.xml").read_text()
    kept = everything_kept(workspace)
    assert b"MY_WORD=qa/word" in kept
    assert value.encode() not in kept
    brought = [path for path in suite.path.rglob("*") if path.is_file()]
    assert not [path for path in brought if value.encode() in path.read_bytes()]
    assert value not in done.stdout.str()


def test_subfolder_workspace_files_and_a_cluster(workspace, suite, monkeypatch):
    suite.commit()
    suite.path = suite.path / "evals"
    done = send(
        suite,
        *("test_qa.py", "--files", "/Workspace/Shared/llmeval", "--cluster", CLUSTER),
        *("--install", "pluggy>=1", "--", "--junitxml", "report.xml", "-q"),
    )
    assert done.ret == 0
    assert (suite.path / "report.xml").exists()
    suite.path = suite.path.parent
    assert suite.verdict["status"] == "pass"
    (task,) = workspace.jobs.started[-1].settings["tasks"]
    wheel, *others = task["libraries"]
    assert wheel["whl"].startswith("/Workspace/Shared/llmeval/")
    assert {"pypi": {"package": "pluggy>=1"}} in others
    assert task["existing_cluster_id"] == CLUSTER
    writes = workspace.writes
    imports = [write.body for write in writes if write.path.endswith("/import")]
    assert {body["format"] for body in imports} == {"RAW"}
    assert len(imports) == 2


def test_a_verdict_that_was_brought_is_deployed(workspace, project, monkeypatch):
    root = project.path
    ini = (root / "pytest.ini").read_text()
    store = f"sqlite:///{root / 'mlflow.db'}"
    project.write("pytest.ini", f"{ini}llmeval_databricks_volume = {VOLUME}\n")
    commit = project.commit()
    own = {"MLFLOW_TRACKING_URI": store, "MLFLOW_REGISTRY_URI": store}
    monkeypatch.setattr(
        workspace.machine, "environment", workspace.machine.environment | own
    )
    assert project.llmeval("databricks", "run", "evals").ret == 0
    verdict = project.verdict
    assert (verdict["commit"], verdict["dirty"]) == (commit, False)
    assert project.deploy("plan").ret == 0
    applied = project.deploy("apply", "--yes")
    assert applied.ret == 0
    assert project.deployment["reason"] == "DEPLOYED"
    with (root / "evals/test_qa.py").open("a") as file:
        file.write("# changed\n")
    assert project.llmeval("databricks", "run", "evals").ret == 0
    assert project.verdict["dirty"] is True
    assert project.deploy("apply", "--yes").ret == 10


def test_new_cluster_has_the_smallest_node_with_a_disk(workspace, suite, monkeypatch):
    monkeypatch.setattr(workspace.jobs, "work", "succeed")
    suite.commit()
    asked = ("--cluster", "new", "--workers", "2", "--detach")
    assert send(suite, *asked).ret == 0
    (task,) = workspace.jobs.started[-1].settings["tasks"]
    cluster = task["new_cluster"]
    assert cluster["node_type_id"] == "m5d.large"
    assert cluster["spark_version"].startswith("16.4")
    assert cluster["num_workers"] == 2
    assert "spark_conf" not in cluster
    assert json.dumps(task["libraries"]).count("whl") == 2
