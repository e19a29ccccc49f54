import subprocess

import pytest

from pytest_llmeval.provenance import COMMIT_VARIABLES
from pytest_llmeval.provenance import REF_VARIABLES
from pytest_llmeval.provenance import URL_VARIABLES
from pytest_llmeval.provenance import read_provenance
from pytest_llmeval.provenance import untrusted


@pytest.fixture(autouse=True)
def outside_ci(monkeypatch):
    server = ("GITHUB_SERVER_URL", "GITHUB_RUN_ID", "GITHUB_REPOSITORY")
    for name in (*COMMIT_VARIABLES, *REF_VARIABLES, *URL_VARIABLES, *server):
        monkeypatch.delenv(name, raising=False)


def git(folder, *arguments):
    identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
    result = subprocess.run(
        ["git", *identity, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    return result.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    folder = tmp_path / "repo"
    (folder / "sub").mkdir(parents=True)
    git(folder, "init", "-b", "trunk")
    (folder / "file.txt").write_text("one")
    git(folder, "add", ".")
    git(folder, "commit", "-m", "first")
    return folder


def test_the_commit_and_branch_come_from_git(repository, monkeypatch):
    monkeypatch.setenv("GITHUB_SHA", "another")
    commit = git(repository, "log", "-1", "--format=%H")

    provenance = read_provenance(repository)

    assert (provenance.commit, provenance.branch) == (commit, "trunk")
    assert len(commit) == 40
    assert provenance.dirty is False
    assert read_provenance(repository / "sub").commit == commit


def test_the_branch_of_a_detached_checkout_comes_from_ci(repository, monkeypatch):
    git(repository, "checkout", "--detach")
    monkeypatch.setenv("GITHUB_REF_NAME", "main")

    assert read_provenance(repository).branch == "main"


def test_untracked_and_ignored_files_are_not_dirty(repository):
    (repository / ".gitignore").write_text("*.db\n")
    (repository / "new.txt").write_text("x")
    (repository / "a.db").write_text("x")

    assert read_provenance(repository).dirty is False


@pytest.mark.parametrize("how", ["changed", "staged", "deleted", "added"])
def test_a_change_of_a_tracked_file_is_dirty(repository, how):
    file = repository / "file.txt"
    if how == "deleted":
        file.unlink()
    elif how == "added":
        (repository / "new.txt").write_text("x")
        git(repository, "add", "new.txt")
    else:
        file.write_text("two")
    if how == "staged":
        git(repository, "add", ".")

    assert read_provenance(repository).dirty is True
    assert read_provenance(repository / "sub").dirty is True


def test_a_checkout_whose_state_git_cannot_tell_is_not_clean(repository):
    (repository / "file.txt").write_text("two")
    (repository / ".git" / "index").write_bytes(b"broken")

    assert read_provenance(repository).dirty is True


@pytest.mark.parametrize("name", COMMIT_VARIABLES)
def test_without_git_the_commit_comes_from_the_environment(tmp_path, monkeypatch, name):
    assert read_provenance(tmp_path).commit is None
    monkeypatch.setenv(name, "abc")
    monkeypatch.setenv("BRANCH_NAME", "main")

    provenance = read_provenance(tmp_path)

    assert (provenance.commit, provenance.branch) == ("abc", "main")


def test_a_repository_without_commits_has_none(tmp_path):
    git(tmp_path, "init")

    assert read_provenance(tmp_path).commit is None


def test_without_a_git_program_nothing_fails(repository, monkeypatch):
    monkeypatch.setenv("PATH", "/nowhere")

    assert read_provenance(repository).commit is None


def test_the_address_of_the_ci_job_is_kept_without_its_password(tmp_path, monkeypatch):
    assert read_provenance(tmp_path).ci_url is None
    monkeypatch.setenv("BUILD_URL", "https://me:pass@ci/job/7")
    assert read_provenance(tmp_path).ci_url == "https://[redacted]@ci/job/7"
    monkeypatch.setenv("GITHUB_SERVER_URL", "https://github.com")
    monkeypatch.setenv("GITHUB_REPOSITORY", "o/r")
    monkeypatch.setenv("GITHUB_RUN_ID", "42")
    url = "https://github.com/o/r/actions/runs/42"
    assert read_provenance(tmp_path).ci_url == url


def test_the_dictionary_has_the_verdicts_fields(tmp_path):
    fields = read_provenance(tmp_path).to_dict()

    assert set(fields) == {"commit", "branch", "dirty", "ci_url", "versions"}
    assert fields["versions"]["pytest"] == pytest.__version__
    assert {"python", "mlflow", "pytest-llmeval-gate"} <= set(fields["versions"])


GITHUB = {"CI": "true", "GITHUB_ACTIONS": "true", "GITHUB_EVENT_NAME": "push"}
PULL = "a pull request is evaluated, never deployed"


@pytest.mark.parametrize(
    ("environment", "refs", "refusal"),
    [
        ({}, "", None),
        ({"CI": ""}, "", None),
        ({"CI": "false"}, "", None),
        ({"CI": "0"}, "", None),
        ({**GITHUB, "GITHUB_REF_PROTECTED": "true"}, "", None),
        (
            {**GITHUB, "GITHUB_REF_PROTECTED": "false", "GITHUB_REF": "refs/heads/x"},
            "x",
            "the ref 'refs/heads/x' is not protected",
        ),
        (GITHUB, "", "the ref None is not protected"),
        (
            {**GITHUB, "GITHUB_REF_PROTECTED": "TRUE"},
            "",
            "the ref None is not protected",
        ),
        (
            {
                **GITHUB,
                "GITHUB_EVENT_NAME": "pull_request",
                "GITHUB_REF_PROTECTED": "true",
            },
            "",
            PULL,
        ),
        ({"GITHUB_EVENT_NAME": "pull_request_target"}, "", PULL),
        ({"CI": "true", "CI_COMMIT_REF_NAME": "main"}, "release main", None),
        ({"CI": "1", "BRANCH_NAME": "main"}, "main", None),
        (
            {"CI": "true", "CI_COMMIT_REF_NAME": "topic"},
            "main",
            "the ref 'topic' is not listed in the ini value llmeval_deploy_refs",
        ),
        ({"CI": "TRUE", "GIT_BRANCH": "mai"}, "main", "the ref 'mai' is not listed"),
        ({"CI": "true"}, "main", "the ref None is not listed"),
        ({"CI": "true"}, "", "the ref None is not listed"),
        (
            {"CI": "1", "CI_COMMIT_REF_NAME": "main", "CI_MERGE_REQUEST_IID": "7"},
            "main",
            PULL,
        ),
        # Jenkins and Azure do not set CI.
        ({"JENKINS_URL": "x", "GIT_BRANCH": "topic"}, "main", "is not listed"),
        ({"TF_BUILD": "True"}, "main", "is not listed"),
    ],
)
def test_where_a_deployment_may_come_from(environment, refs, refusal):
    reason = untrusted(environment, refs)

    if refusal is None:
        assert reason is None
    else:
        assert refusal in (reason or "")
