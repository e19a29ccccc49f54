"""`llmeval data check`: what it finds, against brute force, and what it prints."""

import random
import sys
from collections import Counter
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval.data_check import check_data
from pytest_llmeval.data_check import languages
from pytest_llmeval.data_check import near
from pytest_llmeval.data_check import overlap
from pytest_llmeval.data_check.describe import describe
from pytest_llmeval.data_check.languages import script_of
from pytest_llmeval.data_check.words import words_of

from .checked_data import LONG
from .checked_data import check
from .checked_data import found
from .checked_data import load
from .checked_data import rows_of
from .checked_data import same


def test_case_white_space_and_composition_make_no_other_input():
    report = check(same("Café  a", "cafe\u0301\nA ", "Cafe a", "café b", "CAFÉ A"))

    (finding,) = found(report, "duplicates")
    assert finding.status == report.status == "problem"
    assert finding.text.startswith("2 rows repeat the input of an earlier row")
    assert (finding.affected, finding.items) == (2, [["r0", "r1", "r4"]])
    assert finding.shown == ["r0, r1, r4"]
    assert not found(report, "contradictions")


def test_groups_are_in_the_order_of_the_data_and_the_first_are_shown():
    inputs = [f"q{at}" for at in range(7)]
    report = check(same(*inputs, *reversed(inputs)))

    (finding,) = found(report, "duplicates")
    assert finding.items == [[f"r{at}", f"r{13 - at}"] for at in range(7)]
    assert list(finding.shown) == [f"r{at}, r{13 - at}" for at in range(5)]


def test_one_input_with_different_references_is_a_contradiction_and_no_copy():
    report = check(same("q", "Q", "q", "other", answers=["Paris", "PARIS", "Rome", ""]))

    (finding,) = found(report, "contradictions")
    assert finding.items == [["r0", "r1", "r2"]]
    assert finding.text == "1 input stands in several rows with different references"
    assert not found(report, "duplicates")


@pytest.mark.parametrize(
    "answers", [[["a", "b"], ["B", "a"]], [["a"], []], [["a", " "], ["a"]]]
)
def test_the_order_of_references_or_a_missing_one_contradicts_nothing(answers):
    report = check(same("q", "q", answers=answers))

    assert not found(report, "contradictions")
    assert found(report, "duplicates")[0].items == [["r0", "r1"]]


def test_one_question_about_two_passages_is_no_copy():
    rows = rows_of("why?", "why?", "why?")
    for row, context in zip(rows, ("a", "b", "A "), strict=True):
        row["context"] = context

    report = check(rows)

    assert found(report, "contradictions")[0].items == [["r0", "r2"]]


# Near copies.


def jaccard(one, other):
    """Return the similarity of two texts of plain words, by its definition."""

    def shingles(text):
        words = text.split()
        length = min(5, len(words))
        return {tuple(words[at : at + length]) for at in range(len(words) - length + 1)}

    first, second = shingles(one), shingles(other)
    return Fraction(len(first & second), len(first | second))


def similar_pairs(inputs, contexts, threshold):
    """Compare all with all; rows with an input that came before are left out."""
    keys = list(zip(inputs, contexts, strict=True))
    firsts = [at for at, key in enumerate(keys) if keys.index(key) == at]
    return {
        (one, other): float(jaccard(inputs[one], inputs[other]))
        for one in firsts
        for other in firsts
        if one < other
        and contexts[one] == contexts[other]
        and jaccard(inputs[one], inputs[other]) >= Fraction(str(threshold))
    }


def pairs_of(report):
    for finding in report.findings:
        if finding.subject == "near":
            return {
                tuple(int(row_id[1:]) for row_id in item["ids"]): item["similarity"]
                for item in finding.items
            }
    raise AssertionError


@st.composite
def look_alikes(draw):
    """Texts that are changed copies of a few, over few words."""
    word = st.sampled_from("abcdefgh")
    texts = draw(
        st.lists(st.lists(word, min_size=1, max_size=25), min_size=1, max_size=4)
    )
    for _ in range(draw(st.integers(0, 12))):
        copy = list(draw(st.sampled_from(texts)))
        at = draw(st.integers(0, len(copy)))
        copy[at : at + draw(st.integers(0, 1))] = draw(st.lists(word, max_size=2))
        texts.append(copy or ["a"])
    return [" ".join(text) for text in texts]


@given(
    look_alikes(),
    st.sampled_from([0.1, 0.3, 0.5, 0.6, 0.7, 0.75, 0.8, 0.9, 1.0]),
    st.sampled_from([1, 2]),
)
def test_near_copies_are_those_that_brute_force_finds(inputs, threshold, contexts):
    given = [f"passage {at % contexts}" for at in range(len(inputs))]
    rows = rows_of(*inputs)
    for row, context in zip(rows, given, strict=True):
        row["context"] = context

    pairs = pairs_of(check(rows, near=threshold))

    expected = similar_pairs(inputs, given, threshold)
    assert pairs.keys() == expected.keys()
    assert pairs == pytest.approx(expected, abs=1e-4)


@pytest.mark.parametrize("threshold", [0.5, 0.8, 0.85])
def test_near_copies_among_many_rows_from_few_templates(threshold, monkeypatch):
    monkeypatch.setattr(near, "BUCKETS", 64)  # most look frequent then
    chance = random.Random(4)
    templates = [[f"w{chance.randrange(40)}" for _ in range(40)] for _ in range(4)]
    inputs = []
    for _ in range(120):
        words = list(chance.choice(templates))[: chance.randrange(20, 41)]
        for _ in range(chance.randrange(4)):
            words[chance.randrange(len(words))] = f"x{chance.randrange(9)}"
        inputs.append(" ".join(words))
    expected = similar_pairs(inputs, [""] * len(inputs), threshold)
    assert 10 < len(expected) < 1_000

    assert pairs_of(check(rows_of(*inputs), near=threshold)).keys() == expected.keys()


def test_near_copies_are_told_with_ids_and_similarity():
    report = check(rows_of(LONG, "another text", f"{LONG}!", f"{LONG} thirteen"))

    (finding,) = found(report, "near")
    assert finding.text == (
        "3 pairs of inputs, of 3 rows, have a Jaccard similarity of 0.8 or more"
    )
    assert list(finding.shown) == ["r0 ~ r2  1.00", "r0 ~ r3  0.89", "r2 ~ r3  0.89"]


def test_pairs_are_in_the_order_of_the_data_whatever_their_length():
    texts = [f"{LONG} {LONG[::-1]}", LONG[::-1], LONG]
    report = check(rows_of(*texts, *(f"{text}!" for text in texts)))

    assert list(pairs_of(report)) == [(0, 3), (1, 4), (2, 5)]


def test_the_search_stops_at_a_number_of_pairs_and_says_so(monkeypatch):
    monkeypatch.setattr(near, "MOST_PAIRS", 4)
    report = check(rows_of(*(f"{LONG}{'!' * at}" for at in range(5))))

    (finding,) = found(report, "near")
    assert finding.text.startswith("at least 4 pairs of inputs")


# Blank inputs and references, and answers in the input.


def test_blank_inputs_are_a_problem_and_no_copies_of_each_other():
    report = check(same("q", " \n", "", "\u00a0"))

    (finding,) = found(report, "inputs")
    assert (finding.status, finding.items) == ("problem", ["r1", "r2", "r3"])
    assert not found(report, "duplicates")


def test_data_of_blank_inputs_alone_is_looked_at_too():
    rows = [{"id": "a", "input": " "}, {"id": "b", "input": ""}]
    report = check(rows, rows)

    assert found(report, "inputs")[0].items == ["a", "b"]
    assert {one.subject for one in report.findings if one.status == "ok"} == {
        *("duplicates", "contradictions", "near", "leaks")
    }
    assert "languages    no letters 100 %" in "\n".join(describe(report))


@pytest.mark.parametrize("nothing", [None, "", " \t", [], ["", " "]])
def test_a_missing_reference_is_a_problem_where_others_have_one(nothing):
    report = check(same("a", "b", "c", answers=["x", nothing, "y"]))

    (finding,) = found(report, "references")
    assert (finding.status, finding.items) == ("problem", ["r1"])
    assert finding.text == "1 row without a reference, while others have one"


def test_a_blank_reference_beside_others_is_a_problem_of_its_own():
    report = check(same("a", "b", answers=[["x", " "], ["y"]]))

    (finding,) = found(report, "references")
    assert (finding.status, finding.items) == ("problem", ["r0"])
    assert finding.text == "1 row with a blank reference beside others"


def test_data_without_any_reference_is_worth_a_note_only():
    report = check([{"input": "a"}, {"input": "b"}])

    (finding,) = found(report, "references")
    assert (finding.status, report.status) == ("note", "note")


def test_a_reference_in_the_input_is_noted_word_for_word_and_without_a_context():
    rows = same(
        "Is a golden car new?",
        "Is it a Car, or what?",
        answers=[["old", "car a"], ["x", "a car"]],
    )

    (finding,) = found(check(rows), "answers")
    assert (finding.status, finding.items) == ("note", ["r1"])
    assert not found(check([{**row, "context": "c"} for row in rows]), "answers")


# Leaks.


def leaked(rows, train, length):
    """Compare all with all: runs of words, and shorter texts as a whole."""

    def signs(row):
        words = [*row["input"].split(), *row["reference"].split()]
        runs = zip(*(words[at:] for at in range(length)), strict=False)
        inputs = row["input"].split()
        return {*runs, *(tuple(one) for one in (words, inputs) if len(one) < length)}

    known = set().union(*map(signs, train))
    counts = Counter(sign for row in rows for sign in signs(row))
    known = {sign for sign in known if counts[sign] <= overlap.COMMON}
    return [row["id"] for row in rows if signs(row) & known]


texts = st.lists(st.sampled_from("abcd"), min_size=1, max_size=12).map(" ".join)
tables = st.lists(st.tuples(texts, texts), min_size=1, max_size=15).map(
    lambda pairs: [
        {"id": f"r{at}", "input": text, "reference": reference}
        for at, (text, reference) in enumerate(pairs)
    ]
)


@given(tables, tables, st.integers(1, 9), st.sampled_from([1, 30, 2**17]))
def test_leaks_are_those_that_brute_force_finds(rows, train, length, batch):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overlap, "BATCH", batch)
        patch.setattr(overlap, "COMMON", 4)
        report = check(rows, train, length=length)
        expected = leaked(rows, train, length)

    finding = next(one for one in report.findings if one.subject == "leaks")
    assert list(finding.items) == expected
    assert finding.affected == len(expected)


def test_a_leak_is_shown_with_the_words_and_the_row_of_the_training_data():
    rows = [
        *rows_of("something else", f"Well, {LONG}."),
        {"id": "short", "input": "2+2?", "reference": "4"},
        {"id": "joined", "input": "say", "reference": "one two three"},
    ]
    train = [
        {"id": "t0", "input": "nothing", "reference": "no"},
        {"id": "t1", "input": f"Zero {LONG.upper()}", "reference": "no"},
        {"id": "t2", "input": "2+2", "reference": "four"},
        {"id": "t3", "input": "Say: one two three", "reference": ""},
    ]

    (finding,) = found(check(rows, train), "leaks")

    assert finding.items == ["r1", "short", "joined"]
    assert finding.text == (
        "3 rows of 4 (75 %) share 8 words in a row, or a shorter input, with data"
    )
    assert list(finding.shown) == [
        "r1 ~ t1: one two three four five six seven eight",
        "short ~ t2: 2+2",
        "joined ~ t3: say one two three",
    ]


@pytest.mark.parametrize("backwards", [True, False])
def test_the_leaks_that_are_shown_are_the_first_rows_of_the_data(backwards):
    rows = rows_of(*(f"number {at}" for at in range(9)))
    train = list(reversed(rows)) if backwards else rows

    (finding,) = found(check(rows, train), "leaks")

    assert list(finding.shown) == [
        f"r{at} ~ r{at}: number {at} answer {at}" for at in range(5)
    ]


def test_a_short_input_about_another_passage_is_no_leak():
    rows, train = rows_of("why?", context="a"), rows_of("Why", context="b")

    assert not found(check(rows, train), "leaks")
    assert found(check(rows, [{**train[0], "context": "A"}]), "leaks")


def test_words_of_a_prompt_that_many_rows_share_are_no_leak():
    prompt = "answer in one word and do not explain it"  # nine words
    inputs = [f"x{at} y{at} z{at} {prompt}" for at in range(11)]
    train = [{"id": "t", "input": f"other question {prompt}", "reference": "a"}]

    few = check(rows_of(*inputs[:10]), train)
    many = check([*rows_of(*inputs), {"id": "p", "input": prompt}], train)

    assert found(few, "leaks")[0].affected == 10
    (note,) = found(many, "leaks")
    assert note.status == "note"
    assert note.text == (
        "3 runs of words in more than 10 rows counted for none, as a prompt's own; "
        "1 row holds no other"
    )


# Profile.


def test_columns_are_counted_and_said_which_is_which():
    rows = [{"q": "a", "r": "x", "note": None}, {"q": "b", "r": None, "note": None}]
    columns = {"input": "q", "references": "r"}

    lines = list(describe(check_data(load(rows, columns=columns))))

    assert lines[0] == "data         data, 2 rows"
    assert lines[1].startswith("digest       sha256:")
    assert lines[2:5] == [
        "columns      q     2 filled  input",
        "             r     1 filled, 1 empty  references",
        "             note  0 filled, 2 empty",
    ]


def test_lengths_are_those_that_numpy_says():
    chance = random.Random(2)
    inputs = [
        " ".join(["wort"] * int(2 + chance.expovariate(0.03))) for _ in range(301)
    ]
    report = check(rows_of(*inputs, context="a bc"))
    profile = {(one.field, one.unit): one for one in report.lengths}

    words = [text.count(" ") + 1 for text in inputs]
    for unit, sizes in (("words", words), ("characters", list(map(len, inputs)))):
        one = profile["input", unit]
        assert (one.texts, one.least, one.most) == (301, min(sizes), max(sizes))
        assert one.median == np.median(sizes)
        assert one.p95 == np.quantile(sizes, 0.95, method="inverted_cdf")
        assert sum(count for _, _, count in one.histogram) == 301
        assert len(one.histogram) <= 11
        assert one.p95 < one.histogram[-1][0], "the longest stand in a class of theirs"
        for low, high, count in one.histogram:
            assert low <= one.p95 or (low, high, count) == one.histogram[-1]
            assert count == sum(low <= size <= high for size in sizes)
    assert profile["context", "words"][2:] == (301, 2, 2, 2, 2, [(2, 2, 301)])
    assert profile["references", "characters"].most == len("answer 300")


ENGLISH = "The weather was bad, so we stayed at home and read some books."
GERMAN = "Das Wetter war schlecht, und deshalb blieben wir gestern zu Hause."
RUSSIAN = "Погода была плохая, поэтому мы остались дома."


def test_languages_are_told_and_inputs_without_letters_apart():
    report = check(rows_of(ENGLISH, ENGLISH + "!", GERMAN, RUSSIAN, "12 + 4 = ?"))

    assert report.languages.inputs == 5
    assert report.languages.languages == [
        *(("en", 2), ("de", 1), ("no letters", 1), ("ru", 1))
    ]
    assert "languages    en 40 %, de 20 %, no letters 20 %, ru 20 %" in "\n".join(
        describe(report)
    )


def test_without_the_package_the_extra_is_named_and_scripts_are_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "py3langid", None)
    report = check(rows_of("abc", "абв где", "漢字 カナ"))

    (line,) = [one for one in describe(report) if one.startswith("languages")]
    assert 'pip install "pytest-llmeval-gate[data]"' in line
    assert report.languages.scripts == [
        *(("Cyrillic", 6), ("Latin", 3), ("Han", 2), ("Katakana", 2))
    ]


def test_of_many_inputs_the_same_ones_are_looked_at_in_any_order(monkeypatch):
    monkeypatch.setattr(languages, "MOST_INPUTS", 20)
    rows = rows_of(*([RUSSIAN] * 20 + [ENGLISH] * 20))

    forward, backward = check(rows), check(rows[::-1])

    assert forward.languages == backward.languages
    assert forward.languages.inputs == 20
    assert 0 < dict(forward.languages.languages)["en"] < 20
    assert "20 inputs, chosen by the hash of their ids" in "\n".join(describe(forward))


@pytest.mark.parametrize(
    ("letter", "script"),
    [
        ("é", "Latin"),
        ("Ａ", "Latin"),
        ("ﾊ", "Katakana"),
        ("م", "Arabic"),
        ("中", "Han"),
    ],
)
def test_the_script_of_a_letter(letter, script):
    assert script_of(letter) == script


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("Hello, (World)!", ["hello", "world"]),
        ("12*4 is not 12/4", ["12*4", "is", "not", "12/4"]),
        ("it's a state-of-the-art", ["it's", "a", "state-of-the-art"]),
        ("中文,ok。", ["中", "文", "ok"]),
        ("हिन्दी भाषा", ["हिन्दी", "भाषा"]),
        ("?!", ["?!"]),
        (" ", []),
    ],
)
def test_words(text, words):
    assert words_of(text) == words
