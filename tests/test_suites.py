"""The suites in evals/ reject what they should: worse prompts and trivial baselines."""

import runpy
from pathlib import Path

import pytest

from pytest_llmeval import evaluate
from pytest_llmeval.config import Settings
from pytest_llmeval.errors import GateNotPassed


EVALS = Path(__file__).parent.parent / "evals"


def first_sentence(example):
    return (example.context or example.input).partition(". ")[0]


def copied(example):
    return example.context or example.input


def constant(text):
    return lambda prompt: text


@pytest.fixture
def settings(tmp_path):
    return Settings(rootdir=EVALS, directory=str(tmp_path), confidence=0.95)


def judged(suite, model, settings, **changes):
    """Evaluate a model with the suite's own request and decide its own gates."""
    names = runpy.run_path(str(EVALS / f"test_{suite}.py"))
    results = evaluate(model, **{**names["REQUEST"], **changes}, settings=settings)
    assert not results.errors
    names["gate"](results)


@pytest.mark.parametrize(
    ("suite", "baseline"),
    [
        ("docs_qa", copied),
        ("docs_qa", first_sentence),
        ("docs_qa", constant("a single value")),
        ("language_id", constant("English")),
        ("language_id", constant("Spanish")),
        ("summaries", copied),
        ("summaries", first_sentence),
        ("summaries", constant("The text describes several changes to a service.")),
    ],
)
def test_trivial_baselines_fail(suite, baseline, settings):
    with pytest.raises(GateNotPassed) as failure:
        judged(suite, baseline, settings)
    assert failure.value.decision.status == "fail"


@pytest.mark.gguf
def test_leaving_the_passage_out_fails(settings):
    with pytest.raises(GateNotPassed, match="below") as failure:
        judged("docs_qa", "gguf:smollm2", settings, prompt="{question}")
    assert failure.value.decision.status == "fail"


@pytest.mark.gguf
def test_language_without_worked_examples_fails(settings):
    with pytest.raises(GateNotPassed, match="below") as failure:
        judged("language_id", "gguf:smollm2", settings, prompt="{text}")
    assert failure.value.decision.status == "fail"


@pytest.mark.gguf
def test_asking_for_a_title_instead_of_a_summary_fails(settings):
    with pytest.raises(GateNotPassed, match="below") as failure:
        judged(
            "summaries",
            "gguf:smollm2",
            settings,
            prompt="{text}\n\nGive the text above a short, funny title.",
            params={"system": "You write titles.", "max_tokens": 40},
        )
    assert failure.value.decision.status == "fail"


def test_rows_are_at_least_150_with_unique_ids_and_texts():
    import json

    rows = [
        json.loads(line)
        for path in sorted(EVALS.glob("data/*.jsonl"))
        for line in path.read_text(encoding="utf-8").splitlines()
    ]
    assert len(rows) >= 150
    assert len({row["id"] for row in rows}) == len(rows)
    texts = {(row.get("text"), row.get("context"), row.get("question")) for row in rows}
    assert len(texts) == len(rows)
