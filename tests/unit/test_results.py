import math

import pytest
from scipy.stats import binomtest

from pytest_llmeval import Metric
from pytest_llmeval.errors import MetricError
from pytest_llmeval.results import interval
from pytest_llmeval.results import number

from .chosen_scores import UNIT
from .chosen_scores import echo
from .chosen_scores import table


def raises(prediction, example):
    return 1 / example.metadata["score"]


def test_values_carry_the_interval_at_95_percent(score):
    value = score([1.0] * 18 + [0.0] * 2)["unit"]

    low = binomtest(18, 20, alternative="greater").proportion_ci(0.95).low
    high = binomtest(18, 20, alternative="less").proportion_ci(0.95).high
    assert float(value) == value.value == 0.9
    assert value.lower == pytest.approx(low, abs=1e-9)
    assert value.upper == pytest.approx(high, abs=1e-9)
    assert (value.confidence, value.n, value.errors) == (0.95, 20, 0)


def test_all_metrics_share_the_rows_without_any_error(run):
    results = run(echo, table([1.0, 0.0, 0.5]), [UNIT, raises])

    assert results.metrics == {"unit": 0.75, "raises": 1.5}
    assert {value.n for value in results.values.values()} == {2}
    (error,) = results.errors
    assert (error.id, error.kind) == ("r1", "scorer")
    assert error.message == "raises: ZeroDivisionError: float division by zero"


def test_a_metric_without_rows_has_no_value(score):
    value = score([1.0], broken=[0])["unit"]

    assert value.value is None
    with pytest.raises(ValueError, match="unit has no value: none of the rows could"):
        float(value)


def test_an_unknown_metric_names_the_known_ones(score):
    results = score([1.0])

    with pytest.raises(MetricError) as caught:
        results["unti"]

    assert str(caught.value) == (
        "'data' has no metric 'unti'; it has: unit; did you mean 'unit'?"
    )


@pytest.mark.parametrize(
    ("scores", "mean"), [([0.1] * 10, 0.1), ([1e16, 1.0, -1e16], 1 / 3)]
)
def test_means_are_correctly_rounded(run, scores, mean):
    given = Metric(name="given", score=lambda p, e: e.metadata["score"])

    assert run(echo, table(scores), [given]).metrics == {"given": mean}


@pytest.mark.parametrize("raw", [10**400, math.nan], ids=["huge", "nan"])
def test_a_score_that_no_float_holds_is_the_error_of_its_row(run, raw):
    whole = Metric(name="whole", score=lambda p, e: raw)

    (error,) = run(echo, table([1.0]), [whole]).errors

    assert (error.id, error.kind) == ("r0", "not_finite")


def test_a_frame_has_one_row_per_example_in_order(score):
    frame = score([1.0, 0.5], broken=[0]).to_pandas()

    columns = ["id", "input", "references", "prediction", "error", "unit"]
    assert list(frame.columns) == columns
    assert list(frame["id"]) == ["r0", "r1"]
    assert frame["error"][0] == "exception: RuntimeError: no answer"
    assert math.isnan(frame["unit"][0])
    assert (frame["prediction"][1], frame["unit"][1]) == ("echo q1", 0.5)


def test_missing_references_are_an_error_before_any_call(run):
    def model(prompt):
        raise AssertionError("the model was asked")

    rows = [{"id": f"r{i}", "input": "q"} for i in range(7)]
    rows[0]["answer"] = "a"

    with pytest.raises(MetricError) as caught:
        run(model, rows, ["rouge1", "bleu", "json_valid"])

    assert str(caught.value) == (
        "rouge1, bleu compare with references, and 6 of 7 rows of data have none: r1, "
        'r2, r3, r4, r5 …; name their column with columns={"references": …}'
    )


def test_data_must_be_given(run):
    with pytest.raises(MetricError, match=r"evaluate\(\) needs data=, for example a"):
        run(echo, None, [UNIT])


def test_a_results_text_and_html_are_harmless(run):
    hostile = Metric(name="<b>&", score=lambda p, e: 1.0)
    results = run(echo, table([1.0]), [hostile], name="a\x1b<i>")

    assert r"a\x1b<i>: 1 rows" in repr(results)
    assert "<i>" not in results._repr_html_()
    assert "&lt;b&gt;&amp;" in results._repr_html_()


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (None, "none"),
        (0, "0.000"),
        (0.4, "0.400"),
        (0.00012, "0.00012"),
        (-2, "-2.000"),
    ],
)
def test_numbers_have_three_decimals_or_more(value, shown):
    assert number(value) == shown


def test_an_interval_is_shown_with_its_confidence():
    assert interval(0.381, 0.482, 0.975) == "0.381 to 0.482 at 97.5 %"
    assert interval(None, None, None) == "-"
