"""Text in Markdown: shown whole, and never obeyed, as a real engine renders it."""

import pytest
from hypothesis import example
from hypothesis import given

from pytest_llmeval.report.gfm import fenced
from pytest_llmeval.report.gfm import folded
from pytest_llmeval.report.gfm import inert
from pytest_llmeval.report.gfm import table
from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe

from .hostile import SNIPPETS
from .hostile import hostile
from .markdown_engine import ENGINE
from .markdown_engine import assert_inert
from .markdown_engine import rows
from .markdown_engine import shown


def line(text):
    return " ".join(one_line(text).split())


@given(hostile)
def test_inert_text_is_shown_as_one_line_and_not_obeyed(text):
    markdown = f"Said: {inert(text)}"

    assert_inert(markdown)
    opening, inline, closing = ENGINE.parse(markdown)
    assert (opening.type, closing.type) == ("paragraph_open", "paragraph_close")
    assert {token.type for token in inline.children} <= {"text", "code_inline"}
    assert shown(inline.children) == f"Said: {line(text)}".rstrip()


@pytest.mark.parametrize("text", SNIPPETS)
def test_every_hostile_text_is_inert_by_itself(text):
    assert_inert(f"Said: {inert(text)}")


@pytest.mark.parametrize(
    ("text", "markdown"),
    [
        ("", ""),
        ("Plain words, and (numbers) 1,234.5 at 95 %; n=5.",) * 2,
        ("don't re-run", "don't re-run"),
        ("exact_match 0.5 is below", "`exact_match` 0.5 is below"),
        ("see a@b, c_d, now", "see `a@b, c_d`, now"),
        ("(open with: mlflow ui --uri x_y)", "(open with: mlflow ui `--uri x_y`)"),
        ("f(x) and (n=3)", "`f(x)` and (n=3)"),
        ("a `b` c", "a `` `b` `` c"),
        ("... ,", "`... ,`"),
        ("defaced 1234567 123456", "`defaced 1234567` 123456"),
        ("one\n\ttwo\x1b", "one `two\\x1b`"),
    ],
)
def test_inert_text_keeps_plain_words_plain(text, markdown):
    assert inert(text) == markdown


def test_inert_text_is_cut():
    assert len(inert("word " * 1_000, 200)) <= 210


@given(hostile, hostile)
def test_a_table_has_the_cells_it_was_given(first, second):
    markdown = table(["a", "b"], [[inert(first), inert(second)], ["", "x"]])

    assert_inert(markdown)
    expected = [line(text).replace("\\|", "\\x5c|") for text in (first, second)]
    assert rows(markdown) == [["a", "b"], expected, ["", "x"]]


@given(hostile)
@example("a\n```\n<img src=x>\n``````\nb")
def test_a_fence_holds_the_whole_text(text):
    (token,) = ENGINE.parse(fenced(text))

    assert (token.type, token.info, token.content) == (
        "fence",
        "text",
        f"{safe(text)}\n",
    )


@given(hostile, hostile)
def test_nothing_gets_out_of_a_fold(first, second):
    markdown = folded("Rows (2)", f"Said: {inert(first)}", fenced(second)) + "\n\nend\n"

    assert_inert(markdown)
    kinds = [token.type for token in ENGINE.parse(markdown) if token.level == 0]
    paragraph = ["paragraph_open", "paragraph_close"]
    expected = ["html_block", *paragraph, "fence", "html_block", *paragraph]
    assert kinds == expected
