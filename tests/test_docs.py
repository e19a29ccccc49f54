"""The documentation is complete, its examples run, and what it quotes is real."""

import ast
import inspect
import itertools
import json
import os
import re
import runpy
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import pytest_llmeval
from pytest_llmeval import cli
from pytest_llmeval import hooks
from pytest_llmeval import pytest_plugin
from pytest_llmeval.metrics import built_in_metrics
from pytest_llmeval.options import OPTIONS
from tests.behaviour.conftest import Suite
from tests.behaviour.conftest import as_on_a_laptop


ROOT = Path(__file__).parents[1]
DOCS = ROOT / "docs"
EXAMPLES = DOCS / "examples"
PAGES = {
    page.relative_to(DOCS).as_posix(): page.read_text(encoding="utf-8")
    for page in DOCS.rglob("*.md")
}
README = (ROOT / "README.md").read_text(encoding="utf-8")
REASON_MODULES = (
    "baselines",
    "datasets",
    "errors",
    "gate",
    "store",
    "verdict",
)


# Of MLflow, Databricks, HTTP and the environment.
OF_OTHERS = ("MLFLOW_", "LLMEVAL_", "RESOURCE_", "DEPLOYMENT_", "UPDATE_", "FINISHED")
OF_OTHERS += ("IN_PROGRESS", "NOT_READY", "DELETE", "PATCH", "PATH", "POST", "PUT")


def documented(name, *pages):
    """Whether a page holds the name in code style, alone or with arguments."""
    texts = [PAGES[page] for page in pages or PAGES]
    return any(re.search(rf"`{re.escape(name)}[`( =]", text) for text in texts)


def run(folder, *command):
    return subprocess.run(
        [sys.executable, "-B", *command],
        cwd=folder,
        env={**os.environ, "GITHUB_STEP_SUMMARY": ""},  # for suites, not for examples
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


@pytest.fixture
def examples(tmp_path):
    folder = tmp_path / "examples"
    ignored = shutil.ignore_patterns("__pycache__", ".llmeval")
    shutil.copytree(EXAMPLES, folder, ignore=ignored)
    (folder / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
    return folder


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("test_*")), ids=lambda p: p.name)
def test_example_runs_and_its_gates_pass(path, examples, tmp_path):
    home = tmp_path / "home"
    options = ["-q", "-p", "no:cacheprovider", "--llmeval-tracking", "off"]
    done = run(
        examples, "-m", "pytest", *options, "--llmeval-dir", str(home), path.name
    )
    assert done.returncode == 0, done.stdout + done.stderr
    last = (home / "last").read_text(encoding="utf-8").strip()
    verdict = json.loads((home / "runs" / last / "verdict.json").read_bytes())
    assert (verdict["status"], verdict["reason"]) == ("pass", "OK")
    assert verdict["gates"]


def test_notebook_example_decides(examples):
    done = run(examples, "notebook_example.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == "pass 0.902 29"


def test_drift_example_sees_the_drop(examples):
    done = run(examples, "drift_example.py")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith("alarm the mean is below 0.88")
    assert "since 2026-11-14" in done.stdout


def test_deployment_examples_veto_deploy_and_announce(tmp_path, monkeypatch):
    as_on_a_laptop(monkeypatch)
    suite = Suite(tmp_path)
    names = ("acme_deploys", "file_target_example")
    for name in names:
        shutil.copy(EXAMPLES / f"{name}.py", tmp_path)
    suite.set_ini(pythonpath=".", llmeval_plugins=" ".join(names))
    suite.update_gates()
    suite.commit()
    target = f"file:{tmp_path / 'live.txt'}"
    (tmp_path / "FREEZE").write_text("the audit")
    assert suite.run("evals", "--llmeval-deploy", target).ret == 1
    assert suite.verdict["detail"] == "acme_deploys: nothing goes live now: the audit"
    (tmp_path / "FREEZE").unlink()
    assert suite.run("evals", "--llmeval-deploy", target).ret == 0
    assert (tmp_path / "live.txt").read_text() == "1"
    news = (tmp_path / "news.txt").read_text()
    run_id = suite.run_directory.name
    assert news == f"{target}: version None -> version 1, evaluated by {run_id}\n"
    assert suite.llmeval("deploy", "apply", "--yes", "--target", target).ret == 0
    assert (tmp_path / "news.txt").read_text() == news, "nothing to deploy"


@pytest.mark.parametrize("name", [o.option for o in OPTIONS if o.option])
def test_option_is_documented(name):
    assert documented(name)


@pytest.mark.parametrize("name", [o.ini for o in OPTIONS if o.ini])
def test_ini_value_is_documented(name):
    assert documented(name)


@pytest.mark.parametrize(
    "name", [n for n in vars(hooks) if n.startswith("pytest_llmeval_")]
)
def test_hook_is_documented_with_its_arguments(name):
    arguments = ", ".join(inspect.signature(getattr(hooks, name)).parameters)
    assert f"`{name}({arguments})`" in PAGES["reference.md"]


@pytest.mark.parametrize("name", [*pytest_plugin.__all__, *pytest_llmeval.__all__])
def test_fixture_or_public_name_is_in_the_reference(name):
    assert documented(name, "reference.md")


@pytest.mark.parametrize("name", built_in_metrics())
def test_metric_is_documented(name):
    assert documented(name, "metrics.md")


def test_every_argument_of_assert_metric_is_documented():
    for name in inspect.signature(pytest_llmeval.assert_metric).parameters:
        assert f"\n| `{name}` |" in PAGES["gates.md"], name


def reasons():
    package = ROOT / "pytest_llmeval"
    files = [package.glob(f"{name}.py") for name in REASON_MODULES]
    packages = ("backends/mlflow", "deploy", "gate", "session")
    files += [package.glob(f"{name}/[a-z]*.py") for name in packages]
    files += [package.glob("backends/databricks/serving.py")]
    for path in itertools.chain(*files):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Constant) and isinstance(node.value, str):
                found = re.fullmatch(r"OK|[A-Z]{2}[A-Z_]{2,}", node.value)
                other = node.value.startswith(OF_OTHERS)
                if found and not other:
                    yield node.value


def test_reasons_are_found_in_the_source():
    known = {"OK", "GATE_FAILED", "DIRTY", "SUPERSEDED", "XFAIL", "BASELINE_MISSING"}
    assert known <= set(reasons())


@pytest.mark.parametrize("reason", sorted(set(reasons())))
def test_reason_is_documented(reason):
    assert re.search(rf"\b{reason}\b", PAGES["gates.md"] + PAGES["deployment.md"])


COMMANDS = re.compile(r"^\$ (llmeval [^#\n]+)", re.MULTILINE)


@pytest.mark.parametrize("page", [*PAGES, "README.md"])
def test_commands_on_a_page_are_understood(page):
    for command in COMMANDS.findall(PAGES.get(page, README)):
        _, *arguments = shlex.split(command)
        end = arguments.index("--") if "--" in arguments else len(arguments)
        options, rest = cli._parser().parse_known_args(arguments[:end])
        assert options.run
        assert not rest or options.command in cli.FOR_PYTEST, command


def test_reference_table_is_current():
    generator = runpy.run_path(str(DOCS / "generate_reference.py"))
    page = PAGES["reference.md"]
    assert generator["page_with"](page, generator["table"]()) == page


def test_history_tables_are_current():
    generator = runpy.run_path(str(DOCS / "generate_history.py"))
    page = PAGES["history.md"]
    assert generator["page_with"](page, generator["tables"]()) == page


def test_fields_of_bi_tools_are_current():
    generator = runpy.run_path(str(DOCS / "generate_bi.py"))
    page = PAGES["guides/bi.md"]
    assert generator["page_with"](page, generator["fields"]()) == page


def anchors(text):
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w -]", "", h.lower()).replace(" ", "-") for h in headings}


def test_relative_links_and_their_headings_exist():
    sources = {DOCS / name: text for name, text in PAGES.items()}
    links = [
        (page, target)
        for page, text in {**sources, ROOT / "README.md": README}.items()
        for target in re.findall(r"\]\(([^)\s]+)\)", text)
        if "://" not in target and not target.startswith("mailto:")
    ]
    assert links
    for page, target in links:
        file, _, anchor = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), f"{page.name} links to {target}"
        if anchor:
            heads = anchors(path.read_text(encoding="utf-8"))
            assert anchor in heads, f"{page.name} links to {target}"


DOCTOR = re.compile(r"\$ llmeval (doctor [^\n]*)\n(.*?)```", re.DOTALL)


def shape(lines):
    """Return the setting names, and the other subjects, of the doctor's output."""
    names = re.findall(r"^ok +((?:--)?llmeval[_-]\S+) ", lines, re.MULTILINE)
    subjects = re.findall(r"^(?:ok|note|problem) +([a-z]+) ", lines, re.MULTILINE)
    return names, list(dict.fromkeys(subjects)), lines.splitlines()[0].split()[0]


def test_the_doctors_output_is_of_the_shape_that_the_page_shows(tmp_path):
    command, shown = DOCTOR.search(PAGES["reference.md"]).groups()
    (tmp_path / "evals").mkdir()
    (tmp_path / "pytest.ini").write_text("[pytest]\n", encoding="ascii")
    script = "import sys; from pytest_llmeval.cli import main; sys.exit(main())"
    done = run(tmp_path, "-c", script, *command.split())
    assert done.returncode == 0, done.stdout + done.stderr
    assert shape(done.stdout) == shape(shown)
    assert shape(shown)[0] == [option.name for option in OPTIONS]
    assert re.search(r"\n\d+ problems?, \d+ notes?\n$", shown)
    assert max(map(len, shown.splitlines())) <= 120


QUOTE = re.compile(r"```\w+\n# (docs/examples/\S+)\n(.*?)```", re.DOTALL)


def quotes():
    for page, text in {**PAGES, "README.md": README}.items():
        for file, code in QUOTE.findall(text):
            yield page, file, code


def test_quoted_code_is_in_its_file():
    found = list(quotes())
    assert found
    for page, file, code in found:
        path = ROOT / file
        assert path.is_file(), f"{page} quotes {file}"
        assert code in path.read_text(encoding="utf-8"), f"{page} quotes {file}"


def test_every_file_for_a_scheduler_is_quoted_whole():
    quoted = {file: code for page, file, code in quotes() if "scheduled" in page}
    files = {
        path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
        for path in (EXAMPLES / "schedule").iterdir()
    }
    assert quoted == files
