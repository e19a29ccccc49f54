"""What `llmeval init` sees, and what it makes of it; nothing is ever written over."""

import json
import subprocess
import tomllib

import pytest
import yaml

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.scaffold import contents
from pytest_llmeval.scaffold import next_step
from pytest_llmeval.scaffold import write_project
from pytest_llmeval.scaffold.contents import TEMPLATES
from pytest_llmeval.scaffold.contents import placeholders
from pytest_llmeval.scaffold.files import LONGEST_DIFF
from pytest_llmeval.scaffold.ini import find_config
from pytest_llmeval.scaffold.placeholders import fill
from pytest_llmeval.scaffold.requirement import requirement
from pytest_llmeval.scaffold.surroundings import look_around


SUITE = {
    ".gitignore",
    "evals/data/questions.jsonl",
    "evals/gates.toml",
    "evals/test_questions.py",
    "pytest.ini",
}
PIPELINES = {"Jenkinsfile", "databricks.yml", "evals/requirements.txt"}


def init(folder, *wanted):
    lines = []
    write_project(folder, wanted, lines.append)
    return lines


def files(folder):
    found = (path for path in folder.rglob("*") if path.is_file())
    names = {path.relative_to(folder).as_posix(): path.read_bytes() for path in found}
    return {name: text for name, text in names.items() if not name.startswith(".git/")}


def git(folder, *arguments):
    identity = ("-c", "user.name=t", "-c", "user.email=t@example.org")
    subprocess.run(("git", *identity, *arguments), cwd=folder, check=True)


def test_empty_folder_gets_a_suite_and_what_is_asked_for(tmp_path):
    init(tmp_path / "new")
    assert set(files(tmp_path / "new")) == SUITE
    init(tmp_path / "all", "jenkins", "databricks")
    assert set(files(tmp_path / "all")) == SUITE | PIPELINES
    for text in files(tmp_path / "all").values():
        assert b"@@" not in text
    pipeline = files(tmp_path / "all")["Jenkinsfile"]
    assert b"LLMEVAL_EMBEDDED = 'smollm2'\n" in pipeline


def test_second_run_changes_nothing_and_says_so(tmp_path):
    init(tmp_path, "jenkins", "databricks")
    before = files(tmp_path)
    lines = init(tmp_path, "jenkins", "databricks")
    assert files(tmp_path) == before
    kept = [line for line in lines if not line.startswith("note ")]
    assert kept
    assert all(line.startswith("kept ") for line in kept)
    assert not [line for line in kept if "differs" in line]


@pytest.mark.parametrize("name", sorted(SUITE | PIPELINES))
def test_file_of_another_content_is_kept_and_the_difference_shown(tmp_path, name):
    (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
    (tmp_path / name).write_text("# mine\n")
    lines = init(tmp_path, "jenkins", "databricks")
    assert (tmp_path / name).read_text() == "# mine\n"
    at = lines.index(f"kept   {name}, which differs; what init would change in it:")
    assert lines[at + 1 : at + 3] == [f"    --- {name}", f"    +++ {name}"]
    assert "    +" in "\n".join(lines[at + 3 : at + 6])


def test_difference_of_a_hostile_file_is_harmless_and_bounded(tmp_path):
    hostile = "\x1b[2J::error::x\n" * 1_000 + "y" * 100_000
    (tmp_path / "Jenkinsfile").write_text(hostile)
    lines = init(tmp_path, "jenkins")
    shown = [line for line in lines if line.startswith("    ")]
    assert len(shown) == LONGEST_DIFF + 1
    assert shown[-1].startswith("    … and ")
    assert "\x1b" not in "".join(shown)
    assert max(map(len, shown)) < 500


def test_other_line_ends_are_no_difference(tmp_path):
    init(tmp_path)
    text = (tmp_path / "pytest.ini").read_bytes()
    (tmp_path / "pytest.ini").write_bytes(text.replace(b"\n", b"\r\n").rstrip())
    assert "kept   pytest.ini" in init(tmp_path)


def test_link_to_nowhere_is_not_written_through(tmp_path):
    (tmp_path / "project").mkdir()
    (tmp_path / "project/pytest.ini").symlink_to(tmp_path / "outside.ini")
    init(tmp_path / "project")
    assert not (tmp_path / "outside.ini").exists()


def test_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "evals").write_text("a file")
    with pytest.raises(ConfigurationError, match=r"cannot write .*/evals/data"):
        init(tmp_path)


def test_manifest_is_not_written_for_a_suite_that_is_not_ours(tmp_path):
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals/test_questions.py").write_text("# mine\n")
    init(tmp_path)
    assert not (tmp_path / "evals/gates.toml").exists()


def test_project_with_a_suite_gets_pipelines_alone(tmp_path):
    (tmp_path / "evals").mkdir()
    (tmp_path / "evals/test_own.py").write_text("def test_own(): pass\n")
    lines = init(tmp_path, "jenkins")
    added = {"evals/test_own.py", "Jenkinsfile", "evals/requirements.txt"}
    assert set(files(tmp_path)) == added | {".gitignore", "pytest.ini"}
    assert any("evals/ has a suite already" in line for line in lines)
    seen = look_around(tmp_path)
    assert next_step(seen, None) == "next: llmeval gates update"


CONFIGS = {
    "pytest.ini": "[pytest]\naddopts = -q\n",
    "pytest.toml": '[pytest]\naddopts = ["-q"]\n',
    "pyproject.toml": '[tool.pytest.ini_options]\naddopts = ["-q"]\n[tool.x]\na = 1\n',
    "tox.ini": "[tox]\n\n[pytest]\naddopts = -q\n",
    "setup.cfg": "[metadata]\n\n[tool:pytest]\naddopts = -q\n",
}


@pytest.mark.parametrize("name", CONFIGS)
def test_configuration_that_is_there_is_completed_in_a_difference(tmp_path, name):
    (tmp_path / name).write_text(CONFIGS[name])
    lines = init(tmp_path, "jenkins")
    assert (tmp_path / name).read_text() == CONFIGS[name]
    assert [line for line in lines if line.startswith("    -")] == [f"    --- {name}"]
    quote = '"' if name.endswith(".toml") else ""
    for setting, value in (
        ("llmeval_model", "gguf:smollm2"),
        ("llmeval_confidence", "0.95"),
        ("llmeval_deploy_refs", "main"),
    ):
        assert f"    +{setting} = {quote}{value}{quote}" in lines
    step = next_step(look_around(tmp_path), tmp_path)
    assert step == f"next: add these lines to {name}, and then: pytest evals/"


@pytest.mark.parametrize("name", CONFIGS)
def test_completed_configuration_lacks_nothing_and_keeps_the_rest(tmp_path, name):
    (tmp_path / name).write_text(CONFIGS[name])
    needed = {"llmeval_model": "gguf:smollm2"}
    completed = find_config(tmp_path).completed(needed)
    (tmp_path / name).write_text(completed)
    again = find_config(tmp_path)
    assert (again.name, again.model) == (name, "gguf:smollm2")
    assert "-q" in again.settings["addopts"]
    assert again.completed(needed) == completed


@pytest.mark.parametrize("text", ["", "[project]\nname = 'x'\n", "not toml ["])
def test_pyproject_without_a_section_for_pytest_leaves_pytest_ini_to_us(tmp_path, text):
    (tmp_path / "pyproject.toml").write_text(text)
    init(tmp_path)
    assert "llmeval_model = gguf:smollm2\n" in (tmp_path / "pytest.ini").read_text()


def test_empty_section_of_pyproject_is_one(tmp_path):
    (tmp_path / "pyproject.toml").write_text("[tool.pytest.ini_options]\n")
    completed = find_config(tmp_path).completed({"llmeval_model": "m"})
    assert tomllib.loads(completed)["tool"]["pytest"]["ini_options"] == {
        "llmeval_model": "m"
    }


def test_settings_that_are_there_are_not_asked_for_again(tmp_path):
    ini = "[pytest]\nllmeval_model = openai:/x\nllmeval_confidence = 0.9\n"
    (tmp_path / "pytest.ini").write_text(ini)
    assert "kept   pytest.ini" in init(tmp_path)
    assert next_step(look_around(tmp_path), None) == "next: pytest evals/"


def test_lines_that_gitignore_lacks_are_shown(tmp_path):
    (tmp_path / ".gitignore").write_text("build/\nmlflow.db")
    lines = init(tmp_path)
    assert "    +.llmeval/" in lines
    assert "    +mlflow.db" not in lines
    assert (tmp_path / ".gitignore").read_text() == "build/\nmlflow.db"


def test_default_branch_is_the_remotes_then_main_then_the_one_that_is_out(tmp_path):
    git(tmp_path, "init", "-q", "-b", "work")
    assert look_around(tmp_path).branch == "work"
    git(tmp_path, "commit", "-q", "--allow-empty", "-m", "a")
    git(tmp_path, "branch", "master")
    assert look_around(tmp_path).branch == "master"
    git(tmp_path, "branch", "main")
    assert look_around(tmp_path).branch == "main"
    head = ("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/trunk")
    git(tmp_path, "update-ref", "refs/remotes/origin/trunk", "HEAD")
    git(tmp_path, *head)
    assert look_around(tmp_path).branch == "trunk"


def test_branch_that_could_end_a_string_is_not_used(tmp_path):
    git(tmp_path, "init", "-q", "-b", "it's")
    assert look_around(tmp_path).branch == "main"


def test_remote_at_github_brings_a_hint(tmp_path):
    git(tmp_path, "init", "-q")
    git(tmp_path, "remote", "add", "origin", "https://github.com/acme/qa.git")
    hint = "note   the remote repository is at GitHub: llmeval init --github"
    assert hint in init(tmp_path)


def test_pipelines_are_refused_in_a_part_of_a_checkout(tmp_path):
    git(tmp_path, "init", "-q")
    part = tmp_path / "services/qa"
    with pytest.raises(ConfigurationError, match="Jenkinsfile is read at its root"):
        init(part, "jenkins")
    assert not files(tmp_path)
    init(part, "databricks")
    assert (part / "databricks.yml").exists()


@pytest.mark.parametrize("model", ["models:/docs-qa@candidate", "models:/docs-qa/3"])
def test_registered_model_of_the_ini_is_what_is_deployed(tmp_path, model):
    (tmp_path / "pytest.ini").write_text(f"[pytest]\nllmeval_model = {model}\n")
    lines = init(tmp_path, "jenkins", "databricks")
    assert "--target registry:docs-qa@champion" in (
        (tmp_path / "Jenkinsfile").read_text()
    )
    assert "LLMEVAL_EMBEDDED = ''\n" in (tmp_path / "Jenkinsfile").read_text()
    bundle = yaml.safe_load((tmp_path / "databricks.yml").read_text())
    assert bundle["variables"]["model"]["default"] == model
    assert not [line for line in lines if "guess" in line]


@pytest.mark.parametrize("model", ["gguf:smollm2", "models:/a'b@c", 'models:/a"@b'])
def test_target_and_model_that_are_guessed_are_called_so(tmp_path, model):
    project = tmp_path / "my qa's"
    project.mkdir()
    (project / "pytest.ini").write_text(f"[pytest]\nllmeval_model = {model}\n")
    lines = init(project, "jenkins", "databricks")
    assert len([line for line in lines if "is a guess" in line]) == 2
    assert "--target registry:my-qa-s@champion" in (
        (project / "Jenkinsfile").read_text()
    )
    bundle = yaml.safe_load((project / "databricks.yml").read_text())
    assert bundle["bundle"]["name"] == "my-qa-s"
    assert bundle["variables"]["model"]["default"] == (
        "models:/main.evals.my-qa-s@candidate"
    )


class Installed:
    version = "1.2.3"

    def __init__(self, origin):
        self.origin = origin

    def read_text(self, name):
        assert name == "direct_url.json"
        return self.origin and json.dumps(self.origin)


COMMIT = {"vcs": "git", "commit_id": "8f2c1e0"}


@pytest.mark.parametrize(
    ("origin", "expected"),
    [
        (None, "==1.2.3"),
        ({"url": "file:///home/me/qa", "dir_info": {"editable": True}}, "==1.2.3"),
        (
            {"url": "https://me:secret@git.example.org/x.git", "vcs_info": COMMIT},
            " @ git+https://git.example.org/x.git@8f2c1e0",
        ),
        (
            {"url": "ssh://git@git.example.org/x.git", "vcs_info": COMMIT},
            " @ git+ssh://git@git.example.org/x.git@8f2c1e0",
        ),
    ],
    ids=["index", "folder", "git", "ssh"],
)
def test_ci_installs_the_commit_or_version_that_is_installed_here(origin, expected):
    line = f"pytest-llmeval-gate[local,xdist]{expected}"
    assert requirement(Installed(origin)) == line


def test_requirements_take_the_projects_own_with_them(tmp_path):
    (tmp_path / "requirements.txt").write_text("numpy\n")
    (tmp_path / "pyproject.toml").write_text("[build-system]\nrequires = []\n")
    init(tmp_path, "jenkins")
    lines = (tmp_path / "evals/requirements.txt").read_text().splitlines()
    assert lines[-2:] == ["-r ../requirements.txt", "."]


@pytest.mark.parametrize("text", ["@@NOSUCH@@", "@@NAME@@ @@name@@", "@@NAME@", "@@"])
def test_placeholder_without_a_value_is_an_error(text):
    with pytest.raises(ValueError, match=r"^a\.yml has "):
        fill(text, {"NAME": "qa"}, "a.yml")


def test_every_template_can_be_filled(tmp_path):
    values = placeholders(look_around(tmp_path))
    templates = [path for path in TEMPLATES.rglob("*") if path.is_file()]
    assert {"Jenkinsfile", "databricks.yml"} <= {path.name for path in templates}
    for path in templates:
        if path.suffix != ".pyc":
            fill(path.read_text(encoding="utf-8"), values, path.name)


def test_workflows_lie_where_github_reads_them(tmp_path, monkeypatch):
    workflow = tmp_path / "templates/github/.github/workflows/llmeval.yml"
    workflow.parent.mkdir(parents=True)
    workflow.write_text("run: pip install @@INSTALL@@ && pytest @@SUITE@@\n")
    monkeypatch.setattr(contents, "TEMPLATES", tmp_path / "templates")
    init(tmp_path / "qa", "github")
    written = (tmp_path / "qa/.github/workflows/llmeval.yml").read_text()
    assert written == "run: pip install -r evals/requirements.txt && pytest evals/\n"
    assert (tmp_path / "qa/evals/requirements.txt").exists()
