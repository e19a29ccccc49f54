import json
import math
from decimal import Decimal

import numpy
import pandas
import pytest

from pytest_llmeval import assert_metric
from pytest_llmeval import decide
from pytest_llmeval.errors import GateNotPassed
from pytest_llmeval.gate import headline


@pytest.mark.parametrize(
    ("threshold", "reason", "detail"),
    [
        ("0.4", "BAD_TYPE", "the threshold '0.4' is str, not a number; write it"),
        (True, "BAD_TYPE", "the threshold True is bool, not a number"),
        (Decimal("0.4"), "BAD_TYPE", "the threshold Decimal('0.4') is Decimal, not a"),
        (None, "BAD_TYPE", "the threshold None is NoneType, not a number"),
        (math.nan, "NOT_FINITE", "the threshold is nan, not a finite number"),
        (math.inf, "NOT_FINITE", "the threshold is inf, not a finite number"),
        (numpy.float64("nan"), "NOT_FINITE", "the threshold is nan, not a finite"),
        pytest.param(10**400, "NOT_FINITE", "not a finite number", id="huge"),
        (85, "OUT_OF_RANGE", "range 0 to 1; did you mean 0.85?"),
        (-0.1, "OUT_OF_RANGE", "the threshold -0.1 is outside the metric's range 0 to"),
    ],
)
def test_a_threshold_without_meaning_is_an_error(score, threshold, reason, detail):
    decision = decide(score([1.0]), "unit", ">=", threshold)

    assert (decision.status, decision.reason) == ("error", reason)
    assert detail in headline(decision)
    json.dumps(decision.to_dict(), allow_nan=False)


@pytest.mark.parametrize(
    "threshold", [0.5, numpy.float32(0.5), numpy.float64(0.5), 0, numpy.int64(0)]
)
def test_numpy_thresholds_are_numbers(score, threshold):
    decision = decide(score([1.0]), "unit", ">=", threshold)

    assert decision.status == "pass"
    assert type(decision.gate.threshold) is float


@pytest.mark.parametrize(
    ("options", "reason", "detail"),
    [
        ({"op": "=>"}, "BAD_TYPE", "op='=>' is none of: >=, >, <=, <, ==, !="),
        ({"metric": "unti"}, "METRIC_MISSING", "has no metric 'unti'; it has: unit; "),
        ({"confidence": 95}, "BAD_TYPE", "confidence = 95 must be .* mean 0.95"),
        ({"confidence": "0.95"}, "BAD_TYPE", "confidence = '0.95' is not a number"),
        ({"confidence": math.nan}, "BAD_TYPE", "confidence = nan must be at least"),
        ({"bounds": (1, 0)}, "BAD_TYPE", r"bounds=\(1, 0\) are not two finite numbers"),
        ({"bounds": ("0", "1")}, "BAD_TYPE", "bounds="),
        ({"bounds": (0,)}, "BAD_TYPE", "bounds="),
        ({"min_rows": 4}, "TOO_FEW_ROWS", "3 rows, and min_rows=4"),
        ({"min_rows": "3"}, "BAD_TYPE", "min_rows="),
        ({"on_error": "skip"}, "BAD_TYPE", "on_error='skip' is none of: fail, worst, "),
        ({"on_error": "exclude"}, "BAD_TYPE", "on_error=.* and max_error_rate= go to"),
        ({"max_error_rate": 0.1}, "BAD_TYPE", "go together: say which share"),
        ({"where": {"x": 1}}, "ZERO_ROWS", "where= names a column 'x' that the data"),
        ({"where": {"id": "z"}}, "ZERO_ROWS", r"no row has \{'id': 'z'\}"),
        ({"cluster": "x"}, "ROWS_MISSING", "row r0 has no column 'x', which cluster="),
    ],
)
def test_arguments_without_meaning_are_errors_that_strict_json_holds(
    score, options, reason, detail
):
    arguments = {"metric": "unit", "op": ">=", "threshold": 0.5, **options}
    results = score([1.0, 1.0, 0.0])

    with pytest.raises(GateNotPassed, match=f"error {reason}: .*{detail}") as caught:
        assert_metric(results, **arguments)

    assert caught.value.decision.status == "error"
    json.dumps(caught.value.decision.to_dict(), allow_nan=False)


@pytest.mark.parametrize("rate", [math.nan, 5, True, "0.5", -0.1])
def test_an_error_rate_that_is_no_share_is_an_error(score, rate):
    results = score([1.0, 1.0, 1.0], broken=[0])

    decision = decide(
        results, "unit", ">=", 0.5, on_error="exclude", max_error_rate=rate
    )

    assert (decision.status, decision.reason) == ("error", "BAD_TYPE")


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (math.nan, "NOT_FINITE"),
        (math.inf, "NOT_FINITE"),
        (None, "NOT_FINITE"),
        (pandas.NA, "NOT_FINITE"),
        (numpy.float32("nan"), "NOT_FINITE"),
        ("1.0", "BAD_TYPE"),
        (Decimal(1), "BAD_TYPE"),
        (1j, "BAD_TYPE"),
        ([1.0], "BAD_TYPE"),
        (1.5, "OUT_OF_RANGE"),
        (-1e-9, "OUT_OF_RANGE"),
        (85, "OUT_OF_RANGE"),
    ],
)
def test_a_score_that_is_no_number_in_the_range_is_an_error_that_names_the_row(
    score, raw, reason
):
    decision = decide(score([1.0, raw, 1.0]), "unit", ">=", 0.1)

    assert (decision.status, decision.reason) == ("error", reason)
    assert "r1" in decision.detail
    assert "r0" not in decision.detail


@pytest.mark.parametrize(
    "raw", [True, numpy.bool_(True), 1, numpy.int64(1), numpy.float32(1), 1.0]
)
def test_numpy_and_bool_scores_are_numbers(score, raw):
    assert decide(score([raw]), "unit", "==", 1).status == "pass"
