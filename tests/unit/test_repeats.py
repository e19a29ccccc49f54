"""Examples that are asked several times."""

import hashlib
import math
from array import array
from statistics import mean
from statistics import variance

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval import Metric
from pytest_llmeval import decide
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import MetricError
from pytest_llmeval.gate import headline
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Reply
from pytest_llmeval.records import Request
from pytest_llmeval.repeats import average
from pytest_llmeval.repeats import by_example
from pytest_llmeval.results import Columns
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation

from .tiny_model import TinyModel


VALUE = Metric(name="value", score=lambda p, e: float(p.text), range=(0, 1))
WORDS = Metric(name="words", aggregate=lambda p, e: len({one.text for one in p}))


class Scripted(TinyModel):
    """Gives each example the answers in its column, one for each repeat."""

    ref = ModelRef(scheme="tiny", name="tiny", version="1", pinned=True)

    def __init__(self):
        super().__init__(None)
        self.repeats = []

    async def ask(self, prompt):
        self.repeats.append((prompt.example.id, prompt.repeat))
        answers = prompt.example.metadata["answers"].split()
        return Reply(text=answers[prompt.repeat])


def table(*answers):
    return [
        {"id": f"r{i}", "input": f"q{i}", "answers": text}
        for i, text in enumerate(answers)
    ]


@pytest.fixture
def repeated(tmp_path, hook):
    """Evaluate with repeats and the predictions store."""

    def repeated(rows, repeats, metrics=(VALUE,), run_id="1", model=None, **given):
        settings = Settings(rootdir=tmp_path, attempts=1, **given)
        engine = Engine(settings=settings, hook=hook, run_id=run_id)
        model = model or Scripted()
        return run_evaluation(engine, model, rows, metrics, repeats=repeats)

    return repeated


ROWS = table("1 1 1 0", "0 1 0 0", "0 0 0 0")


def test_each_example_is_asked_as_often_and_rows_say_which(repeated):
    model = Scripted()

    results = repeated(ROWS, 2, model=model)

    assert sorted(model.repeats) == [(f"r{i}", r) for i in range(3) for r in (0, 1)]
    assert [(row.example.id, row.repeat) for row in results.rows] == sorted(
        model.repeats
    )
    assert [row.scores["value"] for row in results.rows] == [1, 1, 0, 1, 0, 0]
    frame = results.to_pandas()
    assert list(frame.columns[:3]) == ["id", "repeat", "input"]
    assert list(frame["repeat"]) == [0, 1] * 3


def test_more_repeats_ask_only_for_those_that_are_missing(repeated):
    model = Scripted()

    repeated(ROWS, 2, model=model)
    repeated(ROWS, 4, model=model, run_id="2")

    assert len(model.repeats) == len(set(model.repeats)) == 12


def test_a_value_is_the_mean_of_the_examples_means(repeated):
    value = repeated(ROWS, 4)["value"]

    means = [0.75, 0.25, 0.0]
    within = [variance([1, 1, 1, 0]), variance([0, 1, 0, 0]), 0]
    assert (value.value, value.n, value.errors) == (mean(means), 3, 0)
    assert value.variance_within == pytest.approx(mean(within), rel=1e-12)
    between = variance(means) - mean(within) / 4
    assert value.variance_between == pytest.approx(between, rel=1e-12)


def test_the_bound_is_over_examples_and_not_over_rows(repeated):
    rows = table(*["1 1 1 1 1"] * 20)
    decision = decide(repeated(rows, 5), "value", ">=", 0.9, confidence=0.95)

    assert (decision.status, decision.n, decision.repeats) == ("inconclusive", 20, 5)
    assert decision.lower == pytest.approx(0.05 ** (1 / 20), abs=1e-9)
    assert decision.rows_needed == 29
    assert "n=20, 5 repeats) is inconclusive" in headline(decision)
    assert decision.to_dict()["repeats"] == 5


def test_an_example_is_in_error_when_one_repeat_is(repeated):
    rows = table("1 1", "1 x", "x x", "1 0")
    results = repeated(rows, 2)

    value = results["value"]
    assert (value.value, value.n, value.errors) == (0.75, 2, 2)
    decision = decide(results, "value", ">=", 0.5)
    assert decision.reason == "ROWS_MISSING"
    assert "2 of 4 rows could not be evaluated" in decision.detail
    worst = decide(results, "value", ">=", 0.5, on_error="worst")
    assert (worst.value, worst.n, worst.errors) == (0.375, 4, 2)


def test_worst_rows_show_the_answers_beside_each_other(repeated):
    decision = decide(repeated(ROWS, 4), "value", ">=", 0.9)

    assert [(row.id, row.score, row.got) for row in decision.worst] == [
        ("r2", 0.0, "0 | 0 | 0 | 0"),
        ("r1", 0.25, "0 | 1 | 0 | 0"),
        ("r0", 0.75, "1 | 1 | 1 | 0"),
    ]


def test_a_corpus_metric_sees_every_answer(repeated):
    counted = Metric(name="answers", aggregate=lambda p, e: len(p))
    results = repeated(ROWS, 4, [counted, WORDS])

    assert results.metrics == {"answers": 12, "words": 2}
    assert decide(results, "answers", "==", 12).status == "pass"


@pytest.mark.parametrize(
    ("name", "scores"),
    [
        # 1 - C(4-c, 2) / C(4, 2) for c = 3, 1, 0
        ("value/pass@2", [1, 1 / 2, 0]),
        ("value/pass@1", [3 / 4, 1 / 4, 0]),
        ("value/pass@4", [1, 1, 0]),
        # C(c, 2) / C(4, 2)
        ("value/pass^2", [1 / 2, 0, 0]),
        ("value/pass^3", [1 / 4, 0, 0]),
    ],
)
def test_pass_rates_are_metrics_by_name(repeated, name, scores):
    results = repeated(ROWS, 4)

    assert results[name].value == pytest.approx(mean(scores), rel=1e-12)
    assert 0 <= results[name].lower < results[name].value < results[name].upper <= 1
    decision = decide(results, name, ">=", 0.9, confidence=0.95)
    assert (decision.value, decision.n) == (results[name].value, 3)
    assert decision.lower == results[name].lower
    assert list(results.metrics) == ["value"]


def test_a_pass_rate_works_without_repeats_and_beside_errors(repeated):
    results = repeated(table("1", "0", "x"), 1)

    assert (results["value/pass@1"].value, results["value/pass@1"].n) == (0.5, 2)
    assert decide(results, "value/pass^1", ">", 0).reason == "ROWS_MISSING"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (
            "value/pass@3",
            "value/pass@3 needs 3 answers to each example, and there are 2: evaluate "
            "with repeats=3 or more",
        ),
        ("words/pass@2", "words/pass@2 needs scores of rows, and words has none"),
        (
            "value/pass^2",
            "value/pass^2 needs scores of 0 and 1, and row 'r1' has 1, 0.5; gate on "
            "value itself instead",
        ),
    ],
)
def test_a_pass_rate_that_makes_no_sense_says_why(repeated, name, message):
    results = repeated(table("1 1", "1 0.5"), 2, [VALUE, WORDS])

    with pytest.raises(MetricError) as caught:
        results[name]
    assert str(caught.value) == message
    decision = decide(results, name, ">=", 0.5)
    assert (decision.status, decision.reason) == ("error", "METRIC_ERROR")
    assert decision.detail == message


def test_a_pass_rate_of_an_unknown_metric_is_unknown(repeated):
    results = repeated(ROWS, 2)

    with pytest.raises(MetricError, match=r"has no metric 'vale/pass@2'; it has: valu"):
        results["vale/pass@2"]
    assert decide(results, "vale/pass@2", ">", 0).reason == "METRIC_MISSING"


@pytest.mark.parametrize("repeats", [0, -1, 1.5, True, "3", None])
def test_repeats_must_be_a_whole_number(repeated, repeats):
    with pytest.raises(ConfigurationError) as caught:
        repeated(ROWS, repeats)

    assert str(caught.value) == (
        f"repeats={repeats!r} must be a whole number, at least 1"
    )


def test_the_request_digest_covers_repeats_above_one():
    once, twice = Request(system="s"), Request(system="s", repeats=2)

    text = b'{"columns":{},"params":{},"system":"s"}'
    assert once.digest == f"sha256:{hashlib.sha256(text).hexdigest()}"
    assert once.digest != twice.digest != Request(system="s", repeats=3).digest


def test_one_repeat_gives_the_very_results_that_there_were(repeated):
    results = repeated(ROWS, 1)

    assert by_example(results) is results
    assert results.summary()["params"].keys().isdisjoint({"repeats"})
    assert all(b'"repeat"' not in line for line in results.rows.lines())
    assert "repeat" not in results.to_pandas()
    value = results["value"]
    assert (value.variance_between, value.variance_within) == (None, None)


SCORES = st.floats(0.1, 0.7, allow_nan=False)


@given(st.data(), st.integers(1, 5), st.integers(1, 4))
def test_means_lie_between_the_scores_and_are_those_of_the_rows(data, repeats, count):
    rows = st.lists(SCORES, min_size=repeats, max_size=repeats)
    scores = data.draw(st.lists(rows, min_size=count, max_size=count))
    columns = Columns([f"r{i}" for i in range(count)], ["m"], repeats)
    columns.scores["m"][:] = array("d", [one for own in scores for one in own])

    means = average(columns).scores["m"]

    for found, own in zip(means, scores, strict=True):
        assert min(own) <= found <= max(own)
        assert math.isclose(found, mean(own), rel_tol=1e-15)
        assert repeats > 1 or found == own[0]


def test_equal_scores_have_exactly_themselves_as_mean():
    columns = Columns(["r0"], ["m"], 3)
    columns.scores["m"][:] = array("d", [0.7] * 3)

    assert list(average(columns).scores["m"]) == [0.7], "a range may end there"
