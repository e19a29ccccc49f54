import hashlib
import json
import re
import sys
import unicodedata
from xml.sax.saxutils import escape
from xml.sax.saxutils import quoteattr

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval.errors import DataError
from pytest_llmeval.errors import MissingDependency
from pytest_llmeval.text import age
from pytest_llmeval.text import counted
from pytest_llmeval.text import cut
from pytest_llmeval.text import one_line
from pytest_llmeval.text import redact
from pytest_llmeval.text import redactor
from pytest_llmeval.text import safe
from pytest_llmeval.text import sanitize


ALL = [chr(point) for point in range(sys.maxunicode + 1)]
SECRET = "s3cr3t-value"


def is_harmless(char):
    return char.isprintable() or char in "\n\t" or unicodedata.category(char) == "Zs"


def test_sanitize_leaves_only_harmless_characters_of_all_code_points():
    result = sanitize("".join(ALL))

    assert {char for char in set(result) if not is_harmless(char)} == set()
    result.encode("utf-8")


def test_sanitize_keeps_every_harmless_code_point():
    harmless = "".join(filter(is_harmless, ALL))

    assert sanitize(harmless) == harmless


def test_sanitize_escapes_every_other_code_point_to_ascii_that_names_it():
    harmful = "\n".join(char for char in ALL if not is_harmless(char))

    escaped = sanitize(harmful)

    assert escaped.encode("ascii").decode("unicode_escape") == harmful


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("\x1b[31mred\x1b[0m", r"\x1b[31mred\x1b[0m"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("a\x00b", r"a\x00b"),
        ("over\rwrite", r"over\x0dwrite"),
        ("\x7f\x9b", r"\x7f\x9b"),
        ("a\u202eb", r"a\u202eb"),
        ("\ud800", r"\ud800"),
        ("\u2028", r"\u2028"),
        ("\U000e0001", r"\U000e0001"),
        ("\ufeff\xad", r"\ufeff\xad"),
        ("tab\tline\nwide\u3000äΩ中😀", "tab\tline\nwide\u3000äΩ中😀"),
    ],
)
def test_sanitize_shows_hostile_characters_as_escapes(hostile, shown):
    assert sanitize(hostile) == shown


COMMAND = re.compile(r"^\s*::|##\w*\[", re.MULTILINE)
"""What the log readers of CI systems obey: GitHub's runner strips white space."""


@pytest.mark.parametrize(
    ("hostile", "shown"),
    [
        ("::error::x", r"\x3a:error::x"),
        ("a\n \t\u3000::stop-commands::x", "a\n \t\u3000" + r"\x3a:stop-commands::x"),
        ("a ##[add-mask]b", r"a \x23#[add-mask]b"),
        ("###[error]", r"#\x23#[error]"),
        ("##vso[task.setvariable]", r"\x23#vso[task.setvariable]"),
        ("a.py::test_x ## heading", "a.py::test_x ## heading"),
    ],
)
def test_sanitize_breaks_workflow_commands(hostile, shown):
    assert sanitize(hostile) == shown


@given(st.text(st.sampled_from("::##[a \n\t\r\u3000\x0b\x1c")))
def test_sanitize_leaves_no_workflow_command(text):
    assert not COMMAND.search(sanitize(text))


@given(
    st.text(st.sampled_from("::##[a \n\t\r\u3000")) | st.text(st.characters(codec=None))
)
def test_sanitize_changes_nothing_the_second_time(text):
    assert sanitize(sanitize(text)) == sanitize(text)


@pytest.mark.parametrize("kind", [DataError, MissingDependency])
def test_an_error_quotes_data_harmlessly(kind):
    assert str(kind("column \x1b\n::error::x")) == "column \\x1b\n\\x3a:error::x"


@pytest.mark.parametrize("length", [0, 1, 1_999, 2_000])
def test_cut_keeps_text_up_to_the_limit(length):
    text = "x" * length

    assert cut(text) == text


@pytest.mark.parametrize("limit", [120, 160, 2_000])
def test_cut_shows_head_tail_length_and_hash_within_the_limit(limit):
    text = "HEAD" + "é" * 10_000 + "TAIL"

    result = cut(text, limit)

    assert limit - 1 <= len(result) <= limit
    assert result.startswith("HEADé")
    assert result.endswith("éTAIL")
    assert "[10008 characters, " in result
    assert f"sha256 {hashlib.sha256(text.encode()).hexdigest()[:16]}]" in result


def test_cut_hashes_lone_surrogates():
    text = "\ud800" * 3_000
    digest = hashlib.sha256(b"\xed\xa0\x80" * 3_000).hexdigest()

    assert digest[:16] in cut(text)


@pytest.mark.parametrize(
    "name", ["HF_TOKEN", "openai_api_key", "MY_SECRET_2", "DbPassword"]
)
def test_redact_hides_values_of_secret_looking_variables(monkeypatch, name):
    monkeypatch.setenv(name, SECRET)

    assert redact(f"a{SECRET}b {SECRET}") == "a[redacted]b [redacted]"


def test_redact_follows_a_changed_environment(monkeypatch):
    monkeypatch.setenv("A_TOKEN", SECRET)
    assert redact(SECRET) == "[redacted]"
    monkeypatch.delenv("A_TOKEN")
    assert redact(SECRET) == SECRET


@pytest.mark.parametrize(
    ("name", "value"),
    [("A_TOKEN", "1234567"), ("A_TOKEN", ""), ("HOME_DIR", "harmless-value")],
)
def test_redact_leaves_short_values_and_other_variables(monkeypatch, name, value):
    monkeypatch.setenv(name, value)

    assert redact(f"x {value} y") == f"x {value} y"


def test_redact_hides_a_value_of_eight_characters_with_regex_signs(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "a.b*(c[8")

    assert redact("a.b*(c[8 axb*(c[8") == "[redacted] axb*(c[8"


def test_redact_hides_the_longer_of_two_overlapping_secrets(monkeypatch):
    monkeypatch.setenv("A_TOKEN", "12345678")
    monkeypatch.setenv("B_TOKEN", "12345678-and-more")

    assert redact("12345678-and-more") == "[redacted]"


def test_a_redactor_keeps_the_secrets_of_its_making(monkeypatch):
    monkeypatch.setenv("A_TOKEN", SECRET)
    hide = redactor()
    monkeypatch.setenv("A_TOKEN", "another-value")

    assert hide(f"{SECRET} another-value") == "[redacted] another-value"
    assert hide("http://user:pass@host") == "http://[redacted]@host"


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("http://user:pass@host/v1", "http://[redacted]@host/v1"),
        ("see https://tok@host, ok", "see https://[redacted]@host, ok"),
        (
            "sc://host:15002/;token=abc;user_id=me",
            "sc://host:15002/;token=[redacted];user_id=me",
        ),
        ("postgres://u:p@ss@host/db", "postgres://[redacted]@host/db"),
        ("https://host/path@2", "https://host/path@2"),
        ("mail a@b.c", "mail a@b.c"),
    ],
)
def test_redact_hides_user_info_of_urls(url, shown):
    assert redact(url) == shown


def test_one_line_joins_lines_and_runs_of_space():
    assert one_line(" a\r\n b\t\tc\u2028d\x1be ") == r"a b c d\x1be"


def test_one_line_hides_a_secret_of_several_lines(monkeypatch):
    monkeypatch.setenv("PRIVATE_KEY", "-----BEGIN-----\nabcdefgh\n-----END-----")

    shown = one_line("got -----BEGIN-----\nabcdefgh\n-----END-----")

    assert "abcdefgh" not in shown


def test_one_line_is_cut():
    assert len(one_line("word " * 1_000)) == 160


def test_safe_redacts_before_it_cuts_so_that_no_half_secret_is_left(monkeypatch):
    secret = "abcdefghij" * 8
    monkeypatch.setenv("A_TOKEN", secret)
    keep_of_the_head = "x" * 90

    shown = safe(keep_of_the_head + secret + "y" * 500, limit=200)

    assert "abcdefghij" not in shown
    assert "[redact" in shown


def test_safe_shows_any_object():
    assert safe(ValueError("a\x00")) == r"a\x00"


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (-5, "0 s"),
        (0.4, "0 s"),
        (119, "119 s"),
        (120, "2 min"),
        (7_199, "120 min"),
        (7_200, "2 h"),
        (172_799, "48 h"),
        (172_800, "2 d"),
        (12.6 * 86_400, "13 d"),
    ],
)
def test_age_is_said_in_one_unit(seconds, shown):
    assert age(seconds) == shown


@pytest.mark.parametrize(
    ("number", "shown"), [(0, "0 rows"), (1, "1 row"), (2_000, "2,000 rows")]
)
def test_one_of_a_thing_is_said_in_the_singular(number, shown):
    assert counted(number, "row") == shown


def test_secret_is_redacted_as_json_python_and_xml_write_it(monkeypatch):
    secret = "kept<&>\"01'\\é"
    monkeypatch.setenv("MY_TOKEN", secret)
    quoted = [json.dumps(secret), repr(secret), secret]
    for text in [*quoted, *map(escape, quoted), *map(quoteattr, quoted)]:
        assert "kept" not in redact(text)
