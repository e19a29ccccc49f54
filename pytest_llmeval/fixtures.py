"""The fixtures that a suite uses."""

from __future__ import annotations

from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from typing import TYPE_CHECKING
from typing import Any
from typing import NoReturn

import pytest

from pytest_llmeval.errors import LLMEvalError


if TYPE_CHECKING:
    from pytest_llmeval.cases import Case
    from pytest_llmeval.config import Settings
    from pytest_llmeval.records import DatasetRef
    from pytest_llmeval.records import Metric
    from pytest_llmeval.results import EvalResults
    from pytest_llmeval.session import RunRecorder


LONGEST_MESSAGE = 4_000
recorder_key = pytest.StashKey[Callable[[], "RunRecorder"]]()
"""Gives the run's recorder; the first call makes this pytest run an evaluation run."""
settings_key = pytest.StashKey[Callable[[], "Settings"]]()
"""Gives the run's settings."""


@pytest.fixture
def llmeval_model(request: pytest.FixtureRequest) -> Any:
    """The model under test: --llmeval-model, or the ini value llmeval_model.

    Override it in a suite to return a model string, a callable or a model object:

        @pytest.fixture
        def llmeval_model():
            return CallableModel(ask, version="1")
    """
    return request.config.stash[settings_key]().model


@pytest.fixture
def llmeval_metrics() -> Sequence[Metric | Callable[..., Any]]:
    """Further metrics that evaluate() knows by name; override it to add yours.

    A metric is a function that is named after it, or a Metric:

        @pytest.fixture
        def llmeval_metrics():
            return [has_link]
    """
    return ()


@pytest.fixture
def evaluate(
    request: pytest.FixtureRequest,
    llmeval_model: Any,
    llmeval_metrics: Sequence[Metric | Callable[..., Any]],
) -> Iterator[Callable[..., EvalResults]]:
    """Function that evaluates a model on a dataset and returns results.

        def test_answers_questions(evaluate):
            results = evaluate(data="qa.jsonl", metrics=["exact_match"])
            assert_metric(results, "exact_match", ">=", 0.9)

    Takes model, data, metrics, name, prompt, params, columns, repeats and engine, as
    pytest_llmeval.evaluate does; relative paths start at the test file's folder, then
    at the rootdir. Answers that are stored are not asked for again.
    """
    recorder = open_recorder(request)

    def evaluate(
        model: Any = None,
        data: Any = None,
        metrics: Sequence[str | Metric | Callable[..., Any]] = (),
        *,
        name: str | None = None,
        prompt: str | Sequence[Mapping[str, str]] | None = None,
        params: Mapping[str, Any] | None = None,
        columns: Mapping[str, str | Sequence[str]] | None = None,
        repeats: int = 1,
        engine: str | None = None,
    ) -> EvalResults:
        __tracebackhide__ = True
        try:
            return recorder.evaluate(
                llmeval_model if model is None else model,
                data,
                metrics,
                hook=request.node.ihook,
                folder=request.path.parent,
                name=name,
                prompt=prompt,
                params=params,
                columns=columns,
                repeats=repeats,
                where=engine,
                spark=lambda: request.getfixturevalue("spark"),
                further_metrics=llmeval_metrics,
            )
        except LLMEvalError as error:
            from pytest_llmeval.text import safe

            # The message says it all; our own frames would bury it. It may quote data.
            error.args = (safe(error, LONGEST_MESSAGE), *error.args[1:])
            raise error.with_traceback(None) from None

    yield evaluate
    _close_results(recorder)


def _close_results(recorder: RunRecorder) -> None:
    try:
        recorder.close_results()
    except LLMEvalError as error:
        raise error.with_traceback(None) from None  # as in evaluate()


@pytest.fixture
def llmeval_dataset(
    request: pytest.FixtureRequest,
) -> Callable[..., DatasetRef]:
    """Function that gives a part of the data, or prepared data, for evaluate().

        def test_answers_billing(evaluate, llmeval_dataset):
            data = llmeval_dataset("main.evals.qa", where={"topic": "billing"},
                                   sample=1000)
            results = evaluate(data=data, metrics=["exact_match"])

    Takes what data= takes, and by name: columns, as evaluate() does; where, values of
    columns; sample, a number of rows or a share of them, by a hash of their ids; seed
    of the sample; prepare, a function from Spark DataFrame to DataFrame, or a query in
    which the source is the table `data`; name.
    """

    def llmeval_dataset(
        data: Any,
        *,
        columns: Mapping[str, str | Sequence[str]] | None = None,
        where: Mapping[str, Any] | None = None,
        sample: int | float | None = None,
        seed: int = 0,
        prepare: Callable[[Any], Any] | str | None = None,
        name: str | None = None,
    ) -> DatasetRef:
        from pytest_llmeval.records import DatasetRef

        return DatasetRef(
            source=data,
            name=name,
            columns=columns,
            prepare=prepare,
            where=where,
            sample=sample,
            seed=seed,
            spark=lambda: request.getfixturevalue("spark"),
        )

    return llmeval_dataset


@pytest.fixture
def llmeval_case() -> Case:
    """One row of the data that the marker llmeval_cases names, and the model's answer.

    Gives id, input, references, context, metadata and prediction; score("token_f1")
    computes a metric and records the score, record("tone", 0.8) records your own.

    Example:
        @pytest.mark.llmeval_cases("data/qa.jsonl", limit=200)
        def test_answers(llmeval_case):
            assert llmeval_case.score("token_f1") >= 0.5
    """
    # With the marker, `CaseTests` gives the case in the place of this.
    pytest.fail(
        "llmeval_case needs the marker that names the data: "
        '@pytest.mark.llmeval_cases("data/qa.jsonl")',
        pytrace=False,
    )


@pytest.fixture
def mlflow_run(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The MLflow run of this test's evaluation, active: mlflow.log_metric goes there.

        def test_answers_questions(evaluate, mlflow_run):
            evaluate(data="qa.jsonl", metrics=["exact_match"])
            mlflow.set_tag("prompt", "with the passage")

    The first evaluate() of the test is logged to this run.
    """
    recorder = open_recorder(request)
    try:
        with recorder.tracked_child(request.node.nodeid) as run:
            yield run
    except LLMEvalError as error:
        raise error.with_traceback(None) from None  # as in evaluate()


def open_recorder(request: pytest.FixtureRequest) -> RunRecorder:
    """Return the run's recorder; fail the test when the run cannot begin."""
    try:
        return request.config.stash[recorder_key]()
    except LLMEvalError as error:
        fail(error)


def fail(error: LLMEvalError) -> NoReturn:
    """Fail the test with what an error says."""
    from pytest_llmeval.text import safe

    pytest.fail(safe(error, LONGEST_MESSAGE), pytrace=False)
