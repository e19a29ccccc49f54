"""Baselines that lie in a results directory, and what makes one unusable."""

import json
from dataclasses import replace

import pytest

from pytest_llmeval import Metric
from pytest_llmeval import decide_no_regression
from pytest_llmeval import hookimpl
from pytest_llmeval.config import Settings
from pytest_llmeval.evidence import Evidence
from pytest_llmeval.models import load_model
from pytest_llmeval.records import StoredRun
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.verdict import verdict_document

from .chosen_scores import UNIT
from .chosen_scores import echo
from .chosen_scores import table


@pytest.fixture
def evaluate(tmp_path, hook):
    settings = Settings(rootdir=tmp_path, cache="off", tracking="off")
    engine = Engine(settings=settings, hook=hook, run_id="now")

    def evaluate(metric=UNIT, scores=(1.0, 0.0, 0.5), **options):
        model = load_model(echo, hook, settings)
        rows = table(scores)
        return run_evaluation(engine, model, rows, [metric], **options)

    return evaluate


@pytest.fixture
def keep(tmp_path):
    """Write what a run of these evaluations leaves behind; return its directory."""

    def keep(*evaluations, **changes):
        directory = RunDirectory(tmp_path / ".llmeval", "20260101-000000-aaaaaa")
        directory.create({})
        written = [
            directory.append_rows(number, results.rows.lines())
            for number, results in enumerate(evaluations, 1)
        ]
        verdict = verdict_document(
            run_id=directory.run_id,
            status="pass",
            reason="OK",
            detail="",
            evidence=Evidence(),
            gates=[],
            manifest=None,
            provenance={},
            evaluations=[
                {
                    **one.summary(),
                    "test": None,
                    "rows_digest": rows.digest,
                    "rows_span": rows.span,
                }
                for one, rows in zip(evaluations, written, strict=True)
            ],
            times=(1.0, 2.0),
        )
        directory.write(directory.verdict, {**verdict, **changes})
        return directory

    return keep


def decide(results, baseline=".llmeval/runs/20260101-000000-aaaaaa"):
    return decide_no_regression(results, baseline, "unit", max_drop=0.9)


def test_rows_come_back_with_scores_and_answers(evaluate, keep):
    before = evaluate(replace(UNIT, score=lambda p, e: 1.0))
    keep(before)
    decision = decide(evaluate())

    assert decision.value == pytest.approx(-0.5)
    assert decision.compared.value == 1
    assert [flip.before for flip in decision.compared.flips] == ["echo q1", "echo q2"]
    assert decision.compared.origin.startswith("the run 20260101-000000-aaaaaa in ")


def test_the_id_of_a_run_in_the_home_folder_is_enough(evaluate, keep):
    keep(evaluate())
    assert decide(evaluate(), "20260101-000000-aaaaaa").compared is not None


def test_a_path_object_is_no_alias(evaluate, keep, tmp_path):
    keep(evaluate())
    path = tmp_path / ".llmeval/runs/20260101-000000-aaaaaa"
    assert decide(evaluate(), path).compared is not None
    decision = decide(evaluate(), type(path)("champion"))
    assert f"there is no results directory {tmp_path / 'champion'}" in decision.detail
    assert decision.gate.baseline == "champion"


def test_of_two_evaluations_that_of_the_same_request_counts(evaluate, keep):
    none = replace(UNIT, score=lambda p, e: 0.0)
    keep(evaluate(), evaluate(none, prompt="say {input}"))

    assert decide(evaluate(prompt="say {input}")).compared.value == 0
    assert decide(evaluate()).compared.value == 0.5
    third = decide(evaluate(prompt="shout {input}"))
    assert third.reason == "BASELINE_UNUSABLE"
    assert "has 2 evaluations named " in third.detail
    assert "tell them apart with evaluate(name=…)" in third.detail


def test_of_two_evaluations_under_one_name_that_of_the_same_rows_counts(evaluate, keep):
    keep(evaluate(), evaluate(scores=(1.0, 1.0)))
    assert decide(evaluate()).compared.value == 0.5


def test_one_evaluation_of_another_request_counts(evaluate, keep):
    before = evaluate(prompt="say {input}")
    keep(before)
    decision = decide(evaluate())

    assert decision.compared.request_digest == before.request.digest
    assert decision.request_digest != before.request.digest


@pytest.mark.parametrize(
    ("changes", "detail"),
    [
        ({"status": "incomplete", "reason": "BUDGET"}, "is incomplete (BUDGET); run"),
        ({"evaluations": []}, "has no evaluation named list; it has: none"),
    ],
)
def test_a_run_that_says_too_little_is_unusable(evaluate, keep, changes, detail):
    keep(evaluate(name="list"), **changes)
    decision = decide(evaluate(name="list"))
    assert (decision.status, decision.reason) == ("error", "BASELINE_UNUSABLE")
    assert detail in decision.detail


def test_another_name_is_unusable_and_the_known_ones_are_named(evaluate, keep):
    keep(evaluate(name="qa"))
    assert "has no evaluation named sums; it has: qa" in (
        decide(evaluate(name="sums")).detail
    )


def test_a_metric_that_was_not_scored_is_unusable(evaluate, keep):
    keep(evaluate(Metric(name="other", score=lambda p, e: 1.0)))
    assert "has no metric 'unit'; it has: other" in decide(evaluate()).detail


@pytest.mark.parametrize(
    ("damage", "detail"),
    [
        (lambda path: path.unlink(), "cannot be read: FileNotFoundError"),
        (lambda path: path.write_bytes(b""), "it has 3 rows, and 0 are there"),
        (
            lambda path: path.write_text(path.read_text()[:-30] + "\n"),
            "cannot be read: JSONDecodeError",
        ),
        (
            lambda path: path.write_text(
                path.read_text().replace('"unit": 1.0', '"unit": 0.0')
            ),
            "are not those that its verdict is about",
        ),
    ],
)
def test_damaged_rows_are_unusable(evaluate, keep, damage, detail):
    damage(keep(evaluate()).results)
    decision = decide(evaluate())
    assert decision.reason == "BASELINE_UNUSABLE"
    assert detail in decision.detail


@pytest.mark.parametrize("text", ["", "[]", "{}", "null"])
def test_a_damaged_verdict_is_unusable(evaluate, keep, text):
    keep(evaluate()).verdict.write_text(text)
    decision = decide(evaluate())
    assert decision.reason == "BASELINE_UNUSABLE"
    assert "holds no usable verdict.json" in decision.detail


@pytest.mark.parametrize("name", ["champion", "3", "20260101-000000-ffffff", ".."])
def test_a_name_that_nobody_knows_is_missing(evaluate, keep, name):
    keep(evaluate())
    decision = decide_no_regression(
        evaluate(), name, "unit", max_drop=0.9, missing="first"
    )
    assert (decision.status, decision.reason) == ("error", "BASELINE_MISSING")
    assert f"{name} is no alias or version of " in decision.detail


def test_a_plugin_gives_baselines_and_is_asked_once(evaluate, keep, manager, tmp_path):
    directory = keep(evaluate())
    asked, opened = [], []

    def open_rows(number):
        opened.append(number)
        return directory.results.open("rb")

    class Plugin:
        @hookimpl
        def pytest_llmeval_baseline(self, name, model, settings):
            asked.append((name, model.scheme, settings.rootdir))
            if name == "broken":
                raise ConnectionError("the bucket is away")
            return StoredRun(
                verdict=json.loads(directory.verdict.read_text()),
                open_rows=open_rows,
                origin="a bucket",
            )

    manager.register(Plugin())
    results = evaluate()
    assert decide(results, "s3").compared.origin == "a bucket"
    assert decide(results, "s3").compared.origin == "a bucket"
    assert asked == [("s3", results.model.scheme, tmp_path)]
    assert opened == [1]
    broken = decide(results, "broken")
    assert broken.reason == "BASELINE_UNUSABLE"
    assert "failed: ConnectionError: the bucket is away" in broken.detail


def test_results_without_a_home_say_what_to_give_instead(evaluate):
    decision = decide(replace(evaluate(), find_baseline=None), "champion")
    assert "these results do not know where runs are kept" in decision.detail


def test_the_evaluation_of_another_model_in_that_run_is_no_baseline(evaluate, keep):
    before, weak = evaluate(), evaluate()
    keep(before, replace(weak, model=replace(weak.model, name="weak")))

    decision = decide(evaluate())

    assert decision.reason == "BASELINE_UNUSABLE"
    assert "weak under this name, and one model is needed" in decision.detail


def test_an_evaluation_is_no_baseline_of_itself(evaluate):
    results = evaluate()

    decision = decide(results, results)

    assert decision.reason == "BASELINE_UNUSABLE"
    assert "is the evaluation itself" in decision.detail
