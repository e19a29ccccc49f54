import pytest
from scipy.stats import binomtest

from pytest_llmeval import decide
from pytest_llmeval.config import Settings
from pytest_llmeval.gate import headline

from .chosen_scores import UNIT
from .chosen_scores import echo
from .chosen_scores import table


@pytest.fixture
def binary(score):
    return lambda right, n: score([True] * right + [False] * (n - right), UNIT)


def interval(right, n, confidence=0.95):
    return tuple(
        getattr(binomtest(right, n, alternative=side).proportion_ci(confidence), end)
        for side, end in (("greater", "low"), ("less", "high"))
    )


# 90 of 100 right: the bounds at 95 % are .836 and .944.
@pytest.mark.parametrize(
    ("op", "threshold", "point", "interval"),
    [
        (">=", 0.83, "pass", "pass"),
        (">=", 0.84, "pass", "inconclusive"),
        (">=", 0.9, "pass", "inconclusive"),
        (">=", 0.91, "fail", "inconclusive"),
        (">=", 0.95, "fail", "fail"),
        (">", 0.83, "pass", "pass"),
        (">", 0.9, "fail", "inconclusive"),
        (">", 0.95, "fail", "fail"),
        ("<=", 0.95, "pass", "pass"),
        ("<=", 0.94, "pass", "inconclusive"),
        ("<=", 0.9, "pass", "inconclusive"),
        ("<=", 0.84, "fail", "inconclusive"),
        ("<=", 0.83, "fail", "fail"),
        ("<", 0.95, "pass", "pass"),
        ("<", 0.9, "fail", "inconclusive"),
        ("<", 0.83, "fail", "fail"),
        ("==", 0.9, "pass", None),
        ("==", 0.91, "fail", None),
        ("!=", 0.91, "pass", None),
        ("!=", 0.9, "fail", None),
    ],
)
def test_each_operator_with_and_without_a_confidence(
    binary, op, threshold, point, interval
):
    results = binary(90, 100)

    assert decide(results, "unit", op, threshold).status == point
    decision = decide(results, "unit", op, threshold, confidence=0.95)
    assert decision.status == (interval or "error")
    if interval is None:
        assert decision.reason == "BAD_TYPE"
        assert f"{op} compares point values and takes no" in decision.detail
    else:
        assert decision.method == "gaffke"
        reasons = {"pass": "OK", "fail": "GATE_FAILED", "inconclusive": "INCONCLUSIVE"}
        assert decision.reason == reasons[interval]


def test_a_bar_on_a_bound_is_failed_by_a_strict_gate_and_passed_by_the_other(score):
    # All scores at one end of the range: the bound at that end is exactly there.
    zeros, ones = score([0.0, 0.0, 0.0]), score([1.0, 1.0, 1.0])

    assert decide(ones, "unit", ">", 1, confidence=0.95).status == "fail"
    assert decide(ones, "unit", ">=", 1, confidence=0.95).status == "inconclusive"
    assert decide(ones, "unit", "<=", 1, confidence=0.95).status == "pass"
    assert decide(zeros, "unit", "<", 0, confidence=0.95).status == "fail"
    assert decide(zeros, "unit", "<=", 0, confidence=0.95).status == "inconclusive"
    assert decide(zeros, "unit", ">=", 0, confidence=0.95).status == "pass"


@pytest.mark.parametrize("confidence", [0.8, 0.95, 0.99])
def test_the_interval_that_decides_is_the_exact_binomial_one(binary, confidence):
    decision = decide(binary(90, 100), "unit", ">=", 0.5, confidence=confidence)

    low, high = interval(90, 100, confidence)
    assert decision.value == 0.9
    assert decision.lower == pytest.approx(low, abs=1e-9)
    assert decision.upper == pytest.approx(high, abs=1e-9)
    assert decision.n == 100


def test_20_of_20_against_90_percent_says_that_29_rows_would_pass(binary):
    decision = decide(binary(20, 20), "unit", ">=", 0.9, confidence=0.95)

    assert decision.rows_needed == 29
    assert headline(decision) == (
        "unit 1.000 (95 % lower bound 0.861, 95 % upper bound 1.000, n=20) is "
        "inconclusive against >= 0.900; about 29 rows like these would pass"
    )


def test_unset_confidence_is_the_settings_and_point_overrides_it(tmp_path, run):
    settings = Settings(rootdir=tmp_path, cache="off", confidence=0.95)
    results = run(echo, table([1.0] * 20), [UNIT], settings=settings)

    assert decide(results, "unit", ">=", 0.9).status == "inconclusive"
    assert decide(results, "unit", ">=", 0.9, confidence=0.8).status == "pass"
    assert decide(results, "unit", ">=", 0.9, confidence="point").status == "pass"
    assert decide(results, "unit", "==", 1).status == "pass"
    assert decide(results, "unit", "!=", 1).status == "fail"


def test_a_point_gate_says_what_95_percent_would_have_said(binary):
    decision = decide(binary(20, 20), "unit", ">=", 0.9)

    assert decision.point_only == "inconclusive"
    assert headline(decision) == (
        "unit 1.000 (n=20) is >= 0.900; point only: at 95 % this would be inconclusive"
    )
