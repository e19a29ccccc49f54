"""Metric values beside numbers, and what a failing assert on them says."""

import json
import operator
from decimal import Decimal
from functools import partial

import numpy
import pytest

from pytest_llmeval.gate import explain_assert

from .chosen_scores import UNIT
from .chosen_scores import table


SCORES = [1.0, 0.5, 0.0]
ORDERS = [operator.lt, operator.le, operator.gt, operator.ge]
NO_GATE = (
    "this is no gate: it is not in the verdict; use "
    'assert_metric(results, "unit", ">=", 0.9)'
)


@pytest.fixture
def results(score):
    return score(SCORES)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("bar", [0.25, 0.5, 0.75, 0, 1, numpy.float32(0.5)])
def test_value_compares_with_a_number_from_either_side(results, order, bar):
    assert bool(order(results["unit"], bar)) is bool(order(0.5, bar))
    assert bool(order(bar, results["unit"])) is bool(order(bar, 0.5))


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("other", ["0.5", True, None, Decimal("0.5"), [0.5]])
def test_value_compares_with_nothing_but_numbers(results, order, other):
    with pytest.raises(TypeError, match="not supported between"):
        order(results["unit"], other)
    with pytest.raises(TypeError, match="not supported between"):
        order(results["unit"], results["unit"])


@pytest.mark.parametrize("order", ORDERS)
def test_comparison_without_a_value_says_that_there_is_none(score, order):
    value = score([1.0], broken=[0])["unit"]
    with pytest.raises(ValueError, match=r"unit has no value: .* \(1 errors"):
        order(value, 0.5)
    with pytest.raises(ValueError, match="unit has no value"):
        order(0.5, value)


def test_values_are_equal_and_hash_by_what_they_are(score):
    first, second, other = (score(s)["unit"] for s in (SCORES, SCORES, [0.5]))
    assert first == second
    assert hash(first) == hash(second)
    assert first != other
    assert first != 0.5, "equal to a number, it would have to hash like one"


def test_explanation_says_the_comparison_the_evidence_and_that_it_is_no_gate(score):
    results = score([0.0] * 20)
    lines = explain_assert(">=", results["unit"], 0.9, [results])
    assert lines[:3] == [
        "unit 0.000 >= 0.900",
        # 0 of 20: the upper bound is 1 - 0.05 ** (1 / 20).
        "interval 0.000 to 0.139 at 95 %, n=20, errors=0",
        NO_GATE,
    ]


def test_explanation_is_the_same_the_other_way_round(results):
    lines = explain_assert(">=", results["unit"], 0.9, [results])
    assert explain_assert("<=", 0.9, results["unit"], [results]) == lines


@pytest.mark.parametrize(("op", "first"), [(">=", "r2"), ("<", "r0")])
def test_worst_rows_are_those_of_a_gate(results, op, first):
    lines = explain_assert(op, results["unit"], 0.5, [results])
    assert lines[3] == "worst rows:"
    assert lines[4].split()[0] == first
    assert [line.split()[0] for line in lines].count("input:") == 2


def test_worst_rows_are_left_out_where_nobody_knows_them(results, score):
    other = score(SCORES)
    assert other["unit"] == results["unit"]
    for evaluated in ([], [other]):
        lines = explain_assert(">=", results["unit"], 0.9, evaluated)
        assert (len(lines), lines[-1]) == (3, NO_GATE)


def test_rows_in_error_are_counted_and_not_the_worst(score):
    results = score(SCORES, broken=[2])
    lines = explain_assert(">=", results["unit"], 0.9, [results])
    assert lines[1].endswith("n=2, errors=1")
    assert [line for line in lines if "score" in line] == ["  r1  score 0.500"]


def test_worst_rows_of_repeats_and_pass_rates_are_examples(run):
    answers = {"q0": iter("10"), "q1": iter("00"), "q2": iter("11")}
    asked = partial(next_of, answers)
    results = run(asked, table(SCORES), [right], repeats=2)
    for name, scores in {"right": "0.000 0.500", "right/pass@2": "0.000"}.items():
        lines = explain_assert(">=", results[name], 0.9, [results])
        shown = " ".join(line.split()[-1] for line in lines if "  score" in line)
        assert shown == scores


def next_of(answers, prompt):
    return next(answers[prompt])


def right(prediction, example) -> bool:
    return prediction == "1"


def test_equality_says_why_it_never_holds(results):
    lines = explain_assert("==", results["unit"], 0.5, [results])
    assert lines[0] == "unit 0.500 == 0.500"
    assert lines[3] == "a metric value equals no number; float() gives the one it has"


def test_equality_without_a_value_is_explained(score):
    results = score([1.0], broken=[0])
    lines = explain_assert("==", results["unit"], 1, [results])
    assert lines[:2] == ["unit none == 1.000", "interval -, n=0, errors=1"]


@pytest.mark.parametrize(
    ("op", "bar"),
    [("in", [0.5]), ("is", 0.5), (">=", "0.5"), (">=", float("nan")), (">=", 10**400)],
)
def test_other_comparisons_are_left_to_pytest(results, op, bar):
    assert explain_assert(op, results["unit"], bar, [results]) is None
    assert explain_assert(op, 1.0, 0.5, [results]) is None


def test_hostile_rows_are_single_harmless_lines(run):
    hostile = "\x1b[31m\n\ud83d" + "y" * 5_000
    results = run(lambda prompt: hostile, table([0.0]), [UNIT])
    lines = explain_assert(">=", results["unit"], 0.9, [results])
    assert json.dumps(lines).isascii()
    assert all(line.isprintable() and len(line) < 400 for line in lines)
