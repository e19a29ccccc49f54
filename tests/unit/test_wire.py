"""Decisions and rows on their way from a worker to the one keeper of the run."""

import json
import math
from dataclasses import replace
from typing import Any
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pytest_llmeval.config import RunStart
from pytest_llmeval.config import Settings
from pytest_llmeval.evidence import Evidence
from pytest_llmeval.records import Comparison
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Flip
from pytest_llmeval.records import Gate
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import WorstRow
from pytest_llmeval.records import from_builtins
from pytest_llmeval.records import to_builtins
from pytest_llmeval.records import to_text
from pytest_llmeval.records.gates import Kind
from pytest_llmeval.records.gates import Missing
from pytest_llmeval.records.gates import OnError
from pytest_llmeval.records.gates import Op
from pytest_llmeval.records.gates import Status
from pytest_llmeval.session import Outbox
from pytest_llmeval.session import open_outbox
from pytest_llmeval.session import open_run
from pytest_llmeval.store import RunDirectory


TEXT = st.text(max_size=8) | st.just("\ud83d\x00")
NUMBER = st.floats(allow_nan=False) | st.just(0.1 + 0.2)
COUNT = st.integers(0, 10**20)
MAYBE = st.none() | NUMBER
CELL = st.none() | st.booleans() | COUNT | NUMBER | TEXT | st.lists(TEXT, max_size=2)
STATUS = st.sampled_from(get_args(Status))


def many(strategy):
    return st.lists(strategy, max_size=2).map(tuple)


GATES = st.builds(
    Gate,
    metric=TEXT,
    op=st.sampled_from(get_args(Op)),
    threshold=NUMBER,
    kind=st.sampled_from(get_args(Kind)),
    baseline=st.none() | TEXT,
    missing=st.sampled_from(get_args(Missing)),
    quantile=MAYBE,
    confidence=MAYBE,
    bounds=st.none() | st.tuples(NUMBER, NUMBER),
    cluster=st.none() | TEXT,
    where=st.none() | st.dictionaries(TEXT, CELL, max_size=2),
    min_rows=st.none() | COUNT,
    on_error=st.sampled_from(get_args(OnError)),
    max_error_rate=MAYBE,
)
WORST = st.builds(
    WorstRow, id=TEXT, input=TEXT, expected=many(TEXT), got=TEXT, score=NUMBER
)
FLIPS = st.builds(Flip, id=TEXT, input=TEXT, before=TEXT, after=TEXT, change=NUMBER)
COMPARISONS = st.builds(
    Comparison,
    origin=TEXT,
    model=TEXT,
    request_digest=TEXT,
    value=NUMBER,
    value_now=NUMBER,
    less_is_better=st.booleans(),
    worse=COUNT,
    better=COUNT,
    flips=many(FLIPS),
)
MODELS = st.builds(
    ModelRef,
    scheme=TEXT,
    name=TEXT,
    version=st.none() | TEXT,
    digest=st.none() | TEXT,
    pinned=st.booleans(),
    aliases=st.dictionaries(TEXT, TEXT, max_size=2),
    requested=TEXT,
)
DECISIONS = st.builds(
    Decision,
    gate=GATES,
    status=STATUS,
    reason=TEXT,
    detail=TEXT,
    test=st.none() | TEXT,
    method=TEXT,
    value=MAYBE,
    share=MAYBE,
    seed=st.none() | COUNT,
    row_mean=MAYBE,
    lower=MAYBE,
    upper=MAYBE,
    n=COUNT,
    errors=COUNT,
    cached=COUNT,
    oldest_reply=MAYBE,
    rows_needed=st.none() | COUNT,
    at_worst=st.none() | STATUS,
    point_only=st.none() | TEXT,
    worst=many(WORST),
    compared=st.none() | COMPARISONS,
    model=st.none() | MODELS,
    rows=COUNT,
    repeats=COUNT,
)
PASS = Decision(
    gate=Gate("f1", ">=", 0.5, confidence=0.95),
    status="pass",
    reason="OK",
    test="t.py::a",
)
FAIL = replace(PASS, status="fail", reason="GATE_FAILED")


def sent(value):
    return json.loads(to_text(to_builtins(value)))


@given(DECISIONS)
def test_any_decision_comes_back_equal(decision):
    assert to_text(to_builtins(decision)).isascii()
    back = from_builtins(Decision, sent(decision))
    assert back == decision
    assert back.to_dict() == decision.to_dict()


def test_numbers_that_json_lacks_come_back_too():
    gate = Gate("f1", "<", math.inf, where={"n": math.nan})
    back = from_builtins(Decision, sent(replace(PASS, gate=gate, value=-math.inf)))
    assert (back.gate.threshold, back.value) == (math.inf, -math.inf)
    assert back.gate.where is not None
    assert math.isnan(back.gate.where["n"])


@pytest.fixture
def open_kept(tmp_path, manager):
    """The run of a controller, its evidence and its directory."""

    def open_kept(tests=()):
        start = RunStart(id="1", at=0.0, began=0.0)
        evidence = Evidence(collected=list(tests))
        settings = Settings(rootdir=tmp_path, tracking="off")
        run, _ = open_run(
            settings,
            manager,
            evidence=evidence,
            start=start,
            say=lambda status, line: said.append(line),
        )
        return run, evidence

    said: list[str] = []
    open_kept.said = said  # type: ignore[attr-defined]
    return open_kept


def news(*decisions, **more):
    return {"decisions": [sent(decision) for decision in decisions], **more}


def evaluation(test, worker, span=(0, 0), over_budget=None):
    return {
        "test": test,
        "worker": worker,
        "rows_span": span,
        "rows_digest": "",
        "over_budget": over_budget,
    }


def test_run_keeps_what_workers_tell_of_different_tests(open_kept):
    run, evidence = open_kept()
    other = replace(FAIL, test="t.py::b")
    run.receive("gw0", news(PASS, errors=[["t.py::a", "MODEL_ERROR", "down"]]))
    run.receive("gw1", news(other))
    assert evidence.decisions == [PASS, other]
    assert evidence.evaluation_errors == [("t.py::a", "MODEL_ERROR", "down")]


def test_run_keeps_equal_gates_of_one_test_and_drops_a_second_workers(open_kept):
    run, evidence = open_kept()
    run.receive("gw0", news(PASS, PASS))
    run.receive("gw1", news(PASS, PASS))
    assert evidence.decisions == [PASS, PASS]
    run.receive("gw1", news(FAIL))
    assert evidence.decisions == [PASS, PASS, FAIL], "the two do not agree"


def test_budget_that_a_second_worker_reaches_counts(open_kept):
    run, evidence = open_kept()
    run.receive("gw0", {"evaluations": [evaluation("a", "gw0")]})
    assert evidence.over_budget is None
    again = evaluation("a", "gw1", over_budget="9 of 10 rows")
    run.receive("gw1", {"evaluations": [again]})
    assert evidence.over_budget == "9 of 10 rows"


def test_a_refusal_of_several_workers_is_said_once(open_kept):
    run, _ = open_kept()
    for worker in ("gw0", "gw1"):
        run.receive(worker, {"lines": [["fail", "cannot deploy"], ["", "40 requests"]]})
    assert open_kept.said == ["cannot deploy", "40 requests", "40 requests"]


def test_worker_without_a_mark_is_lost(open_kept, tmp_path):
    run, evidence = open_kept()
    RunDirectory(tmp_path / ".llmeval", "1").leave("gw1")
    run.note_left(["gw0", "gw1"])
    assert evidence.lost == ["gw0"]


def test_outbox_gives_everything_once():
    evidence = Evidence()
    outbox = Outbox(evidence)
    outbox.add_decision(PASS)
    outbox.add_error("t.py::a", "MODEL_ERROR", "down")
    outbox.add_evaluation({"test": "t.py::a"})
    outbox.say("fail", "no")
    assert outbox.take() == {
        "decisions": [to_builtins(PASS)],
        "errors": [["t.py::a", "MODEL_ERROR", "down"]],
        "evaluations": [{"test": "t.py::a"}],
        "lines": [["fail", "no"]],
    }
    assert outbox.take() == {}


def test_outbox_drops_the_gates_of_a_void_try():
    evidence = Evidence()
    outbox = Outbox(evidence)
    evidence.started("t.py::a")
    outbox.add_decision(FAIL)
    evidence.started("t.py::a")
    outbox.add_decision(PASS)
    assert outbox.take() == {"decisions": [to_builtins(PASS)]}


class Interrupting(dict[str, Any]):
    """Does something while it is read, as a thread may."""

    def __init__(self, action):
        super().__init__()
        self._action = action

    def items(self):
        self._action()
        return super().items()


def test_outbox_loses_nothing_that_is_added_while_it_is_emptied():
    outbox = Outbox(Evidence())
    where = Interrupting(lambda: outbox.add_decision(FAIL))
    outbox.add_decision(replace(PASS, gate=replace(PASS.gate, where=where)))
    taken = [outbox.take().get("decisions", []) for _ in range(2)]
    assert [entry["status"] for part in taken for entry in part] == ["pass", "fail"]


def test_worker_that_records_for_the_manifest_leaves_nothing_in_the_run(
    tmp_path, manager
):
    settings = Settings(rootdir=tmp_path, gates="update", tracking="off", workers=2)
    start = RunStart(id="1", at=0.0, began=0.0)
    _, recorder = open_outbox(
        settings, manager, evidence=Evidence(), start=start, worker="gw0"
    )
    recorder.close()
    home = tmp_path / ".llmeval"
    assert sorted(path.name for path in home.iterdir()) == [".gitignore", "runs"]
    assert list((home / "runs/1").iterdir()) == []


def report(evidence, test, outcome="passed", worker="gw0", **more):
    for when in ("setup", "call", "teardown"):
        word = outcome if when == "call" else "passed"
        evidence.reported(test, when, word, worker=worker, **{"xfail": False, **more})


def test_worst_of_several_workers_counts_in_any_order():
    for first, second in (("failed", "passed"), ("passed", "failed")):
        evidence = Evidence()
        report(evidence, "a", first, "gw0")
        report(evidence, "a", second, "gw1")
        assert evidence.outcomes == {"a": "failed"}


def test_last_try_in_one_worker_counts():
    evidence = Evidence()
    evidence.decisions.append(replace(FAIL, test="a"))
    evidence.reported("a", "setup", "passed", xfail=False, worker="gw0")
    evidence.reported("a", "call", "rerun", xfail=False, worker="gw0")
    evidence.retried("a", 2, "gw0")
    report(evidence, "a")
    assert evidence.outcomes == {"a": "passed"}
    assert evidence.rerun == {"a": 2}
    assert evidence.decisions == []


def test_news_of_a_try_that_is_known_voids_nothing():
    evidence = Evidence()
    evidence.retried("a", 2, "gw0")
    evidence.decisions.append(replace(PASS, test="a"))
    for tries in (2, 1):
        evidence.retried("a", tries, "gw0")
    assert [decision.test for decision in evidence.decisions] == ["a"]
    assert evidence.rerun == {"a": 2}


def test_tests_of_several_workers_are_collected_once_in_order():
    evidence = Evidence()
    evidence.collect(["b", "a"])
    evidence.collect(["b", "a", "c"])
    assert evidence.collected == ["b", "a", "c"]
    evidence.decisions = [replace(PASS, test=test) for test in ("x", "c", "a", "b")]
    evidence.sort_decisions()
    assert [decision.test for decision in evidence.decisions] == ["b", "a", "c", "x"]


@pytest.mark.parametrize(
    ("node_id", "name"),
    [
        ("e/t.py::a@g", "e/t.py::a"),
        ("e/t.py::a[x@y]@g_h", "e/t.py::a[x@y]"),
        ("e/t.py::a@g@h", "e/t.py::a"),
        ("e/t.py::a[x@y]", "e/t.py::a[x@y]"),
        ("e@f/t.py::a", "e@f/t.py::a"),
        ("e/t.py::a", "e/t.py::a"),
    ],
)
def test_group_of_loadgroup_is_no_part_of_a_tests_name(node_id, name):
    """Before pytest 9.2 xdist adds the group to the node id."""
    grouped, plain = Evidence(grouped=True), Evidence()
    for evidence, expected in ((grouped, name), (plain, node_id)):
        evidence.started(node_id)
        evidence.collect([node_id])
        report(evidence, node_id)
        assert evidence.current == expected
        assert evidence.collected == list(evidence.outcomes) == [expected]
        assert evidence.tries == {expected: 1}


def lines(*ids):
    return [json.dumps({"id": name}).encode() + b"\n" for name in ids]


def test_rows_of_workers_are_taken_under_new_numbers(tmp_path):
    (tmp_path / "runs" / "1").mkdir(parents=True)
    kept = RunDirectory(tmp_path, "1")
    spans: dict[str, Any] = {}
    for worker in ("gw0", "gw1"):
        own = RunDirectory(tmp_path, "1", worker)
        own.append_rows(1, lines(f"{worker} first"))
        spans[worker] = own.append_rows(2, lines(f"{worker} a", f"{worker} \u2028, b"))

    first = kept.take_rows(1, "gw1", spans["gw1"].span)
    second = kept.take_rows(2, "gw0", spans["gw0"].span)
    kept.drop_worker_files()

    content = kept.results.read_bytes()
    assert [json.loads(line) for line in content.splitlines()] == [
        {"evaluation": 1, "id": "gw1 a"},
        {"evaluation": 1, "id": "gw1 \u2028, b"},
        {"evaluation": 2, "id": "gw0 a"},
        {"evaluation": 2, "id": "gw0 \u2028, b"},
    ]
    assert first.span == (0, second.span[0])
    assert second.span[1] == len(content)
    assert first.digest != second.digest
    # As one process would have written them:
    alone = RunDirectory(tmp_path, "2")
    alone.path.mkdir()
    assert alone.append_rows(1, lines("gw1 a", "gw1 \u2028, b")) == first
    assert [path.name for path in kept.path.iterdir()] == ["results.jsonl"]


def test_rows_of_a_worker_that_are_gone_are_an_error(tmp_path):
    (tmp_path / "runs" / "1").mkdir(parents=True)
    with pytest.raises(FileNotFoundError):
        RunDirectory(tmp_path, "1").take_rows(1, "gw0", (0, 10))
