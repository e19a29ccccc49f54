"""One embedded model for all workers: real weights, real workers."""

import json
import os
import signal
import time
from pathlib import Path

import pytest

from pytest_llmeval.backends.llamacpp import find_known
from pytest_llmeval.backends.llamacpp.served import MODULE


pytestmark = pytest.mark.gguf
# Every Python process that the run starts leaves its command line.
SITE = """\
import os, sys
with open({log!r}, "a") as file:
    print(os.getpid(), *sys.orig_argv, file=file)
"""
DUMP = """\
import json
import os
from pathlib import Path

HERE = Path(__file__).parent
PARAMS = {{"max_tokens": 12}}


def test_dump(evaluate):
    rows = evaluate(
        "gguf:smollm2", "data{part}.jsonl", ["output_tokens"], params=PARAMS
    )
    said = {{
        row.example.id: [
            row.prediction.text,
            row.prediction.reply.prompt_tokens,
            row.prediction.reply.output_tokens,
        ]
        for row in rows.rows
    }}
    refusals = evaluate(
        "gguf:smollm2", "long.jsonl", ["output_tokens"], name="long"
    ).errors
    document = {{
        "worker": os.environ.get("PYTEST_XDIST_WORKER"),
        "model": repr(rows.model),
        "requests": rows.usage.requests,
        "said": said,
        "refusals": [(error.kind, error.message) for error in refusals],
    }}
    (HERE / "said{part}.json").write_text(json.dumps(document))
"""
# Tests meet in files; one worker of the two has started the server.
MEETING = """\
import json
import os
import signal
import time
from pathlib import Path

HERE = Path(__file__).parent


def ask(evaluate, words):
    data = [{{"id": word, "input": f"Say {{word}}."}} for word in words]
    results = evaluate(
        "gguf:smollm2", data, ["output_tokens"], params={{"max_tokens": 4}}
    )
    assert not results.errors
    (file,) = (HERE.parent / ".llmeval/runs").glob("*/services/*.json")
    return json.loads(file.read_text())["pid"]


def parent_of(pid):
    return int(Path(f"/proc/{{pid}}/stat").read_text().rpartition(")")[2].split()[1])


def wait_for(*names):
    deadline = time.monotonic() + 60
    while not all((HERE / name).exists() for name in names):
        assert time.monotonic() < deadline
        time.sleep(0.05)


def test_meets(evaluate):
    server = ask(evaluate, ["one {part}", "two {part}"])
    starter = parent_of(server)
    (HERE / "asked{part}").touch()
    wait_for("asked0", "asked1")
    {then}
"""
DIES = """\
    if starter == os.getpid():
        os.kill(starter, signal.SIGKILL)
    while parent_of(server) == starter:
        time.sleep(0.05)
    assert ask(evaluate, ["three"]) == server
    (HERE / "survived").touch()
"""


class Workers:
    """A suite whose tests ask the embedded model in two workers."""

    def __init__(self, suite, monkeypatch):
        self.suite, self.log = suite, suite.path / "processes.txt"
        suite.write("site/sitecustomize.py", SITE.format(log=str(self.log)))
        (suite.path / "evals/test_qa.py").unlink()
        paths = [str(suite.path / "site"), os.environ.get("PYTHONPATH", "")]
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, paths)))

    def write(self, source, **words):
        for part in (0, 1):
            text = source.format(part=part, **words)
            self.suite.write(f"evals/test_{part}.py", text)

    @property
    def servers(self):
        """The process ids of every server that was started."""
        lines = map(str.split, self.log.read_text().splitlines())
        return [int(pid) for pid, *command in lines if MODULE in command]

    def said(self):
        paths = [self.suite.path / f"evals/said{part}.json" for part in (0, 1)]
        found = [json.loads(path.read_text()) for path in paths]
        for path in paths:
            path.unlink()
        return found


@pytest.fixture
def workers(suite, monkeypatch):
    if find_known("smollm2") is None:
        pytest.fail("the model file is missing; fetch it: llmeval model pull smollm2")
    workers = Workers(suite, monkeypatch)
    yield workers
    for server in filter(lives, workers.servers):  # a test has failed
        os.kill(server, signal.SIGKILL)


def lives(server):
    """Whether it runs: one that has ended may still wait for its parent."""
    try:
        return MODULE in Path(f"/proc/{server}/cmdline").read_text()  # else a zombie
    except FileNotFoundError:
        return False


def wait_until(happened, most_s):
    deadline = time.monotonic() + most_s
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.1)


def test_two_workers_get_what_one_process_gets(workers):
    suite = workers.suite
    workers.write(DUMP)
    for part in (0, 1):
        numbers = range(10 * part, 10 * part + 10)
        rows = [{"id": f"r{n}", "input": f"What comes after {n}?"} for n in numbers]
        suite.write_rows(f"evals/data{part}.jsonl", rows)
    suite.write_rows("evals/long.jsonl", [{"id": "long", "input": "word " * 5_000}])

    assert suite.run("evals", "--llmeval-dir", ".alone").ret == 0
    assert workers.servers == []
    alone = workers.said()
    assert suite.run("evals", "-n", "2", "--llmeval-dir", ".both").ret == 0
    (server,) = workers.servers
    assert not lives(server)
    both = workers.said()
    assert {part.pop("worker") for part in both} == {"gw0", "gw1"}
    assert {part.pop("worker") for part in alone} == {None}
    assert [part["requests"] for part in alone] == [10, 10]
    assert [len(part["said"]) for part in alone] == [10, 10]
    assert alone[0]["refusals"][0][0] == "prompt_too_long"
    assert both == alone

    assert suite.run("evals", "-n", "2", "--llmeval-dir", ".alone").ret == 0
    assert [part["requests"] for part in workers.said()] == [0, 0], "one store for both"


def test_worker_that_started_the_server_may_die(workers):
    workers.write(MEETING, then=DIES.strip())
    suite = workers.suite
    result = suite.run("evals", "-n", "2", "--max-worker-restart", "0")
    result.assert_outcomes(passed=1, failed=1)
    result.stdout.fnmatch_lines(["*worker 'gw?' crashed while running*test_meets*"])
    assert (suite.path / "evals/survived").exists()
    (server,) = workers.servers
    assert not lives(server)
    assert not list(suite.path.glob(".llmeval/runs/*/services"))


def test_server_ends_when_the_controller_is_killed(workers):
    workers.write(MEETING, then="time.sleep(600)")
    suite = workers.suite
    run = suite.start("evals", "-n", "2")
    try:
        asked = [suite.path / f"evals/asked{part}" for part in (0, 1)]
        wait_until(lambda: all(path.exists() for path in asked), most_s=120)
        (server,) = workers.servers
        assert lives(server)
    finally:
        os.kill(run.pid, signal.SIGKILL)
        run.communicate()
    wait_until(lambda: not lives(server), most_s=60)
