"""One gate for each slice."""

from dataclasses import replace

import pytest
from scipy.stats import binomtest

from pytest_llmeval import assert_each_slice
from pytest_llmeval import decide
from pytest_llmeval import decide_each_slice
from pytest_llmeval.errors import GateNotPassed


@pytest.fixture
def topics(score):
    # billing 40 of 40, refunds 30 of 40, other 5 of 5.
    topic = ["billing"] * 40 + ["refunds"] * 40 + ["other"] * 5
    return score([1.0] * 70 + [0.0] * 10 + [1.0] * 5, topic=topic)


def test_each_slice_is_the_gate_with_where(topics):
    found = decide_each_slice(topics, "unit", ">=", 0.9, by="topic", confidence=0.95)

    assert [decision.status for decision in found] == ["pass", "fail", "inconclusive"]
    assert [decision.n for decision in found] == [40, 40, 5]
    upper = binomtest(30, 40, alternative="less").proportion_ci(0.95).high
    assert found[1].upper == pytest.approx(upper, abs=1e-9)
    for decision, name in zip(found, ("billing", "refunds", "other"), strict=True):
        where = {"topic": name}
        alone = decide(topics, "unit", ">=", 0.9, confidence=0.95, where=where)
        assert decision == alone


def test_one_failure_names_all_slices_that_did_not_pass(topics):
    with pytest.raises(GateNotPassed) as caught:
        assert_each_slice(topics, "unit", ">=", 0.9, by="topic", confidence=0.95)

    message = str(caught.value)
    assert message.startswith("2 of 3 slices by 'topic' did not pass\n\n")
    assert "unit where {'topic': 'refunds'} 0.750 " in message
    assert "unit where {'topic': 'other'} 1.000 " in message
    assert "billing" not in message
    assert caught.value.decision.gate.where == {"topic": "refunds"}


def test_all_slices_pass(topics):
    passed = assert_each_slice(topics, "unit", ">=", 0.5, by="topic", confidence=0.95)
    assert len(passed) == 3


@pytest.mark.parametrize(
    ("by", "reason", "detail"),
    [
        ("topic", "ROWS_MISSING", "row r1 has no column 'topic', which by= names"),
        ("nosuch", "ROWS_MISSING", "row r0 has no column 'nosuch'"),
        (3, "BAD_TYPE", "by=3 names no column"),
    ],
)
def test_a_row_without_the_column_is_an_error_that_names_it(score, by, reason, detail):
    results = score([1.0, 1.0, 1.0], topic=["a", None, "b"])

    with pytest.raises(GateNotPassed, match=detail) as caught:
        assert_each_slice(results, "unit", ">=", 0.5, by=by)
    assert caught.value.decision.reason == reason


def test_every_slice_is_recorded(topics):
    class Recorder:
        raises = False

        def __init__(self):
            self.kept = []

        def record(self, decision, fields):
            self.kept.append(decision)
            return decision

    recorder = Recorder()
    assert_each_slice(replace(topics, recorder=recorder), "unit", ">=", 0.9, by="topic")
    assert len(recorder.kept) == 3
