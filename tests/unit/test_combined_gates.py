"""Gates of one kind on evaluations of another: repeats, slices, changes, early stop."""

from collections import Counter

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

    def repeated(easy, hard, metrics=(RIGHT,), *, all_easy=False):
        kinds = ["easy"] * easy + ["hard"] * hard
        rows = [
            {"id": f"r{i}", "input": f"{i} {kind}", "kind": kind, "pair": i // 2}
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


def test_a_quantile_is_of_the_examples_means(repeated):
    decision = decide_quantile(repeated(30, 10), "right", 0.25, "<=", 0.5)

    assert (decision.status, decision.n, decision.share) == ("pass", 40, 0.25)


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
