"""MLflow's GenAI scorers in metrics=."""

import json
import subprocess
import sys

import pytest
from mlflow.entities import Feedback
from mlflow.genai.judges import CategoricalRating
from mlflow.genai.scorers import Correctness
from mlflow.genai.scorers import RegexMatch
from mlflow.genai.scorers import ResponseLength
from mlflow.genai.scorers import RetrievalGroundedness
from mlflow.genai.scorers import Scorer
from mlflow.genai.scorers import scorer

from pytest_llmeval import decide
from pytest_llmeval.errors import MetricError
from pytest_llmeval.metrics import find_metrics

from .chosen_scores import echo


ROWS = [
    {
        "id": "r0",
        "question": "capital of France?",
        "answers": ["Paris", "paris"],
        "topic": "geo",
        "expected_facts": ["it is Paris"],
    }
]


@scorer
def is_short(outputs) -> bool:
    return len(outputs) < 20


@scorer
def length(outputs):
    return len(outputs)


class Exact(Scorer):
    name: str = "exact"

    def __call__(self, *, outputs, expectations) -> Feedback:
        right = outputs.endswith(expectations["expected_response"])
        return Feedback(value=CategoricalRating("yes" if right else "no"))


def test_a_scorer_gets_inputs_outputs_and_expectations(run):
    seen = {}

    @scorer
    def note(inputs, outputs, expectations):
        seen.update(inputs=inputs, outputs=outputs, expectations=expectations)
        return 1.0

    run(echo, ROWS, [note])

    assert seen == {
        "inputs": {"question": "capital of France?", "topic": "geo"},
        "outputs": "echo capital of France?",
        "expectations": {
            "expected_response": "Paris",
            "references": ["Paris", "paris"],
            "expected_facts": ["it is Paris"],
        },
    }


def test_an_input_that_is_its_own_answer_is_not_lost(run):
    seen = []

    @scorer
    def note(inputs, expectations):
        seen.append((inputs, expectations))
        return 1

    run(echo, [{"id": "r0", "input": "a", "answer": "a"}, {"input": "b"}][:1], [note])
    run(echo, [{"id": "b", "input": "b"}], [note])

    assert seen[0][0] == {"input": "a"}
    assert seen[1] == ({"input": "b"}, {})


def test_scorers_and_metrics_stand_side_by_side(run):
    rows = [{"input": "a" * n, "answer": "a"} for n in (1, 30)]

    results = run(echo, rows, ["contains", is_short, length, Exact()])

    assert results.metrics == {
        "contains": 1,
        "is_short": 0.5,
        "length": 20.5,
        "exact": 1,
    }
    assert results["is_short"].lower == pytest.approx(0.0253, abs=1e-4)
    assert decide(results, "length", "<=", 30).status == "pass"
    unbounded = decide(results, "length", "<=", 30, confidence=0.95)
    assert unbounded.reason == "UNBOUNDED"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (True, 1.0),
        (0, 0.0),
        (0.25, 0.25),
        ("yes", 1.0),
        ("No", 0.0),
        (Feedback(value=0.5), 0.5),
        (Feedback(value="yes"), 1.0),
        (Feedback(value=False), 0.0),
    ],
    ids=lambda value: str(getattr(value, "value", value)),  # a Feedback has its time
)
def test_numbers_bools_yes_no_and_feedback_are_scores(run, given, expected):
    @scorer
    def one():
        return given

    assert run(echo, ROWS, [one]).metrics == {"one": expected}


def refuses():
    raise KeyError("no answer")


@pytest.mark.parametrize(
    ("give", "message"),
    [
        (refuses, "one: KeyError: 'no answer'"),
        (lambda: None, "one: MetricError: it gave None, which is no score; a score is"),
        (lambda: "unknown", "one: MetricError: it gave 'unknown', which is no score"),
        (lambda: [Feedback(value=1)], "one: MetricError: it gave [Feedback("),
        (
            lambda: Feedback(error=ValueError("judge is down")),
            "one: MetricError: ValueError: judge is down",
        ),
    ],
    ids=["raises", "none", "unknown", "several", "error"],
)
def test_what_is_no_score_is_the_error_of_its_row(run, give, message):
    @scorer
    def one():
        return give()

    results = run(echo, ROWS, [one])

    (error,) = results.errors
    assert (error.id, error.kind) == ("r0", "scorer")
    assert error.message.startswith(message)
    assert results["one"].n == 0


def test_built_in_scorers_are_metrics_with_their_range(hook):
    has_a = RegexMatch(name="has_a", pattern="a")
    found = find_metrics([Correctness(), has_a, length], hook)

    ranges = {name: metric.range for name, metric in found.items()}
    assert ranges == {"correctness": (0, 1), "has_a": (0, 1), "length": None}


def test_a_built_in_scorer_scores(run):
    results = run(echo, ROWS, [ResponseLength(max_length=10)])

    assert list(results.metrics.values()) == [0.0]


@scorer
def of_trace(trace):
    return 1


@scorer
def of_session(session):
    return 1


@pytest.mark.parametrize(
    "item",
    [of_trace, of_session, RetrievalGroundedness()],
    ids=lambda scorer: scorer.name,
)
def test_scorers_of_traces_and_sessions_are_refused(hook, item):
    with pytest.raises(MetricError) as caught:
        find_metrics([item], hook)

    assert str(caught.value) == (
        f"the MLflow scorer {item.name!r} scores traces or sessions; here a scorer "
        "gets inputs, outputs and expectations of one row"
    )


def test_a_name_that_is_taken_is_refused(hook):
    @scorer(name="contains")
    def other(outputs):
        return 1

    with pytest.raises(
        MetricError, match="the function 'contains' has the name of a k"
    ):
        find_metrics([other], hook)
    with pytest.raises(MetricError, match="two metrics are named 'contains'"):
        find_metrics(["contains"], hook, [other])


MLFLOW_MEAN = """\
import json
import sys

import mlflow
from mlflow.genai.scorers import scorer

mlflow.set_tracking_uri(sys.argv[1])


@scorer
def picky(outputs) -> bool:
    if int(outputs) < 7:
        raise ValueError(outputs)
    return True


data = [{"inputs": {"q": i}, "outputs": str(i)} for i in range(10)]
print(json.dumps(mlflow.genai.evaluate(data=data, scorers=[picky]).metrics))
"""


def test_rows_whose_scorer_raises_stay_in_the_denominator(run, tmp_path):
    @scorer
    def picky(outputs) -> bool:
        if int(outputs) < 7:
            raise ValueError(outputs)
        return True

    rows = [{"id": str(i), "input": str(i)} for i in range(10)]
    results = run(lambda prompt: prompt, rows, [picky])

    done = subprocess.run(
        [sys.executable, "-c", MLFLOW_MEAN, f"sqlite:///{tmp_path}/mlflow.db"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    assert json.loads(done.stdout.splitlines()[-1]) == {"picky/mean": 1.0}
    assert (results["picky"].n, results["picky"].errors) == (3, 7)
    decision = decide(results, "picky", ">=", 0.9)
    assert (decision.status, decision.reason) == ("error", "ROWS_MISSING")
    assert decide(results, "picky", ">=", 0.9, on_error="worst").value == 0.3


def test_nobody_else_has_to_import_mlflow(tmp_path):
    script = (
        "import sys\n"
        "from pytest_llmeval import evaluate, Settings\n"
        "def is_a(prediction, example) -> bool: return prediction == 'a'\n"
        "settings = Settings(cache='off')\n"
        "results = evaluate(str, [{'input': 'a'}], [is_a], settings=settings)\n"
        "print(results.metrics, 'mlflow' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == "{'is_a': 1.0} False\n"
