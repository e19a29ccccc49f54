"""Deployments under random sessions, faults, races and kill -9, and what is live then.

Run it with ``make stress``; ``make stress STRESS_SEED=7`` draws what seed 7 draws.
"""

import contextlib
import io
import os
import random
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest

from tests.behaviour.conftest import as_on_a_laptop
from tests.behaviour.registry import REGISTRY
from tests.behaviour.registry import Registered
from tests.behaviour.registry import aliases
from tests.behaviour.registry import copy_of
from tests.behaviour.registry import evaluate_both
from tests.behaviour.registry import make_registered
from tests.databricks.workspace import Workspace
from tests.stress.random_sessions import play_many


SESSIONS = 500
REAL_SESSIONS = 20
KILLS = 30
LONGEST_S = 5.0
"""A deployment that is killed by the clock lives so long at most."""
TARGET = f"serving:docs,{REGISTRY}"
OLD = {"name": "qa-1", "entity_name": "qa", "entity_version": "1"}
MOVES = (
    "import mlflow\n\n\ndef test_z():\n"
    "    client = mlflow.MlflowClient()\n"
    "    client.set_registered_model_alias('qa', {alias!r}, '2')\n"
)
MARKED = "import pytest\n\n\n@pytest.mark.{mark}\ndef test_z():\n    assert {outcome}\n"


class Case(NamedTuple):
    """Something that may happen to a session."""

    name: str
    prepare: Callable[[Registered], object]
    arguments: tuple[str, ...] = ()
    deploys: bool = False


def _adds(text: str) -> Callable[[Registered], object]:
    return lambda project: (project.write("evals/test_z.py", text), project.commit())


def _replaces(old: str, new: str) -> Callable[[Registered], object]:
    def prepare(project: Registered) -> None:
        path = project.path / "evals/test_qa.py"
        project.write("evals/test_qa.py", path.read_text().replace(old, new))
        project.commit()

    return prepare


def _dirties(project: Registered) -> None:
    with (project.path / "evals/test_qa.py").open("a") as file:
        file.write("# changed\n")


def _drops_a_row(project: Registered) -> None:
    path = project.path / "evals/data.jsonl"
    project.write("evals/data.jsonl", "".join(path.read_text().splitlines(True)[1:]))
    project.commit()


def _nothing(project: Registered) -> None:
    pass


CASES = (
    Case("sound", _nothing, deploys=True),
    Case("sound, two workers", _nothing, ("-n", "2"), deploys=True),
    Case("sound, a further test", _adds("def test_z():\n    pass\n"), deploys=True),
    Case("-k", _nothing, ("-k", "nothing")),
    Case("deselected", _nothing, ("--deselect", "evals/test_qa.py::test_quality")),
    Case("ignored", _nothing, ("--ignore", "evals/test_qa.py")),
    Case("collected only", _nothing, ("--collect-only",)),
    Case("failed last", _nothing, ("--lf", "-p", "cacheprovider")),
    Case("failing test", _adds("def test_z():\n    assert 0\n")),
    Case("skipped", _adds(MARKED.format(mark="skip", outcome="1"))),
    Case("expected failure", _adds(MARKED.format(mark="xfail", outcome="0"))),
    Case("unexpected pass", _adds(MARKED.format(mark="xfail", outcome="1"))),
    Case("no import", _adds("import nowhere_to_be_found\n")),
    Case("ends itself", _adds("import os\ndef test_z():\n    os._exit(0)\n")),
    Case(
        "exits with 0",
        _adds("import pytest\ndef test_z():\n    pytest.exit('x', returncode=0)\n"),
    ),
    Case("dies", _adds("import os\ndef test_z():\n    os.kill(os.getpid(), 9)\n")),
    Case(
        "worker dies",
        _adds("import os\ndef test_z():\n    os._exit(1)\n"),
        ("-n", "2", "--max-worker-restart", "0"),
    ),
    Case("no gate", _replaces("    assert_metric", "    print")),
    Case("lower bar", _replaces("0.9", "0.5")),
    Case("higher bar", _replaces("0.9", "0.99")),
    Case("fewer rows", _drops_a_row),
    Case("dirty", _dirties),
    Case("target moves", _adds(MOVES.format(alias="champion"))),
    Case("source moves", _adds(MOVES.format(alias="candidate"))),
)


def main():
    seed = int(os.environ.get("STRESS_SEED") or random.randrange(1_000_000))
    print(f"seed {seed}: repeat with make stress STRESS_SEED={seed}", flush=True)
    draw, wrong = random.Random(seed), []
    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        as_on_a_laptop(patch)
        wrong += sessions(seed)
        with quiet():
            template = make_registered(Path(folder) / "project")
        as_on_a_laptop(patch)  # MLflow has set where its store is
        wrong += real_sessions(draw, template, Path(folder))
        with quiet():
            evaluated = evaluate_both(template)
        wrong += kills(draw, evaluated, Path(folder))
    for text in wrong:
        print(f"WRONG: {text}")
    return 1 if wrong else 0


@contextlib.contextmanager
def quiet():
    """Keep the output of runs, and of MLflow, from the screen."""
    heap = io.StringIO()
    with contextlib.redirect_stdout(heap), contextlib.redirect_stderr(heap):
        yield


def sessions(seed):
    began = time.monotonic()
    ends, wrong = play_many(range(seed, seed + SESSIONS))
    told = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    took = time.monotonic() - began
    print(f"{SESSIONS} sessions on the state machine: {told}; {took:.0f} s", flush=True)
    return wrong


def real_sessions(draw, template, folder):
    """Run pytest with a deployment asked for, after something has happened."""
    began, deployed, wrong = time.monotonic(), 0, []
    cases = [CASES[0], CASES[1], *draw.sample(CASES[2:], REAL_SESSIONS - 2)]
    for number, case in enumerate(cases):
        project = copy_of(template, folder / f"session{number}")
        case.prepare(project)
        with quiet():
            project.run("evals", "--llmeval-deploy", REGISTRY, *case.arguments)
        champion = aliases(project).get("champion")
        deployed += case.deploys
        expected = {"target moves": 2}.get(case.name, 1 if case.deploys else None)
        if champion != expected:
            wrong.append(f"{case.name}: the alias names {champion}, not {expected}")
    print(
        f"{REAL_SESSIONS} real sessions: {deployed} deployed, "
        f"{REAL_SESSIONS - deployed} refused; {time.monotonic() - began:.0f} s",
        flush=True,
    )
    return wrong


def kills(draw, template, folder):
    """Kill a deployment to endpoint and alias at a random point, then go on."""
    began, wrong, ends = time.monotonic(), [], Counter()
    for number in range(KILLS):
        project = copy_of(template, folder / f"kill{number}")
        project.target = TARGET
        workspace = Workspace()
        workspace.serve("docs", OLD)
        workspace.looks = draw.randint(1, 4)
        with pytest.MonkeyPatch.context() as patch:
            for name, value in workspace.environment.items():
                patch.setenv(name, value)
            how = _kill(draw, project, workspace)
            workspace.on_write = lambda number: None
            command = draw.choice(("apply", "rollback"))
            with quiet():
                if command == "apply":
                    project.apply(2)
                else:
                    project.deploy("rollback", "--yes")
        live = workspace.serves("docs"), aliases(project).get("champion")
        workspace.close()
        end = {"({'qa/1': 100}, None)": "old", "({'qa/2': 100}, 2)": "new"}
        word = end.get(str(live), "mixed")
        ends[f"{word} after {command}"] += 1
        if word == "mixed" or (command == "apply" and word != "new"):
            wrong.append(f"killed {how}, then {command}: {live} is live")
    told = ", ".join(f"{count} {end}" for end, count in sorted(ends.items()))
    print(f"{KILLS} kills: {told}; {time.monotonic() - began:.0f} s", flush=True)
    return wrong


def _kill(draw, project, workspace):
    llmeval = str(Path(sys.executable).with_name("llmeval"))
    command = (llmeval, "deploy", "apply", "--yes", "--target", TARGET)
    process = subprocess.Popen(
        (*command, "--verdict", project.verdict_of(2)),
        cwd=project.path,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    journal = (project.path / project.verdict_of(2)).with_name("deployment.json")
    kind = draw.choice(("write", "note", "note", "clock"))
    if kind == "write":
        at = draw.randint(1, 2)
        workspace.on_write = lambda number: number == at and process.kill()
        how = f"at write {at} to the endpoint"
    elif kind == "note":
        at, pause_s = draw.randint(0, 5), draw.uniform(0, 0.02)
        how = f"{pause_s * 1000:.0f} ms after line {at} of its books"
        while process.poll() is None and _lines(journal) < at:
            time.sleep(0.0005)
        time.sleep(pause_s)
        process.kill()
    else:
        after_s = draw.uniform(1.0, LONGEST_S)
        how = f"after {after_s:.2f} s"
        try:
            process.wait(after_s)
        except subprocess.TimeoutExpired:
            process.kill()
    process.wait(120)
    return how


def _lines(journal):
    """Return how many writes the books of a deployment have, -1 without any books."""
    try:
        return journal.read_text().count('"call":')
    except FileNotFoundError:
        return -1


if __name__ == "__main__":
    sys.exit(main())
