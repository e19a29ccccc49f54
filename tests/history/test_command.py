"""`llmeval export`, and runs that add themselves at their end."""

import pyarrow.parquet
import pytest

from pytest_llmeval.cli import main

from .lived import leave_run
from .lived import row_of
from .lived import verdict_of


SUITE = """
    from pytest_llmeval import assert_metric

    def model(prompt):
        return "yes"

    def test_quality(evaluate):
        rows = [{"input": f"q{n}", "reference": "yes"} for n in range(9)]
        results = evaluate(model=model, data=rows, metrics=["exact_match"])
        assert_metric(results, "exact_match", ">=", 0.5)
"""


def runs_in(folder):
    tables = [pyarrow.parquet.read_table(f) for f in folder.rglob("runs/*/*.parquet")]
    return pyarrow.concat_tables(tables).to_pylist()


@pytest.fixture
def suite(pytester):
    pytester.makepyfile(SUITE)
    pytester.makeini("[pytest]\nllmeval_tracking = off\nllmeval_export = history\n")
    return pytester


def test_the_command_writes_beside_the_runs(home, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    leave_run(home, verdict_of(1), [row_of(1)])
    leave_run(home, verdict_of(2, finished_at=None))
    leave_run(home, verdict_of(3, finished_at=None))
    assert main(["export"]) == 0
    assert main(["export", "--rows", "--to", "csv:out"]) == 0
    assert main(["export"]) == 0
    history = tmp_path / ".llmeval" / "history"
    left_out = (
        f"left out {verdict_of(2)['run_id']} and 1 more: it has not come to an end"
    )
    assert capsys.readouterr().out.splitlines() == [
        f"wrote 1 run (1 new, 0 changed) to {history}",
        left_out,
        f"wrote 1 run (1 new, 0 changed) to csv:{tmp_path / 'out'}",
        left_out,
        f"wrote 0 runs to {history}",
        "1 run stood there already",
        left_out,
    ]
    assert "question 1" in (tmp_path / "out" / "rows.csv").read_text()


def test_a_folder_without_runs_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["export", "--dir", "elsewhere"]) == 1
    assert f"there are no runs in {tmp_path / 'elsewhere'}" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_run_adds_itself_to_the_history_at_its_end(suite):
    for number in (1, 2):
        result = suite.runpytest_subprocess()
        assert result.ret == 0
        result.stdout.fnmatch_lines([f"history: {suite.path / 'history'}"])
        runs = runs_in(suite.path / "history")
        assert [run["status"] for run in runs] == ["pass"] * number


def test_a_run_of_workers_is_added_once(suite):
    assert suite.runpytest_subprocess("-n2").ret == 0
    assert len(runs_in(suite.path / "history")) == 1


def test_a_history_that_cannot_be_written_ends_no_run(suite):
    suite.path.joinpath("history").write_text("not a folder")
    result = suite.runpytest_subprocess()
    assert result.ret == 0
    result.stdout.fnmatch_lines(
        [
            "not added to the history: cannot write the history to *; add it later "
            "with: llmeval export --to history"
        ]
    )


def test_a_run_without_evaluations_adds_nothing(suite):
    suite.makepyfile(test_plain="def test_plain(): pass")
    assert suite.runpytest_subprocess("test_plain.py").ret == 0
    assert not suite.path.joinpath("history").exists()


def test_a_run_without_the_ini_value_writes_no_history(suite):
    suite.makeini("[pytest]\nllmeval_tracking = off\n")
    assert suite.runpytest_subprocess().ret == 0
    assert not suite.path.joinpath("history").exists()
    assert not suite.path.joinpath(".llmeval", "history").exists()
