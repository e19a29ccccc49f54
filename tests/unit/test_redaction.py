"""What the rules of a project take out of rows, and what they leave alone."""

import json
import re
import time
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import MissingDependency
from pytest_llmeval.records import Comparison
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Flip
from pytest_llmeval.records import Gate
from pytest_llmeval.records import WorstRow
from pytest_llmeval.redaction import HIDDEN
from pytest_llmeval.redaction import NO_RULES
from pytest_llmeval.redaction import Redaction
from pytest_llmeval.redaction import read_columns
from pytest_llmeval.redaction import read_patterns

from . import hostile
from .stored_rows import entry


EMAIL = r"[\w.+-]+@[\w-]+\.\w+"
MAILS = Redaction((EMAIL,))
# All characters, lone surrogates too.
TEXTS = st.text(st.characters(exclude_categories=())) | st.sampled_from(
    hostile.SNIPPETS
)


def test_matches_are_replaced_and_all_else_stays():
    assert MAILS.text("from a.b@c.org to d@e.de.") == "from [redacted] to [redacted]."
    assert MAILS.text("nobody \ud800 here\x00") == "nobody \ud800 here\x00"
    assert MAILS.text("\ud800 a@b.cd ü") == "\ud800 [redacted] ü"


def test_overlapping_matches_of_several_patterns_are_one():
    rules = Redaction(("abc", "bcd", "cde"))
    assert rules.text("xabcdey") == "x[redacted]y"
    assert Redaction(("abcdef", "bc")).text("xabcdefy") == "x[redacted]y"
    assert rules.text("abccde") == "[redacted][redacted]"


def test_a_pattern_does_not_see_what_another_one_has_left():
    assert Redaction(("secret", "redacted")).text("a secret") == "a [redacted]"


@given(st.lists(TEXTS, max_size=6).map("".join))
def test_only_what_a_pattern_matches_is_gone(text):
    """Python's own engine says the same of a pattern that both understand."""
    rules = Redaction((r"[0-9]+", r"(?i)evil"))
    assert rules.text(text) == re.sub(r"[0-9]+|(?i:evil)", HIDDEN, text, flags=re.ASCII)


@given(TEXTS, TEXTS)
def test_no_match_is_left_in_a_row_however_hostile_the_rest(before, after):
    hit = f"{before} me@example.org {after}"
    row = entry(
        "r1",
        input=hit,
        references=[hit, hit],
        context=hit,
        prediction=hit,
        metadata={"note": hit, "deep": {hit: [hit, {"x": hit}]}},
        errors=[{"kind": "http_500", "message": hit, "attempts": 1}],
    )
    untouched = json.dumps(row)
    shown = json.dumps(MAILS.apply(row))
    assert "me@example.org" not in shown
    assert json.dumps(row) == untouched


def test_ids_scores_and_numbers_stay_so_that_rows_can_be_joined():
    row = entry("a@b.org", input="x", latency_ms=4111.5, metadata={"n": 7})
    assert Redaction(("4111", "a@b.org"), ("prediction",)).apply(row) == {
        **row,
        "prediction": HIDDEN,
    }


def test_a_number_among_the_columns_is_looked_at_as_text():
    row = entry("r1", metadata={"card": 4111111111111111, "ok": True, "none": None})
    shown = Redaction((r"\b4[0-9]{15}\b", "True")).apply(row)["metadata"]
    assert shown == {"card": HIDDEN, "ok": True, "none": None}


def test_a_column_is_hidden_whole_under_its_own_name():
    fields = {"id": "n", "input": "q", "references": ["a", "b"], "context": None}
    row = entry(
        "r1",
        input="who?",
        references=["x", "y"],
        context="c",
        metadata={"q": 3, "b": {"x": 1}, "lang": "de"},
    )
    shown = Redaction((), ("q", "b")).apply(row, fields)
    assert shown["input"] == HIDDEN
    assert shown["references"] == [HIDDEN, HIDDEN]
    assert shown["metadata"] == {"q": HIDDEN, "b": HIDDEN, "lang": "de"}
    assert (shown["context"], shown["prediction"]) == ("c", "no")


def test_the_field_of_a_row_stands_for_the_column_it_came_from():
    fields = {"input": "q", "references": ["a"]}
    row = entry("r1", metadata={"q": 12, "lang": "de"})
    shown = Redaction((), ("input",)).apply(row, fields)
    assert (shown["input"], shown["metadata"]["q"]) == (HIDDEN, HIDDEN)


def test_a_message_that_may_quote_a_hidden_column_is_hidden_with_it():
    row = entry("r1", None)
    assert Redaction((), ("input",)).apply(row)["errors"][0]["message"] == HIDDEN
    assert Redaction((), ("lang",)).apply(row)["errors"] == row["errors"]


def test_a_decision_shows_its_rows_redacted():
    worst = WorstRow(
        id="r1", input="q me@b.cd", expected=("x", "y"), got="no", score=0.0
    )
    flip = Flip(id="r2", input="me@b.cd", before="yes", after="no", change=-1.0)
    compared = Comparison(
        origin="run",
        model="m",
        request_digest="",
        value=1.0,
        value_now=0.0,
        less_is_better=False,
        worse=1,
        better=0,
        flips=(flip,),
    )
    decision = Decision(
        gate=Gate(metric="m", op=">=", threshold=1.0),
        status="fail",
        reason="GATE_FAILED",
        detail="asked me@b.cd",
        worst=(worst,),
        compared=compared,
    )
    shown = Redaction((EMAIL,), ("a", "prediction")).decision(
        decision, {"input": "q", "references": ["a"]}
    )
    assert shown.worst == (
        replace(worst, input="q [redacted]", expected=(HIDDEN, HIDDEN), got=HIDDEN),
    )
    assert shown.compared.flips == (
        replace(flip, input=HIDDEN, before=HIDDEN, after=HIDDEN),
    )
    assert shown.detail == "asked [redacted]"
    assert NO_RULES.decision(decision) is decision


@pytest.mark.parametrize("pattern", ["(a+)+$", "(a|aa)+$", "(.*)*x", "a.*b|a"])
def test_no_text_takes_long(pattern):
    (read,) = read_patterns(pattern)
    began = time.monotonic()
    Redaction((read,)).text("a" * 50_000 + "!")
    assert time.monotonic() - began < 8


def test_a_text_that_takes_too_long_is_hidden_whole(monkeypatch):
    monkeypatch.setattr("pytest_llmeval.redaction.MOST_SECONDS", 0.05)
    assert Redaction(("a.*b|a",)).text("a" * 200_000) == HIDDEN


def test_patterns_are_read_one_a_line():
    assert read_patterns(f"\n  {EMAIL}\n\n  (?i)iban: .+  \n") == (
        EMAIL,
        "(?i)iban: .+",
    )


@pytest.mark.parametrize("pattern", ["(", "[z-a]", r"(?<=x)y", r"(a)\1", "a{1,99999}"])
def test_a_bad_pattern_is_named_with_its_line(pattern, capfd):
    with pytest.raises(ConfigurationError) as caught:
        read_patterns(f"good\n{pattern}")
    message = str(caught.value)
    assert message.startswith(f"llmeval_redact, line 2: {pattern} is no regular")
    assert "no look-around" in message
    assert capfd.readouterr().err == ""


@pytest.mark.parametrize("pattern", ["x*", "", "a|", "(?:)", "^", "$"])
def test_a_pattern_that_matches_everywhere_is_refused(pattern):
    if not pattern:
        assert read_patterns("\n") == ()
        return
    with pytest.raises(ConfigurationError, match="matches the empty text"):
        read_patterns(pattern)


def test_ids_cannot_be_hidden():
    assert read_columns("name\n\n phone number \n") == ("name", "phone number")
    with pytest.raises(ConfigurationError, match="ids stay"):
        read_columns("name\nid")


def test_the_rules_of_two_places_hold_together():
    assert Redaction(("a", "b"), ("x",)) | Redaction(("b", "c"), ("y",)) == Redaction(
        ("a", "b", "c"), ("x", "y")
    )
    assert not NO_RULES
    assert Redaction((), ("x",))


def test_a_missing_engine_is_named_with_the_extra(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "re2", None)
    with pytest.raises(MissingDependency, match=r"pytest-llmeval-gate\[privacy\]"):
        read_patterns("a")
