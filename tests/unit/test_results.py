import math
from dataclasses import asdict

import pytest
from scipy.stats import binomtest

from pytest_llmeval import Example
from pytest_llmeval import Metric
from pytest_llmeval.errors import MetricError
from pytest_llmeval.records import Dataset
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply
from pytest_llmeval.records import Request
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.records import Usage
from pytest_llmeval.results import Columns
from pytest_llmeval.results import EvalResults
from pytest_llmeval.results import interval
from pytest_llmeval.results import number
from pytest_llmeval.rows import RowLog

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


def test_a_frame_holds_text_that_utf8_cannot(run):
    rows = [{"id": "r0", "input": "\ud800", "score": 0.5}]
    frame = run(echo, rows, [UNIT]).to_pandas()

    assert frame["input"][0] == "\ud800"
    assert frame["prediction"][0] == "echo \ud800"
    assert frame["unit"].dtype == float


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
    hostile = Metric(name="::<b>&", score=lambda p, e: 1.0)
    results = run(echo, table([1.0]), [hostile], name="a\x1b<i>")

    assert r"a\x1b<i>: 1 rows" in repr(results)
    assert "\n  \\x3a:<b>&" in repr(results)
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


def predicted(row_id, *, attempts=1, stored_at=None, reply=None, **times):
    error = None
    if reply is None:
        error = RowError(id=row_id, kind="timeout", message="m", attempts=attempts)
    return Row(
        example=Example(id=row_id, input="q"),
        prediction=Prediction(
            reply=reply, error=error, attempts=attempts, stored_at=stored_at, **times
        ),
        scores={} if error else {"m": len(row_id) / 4},
        errors=(error,) if error else (),
    )


def reply_of(prompt_tokens, output_tokens, cost_usd):
    return Reply(
        text="x",
        prompt_tokens=prompt_tokens,
        output_tokens=output_tokens,
        cost_usd=cost_usd,
    )


COSTLY = reply_of(1_000, 1_000, 99.0)
ASKED = [
    predicted("a", reply=reply_of(10, 1, 0.1), latency_ms=5.0, queue_ms=1.0),
    predicted("old", attempts=0, stored_at=7.5, reply=COSTLY, latency_ms=9e9),
    predicted("b", attempts=3, queue_ms=900.0),
    predicted("cc", reply=reply_of(20, 2, 0.2), latency_ms=50.0, queue_ms=2.0),
    predicted("older", attempts=0, stored_at=4.5, reply=COSTLY, latency_ms=9e9),
    predicted("d", attempts=2, reply=reply_of(None, 4, 0.4), latency_ms=500.0),
]


def results_of(rows):
    dataset = Dataset(
        name="d", digest="", examples=(), ids=[r.example.id for r in rows]
    )
    return EvalResults(
        name="d",
        model=ModelRef(scheme="tiny", name="tiny"),
        request=Request(),
        dataset=dataset,
        rows=rows,
        values={},
        definitions={},
        started_at=0.0,
        duration_s=0.0,
    )


def logged(rows):
    log = RowLog(Columns([row.example.id for row in rows], ["m"]), {}, str)
    for position in reversed(range(len(rows))):
        log.add(position, rows[position])
    return log


@pytest.mark.parametrize("kept", [list, logged])
def test_usage_is_that_of_the_requests_that_were_sent_now(kept):
    results = results_of(kept(ASKED))

    assert results.usage == Usage(
        requests=1 + 3 + 1 + 2,
        rows=4,
        prompt_tokens=30,
        output_tokens=7,
        cost_usd=pytest.approx(0.7, rel=1e-12),
        latency_p50_ms=50.0,
        latency_p95_ms=500.0,
        queue_p95_ms=900.0,
    )
    assert (results.cached, results.oldest_reply) == (2, 4.5)
    assert results.summary()["usage"]["requests"] == 7


def test_a_total_with_an_unknown_cost_is_unknown():
    rows = [*ASKED, predicted("e", reply=reply_of(1, 1, None), latency_ms=1.0)]

    assert results_of(rows).usage.cost_usd is None


def test_usage_of_nothing_is_nothing():
    usage = results_of([ASKED[1]]).usage

    assert (usage.requests, usage.rows) == (0, 0)
    rest = {name for name, value in asdict(usage).items() if value is not None}
    assert rest == {"requests", "rows"}


@pytest.mark.parametrize("kept", [list, logged])
def test_columns_hold_scores_numbers_and_errors_by_position(kept):
    columns = results_of(kept(ASKED)).columns

    assert columns.ids == ["a", "old", "b", "cc", "older", "d"]
    scores = list(columns.scores["m"])
    assert scores[:2] + scores[3:] == [0.25, 0.75, 0.5, 1.25, 0.25]
    assert math.isnan(scores[2])
    assert list(columns.numbers["attempts"]) == [1, 0, 3, 1, 0, 2]
    assert list(columns.failed) == [2]
    assert columns.kinds == {"timeout": 1}


def test_rows_are_read_when_they_are_asked_for(score):
    results = score([1.0, 0.5, 0.0], broken=[1])

    ids = [row.example.id for row in results.rows[1:]]
    assert ids == ["r1", "r2"]
    assert results.rows[-1].example.id == "r2"
    assert len(results.rows) == 3
    assert results.rows[0] == results.rows[0]
    assert results.rows[0] is not results.rows[0], "nothing is kept in memory"
    with pytest.raises(IndexError):
        results.rows[3]


def test_errors_are_in_the_order_of_the_data_however_they_came():
    rows = [predicted(name) for name in "abc"]

    assert [error.id for error in results_of(logged(rows)).errors] == ["a", "b", "c"]
