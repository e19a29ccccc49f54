"""Messages to a real HTTP server that takes them, refuses them, or says nothing."""

import json
import socket

import pytest

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.monitor import webhook as sender
from pytest_llmeval.monitor.message import escape
from pytest_llmeval.monitor.webhook import NotSent
from pytest_llmeval.monitor.webhook import find_channels
from pytest_llmeval.monitor.webhook import send


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    monkeypatch.setattr(sender, "PAUSES_S", (0.05, 0.05))
    monkeypatch.setattr(sender, "TIMEOUT_S", 0.5)


def test_a_message_is_what_slack_takes(webhook):
    send(webhook.url, "Größe: 5 <b> \ud83d")
    ((headers, body),) = webhook.got
    assert headers["Content-Type"] == "application/json"
    assert json.loads(body) == {"text": "Größe: 5 <b> \ud83d"}


@pytest.mark.parametrize("first", [500, 503, 429, (429, {"Retry-After": "0"})])
def test_a_refusal_that_may_pass_is_tried_again(webhook, first):
    webhook.script = [first, 200]
    send(webhook.url, "x")
    assert len(webhook.got) == 2


def test_a_wait_that_is_asked_for_is_kept(webhook):
    webhook.script = [(429, {"Retry-After": "1"}), 200]
    send(webhook.url, "x")
    first, second = webhook.times
    assert second - first >= 1


def test_a_long_wait_is_left_to_the_next_time(webhook):
    webhook.script = [(429, {"Retry-After": "3600"})]
    with pytest.raises(NotSent, match="HTTP 429"):
        send(webhook.url, "x")
    assert len(webhook.got) == 1


@pytest.mark.parametrize("status", [500, 429])
def test_attempts_are_bounded(webhook, status):
    webhook.script = [status]
    with pytest.raises(NotSent, match=f"HTTP {status}$"):
        send(webhook.url, "x")
    assert len(webhook.got) == 3


@pytest.mark.parametrize("status", [400, 403, 404, 410])
def test_a_refusal_for_good_is_not_tried_again(webhook, status):
    webhook.script = [status]
    with pytest.raises(NotSent, match=f"HTTP {status}$"):
        send(webhook.url, "x")
    assert len(webhook.got) == 1


def test_a_redirection_is_not_followed(webhook):
    webhook.script = [(302, {"Location": webhook.url})]
    with pytest.raises(NotSent, match="HTTP 302"):
        send(webhook.url, "x")
    assert len(webhook.got) == 1


def test_silence_is_a_failure_after_bounded_attempts(webhook):
    webhook.script = [2.0]
    with pytest.raises(NotSent, match="TimeoutError"):
        send(webhook.url, "x")
    assert len(webhook.got) == 3


def test_nobody_at_the_port_is_a_failure_that_keeps_the_url_to_itself():
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(NotSent) as failure:
        send(f"http://127.0.0.1:{port}/s3cr3tpath", "x")
    assert "ConnectionRefusedError Connection refused" in str(failure.value)
    assert "s3cr3tpath" not in str(failure.value)


def test_a_channel_is_a_variable_that_holds_a_url(monkeypatch):
    monkeypatch.setenv("TEAM_HOOK", "https://hooks.example.org/x")
    monkeypatch.setenv("LLMEVAL_ALARM_URL", "https://hooks.example.org/y")
    assert find_channels(["TEAM_HOOK"]) == {"TEAM_HOOK": "https://hooks.example.org/x"}
    assert list(find_channels(None)) == ["LLMEVAL_ALARM_URL"]
    monkeypatch.delenv("LLMEVAL_ALARM_URL")
    assert find_channels(None) == {}


@pytest.mark.parametrize(
    "value",
    ["", "hooks.example.org/s3cr3t", "file:///etc/s3cr3t", "http://", "http://a b"],
)
def test_a_variable_that_holds_none_is_named_without_its_value(monkeypatch, value):
    monkeypatch.setenv("TEAM_HOOK", value)
    with pytest.raises(ConfigurationError) as error:
        find_channels(["TEAM_HOOK"])
    assert "'TEAM_HOOK'" in str(error.value)
    assert "s3cr3t" not in str(error.value)


def test_a_url_in_the_place_of_a_variable_is_refused_unread():
    with pytest.raises(ConfigurationError, match="--alarm takes names of") as error:
        find_channels(["https://hooks.example.org/s3cr3t"])
    assert "s3cr3t" not in str(error.value)


def test_slack_does_not_obey_what_a_name_says():
    assert escape("<!channel> <http://evil|x> &") == (
        "&lt;!channel&gt; &lt;http://evil|x&gt; &amp;"
    )
