import pytest

from pytest_llmeval import Example
from pytest_llmeval import Metric
from pytest_llmeval import hookimpl
from pytest_llmeval import rouge
from pytest_llmeval.errors import MetricError
from pytest_llmeval.metrics import as_metric
from pytest_llmeval.metrics import find_metrics
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply


def politeness(prediction: str, example: Example) -> float:
    return len(prediction)


def is_short(prediction: str, example: Example) -> bool:
    return len(prediction) < 3


def quoted(prediction, example) -> "bool":
    return True


async def later(prediction, example):
    return 1.0


def test_a_function_is_a_metric_under_its_own_name():
    metric = as_metric(politeness)

    assert (metric.name, metric.range) == ("politeness", None)
    assert metric.score(Prediction(reply=Reply(text="abcd")), None) == 4


@pytest.mark.parametrize("function", [is_short, quoted])
def test_a_function_that_returns_bool_has_the_range_0_to_1(function):
    assert as_metric(function).range == (0.0, 1.0)


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        ("rouge1", r"metrics='rouge1' is one name; write metrics=\['rouge1'\]"),
        ([], 'metrics= is empty; give at least one, such as "exact_match"'),
        (
            ["rogue1"],
            "no metric is named 'rogue1'; did you mean 'rouge1'\\?\nknown metrics: "
            "accuracy, bleu, chrf, contains, exact_match, f1_macro, json_valid, ",
        ),
        (["bleu", "bleu"], "metrics= holds 'bleu' twice"),
        ([is_short, is_short], "metrics= holds 'is_short' twice"),
        ([lambda p, e: 1], "is no metric: give a name, a Metric or a named function"),
        ([3], r"3 is no metric: .* f\(prediction: str, example: Example\) -> float"),
        ([later], "metric 'later' is async; give a plain function"),
        ([Metric(name="empty")], "metric 'empty' has neither score nor aggregate"),
    ],
)
def test_unusable_metrics_are_refused(hook, wanted, message):
    with pytest.raises(MetricError, match=message):
        find_metrics(wanted, hook)


class Plugin:
    @hookimpl
    def pytest_llmeval_metrics(self):
        return [politeness]


def test_metrics_of_hooks_and_of_the_fixture_are_known_by_name(manager):
    manager.register(Plugin())

    found = find_metrics(["politeness", "is_short", "bleu"], manager.hook, [is_short])

    assert list(found) == ["politeness", "is_short", "bleu"]
    assert (
        found["politeness"]
        .source.partition(" ")[0]
        .endswith("test_find_metrics.politeness")
    )


def test_one_name_for_two_known_metrics_is_refused(manager):
    manager.register(Plugin())
    rouge1 = Metric(name="rouge1", score=politeness)

    with pytest.raises(MetricError, match="two metrics are named 'politeness'; rename"):
        find_metrics(["bleu"], manager.hook, [politeness])
    with pytest.raises(MetricError, match="two metrics are named 'rouge1'"):
        find_metrics(["bleu"], manager.hook, [rouge1])


def test_a_metric_given_itself_replaces_the_built_in_of_its_name(hook):
    mine = rouge("rouge1", stemmer=True)

    assert find_metrics([mine], hook)["rouge1"] is mine
