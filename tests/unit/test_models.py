import asyncio
import functools
import sys
import threading
import time
from dataclasses import replace

import pytest

from pytest_llmeval import CallableModel
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError
from pytest_llmeval.models import load_model


def upper(prompt: str) -> str:
    return prompt.upper()


async def async_upper(prompt):
    await asyncio.sleep(0)
    return prompt.upper()


def from_example(example):
    return example.metadata["hidden"]


async def async_from_example(example):
    return example.metadata["hidden"]


class Shouter:
    def __call__(self, prompt):
        return prompt.upper()

    def method(self, prompt):
        return prompt.upper()


class AsyncShouter:
    async def __call__(self, prompt):
        return prompt.upper()


ROW = {"input": "hello", "hidden": "HELLO", "answer": "HELLO"}


@pytest.mark.parametrize(
    "model",
    [
        upper,
        async_upper,
        from_example,
        async_from_example,
        Shouter(),
        Shouter().method,
        AsyncShouter(),
        functools.partial(upper),
        functools.partial(async_upper),
        str.upper,
        CallableModel(upper, version="1"),
    ],
)
def test_a_callable_is_a_model(run, model):
    results = run(model, [ROW], ["exact_match"])

    assert results.errors == []
    assert results.rows[0].prediction.text == "HELLO"


def test_sync_functions_are_called_in_several_threads_at_once(run):
    barrier = threading.Barrier(4, timeout=5)

    def together(prompt):
        barrier.wait()
        return "x"

    rows = [{"input": str(i)} for i in range(8)]

    assert run(together, rows, ["json_valid"]).errors == []


def test_a_version_pins_a_callable():
    loose, pinned = CallableModel(upper), CallableModel(upper, version="7")

    assert (loose.ref.pinned, loose.ref.version) == (False, None)
    assert (pinned.ref.pinned, pinned.ref.version) == (True, "7")
    assert str(pinned.ref) == f"python:{__name__}:upper/7"
    assert loose.ref.identity() != pinned.ref.identity()


@pytest.mark.parametrize(
    ("returned", "kind", "message"),
    [
        (None, "malformed", "the model returned NoneType, expected str"),
        (3, "malformed", "the model returned int, expected str"),
        (b"x", "malformed", "the model returned bytes, expected str"),
        (ValueError("bad"), "exception", "ValueError: bad"),
        (TimeoutError("slow"), "exception", "TimeoutError: slow"),
        (StopIteration(), "exception", "StopIteration"),
    ],
)
def test_what_is_no_text_is_the_error_of_its_row(
    run, settings, returned, kind, message
):
    def model(prompt):
        if prompt == "good":
            return "1"
        if isinstance(returned, Exception):
            raise returned
        return returned

    rows = [{"id": text, "input": text} for text in ("good", "bad")]
    short = type(settings)(
        rootdir=settings.rootdir, cache="off", timeout_s=1, attempts=1
    )
    results = run(model, rows, ["json_valid"], settings=short)

    (error,) = results.errors
    assert (error.id, error.kind, error.attempts) == ("bad", kind, 1)
    assert message in error.message


@pytest.fixture
def module(tmp_path):
    (tmp_path / "app_under_test.py").write_text(
        "from pytest_llmeval import CallableModel\n"
        "def answer(prompt):\n    return prompt.upper()\n"
        "pinned = CallableModel(answer, version='3')\n"
        "number = 3\n"
    )
    (tmp_path / "broken_app_under_test.py").write_text("raise KeyError('config')\n")
    before = list(sys.path)
    sys.path.insert(0, str(tmp_path))
    yield "app_under_test"
    sys.path[:] = before
    sys.modules.pop("app_under_test", None)


def test_a_function_is_found_by_module_and_name(run, module):
    results = run(f"python:{module}:answer", [ROW], ["exact_match"])

    assert results.metrics == {"exact_match": 1.0}
    assert str(results.model) == "python:app_under_test:answer"


def test_a_model_object_is_found_by_module_and_name(run, module):
    results = run(f"python:{module}:pinned", [ROW], ["exact_match"])

    assert results.metrics == {"exact_match": 1.0}
    assert results.model.pinned


@pytest.mark.parametrize(
    ("model", "error", "message"),
    [
        ("python:app", ConfigurationError, "is not of the form python:module:function"),
        ("python:", ConfigurationError, "'python:' is not of the form python:module"),
        (
            "python:no_such_module:f",
            ModelError,
            "cannot load 'python:no_such_module:f': ModuleNotFoundError: No",
        ),
        ("python:app_under_test:f", ModelError, "has no attribute 'f'"),
        ("python:app_under_test:number", ModelError, "number' is not callable"),
        (
            "python:broken_app_under_test:f",
            ModelError,
            "cannot load 'python:broken_app_under_test:f'",
        ),
        (
            "ggf:smollm2",
            ConfigurationError,
            "unknown model scheme in 'ggf:smollm2'; the known ones are: gguf:, "
            "http://, https://, openai:/, endpoints:/, models:/, runs:/, python:; did "
            "you mean 'gguf:'?",
        ),
        ("smollm2", ConfigurationError, "unknown model scheme in 'smollm2'"),
        (3, ConfigurationError, "model=3 is neither a model string nor a callable"),
    ],
)
def test_a_model_that_cannot_be_used_is_refused(
    module, hook, settings, model, error, message
):
    with pytest.raises(error) as caught:
        load_model(model, hook, settings)

    assert message in str(caught.value)


def test_no_model_is_an_error_that_names_three_ways_to_give_one(run):
    with pytest.raises(ConfigurationError) as caught:
        run(None, [ROW], ["exact_match"])

    message = str(caught.value)
    assert message.startswith("no model is configured. Give one of:\n")
    assert "pytest --llmeval-model gguf:smollm2" in message
    assert "llmeval_model = models:/docs-qa@candidate   (in the ini file)" in message
    assert "a fixture named llmeval_model" in message


def test_more_sync_calls_than_threads_wait_for_their_turn(run, settings):
    def model(prompt):
        time.sleep(0.3)
        return prompt

    many = replace(settings, concurrency=600)
    rows = [{"input": str(i)} for i in range(600)]

    results = run(model, rows, ["json_valid"], settings=many)

    assert results.errors == []
    assert results["json_valid"].n == 600
