"""The data of the table of rows: complete, bounded, and never markup."""

import json
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval.report.html import table
from pytest_llmeval.report.html.figures import measure
from pytest_llmeval.report.html.table import Part
from pytest_llmeval.report.html.table import make_table

from .stored_rows import entry
from .stored_rows import evaluation
from .stored_rows import store


def part(folder, *entries, before=None, **about):
    rows, told = store(folder, *entries), evaluation(**about)
    return Part(told, rows, measure(rows, told).slices, before)


def test_row_has_what_its_file_has(tmp_path):
    rows = [entry("a", 0.5, context="c", metadata={"n": 1}), entry("b", None)]
    made = json.loads(make_table([part(tmp_path, *rows)]).json)

    assert made["evaluations"][0]["metrics"] == [{"name": "right", "higher": True}]
    a, b = made["rows"]
    assert (a["id"], a["input"], a["output"], a["scores"]) == (
        "a",
        "input of a",
        "no",
        [0.5],
    )
    assert (a["expected"], a["context"], a["columns"]) == ("yes", "c", "n: 1")
    assert (a["latency_ms"], a["attempts"], a["prompt_tokens"]) == (100, 1, 3)
    assert "errors" not in a
    assert b["errors"] == "timeout after 3 attempts: no answer"
    assert b["scores"] == [None]
    assert "output" not in b


def test_row_stands_beside_the_same_row_of_the_baseline(tmp_path):
    (tmp_path / "before").mkdir()
    known = [entry("b", 0.0, prediction="before"), entry("gone", 1.0)]
    before = store(tmp_path / "before", *known)
    shown = part(tmp_path, entry("a"), entry("b"), before=before)
    made = json.loads(make_table([shown]).json)

    assert made["evaluations"][0]["compared"] is True
    assert "before" not in made["rows"][0]
    assert made["rows"][1]["before"] == {"output": "before", "scores": [0.0]}


@given(st.text(st.characters(), max_size=40))
def test_no_text_can_leave_the_script_element(tmp_path_factory, text):
    folder = tmp_path_factory.mktemp("rows")
    hostile = entry(text, prediction=text, metadata={text: text})
    made = make_table([part(folder, hostile)]).json

    assert not re.search("[<>&\u2028\u2029\x00-\x1f\x7f-\x9f\ud800-\udfff]", made)
    assert json.loads(made)["rows"][0].keys() >= {"id", "scores"}


def test_secrets_are_taken_out(tmp_path, monkeypatch):
    monkeypatch.setenv("SOME_TOKEN", "canary-8a7d")
    made = make_table([part(tmp_path, entry("a", prediction="say canary-8a7d"))])

    assert "canary" not in made.json


def test_long_texts_are_cut_until_all_of_them_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "MOST_BYTES", 40_000)
    long = [entry(f"r{at}", prediction="<" * 3_000) for at in range(20)]
    made = make_table([part(tmp_path, *long)])

    assert made.limit == 250
    assert made.rows == 20
    assert len(made.json) < 60_000
    assert "[3000 characters, sha256 " in made.json


def test_texts_that_never_fit_are_cut_as_far_as_it_goes(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "MOST_BYTES", 10)
    made = make_table([part(tmp_path, entry("a"), entry("b"))])

    assert (made.limit, made.rows) == (100, 2)


def test_of_too_many_rows_those_in_error_and_the_worst_stay(tmp_path, monkeypatch):
    monkeypatch.setattr(table, "MOST_ROWS", 3)
    scores = [0.9, 0.1, 0.8, None, 0.2]
    rows = [entry(f"r{at}", score) for at, score in enumerate(scores)]
    made = json.loads(make_table([part(tmp_path, *rows)]).json)

    assert [row["id"] for row in made["rows"]] == ["r1", "r3", "r4"]


@pytest.mark.parametrize("count", [1, 2])
def test_all_evaluations_have_their_share_of_the_rows(tmp_path, monkeypatch, count):
    monkeypatch.setattr(table, "MOST_ROWS", 4)
    shown = part(tmp_path, *(entry(f"r{at}") for at in range(4)))
    made = json.loads(make_table([shown] * count).json)

    assert [row["evaluation"] for row in made["rows"]] == sorted(
        list(range(count)) * (4 // count)
    )
