"""A version is compared with the one that is live: a real MLflow registry and store."""

import shutil
from pathlib import Path

import mlflow
import pytest

from .conftest import Suite
from .conftest import as_on_a_laptop


# MLflow warns in many places; the runs under test are in processes of their own.
pytestmark = pytest.mark.filterwarnings("ignore")
MODEL = """\
import mlflow
from mlflow.pyfunc import PythonModel


class Shout(PythonModel):
    def predict(self, model_input: list[str]) -> list[str]:
        return [text.upper() {condition} for text in model_input]


mlflow.models.set_model(Shout())
"""
# Of the 40 rows, 11 say "word 1": the second version answers those wrong.
CONDITIONS = ("", 'if "word 1" not in text else "no"', "")
GATES = """\
from pytest_llmeval import assert_no_regression


def test_quality(evaluate):
    results = evaluate(data="data.jsonl", metrics=["exact_match"])
    assert_no_regression(
        results, {baseline!r}, "exact_match", max_drop={max_drop}, missing={missing!r}
    )
"""
AUTO = ("evals", "--llmeval-tracking", "auto")


def write_gate(suite, baseline="champion", max_drop=0.1, missing="first"):
    gate = {"baseline": baseline, "max_drop": max_drop, "missing": missing}
    suite.write("evals/test_qa.py", GATES.format(**gate))


def client(suite):
    return mlflow.MlflowClient(f"sqlite:///{suite.path / 'mlflow.db'}")


def make_candidate(suite, version):
    client(suite).set_registered_model_alias("qa", "candidate", version)


def gate(suite):
    (found,) = suite.verdict["gates"]
    return found


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """A suite and a store with three versions of qa, of which none is live."""
    suite = Suite(tmp_path_factory.mktemp("project"))
    mlflow.set_tracking_uri(f"sqlite:///{suite.path / 'mlflow.db'}")
    artifacts = (suite.path / "mlartifacts").as_uri()
    experiment = mlflow.MlflowClient().create_experiment("models", artifacts)
    with mlflow.start_run(experiment_id=experiment):
        for condition in CONDITIONS:
            suite.write("model.py", MODEL.format(condition=condition))
            mlflow.pyfunc.log_model(
                name="qa",
                python_model=str(suite.path / "model.py"),
                registered_model_name="qa",
                pip_requirements=[],
            )
    make_candidate(suite, "1")
    suite.write("evals/conftest.py", "")
    suite.set_ini(llmeval_model="models:/qa@candidate")
    write_gate(suite)
    return suite


@pytest.fixture(scope="module")
def deployed(registered: Suite, tmp_path_factory: pytest.TempPathFactory) -> Suite:
    """The same after the first version went live through a deployment."""
    path = tmp_path_factory.mktemp("deployed") / "project"
    shutil.copytree(registered.path, path)
    suite = Suite(path)
    suite.update_gates()
    suite.commit()
    with pytest.MonkeyPatch.context() as patch:
        as_on_a_laptop(patch)  # set_tracking_uri has left its mark
        result = suite.run(*AUTO, "--llmeval-deploy", "registry:qa@champion")
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        ["*exact_match vs champion*pass (FIRST_VERSION: nothing was compared)*"]
    )
    return suite


@pytest.fixture
def project(deployed: Suite, tmp_path: Path) -> Suite:
    shutil.copytree(deployed.path, tmp_path / "project")
    return Suite(tmp_path / "project")


def test_a_first_version_passes_visibly_and_stands_in_the_manifest(deployed):
    decided = gate(deployed)
    assert (decided["decision"], decided["reason"]) == ("pass", "FIRST_VERSION")
    assert (decided["value"], decided["n"]) == (None, 40)
    manifest = (deployed.path / "evals/gates.toml").read_text()
    for line in (
        'kind = "change"',
        'baseline = "champion"',
        'missing = "first"',
        "threshold = -0.1",
    ):
        assert line in manifest.splitlines()
    tags = client(deployed).get_model_version("qa", "1").tags
    assert tags["llmeval.run_id"] == deployed.verdict["run_id"]


@pytest.mark.parametrize("place", ["local", "mlflow"])
def test_a_worse_version_fails_and_its_rows_are_shown(project, place):
    first = project.verdict["run_id"]
    if place == "mlflow":
        shutil.rmtree(project.path / ".llmeval")
    make_candidate(project, "2")
    result = project.run("evals", "--llmeval-deploy", "registry:qa@champion")

    assert result.ret == 1
    decided = gate(project)
    assert (decided["decision"], decided["reason"]) == ("fail", "GATE_FAILED")
    assert decided["value"] == pytest.approx(-11 / 40)
    compared = decided["compared"]
    assert (compared["worse"], compared["better"]) == (11, 0)
    assert (compared["value"], compared["value_now"]) == (1.0, pytest.approx(29 / 40))
    assert compared["model"] == "models:/qa/1"
    assert first in compared["origin"]
    assert ("MLflow run" in compared["origin"]) == (place == "mlflow")
    assert len(compared["flips"]) == 3
    result.stdout.fnmatch_lines(
        [
            "*exact_match vs champion -0.275 (1.000 -> 0.725, *is below -0.100*",
            "*rows that got worse: 11*",
            "*before: WORD 1*",
            "*now:    no*",
        ]
    )
    live = client(project).get_model_version_by_alias("qa", "champion")
    assert int(live.version) == 1


@pytest.mark.parametrize(
    ("max_drop", "status"),
    # The lower bound of 40 equal rows is -(1 - .05 ** (1 / 40)) = -.072.
    [(0.08, "pass"), (0.07, "inconclusive")],
)
def test_an_equal_version_is_decided_by_the_number_of_rows(project, max_drop, status):
    make_candidate(project, "3")
    write_gate(project, max_drop=max_drop, missing="error")
    result = project.run()

    assert gate(project)["decision"] == status
    assert gate(project)["lower"] == pytest.approx(-0.0722, abs=1e-4)
    assert result.ret == (0 if status == "pass" else 1)
    if status == "inconclusive":
        result.stdout.fnmatch_lines(["*a drop of more than 0.070 is not ruled out*"])


def write_tests(suite, *gates):
    """Write a test for each baseline with what it says of a missing one."""
    head, _, body = GATES.partition("def test_quality")
    tests = [
        f"def test_{number}{body}".format(baseline=name, max_drop=0.1, missing=missing)
        for number, (name, missing) in enumerate(gates)
    ]
    suite.write("evals/test_qa.py", head + "\n".join(tests))


def test_a_version_a_run_and_a_folder_name_the_same_baseline(project):
    run_id = project.verdict["run_id"]
    make_candidate(project, "3")
    names = ("champion", "1", 1, run_id, f".llmeval/runs/{run_id}")
    write_tests(project, *[(name, "error") for name in names])
    result = project.run()

    assert result.ret == 0
    gates = project.verdict["gates"]
    assert [found["baseline"] for found in gates] == [str(name) for name in names]
    for found in gates:
        assert found["decision"] == "pass"
        assert run_id in found["compared"]["origin"]


def test_another_request_than_the_baseline_is_compared_and_both_are_named(project):
    write_gate(project, missing="error")
    source = (project.path / "evals/test_qa.py").read_text()
    changed = source.replace('"])', '"], prompt="{input}")')
    project.write("evals/test_qa.py", changed)

    assert project.run().ret == 0
    digests = {gate(project)["request_digest"]} | {
        gate(project)["compared"]["request_digest"]
    }
    assert len(digests) == 2


def test_changed_rows_are_an_error_that_names_them(project):
    rows = (project.path / "evals/data.jsonl").read_text().splitlines(keepends=True)
    project.write("evals/data.jsonl", "".join(rows[1:]))
    result = project.run()

    assert gate(project)["reason"] == "DATASET_CHANGED"
    assert "only now: none; only there: r0" in result.stdout.str()


MISSING = {
    ("champion", "error"): ("BASELINE_MISSING", "*has the alias champion*--llmeval-"),
    ("champion", "first"): ("FIRST_VERSION", "*pass (FIRST_VERSION: nothing was com"),
    ("2", "first"): ("BASELINE_UNUSABLE", "*models:/qa/2 carries no tag llmeval.run"),
    ("9", "first"): ("BASELINE_MISSING", "*models:/qa/9 cannot be read from the reg"),
    ("./nosuch", "first"): ("BASELINE_MISSING", "*there is no results directory"),
    ("20260101-000000-aaaaaa", "first"): ("BASELINE_MISSING", "*no run has this id"),
}


def test_a_missing_baseline_is_an_error_with_the_way_to_make_one(registered, tmp_path):
    shutil.copytree(registered.path, tmp_path / "project")
    suite = Suite(tmp_path / "project")
    write_tests(suite, *MISSING)
    result = suite.run()

    assert result.ret == 1
    for found, (reason, line) in zip(
        suite.verdict["gates"], MISSING.values(), strict=True
    ):
        assert found["reason"] == reason
        passes = reason == "FIRST_VERSION"
        assert found["decision"] == ("pass" if passes else "error")
        result.stdout.fnmatch_lines([f"{line}*"])
    assert suite.verdict["reason"] == "BASELINE_MISSING"


def test_a_version_deployed_by_hand_gets_its_baseline_from_a_command(
    registered, tmp_path
):
    shutil.copytree(registered.path, tmp_path / "project")
    suite = Suite(tmp_path / "project")
    client(suite).set_registered_model_alias("qa", "champion", "1")
    show = suite.llmeval("baseline", "show", "qa@champion")
    assert show.ret == 1
    show.stdout.fnmatch_lines(["run *none; make one with: llmeval baseline set RUN"])
    unknown = suite.llmeval("baseline", "show", "nosuch@champion")
    assert unknown.ret == 1
    unknown.stderr.fnmatch_lines(["llmeval: the registry does not give nosuch@champ*"])
    suite.run()  # its gate has no baseline yet, and its rows become one
    untracked = suite.verdict["run_id"]
    refused = suite.llmeval("baseline", "set", untracked)
    assert refused.ret == 1
    refused.stderr.fnmatch_lines([f"*{untracked} is not in MLflow*llmeval sync*"])

    suite.run(*AUTO)
    run_id = suite.verdict["run_id"]
    done = suite.llmeval("baseline", "set", run_id)
    assert done.ret == 0
    done.stdout.fnmatch_lines([f"version 1 of qa has the run {run_id}"])
    shown = suite.llmeval("baseline", "show", "qa@champion")
    shown.stdout.fnmatch_lines(["version *1", f"run *{run_id}", "verdict *sha256:*"])
    assert shown.ret == 0
    make_candidate(suite, "2")
    suite.run()
    assert gate(suite)["decision"] == "fail"

    suite.run(*AUTO)
    other = suite.llmeval("baseline", "set", suite.verdict["run_id"])
    assert other.ret == 1
    other.stderr.fnmatch_lines(["*evaluated version 2 of qa, and champion names ver*"])
    unset = suite.llmeval("baseline", "set", run_id, "--alias", "nosuch")
    assert unset.ret == 1
    unset.stderr.fnmatch_lines(["*no version of qa has the alias nosuch*"])


def test_a_first_version_is_refused_where_one_is_live(project):
    make_candidate(project, "2")
    write_gate(project, baseline="champoin", max_drop=0.1)
    project.update_gates()
    project.commit()

    result = project.run(*AUTO, "--llmeval-deploy", "registry:qa@champion")

    assert result.ret == 10
    assert gate(project)["reason"] == "FIRST_VERSION"
    assert project.deployment["reason"] == "BASELINE_MISSING"
    live = client(project).get_model_version_by_alias("qa", "champion")
    assert int(live.version) == 1


def test_a_baseline_that_the_key_did_not_sign_is_unusable(suite, monkeypatch):
    monkeypatch.setenv("LLMEVAL_SIGNING_KEY", "0123456789abcdef")
    assert suite.run().ret == 0
    first = suite.verdict["run_id"]
    write_gate(suite, baseline=first, missing="error")
    assert suite.run().ret == 0
    assert gate(suite)["reason"] == "OK"

    path = suite.path / ".llmeval" / "runs" / first / "verdict.json"
    path.write_text(path.read_text().replace('"exit_status": 0', '"exit_status": 1'))

    assert suite.run().ret == 1
    assert gate(suite)["reason"] == "BASELINE_UNUSABLE"
