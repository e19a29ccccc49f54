"""What could let a gate in Spark pass that would not pass on one machine."""

import pytest

from pytest_llmeval import CallableModel
from pytest_llmeval import Metric
from pytest_llmeval import decide
from pytest_llmeval import decide_improved
from pytest_llmeval import evaluate
from pytest_llmeval import regex_match
from pytest_llmeval import stats
from pytest_llmeval.backends.spark import counts
from pytest_llmeval.backends.spark.session import open_session
from pytest_llmeval.config import Settings
from pytest_llmeval.records import DatasetRef


ROWS = [{"id": f"q{i}", "input": f"q{i}", "answer": "A"} for i in range(8)]
ECHO = CallableModel(str, version="1")


@pytest.fixture
def settings(tmp_path):
    return Settings(rootdir=tmp_path, spark="sail", spark_tasks=2)


@pytest.fixture
def run(settings):
    def run(model=ECHO, data=ROWS, metrics=("exact_match",), engine="spark", **given):
        return evaluate(model, data, metrics, engine=engine, settings=settings, **given)

    return run


@pytest.fixture
def spark(settings):
    return open_session(settings).spark


def test_a_changed_metric_of_the_same_name_scores_anew(run):
    assert run(metrics=[regex_match("^q", name="style")])["style"].value == 1
    assert run(metrics=[regex_match("^z", name="style")])["style"].value == 0


def test_a_metric_that_came_back_scores_what_it_could_not(run, tmp_path):
    down = tmp_path / "down"
    path = str(down)

    def judge(prediction: str, example) -> bool:
        with open(path, encoding="ascii") as file:  # noqa: PTH123  # is sent
            return file.read() == "up"

    assert run(metrics=[judge]).tally.failed == 8
    down.write_text("up")
    assert run(metrics=[judge])["judge"].value == 1


def test_preparations_of_one_text_are_two(run, spark):
    frame = spark.createDataFrame(
        [(f"q{i}", f"q{i}", "ab"[i % 2]) for i in range(8)],
        "id string, input string, t string",
    )

    def part(topic):
        return DatasetRef(
            source=frame, prepare=lambda rows: rows.where(rows.t == topic)
        )

    metrics = [regex_match("[02468]$", name="even")]
    assert run(data=part("a"), metrics=metrics, engine=None)["even"].value == 1
    assert run(data=part("b"), metrics=metrics, engine=None)["even"].value == 0


def test_a_view_that_was_replaced_is_read_again(run, spark):
    seen = []
    for prefix in "ab":
        rows = [(f"{prefix}{i}", f"{prefix}{i}") for i in range(3)]
        spark.createDataFrame(rows, "id string, input string").createOrReplaceTempView(
            "vv"
        )
        metrics = [regex_match("^a", name="a")]
        results = run(data="SELECT * FROM vv", metrics=metrics, engine=None)
        seen.append((results["a"].value, results.dataset.digest))
    assert [value for value, _ in seen] == [1, 0]
    assert seen[0][1] != seen[1][1]


@pytest.mark.parametrize("cache", ["off", "refresh", "on"])
def test_two_models_of_one_name_do_not_share_answers(tmp_path, cache):
    settings = Settings(rootdir=tmp_path, spark="sail", cache=cache)

    def make(answer):
        def model(prompt):
            return answer

        return model

    for answer, value in (("A", 1), ("B", 0)):
        results = evaluate(
            make(answer), ROWS, ["exact_match"], engine="spark", settings=settings
        )
        assert results["exact_match"].value == value


def scorer(scores, range_=(0.0, 1.0), broken=()):
    def score(prediction, example):
        if example.id in broken:
            raise ValueError("judge refused")
        return scores[example.id]

    return Metric(name="m", score=score, range=range_, source="m 1")


OLD = {row["id"]: -0.5 for row in ROWS}
NEW = {row["id"]: 0.4 for row in ROWS}


@pytest.mark.parametrize("engine", ["local", "spark"])
def test_a_baseline_outside_the_range_is_no_baseline(run, engine):
    before = run(metrics=[scorer(OLD, (-1.0, 1.0))], engine=engine)
    now = run(metrics=[scorer(NEW)])
    decision = decide_improved(now, before, "m", min_gain=0.3)
    assert (decision.status, decision.reason) == ("error", "BASELINE_UNUSABLE")
    assert "outside the range 0 to 1" in decision.detail


@pytest.mark.parametrize("engine", ["local", "spark"])
def test_a_baseline_with_rows_in_error_is_no_baseline(run, engine):
    before = run(metrics=[scorer(NEW), "exact_match"], engine=engine)
    broken = scorer(NEW, broken={"q3"})
    failed = run(metrics=[broken], engine=engine)
    now = run(metrics=[scorer(NEW)])
    assert decide_improved(now, before, "m", min_gain=-0.0).status != "error"
    decision = decide_improved(now, failed, "m")
    assert (decision.status, decision.reason) == ("error", "BASELINE_UNUSABLE")
    assert "q3 (scorer: m: ValueError: judge refused)" in decision.detail


@pytest.mark.parametrize("score", [1.04, -0.04])
def test_a_score_outside_the_range_is_no_score_on_the_grid_either(
    run, monkeypatch, score
):
    monkeypatch.setattr(counts.stats, "GRID", 5)
    scores = {row["id"]: i / 10 for i, row in enumerate(ROWS)} | {"q7": score}
    results = run(metrics=[scorer(scores)])
    assert results["m"].lower is None
    decision = decide(results, "m", ">=", 0.1, confidence=0.95)
    assert (decision.status, decision.reason) == ("error", "OUT_OF_RANGE")
    assert stats.GRID == 5


def test_a_pass_rate_of_a_slice_looks_at_all_scores_as_on_one_machine(run):
    rows = [{**row, "t": "ab"[i % 2]} for i, row in enumerate(ROWS)]
    scores = {row["id"]: 1.0 for row in rows} | {"q1": 0.5}
    for engine in ("local", "spark"):
        results = run(data=rows, metrics=[scorer(scores)], engine=engine, repeats=2)
        decision = decide(results, "m/pass^2", ">=", 0.1, where={"t": "a"})
        assert (decision.status, decision.reason) == ("error", "METRIC_ERROR")


def test_what_a_metric_raises_hides_secrets(run, monkeypatch):
    monkeypatch.setenv("JUDGE_API_KEY", "sk-canary-12345678")

    def judge(prediction: str, example) -> bool:
        import os

        raise ValueError(
            "refused " + os.environ.get("NOBODY", "sk-canary-") + "12345678"
        )

    results = run(metrics=[judge])
    assert "sk-canary-12345678" not in str(results.errors)
    assert "[redacted]" in results.errors[0].message
