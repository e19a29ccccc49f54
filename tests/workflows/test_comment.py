"""The shell step that comments, run as written, at a server in place of GitHub."""

import os
import shutil

import pytest

from .documents import generated
from .github_api import BOT
from .github_api import LONGEST
from .runner import GitHub


pytestmark = pytest.mark.skipif(
    "CI" not in os.environ and not (shutil.which("curl") and shutil.which("jq")),
    reason="the step needs curl and jq",
)
WORKFLOW = generated("llmeval-comment.yml")
SHA = "0123456789abcdef0123456789abcdef01234567"
MARKER = "<!-- llmeval report -->"
REPORT = "## Verdict: pass\n\n- model: `models:/qa/1` for `sums@champion`\n"
HOSTILE = """\
@everyone @acme/admins @@root (@dependabot merge) \x00\x1b[31m
<!-- another bot's marker --><!-- llmeval report -->
`$(touch pwned)` `touch pwned` $HEAD_SHA \\u0000 \\n ' " %s ${{ secrets.KEY }}
PR_NUMBER=1
"""


@pytest.fixture
def at_github(tmp_path, api):
    """A finished evaluation of pull request 7, which a fork has opened."""
    api.open_pull(7, "mallory:fix", SHA, repository=99)
    evaluation = {
        "event": "pull_request",
        "conclusion": "success",
        "id": "1234",
        "head_sha": SHA,
        "head_branch": "fix",
        "head_repository": {"id": "99", "owner": {"login": "mallory"}},
    }
    event = {
        "api_url": api.url,
        "event_name": "workflow_run",
        "event": {"workflow_run": evaluation},
        "repository": "acme/qa",
        "server_url": "https://github.example.org",
        "token": api.token,
    }
    github = GitHub(tmp_path, tmp_path, event)
    leave(github, REPORT)
    return github


def leave(github, report):
    folder = github.folder / "artifacts" / "llmeval-report"
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.md").write_text(report, encoding="utf-8")
    github.artifacts["llmeval-report"] = folder


def evaluation_of(github):
    return github.event["event"]["workflow_run"]


def comment(github):
    """Run the workflow again, from a fresh machine."""
    github.folder /= "again"
    job = github.run(WORKFLOW)["comment"]
    assert job.result == "success", job.log
    return job


def bodies(api, number=7):
    return [one["body"] for one in api.comments[number]]


def test_report_becomes_one_comment_that_is_updated(at_github, api):
    comment(at_github)
    (body,) = bodies(api)
    run = "https://github.example.org/acme/qa/actions/runs/1234"
    assert body.startswith(f"{MARKER}\n[Evaluation]({run}) of {SHA}: **success**. ")
    assert body.endswith(f"\n\n{REPORT}")
    leave(at_github, "## Verdict: fail\n")
    evaluation_of(at_github)["conclusion"] = "failure"
    comment(at_github)
    (body,) = bodies(api)
    assert "**failure**" in body
    assert "Verdict: pass" not in body


def test_own_comment_is_found_behind_a_hundred_others(at_github, api):
    for number in range(150):
        api.comment(7, "a reviewer", f"remark {number}")
    comment(at_github)
    comment(at_github)
    assert sum(body.startswith(MARKER) for body in bodies(api)) == 1


def test_comment_of_somebody_else_is_left_alone(at_github, api):
    api.comment(7, "mallory", f"{MARKER}\nmine")
    api.comment(7, BOT, f"another report, which quotes {MARKER}")
    comment(at_github)
    assert bodies(api)[:2] == [
        f"{MARKER}\nmine",
        f"another report, which quotes {MARKER}",
    ]
    assert len(bodies(api)) == 3


def test_hostile_report_is_data(at_github, api):
    leave(at_github, HOSTILE)
    job = comment(at_github)
    (body,) = bodies(api)
    assert body.count("<!--") == 1, "the marker of ours"
    for mention in ("@everyone", "@acme", "@root", "@dependabot"):
        assert mention not in body
        assert f"@\u200b{mention[1:]}" in body
    assert "`$(touch pwned)` `touch pwned` $HEAD_SHA \\u0000 \\n ' \" %s" in body
    assert "${{ secrets.KEY }}" in body
    assert "\x00" not in body
    assert not list(job.workspace.iterdir())
    assert api.refused == []


def test_hostile_branch_name_is_data(at_github, api):
    branch = "x&state=closed;$(touch pwned)`touch pwned`'\"#"
    api.pulls[0]["head"] |= {"label": f"mallory:{branch}", "ref": branch}
    evaluation_of(at_github)["head_branch"] = branch
    job = comment(at_github)
    assert len(bodies(api)) == 1
    assert not list(job.workspace.iterdir())


def test_artifact_does_not_choose_the_pull_request(at_github, api):
    api.open_pull(1, "acme:main", "f" * 40, repository=1)
    leave(at_github, HOSTILE)
    (at_github.artifacts["llmeval-report"] / "pr_number").write_text("1")
    comment(at_github)
    assert bodies(api, 1) == []
    assert len(bodies(api, 7)) == 1


@pytest.mark.parametrize(
    ("field", "value"), [("sha", "f" * 40), ("repo", {"id": 98}), ("repo", {"id": 9})]
)
def test_another_head_of_that_name_gets_no_comment(at_github, api, field, value):
    """Such as a newer commit of the branch, or another fork of the same owner."""
    api.pulls[0]["head"][field] = value
    job = comment(at_github)
    assert f"no comment: {SHA} is the head of no open pull request" in job.log
    assert bodies(api) == []


def test_closed_pull_request_gets_no_comment(at_github, api):
    api.pulls[0]["state"] = "closed"
    comment(at_github)
    assert bodies(api) == []


def test_longest_report_fits(at_github, api):
    leave(at_github, "é" * 65_000 + "@" + "x" * 1_000)
    comment(at_github)
    (body,) = bodies(api)
    assert len(body) == LONGEST


def test_report_that_is_too_large_is_not_read(at_github, api):
    leave(at_github, "x" * 262_145)
    comment(at_github)
    (body,) = bodies(api)
    assert "larger than a comment may be" in body
    assert "xx" not in body


def test_link_in_place_of_the_report_is_not_followed(at_github, api, tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("a secret of the machine")
    path = at_github.artifacts["llmeval-report"] / "report.md"
    path.unlink()
    path.symlink_to(secret)
    comment(at_github)
    (body,) = bodies(api)
    assert body.endswith("It left no report.\n\n")


def test_missing_report_takes_the_place_of_an_older_one(at_github, api):
    comment(at_github)
    at_github.artifacts.clear()
    evaluation_of(at_github)["conclusion"] = "failure"
    comment(at_github)
    (body,) = bodies(api)
    assert body.endswith("**failure**. It left no report.\n\n")


def test_evaluation_of_a_push_is_not_commented(at_github, api):
    evaluation_of(at_github)["event"] = "push"
    assert at_github.run(WORKFLOW)["comment"].result == "skipped"


def test_comment_that_is_refused_makes_the_job_red(at_github, api):
    api.token = "another"
    assert at_github.run(WORKFLOW)["comment"].result == "failure"
    assert bodies(api) == []
