"""Rows in error, refusals, limits and budgets hold over all tasks of Spark."""

import time

import pytest

from pytest_llmeval import CallableModel
from pytest_llmeval import assert_metric
from pytest_llmeval import evaluate
from pytest_llmeval.errors import GateNotPassed
from pytest_llmeval.errors import ModelRefused

from .spark_suites import TASKS
from .spark_suites import WAVE
from .spark_suites import asking
from .spark_suites import in_spark
from .spark_suites import pinned
from .spark_suites import rows_of
from .spark_suites import settings_in


@pytest.fixture
def ask(tmp_path):
    """Evaluates as a run of its own."""

    def ask(model, rows, **settings):
        return evaluate(
            model,
            rows_of(rows),
            ["exact_match"],
            engine="spark",
            settings=settings_in(tmp_path, **settings),
        )

    return ask


def raising(url):
    """Return a model that raises for some rows, when it has asked."""
    ask = asking(url)

    def model(prompt):
        text = ask(prompt)
        if text == "REFUSE":
            raise LookupError(f"no entry for {prompt}")
        return text

    return model


@pytest.mark.parametrize("is_pinned", [True, False])
def test_only_rows_whose_model_raised_are_asked_again(ask, model_server, is_pinned):
    def answer(message):
        return "REFUSE" if message.endswith("3") else message.upper()

    model = CallableModel(raising(model_server.url), version="1" if is_pinned else None)
    model_server.answer = answer
    results = ask(model, 60)
    failed = sorted(f"r{i}" for i in range(3, 60, 10))
    assert sorted(error.id for error in results.errors) == failed
    assert {error.kind for error in results.errors} == {"exception"}
    (error,) = (error for error in results.errors if error.id == "r13")
    assert error.message == "LookupError: no entry for word 13"
    with pytest.raises(GateNotPassed) as caught:
        assert_metric(results, "exact_match", ">=", 0.5)
    assert "r13" in str(caught.value)
    assert "LookupError: no entry for word 13" in str(caught.value)

    model_server.answer = str.upper
    model_server.requests.clear()
    results = ask(model, 60)
    assert sorted(model_server.asked) == sorted(f"word {row[1:]}" for row in failed)
    assert (results.errors, results["exact_match"].value) == ([], 1.0)
    assert results.cached == 54


@pytest.mark.parametrize("status", [401, 403])
def test_model_that_refuses_us_is_left_alone(ask, model_server, status):
    model_server.status = lambda message: status
    with pytest.raises(ModelRefused, match=str(status)):
        ask(model_server.url, 400, concurrency=4)
    assert len(model_server.requests) <= 4 + WAVE / TASKS

    model_server.status = lambda message: 200
    results = ask(model_server.url, 400)
    assert (results.errors, results["exact_match"].value) == ([], 1.0)


def test_wait_that_a_server_asks_for_is_kept(ask, model_server):
    model_server.retry_after_s = 1.0
    refused = set()
    times = {}

    def status(message):
        times.setdefault(message, []).append(time.monotonic())
        if message == "word 3" and message not in refused:
            refused.add(message)
            return 429
        return 200

    model_server.status = status
    results = ask(model_server.url, 10)
    assert results["exact_match"].value == 1.0
    first, second = times["word 3"]
    assert 1.0 <= second - first < 5.0
    assert (len(model_server.requests), results.usage.requests) == (11, 11)


def test_model_that_hangs_is_given_up(ask, model_server):
    model_server.answer = lambda message: (
        model_server.hang(message) if message == "word 3" else message.upper()
    )
    began = time.monotonic()
    results = ask(model_server.url, 10, timeout_s=0.5, attempts=1)
    assert time.monotonic() - began < 15
    (error,) = results.errors
    assert (error.id, error.kind) == ("r3", "timeout")


def test_budget_holds_over_all_tasks(suite, model_server):
    in_spark(suite, 200)
    suite.ask(model_server)
    assert suite.run("evals", "--llmeval-max-requests", "50").ret == 1
    assert 40 <= len(model_server.requests) <= 50
    assert suite.verdict["reason"] == "BUDGET"
    assert suite.verdict["gates"][0]["errors"] == 200 - len(model_server.requests)

    assert suite.run("evals").ret == 0
    assert (len(model_server.requests), model_server.repeated) == (200, 0)


def test_tasks_share_the_requests_of_a_minute(ask, model_server):
    times = []

    def answer(message):
        times.append(time.monotonic())
        return message.upper()

    model_server.answer = answer
    ask(pinned(model_server.url), 20, requests_per_minute=600)
    assert len(times) == 20
    # Each task may begin at once, and waits after that.
    assert times[-1] - times[0] >= 0.95 * (20 / TASKS - 1) * 60 / (600 / TASKS)


def test_tasks_share_the_concurrency(ask, model_server):
    model_server.answer = model_server.slowly
    ask(pinned(model_server.url), 60, concurrency=6)
    assert model_server.most_in_flight == 6
