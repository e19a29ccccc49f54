import pytest

from pytest_llmeval import Example
from pytest_llmeval import Metric
from pytest_llmeval import assert_metric
from pytest_llmeval import decide
from pytest_llmeval.errors import GateNotPassed
from pytest_llmeval.gate import explain
from pytest_llmeval.gate import headline
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate


UNIT = Metric(
    name="unit", score=lambda p, e: float(e.metadata["score"]), range=(0.0, 1.0)
)


def decision(op, status, **rest):
    gate = {"metric": "rouge1", "op": op, "threshold": 0.4}
    gate.update((name, rest.pop(name)) for name in ("confidence",) if name in rest)
    return Decision(gate=Gate(**gate), status=status, reason="", **rest)


BOUNDS = {"confidence": 0.95, "lower": 0.2844, "upper": 0.3456}


@pytest.mark.parametrize(
    ("op", "status", "rest", "sentence"),
    [
        (">=", "fail", {}, "rouge1 0.312 (n=200) is below 0.400"),
        (">", "fail", {}, "rouge1 0.312 (n=200) is not above 0.400"),
        ("<=", "fail", {}, "rouge1 0.312 (n=200) is above 0.400"),
        ("<", "fail", {}, "rouge1 0.312 (n=200) is not below 0.400"),
        ("==", "fail", {}, "rouge1 0.312 (n=200) is not equal to 0.400"),
        ("!=", "fail", {}, "rouge1 0.312 (n=200) is equal to 0.400"),
        ("<", "pass", {}, "rouge1 0.312 (n=200) is < 0.400"),
        (
            ">=",
            "fail",
            BOUNDS,
            "rouge1 0.312 (95 % upper bound 0.346, n=200) is below 0.400",
        ),
        (
            ">=",
            "pass",
            BOUNDS,
            "rouge1 0.312 (95 % lower bound 0.284, n=200) is >= 0.400",
        ),
        (
            "<=",
            "pass",
            BOUNDS,
            "rouge1 0.312 (95 % upper bound 0.346, n=200) is <= 0.400",
        ),
        (
            "<=",
            "fail",
            BOUNDS,
            "rouge1 0.312 (95 % lower bound 0.284, n=200) is above 0.400",
        ),
        (
            ">=",
            "inconclusive",
            {**BOUNDS, "rows_needed": 300},
            "rouge1 0.312 (95 % lower bound 0.284, 95 % upper bound 0.346, n=200) is "
            "inconclusive against >= 0.400; about 300 rows like these would fail",
        ),
        (
            "<=",
            "inconclusive",
            {**BOUNDS, "rows_needed": 300},
            "rouge1 0.312 (95 % lower bound 0.284, 95 % upper bound 0.346, n=200) is "
            "inconclusive against <= 0.400; about 300 rows like these would pass",
        ),
        (
            ">=",
            "inconclusive",
            BOUNDS,
            "rouge1 0.312 (95 % lower bound 0.284, 95 % upper bound 0.346, n=200) is "
            "inconclusive against >= 0.400; the value is so close to the bar that not "
            "even a million rows like these would decide; choose another bar",
        ),
        (
            ">=",
            "pass",
            {"cached": 7, "value": 0.0001234},
            "rouge1 0.000123 (n=200, 7 stored replies) is >= 0.400",
        ),
    ],
)
def test_the_headline_says_value_evidence_and_bar(op, status, rest, sentence):
    shown = decision(op, status, **{"value": 0.312, "n": 200, **rest})

    assert headline(shown) == sentence


def test_a_value_just_below_the_bar_is_not_shown_as_the_bar(run):
    results = run(str, [{"input": "a", "score": "0.89996"}], [UNIT])

    with pytest.raises(GateNotPassed) as caught:
        assert_metric(results, "unit", ">=", 0.9)

    assert "unit 0.900 (n=1) is below 0.900" not in str(caught.value)


@pytest.fixture
def results(run):
    rows = [
        {"id": f"row {i}", "input": "q", "answer": "gold", "score": i / 10}
        for i in range(11)
    ]
    return run(lambda prompt: "said", rows, [UNIT])


@pytest.mark.parametrize(
    ("op", "threshold", "ids"),
    [
        (">=", 0.9, ["row 0", "row 1", "row 2"]),
        (">", 0.9, ["row 0", "row 1", "row 2"]),
        ("<=", 0.1, ["row 10", "row 9", "row 8"]),
        ("<", 0.1, ["row 10", "row 9", "row 8"]),
    ],
)
def test_the_worst_rows_are_shown_first(results, op, threshold, ids):
    for confidence in (0.95, None):
        worst = decide(results, "unit", op, threshold, confidence=confidence).worst
        assert [row.id for row in worst] == ids
    assert decide(results, "unit", op, 1 - threshold).worst == ()


def test_the_message_shows_input_expected_and_got_of_the_worst_rows(results):
    with pytest.raises(GateNotPassed) as caught:
        assert_metric(results, "unit", ">=", 0.9)

    assert str(caught.value).splitlines()[:6] == [
        "unit 0.500 (n=11) is below 0.900",
        "worst rows:",
        "  row 0  score 0.000",
        "    input:    q",
        "    expected: gold",
        "    got:      said",
    ]


def test_a_row_with_the_best_score_is_no_worst_row(run):
    rows = [{"input": "q", "score": score} for score in (1, 0.5, 1)]
    results = run(str, rows, [UNIT])

    worst = decide(results, "unit", ">=", 0.9).worst

    assert [row.score for row in worst] == [0.5]


def test_worst_rows_are_made_harmless_and_short(run, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "s3cr3t-value")
    row = {
        "id": "a\x1b[31m",
        "input": "line\nbreak \u202e",
        "answers": ["x" * 5_000, "\x00"],
        "score": 0,
    }

    def model(prompt):
        return "\x1b]0;x\x07 s3cr3t-value \ud800" + "y" * 10_000

    results = run(model, [row], [UNIT])
    lines = explain(decide(results, "unit", ">=", 0.9)).splitlines()

    assert len(lines) == 6
    assert lines[2] == r"  a\x1b[31m  score 0.000"
    assert lines[3] == r"    input:    line break \u202e"
    assert lines[4].startswith("    expected: xxxx")
    assert "[5004 characters, sha256 " in lines[4]
    assert lines[5].startswith(r"    got:      \x1b]0;x\x07 [redacted] \ud800yyyy")
    assert max(map(len, lines)) < 200


def test_a_row_without_references_shows_no_expectation(run):
    results = run(str, [{"input": "q", "score": 0}], [UNIT])

    assert "expected:" not in explain(decide(results, "unit", ">=", 0.9))


def test_a_hostile_metric_name_is_made_harmless(run):
    def score(prediction: str, example: Example) -> bool:
        return False

    results = run(str, [{"input": "q"}], [Metric(name="a\x1b", score=score)])

    assert headline(decide(results, "a\x1b", ">=", 0.9)).startswith(r"a\x1b 0.000 (n=1")
