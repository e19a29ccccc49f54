"""Gates on the change from a baseline, decided on paired rows."""

import json
from dataclasses import replace

import pytest
from scipy.stats import binomtest

from pytest_llmeval import Metric
from pytest_llmeval import assert_improved
from pytest_llmeval import assert_no_regression
from pytest_llmeval import decide_improved
from pytest_llmeval import decide_no_regression
from pytest_llmeval.errors import GateNotPassed
from pytest_llmeval.gate import explain
from pytest_llmeval.gate import headline

from .chosen_scores import UNIT
from .chosen_scores import echo
from .chosen_scores import table


def given(prediction, example):
    """The score that the data says for this answer."""
    return example.metadata[prediction.text]


SCORED = Metric(name="unit", score=given, range=(0, 1), source="test")


@pytest.fixture
def pair(run):
    """Two evaluations of the same rows, whose scores before and after are chosen."""

    def pair(before, after, metric=SCORED, then=None):
        rows = [
            {"id": f"r{i}", "input": f"q{i}", "before": old, "after": new}
            for i, (old, new) in enumerate(zip(before, after, strict=True))
        ]
        earlier = run(lambda prompt: "before", rows, [then or metric])
        return earlier, run(lambda prompt: "after", rows, [metric])

    return pair


def lower_of_equal(rows):
    """The bound of `rows` differences of 0 in the range -1 to 1, by hand.

    All scores are 0, so the mean is at most t = -d when the weight w of the
    pseudo-score -1 is at least d; w is Beta(1, n), so that P(w >= d) = (1 - d)^n, and
    5 % of that is d.
    """
    return -(1 - 0.05 ** (1 / rows))


@pytest.mark.parametrize(("rows", "status"), [(148, "inconclusive"), (149, "pass")])
def test_equal_answers_pass_once_there_are_enough_rows(pair, rows, status):
    before, after = pair([1.0] * rows, [1.0] * rows)
    decision = decide_no_regression(after, before, "unit", max_drop=0.02)

    assert (decision.status, decision.value, decision.n) == (status, 0.0, rows)
    assert decision.lower == pytest.approx(lower_of_equal(rows), abs=1e-9)
    if status == "inconclusive":
        assert decision.rows_needed == 149


# All rows fall from 1 to 0 or stay: each difference is -1 or 0, a binary score in half
# of the range, so the bound of a lower range end of -1 is the exact binomial one.
@pytest.mark.parametrize(
    ("worse", "max_drop", "status"),
    [(5, 0.2, "pass"), (5, 0.05, "inconclusive"), (30, 0.1, "fail")],
)
def test_binary_drops_have_the_exact_binomial_bound(pair, worse, max_drop, status):
    before, after = pair([1.0] * 100, [0.0] * worse + [1.0] * (100 - worse))
    decision = decide_no_regression(after, before, "unit", max_drop=max_drop)

    kept = binomtest(100 - worse, 100, alternative="greater").proportion_ci(0.95)
    assert decision.status == status
    assert decision.value == pytest.approx(-worse / 100)
    assert decision.lower == pytest.approx(kept.low - 1, abs=1e-9)
    assert (decision.compared.worse, decision.compared.better) == (worse, 0)


@pytest.mark.parametrize(
    ("better", "min_gain", "status"),
    [(50, 0, "pass"), (50, 0.3, "pass"), (50, 0.45, "inconclusive"), (5, 0.3, "fail")],
)
def test_an_improvement_must_be_shown_by_the_lower_bound(
    pair, better, min_gain, status
):
    before, after = pair([0.0] * 100, [1.0] * better + [0.0] * (100 - better))
    decision = decide_improved(after, before, "unit", min_gain=min_gain)

    gained = binomtest(better, 100, alternative="less").proportion_ci(0.95)
    assert decision.status == status
    assert decision.upper == pytest.approx(gained.high, abs=1e-9)


def test_no_change_is_no_improvement_even_at_the_bar(pair):
    before, after = pair([1.0] * 200, [1.0] * 200)
    decision = decide_improved(after, before, "unit")

    assert decision.status == "inconclusive"
    assert decision.rows_needed is None
    assert "a gain of more than 0.000 is not shown" in explain(decision)


def test_where_less_is_better_a_rise_is_a_drop(pair):
    metric = replace(SCORED, higher_is_better=False)
    before, after = pair([0.0] * 100, [1.0] * 50 + [0.0] * 50, metric)

    worse = decide_no_regression(after, before, "unit", max_drop=0.1)
    better = decide_improved(before, after, "unit")
    assert (worse.status, worse.value) == ("fail", -0.5)
    assert (better.status, better.value) == ("pass", 0.5)
    assert headline(better).startswith("unit vs results of ")
    assert " +0.500 (0.500 -> 0.000, a fall counts as positive, " in headline(better)


def test_the_message_says_what_is_not_ruled_out_and_shows_the_rows(pair):
    before, after = pair(
        [1.0] * 40 + [0.0] * 10, [0.0] * 4 + [1.0] * 36 + [0.5] + [0.0] * 9
    )
    with pytest.raises(GateNotPassed) as caught:
        assert_no_regression(after, before, "unit", max_drop=0.1)

    lines = str(caught.value).splitlines()
    decision = caught.value.decision
    assert " -0.070 (0.800 -> 0.730, 95 % lower bound " in lines[0]
    assert " is inconclusive against >= -0.100; about " in lines[0]
    assert lines[1].startswith("these rows do not decide: the mean change may lie any")
    assert lines[1].endswith("a drop of more than 0.100 is not ruled out")
    assert lines[3] == "rows that got worse: 4"
    assert lines[4:8] == [
        "  r0  change -1",
        "    input:  q0",
        "    before: before",
        "    now:    after",
    ]
    assert lines[16:18] == ["rows that got better: 1", "  r40  change +0.5"]
    assert len(decision.compared.flips) == 4
    assert decision.to_dict()["compared"]["flips"][3]["change"] == 0.5


def test_no_sentence_of_a_pass_speaks_of_significance(pair):
    before, after = pair([1.0] * 200, [1.0] * 200)
    decision = assert_no_regression(after, before, "unit", max_drop=0.05)

    assert "significant" not in explain(decision)
    assert "a drop" not in explain(decision)


def test_the_sign_of_a_range_other_than_0_to_1(pair):
    metric = replace(SCORED, range=(1, 5))
    before, after = pair([5.0] * 100, [1.0] * 10 + [5.0] * 90, metric)
    decision = decide_no_regression(after, before, "unit", max_drop=1)

    kept = binomtest(90, 100, alternative="greater").proportion_ci(0.95)
    assert decision.value == pytest.approx(-0.4)
    assert decision.lower == pytest.approx(4 * (kept.low - 1), abs=1e-9)


@pytest.mark.parametrize(
    ("arguments", "reason", "detail"),
    [
        ({"max_drop": -0.02}, "BAD_TYPE", r"max_drop=-0.02 is below 0: .* assert_imp"),
        ({"max_drop": "2 %"}, "BAD_TYPE", "max_drop '2 %' is str, not a number"),
        ({"max_drop": True}, "BAD_TYPE", "max_drop True is bool"),
        ({"max_drop": float("nan")}, "NOT_FINITE", "max_drop is nan"),
        ({"max_drop": 2}, "OUT_OF_RANGE", "outside the range of changes -1 to 1"),
        ({"max_drop": 0, "confidence": "point"}, "BAD_TYPE", "decided by a bound only"),
        ({"max_drop": 0, "confidence": 95}, "BAD_TYPE", "did you mean 0.95"),
        ({"max_drop": 0, "missing": "pass"}, "BAD_TYPE", "missing='pass' is none of"),
        ({"max_drop": 0, "metric": "unti"}, "METRIC_MISSING", "did you mean 'unit'"),
    ],
)
def test_arguments_without_meaning_are_errors(pair, arguments, reason, detail):
    before, after = pair([1.0], [1.0])
    arguments = {"metric": "unit", **arguments}

    with pytest.raises(GateNotPassed, match=detail) as caught:
        assert_no_regression(after, before, **arguments)
    assert caught.value.decision.reason == reason
    json.dumps(caught.value.decision.to_dict(), allow_nan=False)


def test_a_negative_gain_is_an_error(pair):
    before, after = pair([1.0], [1.0])
    with pytest.raises(GateNotPassed, match=r"min_gain=-0\.1 is below 0"):
        assert_improved(after, before, "unit", min_gain=-0.1)


@pytest.mark.parametrize("baseline", [None, True, 0.5, ["champion"]])
def test_what_names_no_baseline_is_an_error(pair, baseline):
    _, after = pair([1.0], [1.0])
    decision = decide_no_regression(after, baseline, "unit", max_drop=0)
    assert decision.reason == "BASELINE_UNUSABLE"
    assert "is no baseline: give an alias, a version, a run id" in decision.detail


def test_other_rows_are_an_error_that_names_them(run):
    before = run(echo, table([1.0] * 3), [UNIT])
    after = run(echo, table([1.0] * 4)[1:], [UNIT])
    decision = decide_no_regression(after, before, "unit", max_drop=0.1)

    assert decision.reason == "DATASET_CHANGED"
    assert "only now: r3; only there: r0" in decision.detail


def test_missing_rows_under_the_same_digest_are_an_error(pair):
    before, after = pair([1.0] * 3, [1.0] * 3)
    before = replace(before, rows=before.rows[:2])
    decision = decide_no_regression(after, before, "unit", max_drop=0.1)

    assert decision.reason == "ROWS_MISSING"
    assert "only now: r2; only there: none" in decision.detail


def test_rows_are_joined_by_id_and_not_by_place(pair):
    before, after = pair([1.0, 0.0, 0.5], [1.0, 0.0, 0.5])
    before = replace(before, rows=list(reversed(before.rows)))
    decision = decide_no_regression(after, before, "unit", max_drop=0.1)

    assert (decision.compared.worse, decision.compared.better) == (0, 0)


def test_a_metric_of_another_source_is_an_error(pair):
    before, after = pair([1.0], [1.0], then=replace(SCORED, source="another judge"))
    decision = decide_no_regression(after, before, "unit", max_drop=0.1)

    assert decision.reason == "METRIC_CHANGED"
    assert "unit is test now and was another judge in the results" in decision.detail


def test_rows_in_error_on_either_side_are_errors_that_name_them(score):
    good, bad = score([1.0] * 3), score([1.0] * 3, broken=[1])
    bad = replace(bad, dataset=good.dataset)

    now = decide_no_regression(bad, good, "unit", max_drop=0.1)
    then = decide_no_regression(good, bad, "unit", max_drop=0.1)
    assert now.reason == "ROWS_MISSING"
    assert then.reason == "BASELINE_UNUSABLE"
    for decision in (now, then):
        assert "r1 (exception: RuntimeError: no answer)" in decision.detail
        assert "on_error" not in decision.detail


def test_an_early_stopped_side_is_an_error(pair):
    before, after = pair([1.0] * 3, [1.0] * 3)
    for side, other in ((before, after), (after, before)):
        side.columns.not_needed = 1
        decision = decide_no_regression(side, other, "unit", max_drop=0.1)
        assert decision.reason == "EARLY_STOPPED"
        decision = decide_no_regression(other, side, "unit", max_drop=0.1)
        assert decision.reason == "EARLY_STOPPED"
        side.columns.not_needed = 0


def test_an_unbounded_or_corpus_metric_has_no_bound_of_its_change(pair):
    free = replace(SCORED, range=None)
    before, after = pair([1.0], [1.0], free)
    decision = decide_no_regression(after, before, "unit", max_drop=0.1)
    assert decision.reason == "UNBOUNDED"
    assert "gate a quantile with assert_quantile" in decision.detail

    whole = Metric(name="whole", aggregate=lambda p, e: 0.5, range=(0, 1))
    before, after = pair([1.0], [1.0], whole)
    decision = decide_no_regression(after, before, "whole", max_drop=0.1)
    assert decision.reason == "UNSUPPORTED"


def test_hostile_answers_are_made_harmless_in_message_and_verdict(run, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "s3cr3t-value")
    rows = [{"id": "a\x1b[31m", "input": "q \u202e", "before": 1.0, "after": 0.0}]
    metric = replace(SCORED, score=lambda p, e: float("fine" in p.text))
    hostile = "\x1b]0; s3cr3t-value" + "y" * 9_000
    before = run(lambda prompt: f"fine {hostile}", rows, [metric])
    after = run(lambda prompt: hostile, rows, [metric])
    decision = decide_no_regression(after, before, "unit", max_drop=0.1)

    text = explain(decision)
    assert r"  a\x1b[31m  change -1" in text
    assert r"now:    \x1b]0; [redacted]yyy" in text
    entry = json.dumps(decision.to_dict())
    assert "s3cr3t" not in entry
    assert "\\u001b" not in entry
    assert len(entry) < 4_000
