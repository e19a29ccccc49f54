"""The text of an alarm: bounded, in order, and harmless."""

import datetime

from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval.monitor.judge import Finding
from pytest_llmeval.monitor.message import write_message
from pytest_llmeval.monitor.states import Change
from tests.unit.hostile import SNIPPETS


NOW = datetime.datetime(2026, 11, 30, 5, tzinfo=datetime.UTC)


def change(series="s", message="why", state="alarm", before="ok"):
    return Change(
        Finding(series=series, state=state, since=NOW, message=message), before
    )


def test_a_round_with_many_changes_is_cut():
    text = write_message("m", [change(str(number)) for number in range(50)], NOW)
    lines = text.splitlines()
    assert len(lines) == 22
    assert lines[-1] == "and 30 more: llmeval monitor --check"


@given(st.lists(st.sampled_from(SNIPPETS)).map("".join), st.text())
def test_hostile_names_stay_on_their_line_and_are_no_markup(name, message):
    text = write_message(name, [change(name, message)], NOW)
    assert len(text.splitlines()) == 2
    assert "<" not in text
    assert ">" not in text
    assert all(char == "\n" or char.isprintable() for char in text)


def test_long_names_are_bounded():
    text = write_message("m" * 9999, [change("s" * 9999, "w" * 9999)] * 20, NOW)
    assert len(text) < 21 * 800


def test_secrets_in_messages_are_taken_out(monkeypatch):
    monkeypatch.setenv("SHOP_TOKEN", "tok-123456789")
    assert "tok-123456789" not in write_message("m", [change("tok-123456789")], NOW)
