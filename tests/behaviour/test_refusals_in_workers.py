"""What must not deploy does not deploy with pytest-xdist either."""

import shutil

import pytest

from .conftest import INI
from .conftest import PASSING
from .conftest import RIGHT
from .conftest import ROWS
from .conftest import Suite


DEPLOY = ("evals", "-n", "2", "--llmeval-deploy", "registry:qa@champion")
SECOND = PASSING.replace("test_quality", "test_second").replace("0.9", "0.8")
A, B = "evals/test_a.py", "evals/test_b.py"
WRONG = RIGHT.replace("prompt.upper()", '"wrong"')
GATE = 'assert_metric(results, "exact_match", ">=", 0.8)'
SWALLOWED = SECOND.replace(
    f"    {GATE}",
    "    try:\n"
    f"        {GATE.replace('0.8', '0.99')}\n"
    "    except AssertionError:\n"
    "        pass",
)
SUBTEST = SECOND.replace(
    f"    {GATE}",
    f"    with subtests.test():\n        {GATE.replace('0.8', '0.99')}",
).replace("(evaluate)", "(evaluate, subtests)")
THREAD = SECOND.replace(
    GATE,
    "import threading\n"
    "    gate = (results, 'exact_match', '>=', 0.99)\n"
    "    thread = threading.Thread(target=assert_metric, args=gate)\n"
    "    thread.start()\n"
    "    thread.join()",
)
NAN = (
    "def odd(prediction, example) -> bool:\n    return float('nan')\n\n\n"
    + SECOND.replace('["exact_match"]', "[odd]").replace('"exact_match"', '"odd"')
)
MARKED = "import pytest\n\n\n" + SECOND
RERUN = SECOND.replace(GATE, f"TRIES.append(1)\n    {GATE}\n    assert len(TRIES) > 1")
OTHER_MODEL = SECOND.replace(
    "evaluate(data",
    "evaluate(CallableModel(str.upper, version='2'), data",
).replace("import assert", "import CallableModel\nfrom pytest_llmeval import assert")
TEARDOWN = """\
import pytest


@pytest.fixture(scope="session")
def upload():
    yield
    raise OSError("upload failed")


def test_upload(upload):
    pass
"""
EXIT = """

@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session):
    if not hasattr(session.config, "workerinput"):
        session.exitstatus = 1
"""
STOP = "import pytest\n\n\ndef test_stop():\n    pytest.exit('done', returncode=0)\n"
CACHED = INI.replace("addopts = -p no:cacheprovider\n", "")
CASES = [
    ("GATE_MISSING", {}, ("-k", "quality")),
    ("NO_GATES", {}, ("-m", "nothing")),
    ("NOT_EXECUTED", {}, ("--setup-plan",)),
    ("NOT_EXECUTED", {}, ("--collect-only",)),
    ("GATE_FAILED", {"evals/conftest.py": WRONG}, ()),
    ("GATE_FAILED", {"evals/conftest.py": WRONG}, ("-x",)),
    ("SKIPPED", {B: MARKED.replace(GATE, "pytest.skip('down')")}, ()),
    ("XFAIL", {B: MARKED.replace(GATE, "pytest.xfail('known')")}, ()),
    ("XPASS", {B: MARKED.replace("def ", "@pytest.mark.xfail\ndef ")}, ()),
    ("RERUN", {B: "TRIES = []\n" + RERUN}, ("--reruns", "2")),
    ("COLLECTION_ERROR", {B: "import nosuch\n"}, ()),
    (
        "COLLECTION_ERROR",
        {B: "import nosuch\n"},
        ("--continue-on-collection-errors",),
    ),
    ("INCOMPLETE", {"evals/test_c.py": STOP}, ()),
    ("TEARDOWN_ERROR", {"evals/test_c.py": TEARDOWN}, ()),
    ("NOT_FINITE", {B: NAN}, ()),
    ("DUPLICATE_ROWS", {"evals/data.jsonl": [ROWS[0], *ROWS]}, ()),
    ("NO_ASSERTION", {B: SECOND.replace(GATE, "pass")}, ()),
    ("GATE_CHANGED", {B: SECOND.replace("0.8", "0.7")}, ()),
    ("GATE_UNLISTED", {"evals/test_c.py": SECOND}, ()),
    ("INCONCLUSIVE", {B: SWALLOWED}, ()),
    ("INCONCLUSIVE", {B: SUBTEST}, ()),
    ("INCONCLUSIVE", {B: THREAD}, ("-p", "no:threadexception")),
    ("MIXED_MODELS", {B: OTHER_MODEL}, ()),
    ("TESTS_FAILED", {"evals/conftest.py": RIGHT + EXIT}, ()),
    ("BUDGET", {}, ("--llmeval-max-requests", "10")),
    ("PARTIAL_RUN", {"pytest.ini": CACHED}, ("--lf",)),
]


@pytest.fixture(scope="module")
def template(tmp_path_factory):
    """A committed suite of two gates in two files, with its manifest."""
    suite = Suite(tmp_path_factory.mktemp("project"))
    (suite.path / "evals/test_qa.py").unlink()
    suite.write(A, PASSING)
    suite.write(B, SECOND)
    suite.set_ini()
    suite.update_gates()
    shutil.rmtree(suite.path / ".llmeval")
    suite.commit()
    return suite


@pytest.fixture
def project(template, tmp_path):
    shutil.copytree(template.path, tmp_path / "project")
    return Suite(tmp_path / "project")


def write(project, files):
    for name, content in files.items():
        if isinstance(content, str):
            project.write(name, content)
        else:
            project.write_rows(name, content)


@pytest.mark.parametrize(
    ("expected", "files", "options"),
    CASES,
    ids=[f"{number}-{expected}" for number, (expected, *_) in enumerate(CASES)],
)
def test_refused(project, expected, files, options):
    write(project, files)
    result = project.run(*DEPLOY, *options)
    assert result.ret != 0
    assert project.verdict["reason"] == expected
    assert project.verdict["status"] != "pass"
    assert project.deployment["reason"] == expected
    assert not (project.path / "mlflow.db").exists(), "no registry was asked"


def test_workers_that_collect_different_tests_are_refused(project):
    hook = (
        "\n\ndef pytest_collection_modifyitems(config, items):\n"
        "    if getattr(config, 'workerinput', {}).get('workerid') == 'gw1':\n"
        "        del items[0]\n"
    )
    project.write("evals/conftest.py", RIGHT + hook)
    assert project.run(*DEPLOY).ret != 0
    assert project.deployment["reason"] == "COLLECTION_ERROR"


def test_failing_try_in_a_report_that_a_plugin_drops_still_blocks(project):
    """As plugins do that try a call again and report only the last one."""
    hook = """

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    from _pytest import runner

    setup = runner.call_and_report(item, "setup", log=True)
    assert setup.passed
    first = runner.call_and_report(item, "call", log=False)
    runner.call_and_report(item, "call", log=True)
    runner.call_and_report(item, "teardown", log=True, nextitem=nextitem)
    return True
"""
    project.write("evals/conftest.py", RIGHT + hook)
    project.write(B, "BARS = [0.8, 0.99]\n" + SECOND.replace("0.8)", "BARS.pop())"))
    project.run(*DEPLOY)
    assert project.deployment["reason"] == "INCONCLUSIVE"


def test_reruns_that_are_allowed_pass_and_are_counted(project):
    project.write(B, "TRIES = []\n" + RERUN)
    options = ("-o", "llmeval_reruns=allow", "--reruns", "2", "--llmeval-require")
    assert project.run("evals", "-n", "2", *options).ret == 0
    verdict = project.verdict
    assert (verdict["status"], verdict["reason"]) == ("pass", "OK")
    assert verdict["tries"] == {"evals/test_b.py::test_second": 2}
    assert len(verdict["gates"]) == 2


@pytest.mark.parametrize("command", ["update", "diff"])
def test_manifest_is_the_same_from_workers(project, command):
    before = (project.path / "evals/gates.toml").read_bytes()
    if command == "update":
        (project.path / "evals/gates.toml").unlink()
    assert project.llmeval("gates", command, "evals", "-n", "2").ret == 0
    assert (project.path / "evals/gates.toml").read_bytes() == before


@pytest.mark.parametrize("where", ["hook", "option"])
def test_manifest_needs_the_whole_suite_from_workers_too(project, where):
    before = (project.path / "evals/gates.toml").read_bytes()
    options = ("evals", "-n", "2")
    if where == "option":
        options += ("-k", "quality")
    else:
        hook = (
            "\n\ndef pytest_collection_modifyitems(config, items):\n"
            "    config.hook.pytest_deselected(items=[items.pop()])\n"
        )
        project.write("evals/conftest.py", RIGHT + hook)
    result = project.llmeval("gates", "update", *options)
    assert result.ret == 1
    result.stdout.fnmatch_lines(["*manifest stays as it is*(PARTIAL_RUN: *"])
    assert (project.path / "evals/gates.toml").read_bytes() == before
