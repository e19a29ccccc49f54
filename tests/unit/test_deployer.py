"""All targets of a deployment change, or none does, whatever fails on the way."""

import json
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from pytest_llmeval.config import Settings
from pytest_llmeval.deploy.deployer import Deployer
from pytest_llmeval.deploy.deployer import Order
from pytest_llmeval.deploy.journal import past_attempts
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.hooks import hookimpl
from pytest_llmeval.provenance import Provenance
from pytest_llmeval.records import Move
from tests.behaviour.conftest import as_on_a_laptop

from .file_target import FileTarget
from .file_target import Targets
from .file_target import passing_verdict
from .file_target import write_manifest


PROVENANCE = Provenance(
    commit="c1", branch="main", dirty=False, ci_url=None, versions={}
)


class World:
    """Two targets with version 1 live, ``serve`` before ``name``."""

    def __init__(self, folder: Path, wait_s: float = 0.3) -> None:
        self.folder, self.said = folder, list[str]()
        self.serve = FileTarget(folder / "serve")
        self.name = FileTarget(folder / "name", order=1)
        for target in (self.serve, self.name):
            target.path.write_text("1")
        write_manifest(folder)
        self.manager = headless_manager()
        self.manager.register(Targets(self.serve, self.name))
        self.settings = Settings(
            rootdir=folder, tracking="off", deploy_timeout_s=wait_s
        )
        self.target = f"{self.name.name},{self.serve.name}"

    def deployer(self, provenance=PROVENANCE):
        return Deployer(
            self.manager.hook, self.settings, provenance, say=self.said.append
        )

    def order(self, verdict=None, **more):
        path = self.folder / ".llmeval" / "runs" / "run-1" / "deployment.json"
        verdict = verdict or passing_verdict(finished_at=time.time())
        return Order(target=self.target, path=path, verdict=verdict, **more)

    def apply(self, verdict=None, **more):
        return self.deployer().apply(self.order(verdict, **more))

    @property
    def live(self):
        return self.serve.version, self.name.version

    @property
    def written(self):
        return json.loads(self.order().path.read_text())

    @property
    def attempts(self):
        return list(past_attempts(self.settings.home))


@pytest.fixture
def world(tmp_path, monkeypatch):
    as_on_a_laptop(monkeypatch)
    return World(tmp_path)


def test_targets_change_in_their_order_and_the_books_say_so(world):
    order = []
    world.serve.on_note = world.name.on_note = order.append
    outcome = world.apply()
    assert (outcome.reason, outcome.exit_status) == ("DEPLOYED", 0)
    assert world.live == ("2", "2")
    written = world.written
    assert [call["target"] for call in written["calls"]] == [
        world.serve.name,
        world.name.name,
    ]
    assert written["reason"] == "DEPLOYED"
    assert written["verdict"].startswith("sha256:")
    assert written["who"]["actor"]
    assert [entry["id"] for entry in world.attempts] == [written["id"]]
    assert not (world.settings.home / "deploying").exists()


def test_second_time_nothing_is_written(world):
    world.apply()
    writes = len(world.serve.writes + world.name.writes)
    outcome = world.apply()
    assert (outcome.reason, outcome.exit_status) == ("NOOP", 0)
    assert len(world.serve.writes + world.name.writes) == writes
    assert [entry["reason"] for entry in world.attempts] == ["DEPLOYED", "NOOP"]


def test_plan_writes_nothing_at_all(world):
    outcome = world.deployer().plan(world.order())
    assert (outcome.reason, outcome.exit_status) == ("DRY_RUN", 0)
    assert [plan.changes for plan in outcome.plans] == [("write 2",), ("write 2",)]
    assert not world.settings.home.exists()
    assert world.live == ("1", "1")


def test_failing_last_target_brings_the_first_one_back(world):
    world.name.faults = ["refuse"]
    outcome = world.apply()
    assert (outcome.reason, outcome.exit_status) == ("ROLLED_BACK", 11)
    assert "it refuses" in outcome.message
    assert "serve is back to version 1" in outcome.message
    assert world.live == ("1", "1")
    assert world.serve.writes == ["2", "1"]
    assert world.name.writes == []


def test_lost_answer_is_read_back(world):
    world.serve.faults = ["lose"]
    assert world.apply().reason == "DEPLOYED"
    assert world.live == ("2", "2")
    assert any("answer was lost" in line for line in world.said)


def test_write_without_effect_is_noticed(world):
    world.name.faults = ["ignore"]
    outcome = world.apply()
    assert (outcome.reason, outcome.exit_status) == ("ROLLED_BACK", 11)
    assert "name reads back as version 1" in outcome.message
    assert world.live == ("1", "1")


def test_target_that_never_gets_ready_is_brought_back_within_the_bound(world):
    world.serve.faults = ["never"]
    began = time.monotonic()
    outcome = world.apply()
    assert (outcome.reason, outcome.exit_status) == ("ROLLED_BACK", 11)
    assert "not ready after" in outcome.message
    assert time.monotonic() - began < 10 * world.settings.deploy_timeout_s
    assert world.live == ("1", "1")


def test_failing_roll_back_says_the_state_and_the_command_and_is_tried_again(world):
    world.name.faults = ["refuse"]
    world.serve.faults = ["", "refuse"]
    outcome = world.apply()
    assert (outcome.reason, outcome.exit_status) == ("ROLLBACK_FAILED", 12)
    assert "NOT as before: file:" in outcome.message
    assert f"llmeval deploy rollback --target {world.target}" in outcome.message
    assert world.live == ("2", "1")

    settled = world.deployer().settle()
    assert settled is not None
    assert settled.reason == "RESTORED"
    assert world.live == ("1", "1")
    assert world.deployer().settle() is None


def test_next_deployment_stops_where_the_last_one_cannot_be_brought_back(world):
    world.name.faults = ["refuse"]
    world.serve.faults = ["", "refuse", "refuse"]
    world.apply()
    again = world.apply()
    assert (again.reason, again.exit_status) == ("ROLLBACK_FAILED", 12)
    assert world.live == ("2", "1")
    assert world.apply().reason == "DEPLOYED"
    assert world.live == ("2", "2")


def test_somebody_elses_change_is_left_alone(world):
    world.serve.on_note = lambda line: world.name.path.write_text("7")
    outcome = world.apply()
    assert (outcome.reason, outcome.exit_status) == ("SUPERSEDED", 10)
    assert world.live == ("1", "7")


def test_other_plans_than_the_agreed_ones_are_not_carried_out(world):
    agreed = world.deployer().plan(world.order()).plans
    world.name.path.write_text("7")
    outcome = world.apply(agreed=agreed)
    assert (outcome.reason, outcome.exit_status) == ("SUPERSEDED", 10)
    assert world.live == ("1", "7")
    world.name.path.write_text("1")
    assert world.apply(agreed=agreed).reason == "DEPLOYED"


def test_hook_of_a_user_is_called_last_and_can_fail_the_deployment(world):
    class Announces:
        @hookimpl
        def pytest_llmeval_deploy(self, verdict, plan):
            assert world.live == ("2", "2")
            assert [one.target for one in plan] == [world.serve.name, world.name.name]
            raise RuntimeError("the load balancer says no")

    world.manager.register(Announces())
    outcome = world.apply()
    assert (outcome.reason, outcome.exit_status) == ("DEPLOY_FAILED", 11)
    assert "the load balancer says no" in outcome.message
    assert world.live == ("1", "1")


def test_unreadable_target_changes_nothing(world):
    world.name.unreadable = True
    outcome = world.apply()
    assert (outcome.reason, outcome.exit_status) == ("DEPLOY_FAILED", 11)
    assert world.serve.writes == []


def test_busy_target_is_refused(world):
    world.serve.busy = True
    assert world.apply().reason == "TARGET_BUSY"
    assert world.live == ("1", "1")


def test_interrupt_brings_everything_back(world):
    def interrupt(line):
        world.name.on_note = lambda line: None
        raise KeyboardInterrupt

    world.name.on_note = interrupt
    outcome = world.apply()
    assert (outcome.reason, outcome.exit_status) == ("ROLLED_BACK", 11)
    assert outcome.message.startswith("interrupted; ")
    assert world.live == ("1", "1")


def test_roll_back_is_an_order_without_a_verdict(world):
    world.apply()
    order = Order(
        target=world.target,
        path=world.settings.home / "rollback.json",
        move=Move(step="rollback"),
    )
    assert world.deployer().apply(order).reason == "RESTORED"
    assert world.live == (None, None)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"status": "fail", "reason": "GATE_FAILED"}, "GATE_FAILED"),
        ({"status": "incomplete", "reason": "WORKER_LOST"}, "WORKER_LOST"),
        ({"schema": 9}, "VERDICT_UNUSABLE"),
        ({"manifest": None}, "NO_MANIFEST"),
        ({"dirty": True}, "DIRTY"),
        ({"commit": "c0"}, "VERDICT_STALE"),
        ({"finished_at": time.time() - 25 * 3600}, "VERDICT_STALE"),
        ({"finished_at": time.time() + 3600}, "VERDICT_STALE"),
        ({"gates": []}, "NO_GATES"),
        ({"tries": {"t.py::test": 3}}, "RERUN"),
        ({"manifest": {"path": "lax.toml", "digest": "sha256:2"}}, "GATE_CHANGED"),
    ],
)
def test_verdict_that_does_not_speak_for_this_commit_is_refused(world, changes, reason):
    verdict = passing_verdict(**{"finished_at": time.time(), **changes})
    outcome = world.apply(verdict)
    assert (outcome.reason, outcome.exit_status) == (reason, 10)
    assert world.live == ("1", "1")
    assert [entry["reason"] for entry in world.attempts] == [reason]


def test_gates_are_asked_not_only_the_status(world):
    verdict = passing_verdict(finished_at=time.time())
    verdict["gates"][0]["decision"] = "inconclusive"
    assert world.apply(verdict).reason == "GATE_FAILED"


def test_two_at_once_wait_for_each_other(world, tmp_path):
    """They may have different folders of runs: the place itself is locked."""
    other = World.__new__(World)
    other.__dict__.update(world.__dict__)
    other.settings = Settings(
        rootdir=tmp_path, directory="other", tracking="off", deploy_timeout_s=20
    )
    inside, order = threading.Event(), []

    def slowly(line):
        inside.set()
        time.sleep(0.3)
        order.append("first")

    world.name.on_note = slowly
    thread = threading.Thread(target=world.apply)
    thread.start()
    assert inside.wait(10)
    outcome = other.deployer().apply(other.order())
    order.append("second")
    thread.join()
    assert order == ["first", "second"]
    assert outcome.reason == "NOOP"


def test_deployment_that_holds_a_place_for_too_long_is_named(world):
    inside, end = threading.Event(), threading.Event()
    world.name.on_note = lambda line: (inside.set(), end.wait(20))
    thread = threading.Thread(target=world.apply)
    thread.start()
    assert inside.wait(10)
    outcome = world.deployer().apply(world.order())
    during = world.written["reason"]
    end.set()
    thread.join()
    assert (outcome.reason, outcome.exit_status) == ("LOCKED", 10)
    assert during == "APPLYING", "the books of the one that is going on"
    assert world.written["reason"] == "DEPLOYED"


KILLED = """\
import os, sys, time
from pathlib import Path
from tests.unit.test_deployer import World
world = World.__new__(World)
World.__init__(world, Path(sys.argv[1]))
left = int(sys.argv[2])
def die(line):
    global left
    left -= 1
    if left == 0:
        os.kill(os.getpid(), 9)
world.serve.on_note = world.name.on_note = die
world.apply()
"""


@pytest.mark.parametrize("at", [1, 2])
def test_killed_deployment_is_brought_back_by_the_next_one(world, at):
    done = subprocess.run(
        (sys.executable, "-c", KILLED, str(world.folder), str(at)), check=False
    )
    assert done.returncode == -signal.SIGKILL
    assert world.written["reason"] == "APPLYING"
    assert world.live == (("1", "1") if at == 1 else ("2", "1"))
    settled = world.deployer().settle()
    assert settled is not None
    assert settled.reason == "RESTORED"
    assert world.live == ("1", "1")
    assert world.apply().reason == "DEPLOYED"
    assert world.live == ("2", "2")
    assert [entry["reason"] for entry in world.attempts] == ["ROLLED_BACK", "DEPLOYED"]


def test_untrusted_place_changes_nothing_not_even_to_bring_back(world, monkeypatch):
    world.name.faults = ["refuse"]
    world.serve.faults = ["", "refuse"]
    world.apply()
    monkeypatch.setenv("GITHUB_EVENT_NAME", "pull_request")
    settled = world.deployer().settle()
    assert settled is not None
    assert settled.reason == "UNTRUSTED_CONTEXT"
    assert world.apply().reason == "UNTRUSTED_CONTEXT"
    assert world.live == ("2", "1")


def test_books_that_cannot_be_kept_stop_a_deployment_before_it_writes(world):
    world.settings.home.write_text("where the folder should be")
    outcome = world.apply()
    assert outcome.exit_status == 11
    assert world.live == ("1", "1")
