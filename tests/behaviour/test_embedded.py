"""The embedded model, end to end: real weights, real MLflow, a verdict."""

import sqlite3
import subprocess
import sys

import pytest

from pytest_llmeval import evaluate
from pytest_llmeval.backends.llamacpp import find_known
from pytest_llmeval.config import Settings


pytestmark = pytest.mark.gguf


@pytest.fixture(autouse=True)
def _model_file():
    if find_known("smollm2") is None:
        pytest.fail("the model file is missing; fetch it: llmeval model pull smollm2")


def test_first_ten_minutes_are_green_and_tracked(suite):
    for name in ("pytest.ini", "evals/conftest.py", "evals/test_qa.py"):
        (suite.path / name).unlink()
    result = suite.llmeval("init", "--jenkins", "--databricks")
    assert result.ret == 0
    assert result.outlines[-1] == "next: pytest evals/"
    suite.commit()
    examined = suite.llmeval("doctor")
    assert examined.ret == 0
    examined.stdout.fnmatch_lines(["ok *manifest *1 gates in evals/gates.toml*"])
    run = suite.run("evals/", "--llmeval-require")
    assert run.ret == 0
    assert "llama" not in run.stderr.str(), "the engine's log stays out"
    verdict = suite.verdict
    (gate,) = verdict["gates"]
    # 10 of 10: the exact binomial bound is 0.05 ** (1 / 10) = 0.741.
    assert gate["value"] == 1.0
    assert gate["lower"] == pytest.approx(0.741, abs=5e-4)
    assert verdict["status"] == "pass"
    assert verdict["model"]["pinned"] is True
    assert verdict["model"]["digest"].startswith("sha256:b179c9523d0e")
    assert suite.rows[0]["prediction"] == "The capital of France is Paris."
    with sqlite3.connect(suite.path / "mlflow.db") as store:
        (runs,) = store.execute("SELECT count(*) FROM runs").fetchone()
    assert runs == 2, "a parent and a child"

    written = (suite.path / "evals/gates.toml").read_text()
    same = suite.llmeval("gates", "diff")
    assert same.ret == 0
    (suite.path / "evals/gates.toml").unlink()
    suite.update_gates()
    assert (suite.path / "evals/gates.toml").read_text() == written

    source = (suite.path / "evals/test_questions.py").read_text()
    suite.write("evals/test_questions.py", source.replace("# assert_m", "assert_m"))
    second = suite.run("evals/", "--llmeval-tracking", "off")
    second.stdout.fnmatch_lines(["*is inconclusive against >= 0.900; about 29 rows*"])
    assert suite.verdict["reason"] == "INCONCLUSIVE"


def test_too_long_prompt_and_bad_parameters_are_errors_of_their_rows(tmp_path):
    rows = [
        {"id": "short", "input": "Say hello."},
        {"id": "long", "input": "word " * 5_000},
    ]
    settings = Settings(rootdir=tmp_path)
    metrics = ["output_tokens"]
    results = evaluate("gguf:smollm2", rows, metrics, settings=settings)
    (error,) = results.errors
    assert (error.id, error.kind, error.attempts) == ("long", "prompt_too_long", 1)
    assert "context size" in error.message
    assert results.rows[0].prediction.text

    hot = {"temperature": "hot"}
    results = evaluate("gguf:smollm2", rows, metrics, params=hot, settings=settings)
    assert len(results.errors) == 2
    assert "temperature" in results.errors[0].message


def test_replies_do_not_depend_on_what_is_asked_beside_them(tmp_path):
    rows = [{"id": str(n), "input": f"Count to {n}."} for n in range(2, 6)]
    together = evaluate(
        "gguf:smollm2", rows, ["output_tokens"], settings=Settings(rootdir=tmp_path)
    )
    for row in together.rows:
        alone = evaluate(
            "gguf:smollm2",
            [{"id": row.example.id, "input": row.example.input}],
            ["output_tokens"],
            settings=Settings(rootdir=tmp_path, cache="off"),
        )
        assert alone.rows[0].prediction.text == row.prediction.text


CROWD = """\
import os

from pytest_llmeval import Settings
from pytest_llmeval import evaluate


rows = [{"input": f"Tell a long story about the number {n}."} for n in range(12)]
settings = Settings(timeout_s=0.4, attempts=2, concurrency=8)
results = evaluate("gguf:smollm2", rows, ["json_valid"], settings=settings)
assert {error.kind for error in results.errors} == {"timeout"}
print(len(os.listdir("/proc/self/task")))
"""


def test_calls_that_time_out_start_no_further_engines(tmp_path):
    done = subprocess.run(
        (sys.executable, "-c", CROWD),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    # A thread a call that still waits (24) and a handful an engine; an engine for each
    # call would be more than 100.
    assert int(done.stdout) < 60
