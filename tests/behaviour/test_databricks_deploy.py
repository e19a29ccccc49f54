"""A job with `--deploy`: what passes goes live, what failed is taken back, no more."""

import subprocess
import sys
import time

import pytest

from tests.databricks.storage import VOLUME

from .conftest import PASSING
from .conftest import ROWS
from .registry import aliases


TARGET = "serving:docs"
JOB = "import sys; from pytest_llmeval.job import main; main(sys.argv[1:])"
CHAMPION, CHALLENGER = "endpoints:/docs@champion", "endpoints:/docs@challenger"
BESIDE = {"qa/2": 90, "qa/3": 10}
PULL_REQUEST = {"GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "pull_request"}
RIGHT = {row["input"]: row["answer"] for row in ROWS}


def entity(version, name="qa"):
    return {
        "name": f"{name}-{version}",
        "entity_name": name,
        "entity_version": f"{version}",
    }


def serve_both(workspace):
    """Version 2 is live, and 3 its challenger."""
    workspace.serve("docs", entity(2), entity(3))
    _set_shares(workspace, 90, 10)


def serve_one(workspace):
    """Version 2 is live, and 1 was before."""
    workspace.serve("docs", entity(2))
    tags = {"model": "qa", "version": "2", "previous": "1", "run_id": "r"}
    workspace.endpoints["docs"]["tags"] = [
        {"key": f"llmeval.{key}", "value": value} for key, value in tags.items()
    ]


def _set_shares(workspace, *shares):
    routes = workspace.endpoints["docs"]["config"]["traffic_config"]["routes"]
    for route, share in zip(routes, shares, strict=True):
        route["traffic_percentage"] = share


def wrong(*entities, rows=40):
    """Return what answers some rows of some entities wrong."""
    ids = [row["input"] for row in ROWS[:rows]]
    return lambda name, text: (
        "no" if name in entities and text in ids else RIGHT.get(text, "")
    )


@pytest.fixture
def served(suite, workspace):
    """A packed suite whose gate is met by every entity."""
    suite.write("evals/conftest.py", "")
    suite.set_ini(llmeval_model=CHALLENGER)
    workspace.serve("more", entity(7))
    workspace.answer = wrong()
    serve_both(workspace)
    suite.update_gates()
    suite.commit()
    assert suite.llmeval("databricks", "pack").ret == 0
    return suite


@pytest.fixture
def job(served, workspace, tmp_path_factory):
    def run(*arguments, model=CHALLENGER, rollback=True):
        out = tmp_path_factory.mktemp("out")
        options = ("--deploy", TARGET, *(("--rollback",) if rollback else ()))
        done = subprocess.run(
            (
                *(sys.executable, "-c", JOB, "--suite", str(served.path)),
                *("--out", str(out), *options, "--", "evals", "-q"),
                *("--llmeval-model", model, *arguments),
            ),
            cwd=out,
            capture_output=True,
            text=True,
            check=False,
        )
        print(done.stdout, done.stderr)
        return done

    return run


def test_what_passes_is_promoted(job, workspace):
    assert job(rollback=False).returncode == 0
    assert workspace.serves("docs") == {"qa/3": 100}


def test_what_fails_stays_where_nobody_asked_for_its_end(job, workspace):
    workspace.answer = wrong("qa-3")
    done = job(rollback=False)
    assert "JobFailed: the suite ended with exit status 1" in done.stderr
    assert workspace.serves("docs") == BESIDE


def test_challenger_that_fails_is_taken_away(job, workspace):
    workspace.answer = wrong("qa-3")
    assert "exit status 1;" in job().stderr
    assert workspace.serves("docs") == {"qa/2": 100}


def test_live_version_that_fails_is_taken_back(job, workspace):
    serve_one(workspace)
    workspace.answer = wrong("qa-2")
    assert "exit status 1;" in job(model=CHAMPION).stderr
    assert workspace.serves("docs") == {"qa/1": 100}


def _inconclusive(workspace, suite):
    workspace.answer = wrong("qa-3", rows=2)


def _errors(workspace, suite):
    workspace.faults["POST", "/invocations"] = [400] * 999


def _test_fails(workspace, suite):
    suite.write("evals/test_z.py", "def test_z():\n    assert 0\n")


def _stale(workspace, suite):
    workspace.answer = wrong("qa-3")
    suite.set_ini(llmeval_verdict_max_age="0.0000001")


def _nothing_runs(workspace, suite):
    suite.write("evals/conftest.py", "raise ImportError\n")


@pytest.mark.parametrize(
    "happens",
    [_inconclusive, _errors, _test_fails, _stale, _nothing_runs],
)
def test_what_is_no_failed_gate_takes_nothing_back(job, workspace, served, happens):
    happens(workspace, served)
    done = job()
    assert done.returncode == 1
    assert "JobFailed" in done.stderr
    assert workspace.deploys == []
    assert workspace.serves("docs") == BESIDE


@pytest.mark.parametrize(
    ("model", "broken"),
    [(CHAMPION, "qa-2"), ("endpoints:/more", "qa-7")],
)
def test_another_version_that_fails_takes_nothing_back(job, workspace, model, broken):
    workspace.answer = wrong(broken)
    done = job(model=model)
    assert "exit status 1;" in done.stderr
    assert "MODEL_M" in done.stdout
    assert workspace.deploys == []
    assert workspace.serves("docs") == BESIDE


def test_version_that_is_not_live_any_more_takes_nothing_back(job, workspace):
    """It was evaluated, and somebody else has promoted another one meanwhile."""
    answers = wrong("qa-2")

    def answer(name, text):
        workspace.serve("docs", entity(4))
        return answers(name, text)

    serve_one(workspace)
    workspace.answer = answer
    workspace.faults.clear()
    assert job(model=CHAMPION).returncode == 1
    assert workspace.serves("docs") == {"qa/4": 100}


def test_scheduled_job_promotes_and_a_later_one_rolls_back(served, workspace):
    created = served.llmeval(
        *("databricks", "schedule", "set", "nightly", "--cron", "0 0 6 * * ?"),
        *("--timezone", "UTC", "--volume", VOLUME, "--deploy", TARGET, "--rollback"),
    )
    assert created.ret == 0
    (job_id,) = workspace.jobs.jobs

    def fire():
        run = workspace.jobs.fire(job_id)
        while run.is_active:
            time.sleep(0.05)
        return run.state.result, run.tasks[0].outcome

    assert fire()[0] == "SUCCESS"
    assert workspace.serves("docs") == {"qa/3": 100}

    workspace.serve("docs", entity(3), entity(4))
    _set_shares(workspace, 90, 10)
    workspace.answer = wrong("qa-4")
    state, told = fire()
    assert state == "FAILED"
    assert "JobFailed: the suite ended with exit status 1" in told.error
    assert workspace.serves("docs") == {"qa/3": 100}


def test_verdict_that_is_not_signed_takes_nothing_back_where_there_is_a_key(
    served, workspace, monkeypatch
):
    workspace.answer = wrong("qa-3")
    assert served.run("evals", "--llmeval-cache", "off").ret == 1
    back = ("deploy", "rollback", "--yes", "--target", TARGET)
    failed = ("--failed", str(served.run_directory / "verdict.json"))
    with monkeypatch.context() as patch:
        patch.setenv("LLMEVAL_SIGNING_KEY", "0123456789abcdef")
        assert served.llmeval(*back, *failed).ret != 0
    assert workspace.serves("docs") == BESIDE
    assert served.llmeval(*back, *failed).ret == 0
    assert workspace.serves("docs") == {"qa/2": 100}


@pytest.mark.filterwarnings("ignore")  # MLflow's, where the registry is made
@pytest.mark.parametrize("version", [1, 2])
def test_alias_goes_back_from_the_version_that_failed_and_from_no_other(
    evaluated, version
):
    assert evaluated.apply(1).ret == 0
    later = evaluated.run("evals", "--llmeval-model", "models:/qa/2")
    assert later.ret == 0
    assert evaluated.deploy("apply", "--yes").ret == 0
    assert aliases(evaluated)["champion"] == 2
    evaluated.write_rows("evals/data.jsonl", [{**row, "answer": "x"} for row in ROWS])
    evaluated.commit()
    model = ("--llmeval-model", f"models:/qa/{version}")
    assert evaluated.run("evals", *model).ret == 1
    failed = ("--failed", str(evaluated.run_directory / "verdict.json"))
    done = evaluated.deploy("rollback", "--yes", *failed)
    assert done.ret == (0 if version == 2 else 10)
    assert aliases(evaluated)["champion"] == (1 if version == 2 else 2)


OTHER_MODEL = """

def test_other(evaluate):
    results = evaluate(model="endpoints:/more", data=DATA, metrics=["exact_match"])
    assert_metric(results, "exact_match", ">=", 0.9)
"""


def test_gate_of_another_model_takes_nothing_back(job, workspace, served):
    served.write("evals/test_qa.py", PASSING + OTHER_MODEL)
    serve_one(workspace)
    workspace.answer = wrong("qa-7")
    done = job(model=CHAMPION)
    assert "exit status 1;" in done.stderr
    assert workspace.deploys == []
    assert workspace.serves("docs") == {"qa/2": 100}


UNDECIDED = """
def test_quality(evaluate):
    evaluate(data="data.jsonl", metrics=["exact_match"])
"""


@pytest.mark.parametrize("text", [UNDECIDED, "def test_plain():\n    pass\n"])
def test_green_suite_that_decides_nothing_is_red_where_it_is_to_deploy(
    job, workspace, served, text
):
    served.write("evals/test_qa.py", text)
    done = job()
    assert "the suite ended with exit status" in done.stderr
    assert "not deployed: " in done.stdout
    assert workspace.deploys == []


@pytest.mark.parametrize("deploys", ["job", "session"])
def test_nothing_goes_live_from_a_pull_request_by_way_of_a_job(
    served, job, workspace, monkeypatch, deploys
):
    for name, value in PULL_REQUEST.items():
        monkeypatch.setenv(name, value)
    assert served.llmeval("databricks", "pack").ret == 0
    for name in PULL_REQUEST:
        monkeypatch.delenv(name)
    more = ("--llmeval-deploy", TARGET) if deploys == "session" else ()
    done = job(*more)
    assert "UNTRUSTED_CONTEXT" in done.stdout
    assert "exit status 10;" in done.stderr
    assert workspace.deploys == []


def test_gate_that_fails_by_its_value_alone_takes_nothing_back(job, workspace, served):
    ini = (served.path / "pytest.ini").read_text()
    served.write("pytest.ini", ini.replace("llmeval_confidence = 0.95\n", ""))
    workspace.answer = wrong("qa-3", rows=5)
    done = job()
    assert "not deployed: POINT_GATE" in done.stdout
    assert workspace.serves("docs") == BESIDE
