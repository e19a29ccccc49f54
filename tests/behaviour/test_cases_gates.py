"""Gates over cases: the same in any number of processes, in manifest and reports."""

import json

import pytest

from .case_suites import GATED
from .conftest import PASSING
from .conftest import ROWS
from .conftest import Suite


KINDS = """\
import pytest

from pytest_llmeval import Gate
from pytest_llmeval import Metric


def length(prediction, example):
    return len(prediction) / 10


OWN = Metric(name="own", score=lambda p, e: len(p.text), range=(0, 10))
GATES = [
    Gate("pass_rate", ">=", 0.5),
    Gate("f1_macro", ">=", 0.1, confidence="point"),
    Gate("total", "==", 40),
    Gate("half", ">=", 0.4, bounds=(0, 1)),
    Gate("own", ">=", 1),
    Gate("length", ">=", 0.1, bounds=(0, 1)),
    Gate("right", ">=", 0.5, bounds=(0, 1)),
    Gate("token_f1", ">=", 0.5, where={"topic": "a"}),
    Gate("token_f1", ">=", 0.5, cluster="topic", confidence=0.5),
    Gate("token_f1", ">=", 0.5, on_error="worst"),
    Gate("latency_ms", "<=", 60_000, kind="quantile", quantile=0.5),
]


@pytest.mark.llmeval_cases("data.jsonl", gates=GATES, metrics=[length, OWN])
def test_z(llmeval_case):
    llmeval_case.score("half")
    llmeval_case.record("right", llmeval_case.prediction != "no")
    assert llmeval_case.prediction == llmeval_case.references[0]


@pytest.mark.llmeval_cases("data.jsonl", gates=GATES[:1], name="again")
def test_a(llmeval_case):
    assert llmeval_case.input
"""
METRICS = """

from pytest_llmeval import Metric


def pytest_llmeval_metrics():
    total = Metric(name="total", aggregate=lambda p, e: float(len(p)), range=(0, 99))
    return [total]


@pytest.fixture
def llmeval_metrics():
    def half(prediction, example):
        return 0.5

    return [half]
"""
WORKERS = [("-n", "0"), ("-n", "2"), ("-n", "8"), ("-n", "2", "--dist", "each")]
TIMED = ("latency_ms", "queue_ms", "stored_at", "attempts", "scores")


def told(suite: Suite) -> list[object]:
    """Return what a run came to, but for times and who asked."""
    verdict = suite.verdict
    gates = [
        {name: gate[name] for name in ("test", "metric", "decision", "n", "errors")}
        | {"value": gate["value"] if gate["metric"] != "latency_ms" else None}
        for gate in verdict["gates"]
    ]
    evaluations = [
        [one[name] for name in ("name", "test", "number", "rows", "definitions")]
        for one in verdict["evaluations"]
    ]
    rows = [
        {name: value for name, value in row.items() if name not in TIMED}
        | {name: x for name, x in row["scores"].items() if name != "latency_ms"}
        for row in suite.rows
    ]
    requests = sum(one["usage"]["requests"] for one in verdict["evaluations"])
    return [verdict["status"], verdict["reason"], gates, evaluations, rows, requests]


def test_rows_gates_and_verdict_are_the_same_for_every_distribution(cases: Suite):
    model = (cases.path / "evals/conftest.py").read_text()
    cases.write("evals/conftest.py", model + METRICS)
    rows = [{**row, "topic": "ab"[at % 2]} for at, row in enumerate(ROWS)]
    cases.write_rows("evals/data.jsonl", rows)
    cases.write("evals/test_qa.py", KINDS)
    lines = []
    results = []
    for options in [(), *WORKERS]:
        result = cases.run("evals", "-v", "--llmeval-cache", "off", *options)
        assert result.ret == 0, options
        lines.append([one.split()[0] for one in result.outlines if "::gate[" in one])
        results.append(told(cases))
    status, _, gates, evaluations, _, requests = results[0]
    assert requests == len(ROWS)
    assert status == "pass"
    values = [gate["value"] for gate in gates if gate["metric"] != "latency_ms"]
    assert values[:4] == [0.95, 0.95, 40, 0.5]
    assert values[6:] == [0.95, 1.0, 0.95, 0.95, 1.0]
    assert [one[0] for one in evaluations] == ["data.jsonl", "again"]
    assert results[1:] == results[:1] * len(WORKERS)
    assert lines[1:] == lines[:1] * len(WORKERS)


def test_cases_that_come_out_otherwise_in_another_worker_are_in_error(cases: Suite):
    other = 'os.environ["PYTEST_XDIST_WORKER"] == "gw1" and llmeval_case.id == "r5"'
    check = f"    import os\n\n    assert not ({other})\n    assert"
    cases.write("evals/test_qa.py", GATED.replace("    assert", check))
    assert cases.run("evals", "-n", "2", "--dist", "each").ret == 1
    gates = cases.verdict["gates"]
    assert {(gate["decision"], gate["errors"]) for gate in gates} == {("error", 1)}
    message = "r5 (test: its test came out otherwise in gw1 than in gw0)"
    assert message in gates[0]["text"]


def test_slice_counts_a_row_that_a_lost_worker_did_not_finish(cases: Suite) -> None:
    rows = [{**row, "topic": "ab"[at % 2]} for at, row in enumerate(ROWS)]
    cases.write_rows("evals/data.jsonl", rows)
    cases.write(
        "evals/test_qa.py",
        GATED.replace(
            "GATES = [",
            'GATES = [\n    Gate("token_f1", ">=", 0.1, where={"topic": "a"}),\n'
            '    Gate("token_f1", ">=", 0.1, where={"topic": "b"}),',
        ).replace(
            "    assert",
            "    import os\n\n    llmeval_case.id != 'r12' or os._exit(9)\n    assert",
        ),
    )
    assert cases.run("evals", "-n", "2").ret == 1
    of_a, of_b, *_ = cases.verdict["gates"]
    assert (of_a["decision"], of_b["decision"]) == ("error", "pass")
    assert "r12 (missing" in of_a["text"]


@pytest.mark.parametrize(
    ("metric", "message"),
    [
        ('Metric(name="odd", aggregate=lambda p, e: 1 / 0)', "odd raised Zero"),
        ('Metric(name="odd", aggregate=lambda p, e: 1e999)', "odd is inf, not a"),
    ],
)
def test_metric_over_all_cases_that_fails_is_a_failed_test(cases, metric, message):
    text = GATED.replace("gates=GATES", f"gates=GATES, metrics=[{metric}]")
    cases.write("evals/test_qa.py", f"from pytest_llmeval import Metric\n{text}")
    result = cases.run("evals")
    assert result.ret == 1
    result.stdout.fnmatch_lines([f"FAILED *test_word::metrics - {message}*"])
    assert cases.verdict["reason"] == "METRIC_ERROR"


def test_metric_over_all_cases_that_workers_alone_know_says_what_to_do(cases):
    metric = 'Metric(name="total", aggregate=lambda p, e: float(len(p)))'
    text = GATED.replace("gates=GATES", f"gates=GATES, metrics=[{metric}]")
    cases.write("evals/test_qa.py", f"from pytest_llmeval import Metric\n{text}")
    assert cases.run("evals").ret == 0
    result = cases.run("evals", "-n", "2")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["total: *pytest_llmeval_metrics in conftest.py, or *"])


@pytest.mark.parametrize("workers", ["0", "2"])
def test_change_from_a_run_of_the_same_cases(cases: Suite, workers: str) -> None:
    lower = GATED.replace("0.8", "0.7")
    cases.write("evals/test_qa.py", lower)
    assert cases.run("evals").ret == 0
    before = cases.run_directory
    model = (cases.path / "evals/conftest.py").read_text()
    worse = model.replace("{'r", "{'r1', 'r2', 'r").replace(
        'version="1"', 'version="2"'
    )
    cases.write("evals/conftest.py", worse)
    gate = 'Gate("token_f1", ">=", -{drop}, kind="change", baseline="{name}")'
    for name, drop, ret in ((before.name, 0.3, 0), (before, 0.01, 1)):
        change = gate.format(drop=drop, name=name)
        cases.write("evals/test_qa.py", lower.replace("[\n", f"[\n    {change},\n", 1))
        assert cases.run("evals", "-n", workers).ret == ret
        assert cases.verdict["gates"][0]["value"] == pytest.approx(-0.05)
        assert "rows that got worse: 2" in cases.verdict["gates"][0]["text"]


def test_manifest_of_cases_and_part_of_them_under_require(cases: Suite) -> None:
    cases.write("evals/test_qa.py", GATED)
    cases.write("evals/test_more.py", PASSING.replace("0.9", "0.8"))
    assert cases.llmeval("gates", "update", "-n", "2").ret == 0
    written = (cases.path / "evals/gates.toml").read_text()
    assert written.count("[[gate]]") == 4
    assert cases.llmeval("gates", "diff").ret == 0
    assert cases.llmeval("gates", "update", "-k", "r3").ret == 1
    assert (cases.path / "evals/gates.toml").read_text() == written
    assert cases.run("evals", "--llmeval-require", "-n", "2").ret == 0
    part = ("evals", "--deselect", "evals/test_qa.py::test_word[r5]")
    result = cases.run(*part)
    assert result.ret == 0
    result.stdout.fnmatch_lines(["not decided: *test_word tone: 39 of 40 cases *"])
    assert cases.run(*part, "--llmeval-require").ret == 1
    assert cases.verdict["reason"] == "GATE_MISSING"
    limited = GATED.replace('"data.jsonl"', '"data.jsonl", limit=39')
    cases.write("evals/test_qa.py", limited)
    assert cases.run("evals", "--llmeval-require").ret == 1
    assert cases.verdict["reason"] == "DATASET_CHANGED"


def test_reports_find_the_evaluation_and_the_rows_of_gates(cases: Suite) -> None:
    cases.write("evals/test_qa.py", GATED.replace("0.8", "0.995"))
    options = ("--llmeval-markdown", "run.md", "--llmeval-html", "run.html")
    assert cases.run("evals", "-n", "2", *options).ret == 1
    markdown = (cases.path / "run.md").read_text()
    assert "| `test_qa.py::test_word` | `pass_rate` | 0.950 | `>=` 0.995 |" in markdown
    assert "WORD 17" in markdown
    assert "| `data.jsonl` | 40 |" in markdown
    assert "WORD 17" in (cases.path / "run.html").read_text()


def test_score_that_few_cases_record_leaves_reports_and_strict_json(cases: Suite):
    cases.write(
        "evals/test_qa.py",
        GATED.replace(
            "    llmeval_case.record",
            "    llmeval_case.id > 'r7' or llmeval_case.record",
        ),
    )
    options = ("--llmeval-markdown", "run.md", "--llmeval-html", "run.html")
    assert cases.run("evals", "-n", "2", *options).ret == 1
    gate = cases.verdict["gates"][2]
    assert (gate["metric"], gate["reason"]) == ("tone", "ROWS_MISSING")
    assert "2 of 40 rows have no score for tone: r8, r9" in gate["text"]
    verdict = (cases.run_directory / "verdict.json").read_text()
    rows = (cases.run_directory / "results.jsonl").read_text().splitlines()
    for text in (verdict, *rows):
        json.loads(text, parse_constant=pytest.fail)
    assert "tone" in (cases.path / "run.html").read_text()
