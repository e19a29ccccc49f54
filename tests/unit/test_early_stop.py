"""Evaluations that ask for rows as their gates need them."""

import asyncio
import json
import math
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest

from pytest_llmeval import CallableModel
from pytest_llmeval import Metric
from pytest_llmeval import decide
from pytest_llmeval import decide_each_slice
from pytest_llmeval import decide_no_regression
from pytest_llmeval.asked import shuffled
from pytest_llmeval.config import Settings
from pytest_llmeval.datasets import in_order
from pytest_llmeval.errors import ModelError
from pytest_llmeval.gate import explain
from pytest_llmeval.gate import headline
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation
from pytest_llmeval.stats import BettingTest

from .chosen_scores import UNIT
from .chosen_scores import echo
from .chosen_scores import table
from .tiny_model import Pinned
from .tiny_model import upper


CONCURRENCY = 8
MOST_EXTRA = 3 * CONCURRENCY
IDS = [f"r{i}" for i in range(500)]


class Notes:
    """A recorder that keeps what it is given."""

    raises = True

    def __init__(self):
        self.decisions = []

    def record(self, decision, fields):
        self.decisions.append(decision)
        return decision


@pytest.fixture
def open_results(tmp_path, hook):
    """Evaluate rows with these scores, as far as gates ask."""

    def open_results(
        scores, metrics=(UNIT,), repeats=1, columns=None, model=None, **options
    ):
        rows = table(scores, **(columns or {}))
        settings = Settings(
            rootdir=tmp_path,
            early_stop=True,
            concurrency=CONCURRENCY,
            attempts=1,
            **{"cache": "off", **options},
        )
        engine = Engine(settings=settings, hook=hook, run_id="1", recorder=Notes())
        model = model or CallableModel(echo, version="1")
        return run_evaluation(engine, model, rows, metrics, repeats=repeats)

    return open_results


def order_of(results):
    return shuffled(results.dataset.ids, results.dataset.digest)


def by_hand(results, scores, threshold, low=0.0, high=1.0):
    """The betting test on all scores, in the recorded order."""
    test = BettingTest(threshold, 0.95, low, high)
    test.add([scores[at] for at in order_of(results)])
    return test


MIXED = [float(i % 20 > 0) for i in range(500)]


@pytest.mark.parametrize(
    ("op", "threshold", "status"),
    [
        (">=", 0.8, "pass"),
        (">", 0.8, "pass"),
        ("<=", 0.8, "fail"),
        ("<", 0.8, "fail"),
        (">=", 0.99, "fail"),
        ("<=", 0.99, "pass"),
    ],
)
def test_a_gate_is_decided_by_the_betting_test_on_the_recorded_order(
    open_results, op, threshold, status
):
    results = open_results(MIXED)

    decision = decide(results, "unit", op, threshold, confidence=0.95)

    test = by_hand(results, MIXED, threshold)
    first = [MIXED[at] for at in order_of(results)[: test.rows]]
    assert (decision.status, decision.n) == (status, test.rows)
    assert decision.value == math.fsum(first) / len(first)
    assert (decision.method, decision.lower, decision.upper) == ("betting", None, None)
    assert (decision.rows, decision.errors) == (500, 0)
    assert test.rows <= len(results.rows) <= test.rows + MOST_EXTRA
    assert results.columns.not_needed == 500 - len(results.rows)
    assert f"(betting test at 95 % on {test.rows} of 500 rows)" in headline(decision)
    json.dumps(decision.to_dict(), allow_nan=False)


def test_the_next_gate_uses_the_rows_that_are_there(open_results):
    results = open_results([1.0] * 500)
    strict = decide(results, "unit", ">=", 0.95, confidence=0.95)
    asked = len(results.rows)

    easy = decide(results, "unit", ">=", 0.5, confidence=0.95)

    assert easy.n < strict.n <= asked == len(results.rows)


def test_rows_stand_in_the_order_of_asking(open_results):
    results = open_results(MIXED)
    decide(results, "unit", ">=", 0.8, confidence=0.95)

    order = order_of(results)
    ids = [row.example.id for row in results.rows]
    assert ids == [IDS[at] for at in order[: len(ids)]]
    assert results.columns.ids == ids == list(results.to_pandas()["id"])
    scores = [MIXED[at] for at in order[: len(ids)]]
    assert list(results.columns.scores["unit"]) == scores
    assert [json.loads(line)["id"] for line in results.rows.lines()] == ids
    assert results.rows[1:3] == [results.rows[1], results.rows[2]]


def test_values_are_of_the_rows_so_far_and_claim_no_interval(open_results):
    results = open_results(MIXED)
    decide(results, "unit", ">=", 0.8, confidence=0.95)

    value = results["unit"]
    scores = results.columns.scores["unit"]
    assert (value.value, value.n) == (math.fsum(scores) / len(scores), len(scores))
    assert (value.lower, value.upper, value.confidence) == (None, None, None)
    results.source.ask()
    assert (results["unit"].n, results["unit"].confidence) == (500, 0.95)
    assert results.columns.not_needed == 0


def test_a_reader_before_the_first_gate_finds_every_row(open_results):
    results = open_results(MIXED)

    assert (
        repr(results) == "<EvalResults data: open, python:tests.unit.chosen_scores:"
        "echo/1>"
    )
    assert results.metrics == {"unit": 0.95}
    assert len(results.rows) == 500
    assert results.summary()["early_stop"] is None
    assert decide(results, "unit", ">=", 0.8, confidence=0.95).n < 500


def test_undecided_on_all_rows_is_inconclusive_and_no_other_test_is_made(
    open_results,
):
    scores = [float(i % 10 > 0) for i in range(100)]
    results = open_results(scores)

    decision = decide(results, "unit", ">=", 0.88, confidence=0.95)

    assert (decision.status, decision.reason) == ("inconclusive", "INCONCLUSIVE")
    assert (decision.method, decision.n, decision.value) == ("betting", 100, 0.9)
    assert (decision.lower, decision.rows_needed) == (None, None)
    assert "all rows were asked, and the test that may stop early needs more" in (
        explain(decision)
    )


ALL_ROWS = [
    {"confidence": "point"},
    {"where": {"topic": "a"}},
    {"cluster": "topic"},
    {"on_error": "worst"},
    {"threshold": 1.0},
    {"op": "==", "threshold": 1.0, "confidence": None},
]


@pytest.mark.parametrize("options", ALL_ROWS, ids=str)
def test_other_gates_are_on_all_rows_and_come_out_as_ever(open_results, score, options):
    topics = ["a", "b"] * 250
    asked = {"op": ">=", "threshold": 0.8, "confidence": 0.95, **options}
    results = open_results(MIXED, columns={"topic": topics})

    decision = decide(results, "unit", **asked)

    assert len(results.rows) == 500
    usual = decide(score(MIXED, topic=topics), "unit", **asked)
    for field in ("status", "value", "lower", "upper", "n", "method"):
        assert getattr(decision, field) == getattr(usual, field)


@pytest.mark.parametrize("confidence", ["point", 0.95])
def test_a_corpus_gate_is_on_all_rows(open_results, confidence):
    count = Metric(name="count", aggregate=lambda p, e: len(p), range=(0, 501))
    results = open_results(MIXED, [UNIT, count])
    decide(results, "unit", ">=", 0.8, confidence=0.95)
    assert results["count"].value == len(results.rows) < 500

    decision = decide(results, "count", ">=", 500, confidence=confidence)

    assert (decision.status == "pass") == (confidence == "point")
    assert len(results.rows) == 500


def test_stored_replies_are_read_no_further_than_needed(open_results):
    open_results(MIXED, cache="on").source.ask()
    results = open_results(MIXED, cache="on")

    decision = decide(results, "unit", ">=", 0.8, confidence=0.95)

    assert decision.n <= len(results.rows) <= decision.n + 3 * CONCURRENCY
    assert results.usage.requests == 0


@pytest.mark.parametrize(
    ("metric", "options", "reason"),
    [
        ("unti", {}, "METRIC_MISSING"),
        ("unit", {"threshold": "x"}, "BAD_TYPE"),
        ("unit", {"threshold": 85.0}, "OUT_OF_RANGE"),
        ("unit", {"min_rows": 501}, "TOO_FEW_ROWS"),
        ("unit/pass@2", {}, "METRIC_ERROR"),
    ],
)
def test_a_gate_that_makes_no_sense_asks_for_nothing(
    open_results, metric, options, reason
):
    results = open_results(MIXED)
    asked = {"op": ">=", "threshold": 0.8, "confidence": 0.95, **options}

    decision = decide(results, metric, **asked)

    assert (decision.status, decision.reason) == ("error", reason)
    results.source.close()
    assert len(results.rows) == 1


def test_min_rows_counts_the_rows_of_the_dataset(open_results):
    results = open_results(MIXED)

    decision = decide(results, "unit", ">=", 0.8, confidence=0.95, min_rows=500)

    assert (decision.status, decision.n < 500) == ("pass", True)


def failing(ids):
    """A metric that is 1, and raises on these rows."""
    return Metric(name="unit", score=lambda p, e: 1 / (e.id not in ids), range=(0, 1))


def test_a_row_in_error_stops_the_asking_at_once(open_results):
    eleventh = IDS[order_of(open_results(MIXED))[10]]
    results = open_results(MIXED, [failing({eleventh})])

    decision = decide(results, "unit", ">=", 0.9, confidence=0.95)

    assert (decision.status, decision.reason) == ("error", "ROWS_MISSING")
    assert "1 of 11 rows could not be evaluated" in decision.detail
    assert f"{eleventh} (scorer: unit: ZeroDivisionError" in decision.detail
    assert 11 <= len(results.rows) <= 11 + MOST_EXTRA


def test_a_row_in_error_after_the_decision_does_not_count(open_results):
    results = open_results(MIXED, [failing(set())])
    n = decide(results, "unit", ">=", 0.9, confidence=0.95).n
    later = {IDS[at] for at in order_of(results)[n:]}
    results = open_results(MIXED, [failing(later)])

    decision = decide(results, "unit", ">=", 0.9, confidence=0.95)

    assert (decision.status, decision.n, decision.errors) == ("pass", n, 0)
    assert decide(results, "unit", ">=", 0.91, confidence=0.95).status == "error"


def test_a_score_outside_the_range_is_an_error(open_results):
    results = open_results([*MIXED[:499], 7.0])

    decision = decide(results, "unit", ">=", 0.94999, confidence=0.95)

    assert (decision.status, decision.reason) == ("error", "OUT_OF_RANGE")


def test_a_closed_evaluation_decides_on_what_is_there(open_results):
    results = open_results([1.0] * 500)
    first = decide(results, "unit", ">=", 0.9, confidence=0.95)
    results.source.close()

    assert decide(results, "unit", ">=", 0.9, confidence=0.95) == first
    for options in ({"threshold": 0.99}, {"where": {"id": "r1"}}):
        asked = {"op": ">=", "threshold": 0.9, "confidence": 0.95, **options}
        decision = decide(results, "unit", **asked)
        assert (decision.status, decision.reason) == ("error", "EARLY_STOPPED")
        assert "gate on its results in that test" in decision.detail


def test_repeats_count_by_example(open_results):
    results = open_results([1.0] * 100, repeats=3)

    decision = decide(results, "unit/pass^2", ">=", 0.9, confidence=0.95)

    assert (decision.status, decision.method, decision.repeats) == (
        "pass",
        "betting",
        3,
    )
    assert decision.n == by_hand(results, [1.0] * 100, 0.9).rows
    assert len(results.rows) % 3 == 0
    assert [row.repeat for row in results.rows[:6]] == [0, 1, 2, 0, 1, 2]


def test_scores_that_are_no_pass_are_the_gates_error(open_results):
    decision = decide(
        open_results([0.5] * 100), "unit/pass@1", ">=", 0.9, confidence=0.95
    )

    assert (decision.status, decision.reason) == ("error", "METRIC_ERROR")


def test_a_stored_run_is_judged_again_without_its_missing_rows(open_results):
    first = decide(
        open_results([1.0] * 500, cache="on"), "unit", ">=", 0.9, confidence=0.95
    )
    results = open_results([1.0] * 500, cache="only")

    again = decide(results, "unit", ">=", 0.9, confidence=0.95)
    assert (again.status, again.n) == (first.status, first.n)
    strict = decide(results, "unit", ">=", 0.99, confidence=0.95)
    assert (strict.status, strict.reason) == ("error", "MODEL_ERROR")
    assert "rows of data have no stored prediction" in strict.detail


def test_a_missing_first_row_is_an_error_of_the_evaluation(open_results):
    with pytest.raises(ModelError, match="1 of 500 rows of data have no stored pred"):
        open_results(MIXED, cache="only")


def test_requests_that_wait_for_their_turn_are_not_sent_after_the_decision(
    open_results,
):
    results = open_results([1.0] * 500, requests_per_minute=300)
    started = time.monotonic()

    decision = decide(results, "unit", ">=", 0.2, confidence=0.95)

    assert (decision.status, results.errors) == ("pass", [])
    assert decision.n <= len(results.rows) <= decision.n + 1, "first come, first served"
    assert time.monotonic() - started < 0.2 * (decision.n + 2)


def test_evaluations_at_once_share_replies_and_ask_no_further(open_results):
    asked = Counter()

    async def slow(user, tries):
        asked[user] += 1
        await asyncio.sleep(0.01)
        return user

    def gate(number):
        results = open_results([1.0] * 500, cache="on", model=Pinned(slow))
        return decide(results, "unit", ">=", 0.9, confidence=0.95).n

    with ThreadPoolExecutor(2) as threads:
        first, second = threads.map(gate, range(2), timeout=60)

    assert first == second
    assert set(asked.values()) == {1}
    assert first <= len(asked) <= first + 2 * MOST_EXTRA


def test_equal_requests_are_asked_once_and_soon(open_results):
    inputs = ["a" if i % 3 else "b" for i in range(500)]
    model = Pinned(upper)
    results = open_results(MIXED, cache="on", model=model, columns={"input": inputs})
    started = time.monotonic()

    assert results.metrics == {"unit": 0.95}
    assert model.calls == {"a": 1, "b": 1}
    assert time.monotonic() - started < 2


def test_gates_in_threads_ask_one_after_the_other(open_results):
    results = open_results([1.0] * 500)

    def gate(threshold):
        return decide(results, "unit", ">=", threshold, confidence=0.95)

    with ThreadPoolExecutor(4) as threads:
        decisions = list(threads.map(gate, (0.96, 0.9, 0.5, 0.93), timeout=60))

    assert {decision.status for decision in decisions} == {"pass"}
    n = decisions[0].n
    assert n == max(decision.n for decision in decisions)
    assert len(results.rows) <= n + MOST_EXTRA


def test_without_a_recorder_every_row_is_asked(run, tmp_path):
    settings = Settings(rootdir=tmp_path, cache="off", early_stop=True)

    results = run(echo, table(MIXED), [UNIT], settings=settings)

    assert (results.source, len(results.rows)) == (None, 500)


def test_the_order_follows_from_ids_and_seed_alone():
    ids = [f"r{i}" for i in range(100)]
    order = [ids[at] for at in shuffled(ids, "s")]

    assert sorted(order) == sorted(ids)
    assert order != ids
    assert [ids[::-1][at] for at in shuffled(ids[::-1], "s")] == order
    assert [ids[at] for at in shuffled(ids, "t")] != order
    assert len(shuffled(["\ud800", "\ud801"], "s")) == 2


def test_examples_come_in_any_order_from_a_source_that_is_read_in_parts(load):
    dataset = load([{"id": f"r{i}", "input": f"q{i}"} for i in range(2_500)])
    order = shuffled(dataset.ids, "s")

    found = list(in_order(dataset, order))

    assert [at for at, _ in found] == order
    assert [example.id for _, example in found] == [f"r{at}" for at in order]


def test_a_change_is_no_gate_for_rows_that_stopped_early(open_results):
    results = open_results([1.0] * 500)
    assert decide(results, "unit", ">=", 0.9, confidence=0.95).status == "pass"

    for sides in ((results, results), (open_results([1.0] * 500), results)):
        decision = decide_no_regression(*sides, "unit", max_drop=0.1)
        assert decision.reason == "EARLY_STOPPED"


def test_each_slice_takes_all_rows(open_results):
    results = open_results([1.0] * 60, columns={"topic": ["a", "b"] * 30})

    decisions = decide_each_slice(results, "unit", ">=", 0.8, by="topic")

    assert [(one.n, one.method) for one in decisions] == [(30, "point")] * 2
    assert results.columns.not_needed == 0
