"""A real pyfunc model from a real registry, asked in batches."""

import mlflow
import pytest

from pytest_llmeval.config import Settings
from pytest_llmeval.runner import evaluate


# MLflow warns in many places.
pytestmark = pytest.mark.filterwarnings("ignore")
MODEL = """\
from pathlib import Path

import mlflow
from mlflow.pyfunc import PythonModel


class Shout(PythonModel):
    def predict(self, model_input: list[str]) -> list[str]:
        with Path({calls!r}).open("a") as calls:
            calls.write(f"{{len(model_input)}}\\n")
        if "bad" in model_input:
            raise ValueError("bad prompt")
        if "two" in model_input:
            return ["one", "too many"] * len(model_input)
        return [text.upper() for text in model_input]


mlflow.models.set_model(Shout())
"""


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A registry with version 1 of shout, which notes each call in calls.txt."""
    folder = tmp_path_factory.mktemp("registry")
    (folder / "model.py").write_text(MODEL.format(calls=str(folder / "calls.txt")))
    mlflow.set_tracking_uri(f"sqlite:///{folder / 'mlflow.db'}")
    experiment = mlflow.create_experiment("m", (folder / "artifacts").as_uri())
    with mlflow.start_run(experiment_id=experiment):
        mlflow.pyfunc.log_model(
            name="shout",
            python_model=str(folder / "model.py"),
            registered_model_name="shout",
            pip_requirements=[],
        )
    return folder


@pytest.fixture
def ask(folder):
    def ask(prompts, **given):
        (folder / "calls.txt").unlink(missing_ok=True)
        settings = Settings(
            rootdir=folder, cache="off", tracking=f"sqlite:///{folder / 'mlflow.db'}"
        )
        rows = [{"id": f"r{i}", "input": text} for i, text in enumerate(prompts)]
        results = evaluate(
            "models:/shout/1", rows, ["json_valid"], settings=settings, **given
        )
        calls = (folder / "calls.txt").read_text().split()
        return results, [int(size) for size in calls]

    return ask


def test_many_prompts_are_asked_in_few_calls(ask):
    results, sizes = ask([f"word {i}" for i in range(400)])

    assert results.errors == []
    texts = [row.prediction.text for row in results.rows]
    assert texts == [f"WORD {i}" for i in range(400)]
    assert sum(sizes) == 400
    assert len(sizes) < 200
    assert max(sizes) >= 16


@pytest.mark.parametrize(
    ("prompt", "kind", "message"),
    [
        ("bad", "exception", "ValueError: bad prompt"),
        ("two", "malformed", "2 answers to a list of 1"),
    ],
)
def test_a_failing_prompt_is_the_error_of_its_own_row(ask, prompt, kind, message):
    prompts = [f"word {i}" for i in range(100)]
    prompts[70] = prompt

    results, _ = ask(prompts)

    ((error),) = results.errors
    assert (error.id, error.kind, error.message) == ("r70", kind, message)
    assert results["json_valid"].n == 99
    assert results.rows[71].prediction.text == "WORD 71"
