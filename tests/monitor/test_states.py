"""States are kept, changes are told once, and messages wait until they arrive."""

import datetime
import json

import pytest

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.monitor.alarms import tell
from pytest_llmeval.monitor.judge import Finding
from pytest_llmeval.monitor.states import States


NOW = datetime.datetime(2026, 11, 30, 5, tzinfo=datetime.UTC)
DAY = datetime.timedelta(days=1)


def finding(state, series="traffic t refusals", message="why"):
    return Finding(series=series, state=state, since=NOW, message=message)


@pytest.fixture
def told(tmp_path, webhook):
    """Tell findings to the webhook; return what has changed."""

    def told(*findings, now=NOW, **more):
        channels = {"HOOK": webhook.url}
        return tell(tmp_path / "monitor", "m", findings, channels, now, **more)

    return told


def test_each_change_is_told_once(told, webhook):
    for state in ("ok", "warning", "warning", "alarm", "alarm", "ok", "ok"):
        told(finding(state))
    said = [text.splitlines()[1] for text in webhook.texts]
    assert said == [
        "WARNING: traffic t refusals: why",
        "ALARM: traffic t refusals: why",
        "OK again after ALARM: traffic t refusals: why",
    ]


def test_missing_data_is_told_and_its_return_too(told, webhook):
    for state in ("no_data", "no_data", "ok"):
        told(finding(state))
    assert [text.splitlines()[1].partition(":")[0] for text in webhook.texts] == [
        "NO DATA",
        "OK again after NO DATA",
    ]


def test_one_round_is_one_message_with_the_worst_first(told, webhook):
    told(finding("warning", "b"), finding("ok", "c"), finding("alarm", "a"))
    (text,) = webhook.texts
    assert text.splitlines() == [
        "m at 2026-11-30 05:00+00:00",
        "ALARM: a: why",
        "WARNING: b: why",
    ]


def test_an_alarm_is_told_again_only_after_the_time_to_remind(told, webhook):
    told(finding("alarm"), remind=DAY)
    told(finding("alarm"), now=NOW + 0.9 * DAY, remind=DAY)
    told(finding("alarm"), now=NOW + 1.1 * DAY, remind=DAY)
    told(finding("alarm"), now=NOW + 2 * DAY, remind=DAY)
    told(finding("alarm"), now=NOW + 9 * DAY)
    assert [text.splitlines()[1].partition(":")[0] for text in webhook.texts] == [
        "ALARM",
        "still ALARM",
    ]


def test_a_series_that_is_not_looked_at_keeps_its_state(told, webhook):
    told(finding("alarm", "a"))
    told(finding("ok", "b"))
    told(finding("alarm", "a"))
    assert len(webhook.texts) == 1


def test_a_message_that_was_refused_is_sent_next_time_and_not_again(told, webhook):
    webhook.script = [404]
    outcome = told(finding("alarm"))
    assert outcome.failures == ["HOOK: the webhook does not take the message: HTTP 404"]
    webhook.script, webhook.got = [200], []
    assert told(finding("alarm")).changes == []
    assert told(finding("alarm")).failures == []
    assert len(webhook.texts) == 1


def test_messages_come_in_order_after_an_outage(told, webhook):
    webhook.script = [404]
    told(finding("alarm"))
    told(finding("ok"))
    webhook.script, webhook.got = [200], []
    told(finding("ok"))
    assert [text.splitlines()[1].partition(":")[0] for text in webhook.texts] == [
        "ALARM",
        "OK again after ALARM",
    ]


def test_a_later_message_does_not_overtake_one_that_was_refused(told, webhook):
    webhook.script = [404]
    told(finding("alarm"))
    webhook.script, webhook.got = [404, 200], []
    told(finding("ok"))
    assert len(webhook.got) == 1


def test_a_channel_that_fails_does_not_hold_up_another(tmp_path, webhook):
    channels = {"DEAD": "http://127.0.0.1:9/x", "HOOK": webhook.url}
    outcome = tell(tmp_path, "m", [finding("alarm")], channels, NOW)
    assert len(webhook.texts) == 1
    assert [failure.partition(":")[0] for failure in outcome.failures] == ["DEAD"]
    tell(tmp_path, "m", [finding("alarm")], {"DEAD": webhook.url}, NOW)
    assert len(webhook.texts) == 2


def test_the_file_holds_no_secret(told, webhook, tmp_path):
    webhook.script = [404]
    told(finding("alarm"))
    text = (tmp_path / "monitor" / "states.json").read_text()
    assert "s3cr3tpath" not in text
    assert webhook.url not in text
    assert json.loads(text)["waiting"][0]["channel"] == "HOOK"


def test_messages_that_nobody_takes_do_not_pile_up(tmp_path):
    with States.locked(tmp_path) as states:
        for number in range(150):
            state = "ok" if number % 2 else "alarm"
            states.note("m", [finding(state, message=str(number))], ["A"], NOW)
        waiting = states.waiting(["A"])
    assert len(waiting) == 100
    assert waiting[-1].text.endswith("149")


@pytest.mark.parametrize("content", ["", "[]", '{"schema": 9}', "{"])
def test_a_file_of_something_else_is_refused(tmp_path, content):
    (tmp_path / "states.json").write_text(content)
    with pytest.raises(ConfigurationError, match="is no file of states of schema 1"):
        tell(tmp_path, "m", [finding("ok")], {}, NOW)
    assert (tmp_path / "states.json").read_text() == content


def test_models_do_not_share_states(tmp_path, webhook):
    for model in ("one", "two", "one"):
        tell(tmp_path, model, [finding("alarm")], {"HOOK": webhook.url}, NOW)
    assert [text.split()[0] for text in webhook.texts] == ["one", "two"]
