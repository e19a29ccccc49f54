"""Traces of a real MLflow: in SQLite, and behind a real server."""

import datetime

import mlflow
import pytest
from mlflow.entities import AssessmentSource
from mlflow.entities import SpanType

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import DataError
from pytest_llmeval.monitor.traffic import read_traffic
from pytest_llmeval.records.traffic import TrafficRef
from tests.behaviour.mlflow_server import MlflowServer


pytestmark = pytest.mark.filterwarnings("ignore")  # MLflow's own
CALLS = 12


@mlflow.trace(name="answer")
def answer(question):
    with mlflow.start_span("find", span_type=SpanType.RETRIEVER) as span:
        span.set_inputs({"query": question})
        span.set_outputs([{"page_content": "Thirty days."}, {"page_content": "Or so."}])
    mlflow.update_current_trace(tags={"tier": "gold"})
    if question.endswith("!"):
        raise ValueError("no question")
    return {"choices": [{"message": {"content": f"Answer to {question}"}}]}


def log_traces(uri, folder):
    mlflow.set_tracking_uri(uri)
    place = None if uri.startswith("http") else (folder / "artifacts").as_uri()
    mlflow.create_experiment("docs-qa", artifact_location=place)
    mlflow.set_experiment("docs-qa")
    ids = []
    for number in range(CALLS):
        mark = "!" if number == 3 else "?"
        try:
            answer(f"Question {number}{mark}")
        except ValueError:
            assert number == 3
        ids.append(mlflow.get_last_active_trace_id())
    mlflow.flush_trace_async_logging()
    mlflow.log_expectation(
        trace_id=ids[5],
        name="expected_response",
        value="Thirty days",
        source=AssessmentSource(source_type="HUMAN", source_id="a"),
    )
    return ids


@pytest.fixture(scope="module", params=["sqlite", "server"])
def store(request, tmp_path_factory):
    """The settings for a store, and the ids of the traces in it."""
    folder = tmp_path_factory.mktemp(request.param)
    before = mlflow.get_tracking_uri()
    server = MlflowServer(folder) if request.param == "server" else None
    uri = server.url if server else f"sqlite:///{folder / 'mlflow.db'}"
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        yield Settings(rootdir=folder, tracking=uri), log_traces(uri, folder)
    mlflow.set_tracking_uri(before)
    if server:
        server.kill()


def read(store, hook, days, sample=100, source="traces:docs-qa"):
    settings, _ = store
    ref = TrafficRef(source=source, days=days, sample=sample)
    return read_traffic(ref, hook, settings, ("tier",))


@pytest.fixture
def today():
    return datetime.datetime.now(datetime.UTC).date()


def test_traces_are_calls(store, hook, today):
    found = read(store, hook, [today])
    calls = {call.input: call for call in found.days[today]}
    assert len(calls) == CALLS
    assert set(store[1]) == {call.id for call in calls.values()}
    one = calls["Question 5?"]
    assert one.output == "Answer to Question 5?"
    assert one.context == "Thirty days.\nOr so."
    assert one.reference == "Thirty days"
    assert one.slices == {"tier": "gold"}
    assert one.latency_ms is not None
    assert calls["Question 3!"].output is None
    assert found.unreadable == 0


def test_a_sample_of_traces_is_always_the_same_one(store, hook, today):
    first, second = (read(store, hook, [today], 4).days[today] for _ in range(2))
    assert first == second
    assert len(first) == 4
    assert {call.id for call in first} < set(store[1])


def test_traces_of_other_days_are_left_out(store, hook, today):
    yesterday = today - datetime.timedelta(days=1)
    assert read(store, hook, [yesterday]).days == {}


def test_an_experiment_that_is_not_there_is_named(store, hook, today):
    with pytest.raises(DataError, match="traces:nothing: no such experiment"):
        read(store, hook, [today], source="traces:nothing")
