from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmeval.evidence import Evidence
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.records import ModelRef
from pytest_llmeval.verdict import Manifest
from pytest_llmeval.verdict import compare
from pytest_llmeval.verdict import judge
from pytest_llmeval.verdict import manifest_entry


MODEL = ModelRef(scheme="models", name="qa", version="3", pinned=True)
GATE = Gate(metric="rouge1", op=">=", threshold=0.4, confidence=0.95)
PASSED = Decision(
    gate=GATE,
    status="pass",
    reason="OK",
    test="t.py::a",
    n=200,
    rows=200,
    value=0.45,
    model=MODEL,
    dataset_digest="sha256:d",
    request_digest="sha256:r",
)


def evidence(**changes):
    """What a run that passes leaves, but for the changes."""
    good = {
        "collected": ["t.py::a", "t.py::b"],
        "outcomes": {"t.py::a": "passed", "t.py::b": "passed"},
        "tries": {"t.py::a": 1, "t.py::b": 1},
        "decisions": [PASSED],
    }
    return Evidence(**{**good, **changes})


def manifest(*decisions, **changes):
    gates = [{**manifest_entry(decision), **changes} for decision in decisions]
    return Manifest(path=Path("gates.toml"), digest="sha256:m", gates=tuple(gates))


def outcome(word):
    return {"outcomes": {"t.py::a": "passed", "t.py::b": word}}


def decided(status, reason, **changes):
    return replace(PASSED, status=status, reason=reason, **changes)


ELSEWHERE = replace(PASSED, test="t.py::b", model=replace(MODEL, version="4"))
REQUIRED = manifest(PASSED)
# In the order of precedence: reason, what causes it, manifest, words of the detail.
OBJECTIONS = [
    ("NOT_EXECUTED", {"executed": False}, REQUIRED, "no test was executed"),
    ("COLLECTION_ERROR", {"collection_errors": ["t.py"]}, REQUIRED, "t.py"),
    (
        "GATE_FAILED",
        {"decisions": [decided("fail", "GATE_FAILED")]},
        REQUIRED,
        "t.py::a rouge1",
    ),
    (
        "INCONCLUSIVE",
        {"decisions": [decided("inconclusive", "INCONCLUSIVE")]},
        REQUIRED,
        "t.py::a rouge1",
    ),
    (
        "NOT_FINITE",
        {"decisions": [decided("error", "NOT_FINITE")]},
        REQUIRED,
        "t.py::a rouge1",
    ),
    (
        "ZERO_ROWS",
        {"evaluation_errors": [("t.py::a", "ZERO_ROWS", "no rows")]},
        REQUIRED,
        "t.py::a: no rows",
    ),
    (
        "MIXED_MODELS",
        {"decisions": [PASSED, ELSEWHERE]},
        manifest(PASSED, ELSEWHERE),
        "several models: models:/qa/3, models:/qa/4",
    ),
    ("INCOMPLETE", {"stopped": "interrupted"}, REQUIRED, "interrupted"),
    (
        "INCOMPLETE",
        {"outcomes": {"t.py::a": "passed"}},
        REQUIRED,
        "t.py::b was collected and has not been reported",
    ),
    ("SKIPPED", outcome("skipped"), REQUIRED, "t.py::b skipped"),
    ("XFAIL", outcome("xfailed"), REQUIRED, "t.py::b xfailed"),
    ("XPASS", outcome("xpassed"), REQUIRED, "t.py::b xpassed"),
    ("RERUN", {"tries": {"t.py::b": 3}}, REQUIRED, "t.py::b ran 3 times"),
    (
        "TEARDOWN_ERROR",
        {"teardown_errors": ["t.py::b"]},
        REQUIRED,
        "the teardown of t.py::b failed",
    ),
    ("TESTS_FAILED", outcome("failed"), REQUIRED, "t.py::b failed"),
    ("TESTS_FAILED", {"exit_status": 3}, REQUIRED, "pytest's exit status is 3"),
    (
        "NO_ASSERTION",
        {"decisions": [replace(PASSED, test="t.py::b")]},
        REQUIRED,
        "t.py::a passed without deciding a gate",
    ),
    ("NO_GATES", {"decisions": []}, None, "no gate was decided"),
    ("PARTIAL_RUN", {"partial": "--lf"}, REQUIRED, "--lf or --sw"),
    (
        "GATE_MISSING",
        {},
        manifest(PASSED, replace(PASSED, test="t.py::c")),
        "t.py::c rouge1 is required and was not decided",
    ),
    (
        "GATE_CHANGED",
        {},
        manifest(PASSED, threshold=0.5),
        "t.py::a rouge1: threshold is 0.4 and 0.5 is required",
    ),
    (
        "DATASET_CHANGED",
        {},
        manifest(PASSED, dataset="sha256:old"),
        "dataset is 'sha256:d' and 'sha256:old' is required",
    ),
    (
        "TOO_FEW_ROWS",
        {},
        manifest(PASSED, dataset="any", min_rows=201),
        "t.py::a rouge1 has 200 rows, required 201",
    ),
    ("GATE_UNLISTED", {}, manifest(), "t.py::a rouge1 is not in gates.toml"),
    ("OK", {}, REQUIRED, "every gate passed"),
    ("OK", {}, None, "every gate passed"),
    ("OK", {"tries": {"t.py::a": 2}, "reruns_allowed": True}, REQUIRED, "every gate"),
]


@pytest.mark.parametrize(("reason", "changes", "required", "detail"), OBJECTIONS)
def test_each_objection_is_the_reason(reason, changes, required, detail):
    status, found, words = judge(evidence(**changes), required)

    assert found == reason
    assert detail in words
    stopped = reason in ("NOT_EXECUTED", "INCOMPLETE", "PARTIAL_RUN")
    assert status == ("pass" if reason == "OK" else "incomplete" if stopped else "fail")


FIELDS = [row for row in OBJECTIONS[:19] if row[0] != "NO_GATES"]


@pytest.mark.parametrize("first", range(len(FIELDS) - 1))
def test_the_first_objection_that_applies_is_the_reason(first):
    reason, changes, required, _ = FIELDS[first]
    for _, later, _, _ in FIELDS[first + 1 :]:
        if not set(later) & set(changes):
            assert judge(evidence(**later, **changes), required)[1] == reason


def test_a_failed_gate_comes_before_an_inconclusive_one_and_one_in_error():
    decisions = [
        decided("error", "ROWS_MISSING"),
        decided("inconclusive", "INCONCLUSIVE"),
        decided("fail", "GATE_FAILED"),
    ]

    assert judge(evidence(decisions=decisions), None)[1] == "GATE_FAILED"
    assert judge(evidence(decisions=decisions[:2]), None)[1] == "INCONCLUSIVE"


def test_skipped_comes_before_xfail_whatever_the_order_of_tests():
    outcomes = {"t.py::a": "xfailed", "t.py::b": "skipped"}

    assert judge(evidence(outcomes=outcomes), None)[1] == "SKIPPED"


def test_a_gate_that_fails_in_an_expected_failure_is_reported_as_xfail():
    failed = decided("fail", "GATE_FAILED", test="t.py::b")
    run = evidence(decisions=[PASSED, failed], **outcome("xfailed"))

    assert judge(run, None)[:2] == ("fail", "XFAIL")


def test_an_exit_status_without_tests_speaks_for_no_gates():
    assert judge(Evidence(exit_status=5), None)[1] == "NO_GATES"


def test_missing_gates_come_before_changed_and_unlisted_ones():
    other = replace(PASSED, test="t.py::z")
    required = manifest(replace(PASSED, test="t.py::c"), PASSED, threshold=0.5)
    reasons = [reason for reason, _ in compare(required, [PASSED, other])]

    assert sorted(reasons) == ["GATE_CHANGED", "GATE_MISSING", "GATE_UNLISTED"]
    run = evidence(decisions=[PASSED, other])
    assert judge(run, required)[1] == "GATE_MISSING"


@pytest.mark.parametrize(
    "change",
    [
        {"op": ">"},
        {"threshold": 0.3},
        {"confidence": None},
        {"confidence": 0.9},
        {"where": {"topic": "x"}},
        {"bounds": (0.0, 2.0)},
        {"cluster": "who"},
        {"min_rows": 10},
        {"on_error": "worst"},
        {"on_error": "exclude", "max_error_rate": 0.1},
    ],
)
def test_any_change_of_a_gate_is_seen(change):
    now = replace(PASSED, gate=replace(GATE, **change))

    ((reason, sentence),) = compare(manifest(PASSED), [now])

    assert reason == "GATE_CHANGED"
    assert all(name in sentence for name in change)


def test_a_changed_request_and_a_changed_dataset_have_reasons_of_their_own():
    request = replace(PASSED, request_digest="sha256:other")
    data = replace(PASSED, dataset_digest="sha256:other")
    both = replace(request, dataset_digest="sha256:other")

    reasons = [next(compare(REQUIRED, [d]))[0] for d in (request, data, both)]

    assert reasons == ["GATE_CHANGED", "DATASET_CHANGED", "GATE_CHANGED"]


@pytest.mark.parametrize("rows", [None, 200, 1])
def test_a_live_table_may_have_any_digest_and_enough_rows(rows):
    least = {} if rows is None else {"min_rows": rows}
    required = manifest(PASSED, dataset="any", **least)

    now = replace(PASSED, dataset_digest="sha256:today")

    assert list(compare(required, [now])) == []
    changed = replace(now, gate=replace(GATE, threshold=0.3))
    assert next(compare(required, [changed]))[0] == "GATE_CHANGED"


def test_a_live_tables_rows_are_counted_in_rows_also_with_clusters():
    clustered = replace(PASSED, gate=replace(GATE, cluster="who"), n=20)
    required = manifest(clustered, dataset="any", min_rows=200)

    assert list(compare(required, [clustered])) == []


def test_two_gates_on_one_metric_in_one_test_are_kept_apart():
    stricter = replace(PASSED, gate=replace(GATE, threshold=0.5))
    required = manifest(PASSED, stricter)

    assert list(compare(required, [stricter, PASSED])) == []
    assert [r for r, _ in compare(required, [PASSED])] == ["GATE_MISSING"]
    assert [r for r, _ in compare(required, [PASSED, PASSED])] == ["GATE_CHANGED"]
    assert [r for r, _ in compare(manifest(PASSED), [PASSED, stricter])] == [
        "GATE_UNLISTED"
    ]
