"""A run as Markdown: what it says, that it obeys nothing, and that it has room."""

import re
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings

from pytest_llmeval import DatasetRef
from pytest_llmeval import Metric
from pytest_llmeval import Settings
from pytest_llmeval import decide
from pytest_llmeval import decide_no_regression
from pytest_llmeval import decide_quantile
from pytest_llmeval import evaluate
from pytest_llmeval.records import ModelRef
from pytest_llmeval.report.markdown import markdown_report
from pytest_llmeval.report.publish import LARGEST_SUMMARY
from pytest_llmeval.report.publish import LONGEST_COMMENT
from pytest_llmeval.report.publish import publish_markdown

from .hostile import SNIPPETS
from .hostile import hostile
from .markdown_engine import assert_inert
from .markdown_engine import rows
from .reported import CODE
from .reported import RUN
from .reported import leave


DOCS = Path(__file__).parents[2] / "docs"
PLACES = {"verdict file": "runs/1/verdict.json"}
HALF = [0.0, 0.25, 0.5, 0.75] + [1.0] * 4
WORDS = ["**fail**", "**inconclusive**", "**error**"]


def report(run, room=LONGEST_COMMENT):
    text = markdown_report(run, PLACES, room)
    assert_inert(text, links=[CODE.ci_url], strong=[w.strip("*") for w in WORDS])
    return text


@pytest.fixture
def half(score):
    """A gate that the mean of 0.6875 misses, after its evaluation."""

    def half(**columns):
        results = score(HALF, **columns)
        return results, decide(results, "unit", ">=", 0.9, confidence="point")

    return half


def test_head_says_verdict_model_data_commit_and_run(half, tmp_path):
    results, gate = half()
    text = report(leave(tmp_path, [results], [gate]))
    lines = text.splitlines()

    assert lines[0] == "## Verdict: fail, gate failed"
    assert lines[2] == "Because: `evals/t.py::test_x` unit"
    assert "- model: `python:tests.unit.chosen_scores:echo` (not pinned" in text
    assert "- data: data (8 rows)" in lines
    assert f"- commit: `{CODE.commit}` of main" in lines
    assert f"- run: `{RUN}`" in lines
    assert f"- CI run: <{CODE.ci_url}>" in lines
    assert "- verdict file: `runs/1/verdict.json`" in lines


def test_every_gate_has_a_line_with_what_decided(score, tmp_path):
    right = score([1.0] * 40)
    gates = [
        decide(right, "unit", ">=", 0.9, confidence=0.95),
        decide(right, "unit", ">=", 0.99, confidence="point"),
        decide(right, "unit", ">=", 0.99, confidence=0.95),
        decide(right, "unit", "<=", 0.5, confidence=0.95),
        decide(right, "nosuch", ">=", 0.9),
        decide_quantile(right, "unit", 0.5, ">=", 0.9, confidence="point"),
    ]
    run = leave(tmp_path, [right], gates, test="evals/t.py::test_x[a/b]")
    heading, *lines = rows(report(run))[:7]

    assert heading == [
        *("test", "metric", "value", "bar", "interval", "n", "errors", "decision")
    ]
    # 0.05 ** (1 / 40) = 0.928
    usual = ["t.py::test_x[a/b]", "unit", "1.000", ">= 0.900", "0.928 to 1.000 at 95 %"]
    assert lines[0] == [*usual, "40", "0", "pass"]
    assert lines[1][4:] == ["-", "40", "0", "pass (point only)"]
    assert [line[-1] for line in lines[2:5]] == [
        "inconclusive",
        "fail",
        "error METRIC_MISSING",
    ]
    assert lines[4][2] == ""
    assert lines[5][1] == "p50 unit"
    assert lines[5][4] == "share 0.000: -"


def test_errors_that_are_left_out_or_count_at_the_worst_are_said(score, tmp_path):
    results = score([1.0] * 20, broken=[3])
    left_out = decide(
        results, "unit", ">=", 0.96, on_error="exclude", max_error_rate=0.5
    )
    worst = decide(results, "unit", ">=", 0.5, on_error="worst")
    text = report(leave(tmp_path, [results], [left_out, worst]))

    lines = rows(text)
    assert lines[1][6:] == [
        "1 left out",
        "pass (fail with the rows in error at the worst)",
    ]
    assert lines[2][6:] == ["1 at the worst", "pass (point only)"]
    assert "### Errors: data\n\nKinds: exception: 1\n" in text
    assert "Row `r3`: exception: RuntimeError: no answer" in text
    assert "Worst rows" not in text


def test_worst_rows_come_first_and_those_with_the_best_score_never(half, tmp_path):
    results, gate = half()
    text = report(leave(tmp_path, [results], [gate]))

    assert re.findall(r"Row `(.*)`: score (.*)", text) == [
        ("r0", "0.000"),
        ("r1", "0.250"),
        ("r2", "0.500"),
        ("r3", "0.750"),
    ]
    assert "got:\n\n```text\necho q0\n```" in text


def test_where_less_is_better_the_highest_scores_are_the_worst(score, tmp_path):
    results = score([0.1, 0.9, 0.5])
    gate = decide(results, "unit", "<=", 0.2, confidence="point")
    text = report(leave(tmp_path, [results], [gate]))

    assert re.findall(r"Row `(r\d)`", text) == ["r1", "r2", "r0"]


def test_worst_rows_of_a_slice_are_of_the_slice(score, tmp_path):
    results = score([0.1, 0.2, 0.3], topic=["a", "b", "a"])
    gate = decide(results, "unit", ">=", 0.9, where={"topic": "a"})
    text = report(leave(tmp_path, [results], [gate]))

    assert re.findall(r"Row `(r\d)`", text) == ["r0", "r2"]
    assert "unit where {'topic': 'a'}" in rows(text)[1]


def test_few_of_many_rows_are_shown_and_each_is_short(score, tmp_path):
    scores = [(i % 100) / 200 for i in range(300)]
    results = score(scores, answer=["x" * 10_000] * 300)
    gate = decide(results, "unit", ">=", 0.9)
    text = report(leave(tmp_path, [results], [gate]))

    assert re.findall(r"Row `(r\d+)`", text) == ["r0", "r100", "r200", "r1", "r101"]
    assert len(max(text.splitlines(), key=len)) < 700


def test_a_change_names_both_values_and_rows_that_got_worse(score, tmp_path):
    before, now = score([1.0] * 7 + [0.5]), score(HALF)
    now = replace(now, dataset=before.dataset)
    gate = decide_no_regression(now, before, "unit", max_drop=0.01)
    text = report(leave(tmp_path, [now], [gate]))

    heading, line = rows(text)[:2]
    change = dict(zip(heading, line, strict=True))
    assert change["against the baseline"] == "0.938 to 0.688"
    assert change["value"] == "-0.250"
    assert "<summary>Rows that got worse (4)</summary>" in text
    assert re.findall(r"Row `(r\d)`: change `?(.*?)`?$", text, re.MULTILINE) == [
        ("r0", "-1"),
        ("r1", "-0.75"),
        ("r2", "-0.5"),
    ]


def test_a_metric_is_shown_against_the_run_beside(score, tmp_path):
    now = score(HALF)
    gates = [
        decide(now, "unit", ">=", 0.5),
        decide(now, "unit", ">=", 0.5, where={"id": "r4"}),
    ]
    values = {name: replace(now[name], value=0.5) for name in now.values}
    before = replace(now, values=values)
    run = leave(tmp_path / "now", [now], gates)
    beside = leave(tmp_path / "before", [before], [])
    table_ = rows(report(replace(run, baseline=beside)))

    assert table_[0][7] == "against the baseline"
    assert table_[1][7] == "0.500 to 0.688"
    assert table_[2][7] == "", "a slice is compared with no whole evaluation"
    other = replace(before, dataset=replace(before.dataset, digest="sha256:other"))
    run = replace(run, baseline=leave(tmp_path / "other", [other], []))
    assert "baseline" not in report(run)


def test_usage_stored_replies_and_deployment_are_said(half, tmp_path):
    results, gate = half()
    run = leave(
        tmp_path,
        [results, results],
        [gate],
        stored_replies={"rows": 3, "oldest": 1_000.0},
        finished_at=1_000.0 + 5 * 86_400,
    )
    usage = run.verdict["evaluations"][0]["usage"]
    usage |= {"prompt_tokens": 1_500, "cost_usd": 0.25, "output_tokens": None}
    run.verdict["evaluations"][1]["usage"] |= {"prompt_tokens": 1, "cost_usd": 0.5}
    deployment = {
        "target": "registry:qa@champion",
        "reason": "GATE_FAILED",
        "message": "@x",
    }
    text = report(replace(run, deployment=deployment))

    assert "- usage: 16 requests, 1,501 prompt tokens, 0.7500 US dollars\n" in text
    assert "- stored replies: 3, up to 5 d old\n" in text
    said = "not deployed, `GATE_FAILED`: `@x`"
    assert f"- deployment to `registry:qa@champion`: {said}\n" in text


def test_gates_that_were_not_decided_are_named_the_first_ones(tmp_path):
    undecided = [
        {"test": "t.py::x", "gate": f"m{at} | @me", "cause": "1 of 2 cases <b>"}
        for at in range(1_012)
    ]
    lines = report(leave(tmp_path, [], [], undecided=undecided)).splitlines()
    named = [line for line in lines if line.startswith("- not decided: ")]
    assert named[0] == "- not decided: `t.py::x` `m0 | @me`: 1 of 2 cases `<b>`"
    assert len(named) == 11
    assert named[10].endswith(" 1,002 more gates, which the verdict file names")


def test_a_run_without_gates_and_evaluations_says_so(tmp_path):
    text = report(leave(tmp_path, [], [], commit=None))

    assert text.startswith("## Verdict: fail, no gates\n")
    assert "- model: none was gated\n" in text
    assert "- commit: none\n" in text
    assert "- usage: no request\n" in text
    assert "|" not in text


@hypothesis_settings(max_examples=40)
@given(*[hostile] * 6)
def test_no_text_of_a_run_is_obeyed(name, answer, data, column, error, place):
    def model(prompt: str) -> str:
        if prompt == "broken":
            raise RuntimeError(error)
        return answer

    metric = Metric(name=name or "m", score=lambda p, e: 0.25, range=(0, 1))
    items = [{"id": f"a{data}", "input": f"q{data}", "answer": answer, "of": column}]
    with tempfile.TemporaryDirectory() as folder:
        results = evaluate(
            model,
            [*items, {"id": "b", "input": "broken", "of": column}],
            [metric],
            name=data or None,
            settings=Settings(rootdir=Path(folder), cache="off", attempts=1),
        )
        gates = [
            decide(results, name or "m", ">=", 0.5, where={"of": column}),
            decide(results, name or "m", ">=", 0.5, on_error="worst"),
            decide(results, name or "m", ">=", 0.5, where={"id": f"a{data}"}),
            decide(results, answer, answer, error),
        ]
        test = f"t.py::x[{data}]"
        run = leave(Path(folder), [results], gates, test=test, ci_url=place)
        deployment = {"target": data, "reason": "DEPLOY_FAILED", "message": error}
        run = replace(run, deployment=deployment)
        text = markdown_report(run, {"rows": place}, LONGEST_COMMENT)

    assert_inert(text, strong=[word.strip("*") for word in WORDS])
    assert {len(line) for line in rows(text)[:5]} == {8}


def test_rows_are_shown_of_so_many_gates_only(score, tmp_path):
    results = score([0.5])
    gates = [decide(results, "unit", ">=", 0.9)] * 53
    text = report(leave(tmp_path, [results], gates))

    assert text.count("\n### Fail: ") == 50
    assert "\nAnd 3 more gates that did not pass: see the table.\n" in text
    assert len(rows(text)) > 53


@pytest.fixture
def many(score, tmp_path):
    """A run with more gates and longer texts than a comment has room for."""
    results = score([0.5] * 6, answer=[" ".join(SNIPPETS) * 3] * 6)
    gates = [decide(results, "unit", ">=", 0.1)] * 300
    gates += [decide(results, "unit", ">=", 0.9)] * 30
    return leave(tmp_path, [results], gates)


def test_what_has_no_room_is_left_out_whole(many):
    room = 1_000_000
    for left_out, gates, shown_rows in (
        (None, 330, 150),
        ("all but 2 of each list of rows", 330, 60),
        ("all but 1 of each list of rows", 330, 30),
        ("rows", 330, 0),
        ("rows, details", 330, 0),
        ("rows, details, all but 100 gates", 100, 0),
        ("rows, details, all but 20 gates", 20, 0),
        ("rows, details, all but 0 gates", 0, 0),
    ):
        text = report(many, room)
        assert len(text) <= room
        said = f"Left out, because it has no room here: {left_out}.\n"
        assert text.endswith(said) == (left_out is not None)
        lines = [line for line in rows(text) if line[-1].startswith(("fail", "pass"))]
        assert [len(line) for line in lines] == [8] * gates
        first = "fail" if gates < 330 else "pass (point only)"
        assert {line[-1] for line in lines[:20]} <= {first}
        assert text.count("\nRow ") == shown_rows
        room = len(text) - 1
    assert markdown_report(many, PLACES, room) is None


def test_a_run_with_many_gates_and_long_texts_has_room_in_a_comment(many):
    assert 30_000 < len(report(many)) <= LONGEST_COMMENT


def test_a_report_is_measured_as_its_reader_measures(half, tmp_path):
    results, gate = half(answer=["é" * 400] * 8)
    run = leave(tmp_path, [results], [gate])
    whole = markdown_report(run, PLACES, LONGEST_COMMENT)

    assert markdown_report(run, PLACES, len(whole)) == whole
    by_bytes = markdown_report(run, PLACES, len(whole), lambda t: len(t.encode()))
    assert "Left out" in by_bytes


def test_the_sample_in_the_documentation_is_such_a_report(run, tmp_path):
    # 29 of 30 right: the lower bound is 0.851.
    data = [
        {"id": f"q{i}", "input": f"{i} + {i}?", "answer": f"{2 * i}"} for i in range(30)
    ]

    def calculator(example) -> str:
        return "7" if example.id == "q3" else example.references[0]

    results = run(
        calculator,
        DatasetRef(source=data, name="sums.jsonl"),
        ["exact_match", "token_f1"],
    )
    model = ModelRef(scheme="models", name="sums", version="3", pinned=True)
    results = replace(results, model=model)
    gates = [
        decide(results, "exact_match", ">=", 0.9, confidence=0.95),
        decide(results, "token_f1", ">=", 0.8, confidence=0.95),
    ]
    reported = leave(tmp_path, [results], gates, test="evals/test_sums.py::test_sums")
    entry = reported.verdict["evaluations"][0]
    entry["duration_s"] = 2.5
    entry["usage"] |= {"prompt_tokens": 410, "output_tokens": 62}
    entry["usage"] |= {"latency_p50_ms": 180.0, "latency_p95_ms": 410.0}
    places = {
        "verdict file": f".llmeval/runs/{RUN}/verdict.json",
        "MLflow run": "9f2c (open with: mlflow ui --backend-store-uri sqlite:///mlflow.db)",
    }
    text = markdown_report(reported, places, LONGEST_COMMENT)

    page = (DOCS / "reports.md").read_text(encoding="utf-8")
    assert f"\n````markdown\n{text}````\n" in page, text


@pytest.fixture
def publish(half, tmp_path, monkeypatch):
    """Publish a small run; return whether its report is there, and what was said."""
    results, gate = half()
    leave(tmp_path / ".llmeval", [results], [gate])

    def publish(summary=None, **options):
        said = []
        if summary is None:
            monkeypatch.delenv("GITHUB_STEP_SUMMARY", raising=False)
        else:
            monkeypatch.setenv("GITHUB_STEP_SUMMARY", str(summary))
        settings = Settings(rootdir=tmp_path, **options)
        done = publish_markdown(RUN, settings, PLACES, lambda *line: said.append(line))
        return done, said

    return publish


def test_the_report_is_written_into_a_folder_that_is_made(publish, tmp_path):
    assert publish(markdown="out/a.md") == (True, [("", "Markdown report: out/a.md")])
    first = (tmp_path / "out/a.md").read_text(encoding="utf-8")
    assert first.startswith("## Verdict: fail")
    publish(markdown="out/a.md")
    assert (tmp_path / "out/a.md").read_text(encoding="utf-8") == first


def test_nothing_is_written_where_nobody_asked(publish, tmp_path):
    assert publish(summary="") == (True, [])
    assert [path.name for path in tmp_path.iterdir()] == [".llmeval"]


def test_the_summary_is_appended(publish, tmp_path):
    summary = tmp_path / "summary.md"
    summary.write_text("# Earlier")
    assert publish(summary) == (True, [])
    assert summary.read_text().startswith("# Earlier\n\n## Verdict: fail")


@pytest.mark.parametrize(
    ("room", "is_cut"), [(2_500, False), (1_000, True), (100, None)]
)
def test_the_summary_stays_below_what_github_takes(publish, tmp_path, room, is_cut):
    summary = tmp_path / "summary.md"
    summary.write_bytes(b"x" * (LARGEST_SUMMARY - room))
    done, said = publish(summary)

    content = summary.read_bytes()
    assert done
    assert len(content) <= LARGEST_SUMMARY
    if is_cut is None:
        assert len(content) == LARGEST_SUMMARY - room
        assert re.search(r"summary.md has no room for it: GitHub takes", said[0][1])
    else:
        assert (b"Left out" in content) == is_cut


def test_a_file_that_cannot_be_written_is_said(publish, tmp_path):
    done, said = publish(tmp_path, markdown=".llmeval")

    assert not done
    words = [re.sub(r"\[Errno.*", "", line) for _, line in said]
    assert words == [
        f"no Markdown report: cannot write {tmp_path}: ",
        f"no Markdown report: cannot write {tmp_path / '.llmeval'}: ",
    ]
    assert {status for status, _ in said} == {"fail"}
