"""What travels to Spark's executors, and what must not."""

import os
import socket
import threading

import mlflow
import pytest
from pyarrow import parquet

from pytest_llmeval import CallableModel
from pytest_llmeval import evaluate
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import ModelError

from .spark_suites import PASSING
from .spark_suites import in_spark
from .spark_suites import rows_of
from .spark_suites import settings_in


KEY = "sk-live-0123456789abcdef"
ROWS = rows_of(60)
COUNTED = """\
import os
from pathlib import Path

import mlflow
from mlflow.pyfunc import PythonModel


class Shout(PythonModel):
    def load_context(self, context):
        with Path({log!r}).open("a") as file:
            print(os.getpid(), file=file)

    def predict(self, model_input: list[str]) -> list[str]:
        return [text.upper() for text in model_input]


mlflow.models.set_model(Shout())
"""
HELPER = "WORDS = {}\n\n\ndef loud(text):\n    return text.upper()\n"
WITH_HELPER = """\
import sys
from pathlib import Path

import pytest

from pytest_llmeval import CallableModel

sys.path.insert(0, str(Path(__file__).parent))
import shouting


def ask(prompt):
    return shouting.loud(prompt)


@pytest.fixture
def llmeval_model():
    return CallableModel(ask, version="1")
"""
EMBEDDED = PASSING.replace("evaluate(data", 'evaluate("gguf:smollm2", data')


def ask(model, folder, **settings):
    return evaluate(
        model,
        ROWS,
        ["exact_match"],
        engine="spark",
        settings=settings_in(folder, **settings),
    )


def files_with(text, folder):
    """Return the files below a folder that a text stands in."""
    return [
        path
        for path in folder.rglob("*")
        if path.is_file() and text.encode() in content_of(path)
    ]


def content_of(path):
    if path.suffix == ".parquet":  # which is compressed
        return repr(parquet.ParquetFile(path).read().to_pylist()).encode()
    return path.read_bytes()


def test_key_of_a_model_reaches_executors_and_no_file(suite, model_server, monkeypatch):
    monkeypatch.setenv("LLMEVAL_API_KEY", KEY)
    model_server.status = lambda message: 400 if message.endswith("3") else 200
    model_server.answer = lambda message: f"{message}, and your key is {KEY}"
    in_spark(suite)
    suite.ask(model_server)
    assert suite.run("evals").ret == 1
    found = {headers["Authorization"] for headers in model_server.headers}
    assert found == {f"Bearer {KEY}"}
    assert suite.verdict["gates"][0]["errors"] == 4
    kept = files_with("and your key is [redacted]", suite.path / ".llmeval/spark")
    assert {path.parts[-4] for path in kept} >= {"answers"}
    assert files_with(KEY, suite.path) == []


def test_model_that_holds_a_secret_is_refused(tmp_path, monkeypatch):
    monkeypatch.setenv("VENDOR_API_KEY", KEY)
    held = os.environ["VENDOR_API_KEY"]
    model = CallableModel(lambda prompt: f"{held}{prompt}", version="1")
    with pytest.raises(ModelError, match="holds the value of VENDOR_API_KEY") as caught:
        ask(model, tmp_path)
    assert KEY not in str(caught.value)
    assert "read it from the environment inside the function" in str(caught.value)
    assert files_with(KEY, tmp_path) == []


def test_model_inside_this_process_is_refused_with_advice(suite):
    in_spark(suite)
    suite.write("evals/test_qa.py", EMBEDDED)
    result = suite.run("evals")
    assert result.ret == 1
    result.stdout.fnmatch_lines(["E *which Spark's executors cannot ask*"])
    text = result.stdout.str()
    assert "serve it over HTTP" in text
    assert 'engine="local"' in text


@pytest.mark.parametrize("kind", ["lock", "socket"])
def test_model_that_cannot_travel_says_why(tmp_path, kind):
    with socket.socket() as opened:
        held = threading.Lock() if kind == "lock" else opened

        def model(prompt):
            return f"{held}{prompt}"

        with pytest.raises(ModelError) as caught:
            ask(model, tmp_path)
    message = str(caught.value)
    assert "cannot travel to Spark's executors: TypeError: cannot pickle" in message
    assert kind in message
    assert "open clients, locks and files inside the function" in message


def register(folder, log):
    """Register a model that notes each load of it; return what it is registered in."""
    source = folder / "model.py"
    source.write_text(COUNTED.format(log=str(log)))
    registry = f"sqlite:///{folder / 'mlflow.db'}"
    mlflow.set_tracking_uri(registry)
    client = mlflow.MlflowClient()
    artifacts = (folder / "mlartifacts").as_uri()
    experiment = client.create_experiment("models", artifact_location=artifacts)
    with mlflow.start_run(experiment_id=experiment):
        mlflow.pyfunc.log_model(
            name="qa",
            python_model=str(source),
            registered_model_name="qa",
            pip_requirements=[],
        )
    client.set_registered_model_alias("qa", "candidate", "1")


@pytest.mark.filterwarnings("ignore")  # of MLflow, in many places
def test_registered_model_is_loaded_once_by_a_process_of_spark(tmp_path):
    log = tmp_path / "loads.txt"
    register(tmp_path, log)
    log.unlink(missing_ok=True)
    results = ask("models:/qa@candidate", tmp_path)
    assert (results.errors, results["exact_match"].value) == ([], 1.0)
    assert results.model.version == "1"
    loads = log.read_text().split()
    assert len(loads) == len(set(loads)) <= 2
    assert set(loads) - {str(os.getpid())}, "an executor loads it"


def test_module_of_the_suite_travels_with_the_model(suite):
    in_spark(suite)
    suite.write("evals/conftest.py", WITH_HELPER)
    suite.write("evals/shouting.py", HELPER)
    assert suite.run("evals").ret == 0
    assert suite.verdict["gates"][0]["value"] == 1.0


def test_unknown_engine_is_named_with_the_nearest(tmp_path):
    with pytest.raises(ConfigurationError, match="did you mean 'spark'"):
        evaluate(str.upper, ROWS, ["exact_match"], engine="sparc")
