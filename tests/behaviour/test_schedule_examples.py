"""The examples for cron and systemd run as they are written."""

import configparser
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from datetime import UTC
from datetime import datetime
from pathlib import Path

import pytest

from pytest_llmeval.backends.databricks.cron import next_times
from pytest_llmeval.errors import ConfigurationError

from .conftest import PASSING
from .conftest import RIGHT
from .conftest import Suite
from .registry import aliases
from .registry import client
from .registry import copy_of


# MLflow warns in many places; the runs under test are in processes of their own.
pytestmark = [
    pytest.mark.filterwarnings("ignore"),
    pytest.mark.skipif(shutil.which("flock") is None, reason="there is no flock"),
]
EXAMPLES = Path(__file__).parents[2] / "docs/examples/schedule"
CRONTAB = (EXAMPLES / "crontab").read_text(encoding="ascii").splitlines()
LINES = [line for line in CRONTAB if re.match(r"[\d*]", line)]
ANALYZE = shutil.which("systemd-analyze")

WAITING = (
    RIGHT.replace("lambda prompt: prompt.upper()", "wait_and_answer")
    + """

def wait_and_answer(prompt):
    Path("asked").touch()
    while not Path("go").exists():
        time.sleep(0.02)
    return prompt.upper()
"""
)


@pytest.fixture
def suite(tmp_path):
    """A project in ~/docs-qa with a manifest and the scripts of the examples."""
    project = Suite(tmp_path / "docs-qa")
    project.update_gates()
    equip(project)
    return project


def equip(project):
    for script in EXAMPLES.glob("*.sh"):
        shutil.copy(script, project.path)
    (project.path / ".venv").symlink_to(sys.prefix)


def cron_environment(home):
    """Return all that cron of Debian gives to a command."""
    shell = {"HOME": str(home), "LOGNAME": "tester", "SHELL": "/bin/sh"}
    return {**shell, "PATH": "/usr/bin:/bin"}


def parsed(line):
    """Return the time of a crontab's line, its command, and the command's input.

    In a crontab % ends a line of the command, of which the first is the command itself.
    """
    *times, rest = line.split(maxsplit=5)
    command, *given = (part.replace("\\%", "%") for part in re.split(r"(?<!\\)%", rest))
    return " ".join(times), command, "\n".join(given)


def start(line, home):
    _, command, _ = parsed(line)
    return subprocess.Popen(
        ("/bin/sh", "-c", command),
        cwd=home,
        env=cron_environment(home),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def run(line, home):
    """Run a line as cron does; what it prints is what cron mails."""
    started = start(line, home)
    printed, _ = started.communicate(timeout=120)
    print(printed)
    return started.returncode, printed


def the_log(suite):
    (log,) = suite.path.glob("logs/????-??-??.log")
    return log


def test_each_line_of_the_crontab_is_a_time_and_one_command():
    assert CRONTAB[0] == "MAILTO=team@example.org"
    assert len(LINES) == len(CRONTAB) - 1
    assert [parsed(line)[2] for line in LINES] == ["", "", ""]
    for line in LINES:
        script = shlex.split(parsed(line)[1])[0]
        path = EXAMPLES / script.removeprefix("$HOME/docs-qa/")
        assert os.access(path, os.X_OK), script


def test_a_percent_sign_ends_the_command_unless_it_is_escaped():
    line = r'5 4 * * * date "+\%F" > day % one % two'
    assert parsed(line) == ("5 4 * * *", 'date "+%F" > day ', " one \n two")


@pytest.mark.parametrize(
    ("line", "first"),
    [
        (LINES[0], "Mon 30 05:30, Tue 01 05:30"),
        (LINES[1], "Mon 30 07:00, Mon 07 07:00"),
        (LINES[2], "Mon 30 08:00, Tue 01 08:00"),
    ],
)
def test_the_times_of_the_crontab_are_those_of_the_page(line, first):
    sunday = datetime(2026, 11, 29, tzinfo=UTC)
    with pytest.raises(ConfigurationError) as error:
        next_times(parsed(line)[0], "UTC", sunday, 1)
    quartz = re.search(r"Unix cron becomes '(.*)'$", str(error.value))[1]
    expected = first.split(", ")
    times = next_times(quartz, "UTC", sunday, len(expected))
    assert [f"{moment:%a %d %H:%M}" for moment in times] == expected


def test_the_nightly_line_evaluates_and_has_nothing_to_mail(suite):
    assert run(LINES[0], suite.path.parent) == (0, "")
    assert suite.verdict["status"] == "pass"
    assert "1 passed" in the_log(suite).read_text()
    junit = ET.parse(the_log(suite).with_suffix(".xml"))
    names = [one.get("name") for one in junit.iter("property")]
    assert "llmeval.exact_match.decision" in names


def test_the_nightly_line_mails_why_a_suite_fails_and_keeps_the_status(suite):
    suite.write("evals/test_qa.py", PASSING.replace("DATA =", "WRONG ="))
    status, printed = run(LINES[0], suite.path.parent)
    assert status == 1
    log = the_log(suite)
    assert printed.startswith(f"nightly evals: pytest ended with 1, see {log}:\n"[:-2])
    assert "NameError" in printed
    assert log.read_text().endswith("".join(printed.splitlines(True)[1:]))


def test_a_run_whose_gate_is_gone_does_not_pass(suite):
    suite.write("evals/test_qa.py", "def test_nothing():\n    pass\n")
    status, printed = run(LINES[0], suite.path.parent)
    assert status == 1
    assert "1 passed" in printed
    assert "verdict: fail (NO_GATES" in printed


def test_the_status_of_a_usage_error_is_kept(suite):
    status, printed = run(f"{LINES[0]} --llmeval-nothing", suite.path.parent)
    assert status == 4
    assert printed.startswith("nightly evals: pytest ended with 4, ")


def test_two_runs_of_one_day_share_a_log(suite):
    for _ in range(2):
        assert run(LINES[0], suite.path.parent)[0] == 0
    assert the_log(suite).read_text().count("1 passed") == 2


def test_a_second_run_does_not_start_while_the_first_goes_on(suite):
    head = "import time\nfrom pathlib import Path\n\n"
    suite.write("evals/conftest.py", head + WAITING)
    shutil.rmtree(suite.path / ".llmeval")
    home = suite.path.parent
    first = start(LINES[0], home)
    deadline = time.monotonic() + 60
    while not (suite.path / "asked").exists():
        assert time.monotonic() < deadline
        assert first.poll() is None
        time.sleep(0.05)

    status, printed = run(LINES[0], home)
    assert status == 75
    assert printed == (
        "nightly evals: the run before has not ended yet, so none was started\n"
    )
    (suite.path / "go").touch()
    assert first.communicate(timeout=60) == ("", None)
    assert first.returncode == 0
    assert len(list(suite.path.glob(".llmeval/runs/*"))) == 1
    assert run(LINES[0], home)[0] == 0


def test_a_process_that_a_suite_leaves_behind_does_not_keep_the_lock(suite):
    leave = 'import os\n\nos.system("sleep 60 & echo $! >> left")\n'
    suite.write("evals/conftest.py", leave + RIGHT)
    try:
        assert [run(LINES[0], suite.path.parent)[0] for _ in range(2)] == [0, 0]
    finally:
        for number in (suite.path / "left").read_text().split():
            os.kill(int(number), signal.SIGTERM)


@pytest.fixture
def registered(both, tmp_path):
    """The versions 1 and 2 of a registered model are evaluated, and 1 is live."""
    project = copy_of(both, tmp_path / "docs-qa")
    equip(project)
    assert project.apply(1).ret == 0
    return project


def as_registered(line):
    """Name the model of the test's registry, which is qa."""
    return re.sub(r"(models:/|registry:| )docs-qa@", r"\1qa@", line)


def promote_second(project):
    client(project).set_registered_model_alias("qa", "candidate", "2")
    assert run(as_registered(LINES[1]), project.path.parent) == (0, "")


def test_the_weekly_line_promotes_a_candidate_that_passes(registered):
    promote_second(registered)
    assert aliases(registered) == {"candidate": 2, "champion": 2}


@pytest.mark.parametrize(
    ("change", "reason", "live"),
    [
        (lambda text: text.replace("WORD", "other"), "GATE_FAILED", 1),
        (lambda text: "".join(text.splitlines(True)[:5]), "INCONCLUSIVE", 2),
    ],
    ids=["worse", "fewer rows"],
)
def test_the_watching_line_rolls_back_what_fails_only(registered, change, reason, live):
    promote_second(registered)
    line, home = as_registered(LINES[2]), registered.path.parent
    assert run(line, home) == (0, "")
    assert registered.verdict["gates"][0]["cached"] == 0
    assert aliases(registered)["champion"] == 2

    data = registered.path / "evals/data.jsonl"
    data.write_text(change(data.read_text()))
    status, printed = run(line, home)
    assert (status, registered.verdict["reason"]) == (1, reason)
    assert aliases(registered)["champion"] == live
    assert ("champion of qa: version 2 -> version 1" in printed) is (live == 1)


def unit(name, home):
    """Return the sections of a unit, with the home in place of %h."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str
    parser.read_string((EXAMPLES / name).read_text().replace("%h", str(home)))
    return parser


def test_the_timer_starts_the_service_of_its_name_on_workdays():
    timer, service = unit("llmeval.timer", "/home/me"), unit("llmeval.service", "/h")
    assert dict(timer["Timer"]) == {
        "OnCalendar": "Mon..Fri 05:30",
        "Persistent": "true",
    }
    assert timer["Install"]["WantedBy"] == "timers.target"
    assert service["Service"]["Type"] == "oneshot"
    assert "Install" not in service


def test_the_service_runs_the_suite_and_fails_with_it(suite):
    home = suite.path.parent
    service = unit("llmeval.service", home)["Service"]
    optional = service["EnvironmentFile"]
    assert optional == f"-{home}/.config/llmeval.env", "it may be missing"
    given = dict(one.split("=", 1) for one in shlex.split(service["Environment"]))
    for status, source in ((0, PASSING), (1, PASSING.replace("DATA =", "WRONG ="))):
        suite.write("evals/test_qa.py", source)
        done = subprocess.run(
            shlex.split(service["ExecStart"]),
            cwd=service["WorkingDirectory"],
            env={"HOME": str(home), "PATH": "/usr/local/bin:/usr/bin:/bin", **given},
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == status, done.stdout + done.stderr
        assert bool(done.stderr) is bool(status)


@pytest.mark.skipif(ANALYZE is None, reason="there is no systemd-analyze")
def test_systemd_takes_both_units(suite):
    home = suite.path.parent
    units = home / ".config/systemd/user"
    units.mkdir(parents=True)
    for name in ("llmeval.service", "llmeval.timer"):
        shutil.copy(EXAMPLES / name, units)

    def complaints():
        """Return what is said of these units, not of those that the machine has."""
        said = subprocess.run(
            (ANALYZE, "--user", "verify", *map(str, sorted(units.iterdir()))),
            env={**os.environ, "HOME": str(home), "XDG_RUNTIME_DIR": str(home)},
            capture_output=True,
            text=True,
            timeout=60,
            check=False,
        ).stderr
        return [line for line in said.splitlines() if "llmeval." in line]

    assert complaints() == []
    (suite.path / "nightly-evals.sh").unlink()
    assert "is not executable" in complaints()[0]
