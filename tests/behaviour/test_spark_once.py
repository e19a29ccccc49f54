"""Every row of a table is asked for once, however often its answers are looked at."""

import shutil

import pytest
from pyarrow import parquet

from pytest_llmeval import assert_metric
from pytest_llmeval import evaluate
from pytest_llmeval.errors import ModelError

from .spark_suites import PASSING
from .spark_suites import asking
from .spark_suites import in_spark
from .spark_suites import pinned
from .spark_suites import rows_of
from .spark_suites import settings_in


ROWS = rows_of(60)
ASKED = sorted(row["input"] for row in ROWS)


def wrong(message):
    return "no"


@pytest.fixture
def ask(tmp_path):
    """Evaluates as a run of its own."""

    def ask(model, metrics=("exact_match",), rows=ROWS, **settings):
        return evaluate(
            model,
            rows,
            list(metrics),
            engine="spark",
            settings=settings_in(tmp_path, **settings),
        )

    return ask


def test_no_look_at_the_answers_asks_again(ask, model_server, tmp_path):
    results = ask(pinned(model_server.url))
    assert_metric(results, "exact_match", ">=", 0.9)
    frame = results.to_pandas()
    assert sorted(frame["id"]) == sorted(row["id"] for row in ROWS)
    assert results.to_spark().where("prediction LIKE 'WORD%'").count() == 60
    results.write(str(tmp_path / "out"))
    results.write(str(tmp_path / "out"))
    assert_metric(results, "exact_match", ">=", 0.8)
    assert sorted(model_server.asked) == ASKED
    assert (results.usage.requests, results.cached) == (60, 0)


def test_answers_of_a_pinned_model_serve_later_runs(ask, model_server):
    model = pinned(model_server.url)
    first = ask(model)
    again = ask(model, metrics=["exact_match", "rouge1"])
    assert again["rouge1"].value == again["exact_match"].value == 1.0
    assert (len(model_server.requests), again.cached) == (60, 60)
    assert again.usage.requests == 0
    assert again.tally.predictions_digest == first.tally.predictions_digest

    ask(pinned(model_server.url, version="2"))
    assert (len(model_server.requests), model_server.repeated) == (120, 60)


def test_model_without_a_version_is_asked_in_every_run(ask, model_server):
    for run in (1, 2):
        results = ask(asking(model_server.url))
        assert len(model_server.requests) == 60 * run
        assert (results.usage.requests, results.cached) == (60, 0)


@pytest.mark.parametrize("cache", ["off", "refresh"])
def test_stored_answers_are_asked_again_on_demand(ask, model_server, cache):
    model = pinned(model_server.url)
    ask(model)
    model_server.answer = wrong
    results = ask(model, cache=cache)
    assert len(model_server.requests) == 120
    assert results["exact_match"].value == 0.0


def test_refreshed_answers_serve_later_runs(ask, model_server):
    model = pinned(model_server.url)
    ask(model)
    model_server.answer = wrong
    ask(model, cache="refresh")
    results = ask(model)
    assert len(model_server.requests) == 120
    assert results["exact_match"].value == 0.0


def test_only_stored_answers_are_taken_when_no_other_may_be(ask, model_server):
    model = pinned(model_server.url)
    with pytest.raises(ModelError) as caught:
        ask(model, cache="only")
    assert "--llmeval-cache only: 60 of 60 rows" in str(caught.value)
    assert "have no stored prediction" in str(caught.value)
    assert model_server.requests == []

    ask(model)
    results = ask(model, cache="only")
    assert (results.cached, results["exact_match"].value) == (60, 1.0)
    assert len(model_server.requests) == 60


def test_same_command_asks_nothing_again_whatever_the_bar(suite, model_server):
    in_spark(suite)
    suite.ask_pinned(model_server)
    model_server.answer = wrong
    result = suite.run("evals")
    assert (result.ret, suite.verdict["gates"][0]["value"]) == (1, 0.0)
    suite.write("evals/test_qa.py", PASSING.replace('">=", 0.9', '"<=", 0.1'))
    assert suite.run("evals", "--llmeval-cache", "only").ret == 0
    assert (len(model_server.requests), model_server.repeated) == (40, 0)
    assert suite.verdict["stored_replies"]["rows"] == 40


def test_copies_of_a_row_and_repeats_are_rows_of_their_own(ask, model_server, tmp_path):
    rows = [{"input": "same", "answer": "SAME"}] * 3 + [{"input": "b", "answer": "B"}]
    results = evaluate(
        pinned(model_server.url),
        rows,
        ["exact_match"],
        repeats=2,
        engine="spark",
        settings=settings_in(tmp_path),
    )
    assert sorted(model_server.asked) == ["b"] * 2 + ["same"] * 6
    assert len(results.to_pandas()) == 8
    assert results["exact_match"].n == 4


@pytest.mark.parametrize("damage", ["cut", "gone"])
def test_half_written_wave_is_asked_again_alone(ask, model_server, tmp_path, damage):
    """A kill leaves such a one behind, and no scores."""
    model = pinned(model_server.url)
    ask(model)
    (scores,) = tmp_path.glob(".llmeval/spark/*/scores")
    shutil.rmtree(scores)
    (wave,) = tmp_path.glob(".llmeval/spark/*/answers/round=0/wave=1")
    files = list(wave.glob("*.parquet"))
    rows = sum(parquet.ParquetFile(file).metadata.num_rows for file in files)
    if damage == "cut":
        files[0].write_bytes(files[0].read_bytes()[:-100])
    else:
        files[0].unlink()
    results = ask(model)
    assert (len(model_server.requests), model_server.repeated) == (60 + rows, rows)
    assert (results.cached, results["exact_match"].value) == (60 - rows, 1.0)
    assert len(results.to_pandas()) == 60
