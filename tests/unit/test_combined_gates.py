"""Gates of one kind on evaluations of another: repeats, slices, changes, early stop."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import numpy
import pytest
from scipy.stats import binomtest

from pytest_llmeval import Example
from pytest_llmeval import Metric
from pytest_llmeval import decide
from pytest_llmeval import decide_each_slice
from pytest_llmeval import decide_no_regression
from pytest_llmeval import decide_quantile
from pytest_llmeval.config import Settings
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation

from .tiny_model import Pinned


REPEATS = 2


def right(prediction, example: Example) -> bool:
    return prediction.text == "yes"


RIGHT = Metric(name="right", score=right, range=(0, 1))
SHARE = Metric(
    name="share",
    aggregate=lambda predictions, examples: (
        sum(one.text == "yes" for one in predictions) / len(predictions)
    ),
    range=(0, 1),
)


class Alternating:
    """Answers yes to each first question, and to further ones about easy rows."""

    def __init__(self, *, all_easy):
        self.asked, self.all_easy = Counter(), all_easy

    async def __call__(self, user, tries):
        self.asked[user] += 1
        easy = self.all_easy or user.endswith("easy")
        return "yes" if easy or self.asked[user] == 1 else "no"


@pytest.fixture
def repeated(tmp_path, hook):
    """Two answers each: an easy row is right twice, a hard one once."""

    def repeated(easy, hard, metrics=(RIGHT,), *, all_easy=False, suffix=""):
        kinds = ["easy"] * easy + ["hard"] * hard
        rows = [
            {
                "id": f"r{i}",
                "input": f"{i} {kind}",
                "kind": f"{kind}{suffix}",
                "pair": i // 2,
            }
            for i, kind in enumerate(kinds)
        ]
        settings = Settings(rootdir=tmp_path, cache="off", concurrency=1)
        engine = Engine(settings=settings, hook=hook, run_id="1")
        model = Pinned(Alternating(all_easy=all_easy))
        return run_evaluation(engine, model, rows, metrics, repeats=REPEATS)

    return repeated


def test_a_slice_counts_examples_and_not_their_repeats(repeated):
    results = repeated(30, 10)

    easy, hard = decide_each_slice(results, "right", ">=", 0.4, by="kind")

    assert [(d.n, d.value, d.repeats) for d in (easy, hard)] == [
        (30, 1.0, 2),
        (10, 0.5, 2),
    ]
    only = decide(results, "right", "==", 0.5, where={"kind": "hard"})
    assert (only.status, only.n) == ("pass", 10)


def test_a_quantile_is_of_all_answers_and_counts_examples(repeated):
    results = repeated(30, 10)  # 10 of 80 answers are wrong

    lowest = decide_quantile(results, "right", 0.125, "<=", 0.0)
    above = decide_quantile(results, "right", 0.13, "<=", 0.0)

    assert (lowest.status, lowest.n, lowest.share) == ("pass", 40, 0.125)
    assert (above.status, above.value) == ("fail", 1.0)


def test_clusters_of_repeated_examples_are_means_of_their_means(repeated):
    decision = decide(repeated(3, 1), "right", ">=", 0.5, cluster="pair")

    assert decision.n == 2
    assert decision.value == pytest.approx((1.0 + 0.75) / 2)


def test_a_corpus_metric_resamples_examples_with_all_their_repeats(repeated):
    results = repeated(60, 60, [SHARE])

    decision = decide(results, "share", ">=", 0.6, confidence=0.95)

    assert (decision.status, decision.method, decision.n) == ("pass", "bca", 120)
    assert decision.value == 0.75
    rows_as_units = 0.75 - 1.645 * (0.75 * 0.25 / 240) ** 0.5
    examples_as_units = 0.75 - 1.645 * (0.0625 / 120) ** 0.5
    assert decision.lower == pytest.approx(examples_as_units, abs=0.01)
    assert decision.lower > rows_as_units + 0.005


def test_a_change_compares_the_means_of_examples(repeated):
    good, bad = repeated(40, 80, all_easy=True), repeated(40, 80)

    worse = decide_no_regression(bad, good, "right", max_drop=0.1)
    better = decide_no_regression(good, bad, "right", max_drop=0.1)

    assert (worse.status, worse.n) == ("fail", 120)
    assert worse.value == pytest.approx(-1 / 3)
    assert (better.status, better.value) == ("pass", pytest.approx(1 / 3))


def test_pass_rates_have_slices_and_bounds_like_any_metric(repeated):
    results = repeated(30, 10)

    both = decide(results, "right/pass^2", ">=", 0.5, confidence=0.95)
    exact = binomtest(30, 40, alternative="greater").proportion_ci(0.95).low
    slices = decide_each_slice(results, "right/pass@1", ">=", 0.4, by="kind")

    assert both.lower == pytest.approx(exact, abs=1e-9)
    assert [d.value for d in slices] == [1.0, 0.5]


@pytest.mark.parametrize(
    "metric",
    [
        Metric(name="grade", score=lambda p, e: 1.0, range=(1, 5)),
        Metric(
            name="toxic",
            score=lambda p, e: 1.0,
            range=(0, 1),
            higher_is_better=False,
        ),
    ],
)
def test_a_pass_rate_needs_a_metric_of_right_and_wrong(repeated, metric):
    decision = decide(repeated(4, 0, [metric]), f"{metric.name}/pass@2", ">=", 0.9)

    assert (decision.status, decision.reason) == ("error", "METRIC_ERROR")


def test_gates_in_threads_count_every_row_once(repeated):
    results = repeated(300, 300)
    wanted = [{"kind": "easy"}, {"kind": "hard"}] * 8

    with ThreadPoolExecutor(8) as pool:
        found = list(
            pool.map(
                lambda where: decide(results, "right", ">=", 0.9, where=where), wanted
            )
        )

    assert {(one.n, one.value, len(one.worst)) for one in found} == {
        (300, 1.0, 0),
        (300, 0.5, 3),
    }


def test_secrets_in_a_column_do_not_merge_its_slices(repeated, monkeypatch):
    monkeypatch.setenv("A_TOKEN", "easy-secret")
    monkeypatch.setenv("B_TOKEN", "hard-secret")
    results = repeated(3, 2, suffix="-secret")

    slices = decide_each_slice(results, "right", ">=", 0.4, by="kind")

    assert [(one.n, one.value) for one in slices] == [(3, 1.0), (2, 0.5)]
    assert results.rows[0].example.metadata["kind"] == "[redacted]"


@pytest.mark.parametrize(
    "options",
    [
        {"bounds": (-1e308, 1e308), "confidence": 0.95},
        {"confidence": numpy.array([0.9, 0.95])},
        {"on_error": numpy.array([1, 2])},
    ],
)
def test_whatever_a_gate_is_given_it_is_decided_and_never_raised(repeated, options):
    free = Metric(name="free", score=lambda p, e: 1.0)

    decision = decide(repeated(2, 0, [free]), "free", ">=", 0.5, **options)

    assert decision.status == "error"
    assert decision.to_dict()["decision"] == "error"


def test_a_value_outside_the_bounds_of_a_corpus_metric_is_an_error(repeated):
    percent = Metric(name="percent", aggregate=lambda p, e: 85.0)

    decision = decide(repeated(2, 0, [percent]), "percent", ">=", 0.9, bounds=(0, 1))

    assert decision.reason == "OUT_OF_RANGE"


def test_a_changed_scorer_is_another_metric(repeated):
    def scorer(answer):
        return Metric(name="own", score=lambda p, e: p.text == answer, range=(0, 1))

    strict = Metric(name="own", score=lambda p, e: p.text == "yes", range=(0, 1))
    lax = Metric(name="own", score=lambda p, e: p.text in ("yes", "no"), range=(0, 1))
    before = repeated(4, 4, [strict])

    for changed in (lax, scorer("no")):
        now = repeated(4, 4, [changed])
        decision = decide_no_regression(now, before, "own", max_drop=0.9)
        assert decision.reason == "METRIC_CHANGED"
    same = decide_no_regression(repeated(4, 4, [strict]), before, "own", max_drop=0.9)
    assert same.value == 0.0
