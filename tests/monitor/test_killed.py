"""A monitor that is killed, and several at once: nothing is lost or told twice."""

import datetime
import os
import signal
import subprocess
import sys
import time

from pytest_llmeval.monitor.alarms import tell
from pytest_llmeval.monitor.judge import Finding


NOW = datetime.datetime(2026, 11, 30, 5, tzinfo=datetime.UTC)
TELL = """\
import datetime, os, signal, sys
from pathlib import Path
from pytest_llmeval.monitor import alarms
from pytest_llmeval.monitor.judge import Finding

now = datetime.datetime(2026, 11, 30, 5, tzinfo=datetime.UTC)
finding = Finding(series="s", state="alarm", since=now, message="why")
if sys.argv[3] == "kill":
    alarms.send = lambda url, text: os.kill(os.getpid(), signal.SIGKILL)
alarms.tell(Path(sys.argv[1]), "m", [finding], {"HOOK": sys.argv[2]}, now)
"""


def start(folder, webhook, how="send"):
    command = [sys.executable, "-c", TELL, str(folder), webhook.url, how]
    return subprocess.Popen(command)


def tell_here(folder, webhook):
    finding = Finding(series="s", state="alarm", since=NOW, message="why")
    return tell(folder, "m", [finding], {"HOOK": webhook.url}, NOW)


def test_a_message_of_a_killed_monitor_is_sent_by_the_next_one_once(tmp_path, webhook):
    assert start(tmp_path, webhook, "kill").wait(60) == -signal.SIGKILL
    assert webhook.got == []
    assert tell_here(tmp_path, webhook).changes == []
    tell_here(tmp_path, webhook)
    (text,) = webhook.texts
    assert text.endswith("ALARM: s: why")


def test_a_monitor_killed_while_the_server_is_silent_leaves_the_message(
    tmp_path, webhook
):
    webhook.script = [60.0]
    process = start(tmp_path, webhook)
    deadline = time.monotonic() + 60
    while not webhook.got:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.kill(process.pid, signal.SIGKILL)
    process.wait(60)
    webhook.script = [200]
    tell_here(tmp_path, webhook)
    tell_here(tmp_path, webhook)
    # The first request had no answer, so nobody knows whether it has arrived.
    assert len(webhook.got) == 2


def test_monitors_at_once_tell_a_change_once(tmp_path, webhook):
    processes = [start(tmp_path, webhook) for _ in range(5)]
    assert [process.wait(120) for process in processes] == [0] * 5
    assert len(webhook.got) == 1
