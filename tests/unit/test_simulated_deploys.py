"""How often a model at the bar passes: by simulation, with fixed seeds."""

import math
import zlib

import numpy
import pytest

from docs.figures.families import FAMILIES
from docs.figures.families import cluster_means
from pytest_llmeval.stats import BettingTest
from pytest_llmeval.stats import p_value


CONFIDENCES = (0.9, 0.95, 0.99)


def seeded(*parts):
    return numpy.random.default_rng(zlib.crc32(repr(parts).encode()))


def check(rate, confidence, samples):
    error = math.sqrt(confidence * (1 - confidence) / samples)
    assert rate <= 1 - confidence + 3 * error


@pytest.mark.parametrize("rows", [10, 30, 100, 300])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_model_at_the_bar_rarely_passes(name, rows):
    samples, family = 2_000, FAMILIES[name]
    scores = family.draw(seeded(name, rows), (samples, rows))
    p_values = [p_value(family.mean(rows), sample, 0, 1) for sample in scores]

    for confidence in CONFIDENCES:
        check(
            numpy.mean(numpy.less_equal(p_values, 1 - confidence)), confidence, samples
        )


@pytest.mark.parametrize("rows", [10, 300])
@pytest.mark.parametrize("name", FAMILIES)
def test_families_have_the_mean_that_they_state(name, rows):
    scores = FAMILIES[name].draw(seeded(name, rows), (200_000 // rows, rows))

    off = abs(scores.mean() - FAMILIES[name].mean(rows))
    assert off < 4.5 * scores.std() / math.sqrt(scores.size)
    assert 0 <= scores.min() <= scores.max() <= 1


@pytest.mark.parametrize("equal", [True, False], ids=["equal", "unequal"])
@pytest.mark.parametrize("icc", [0, 0.1, 0.5])
@pytest.mark.parametrize("clusters", [10, 30, 100])
def test_means_of_clusters_at_the_bar_rarely_pass(clusters, icc, equal):
    samples = 1_500
    means = cluster_means(seeded(clusters, icc, equal), samples, clusters, icc, equal)
    p_values = [p_value(0.8, sample, 0, 1) for sample in means]

    for confidence in CONFIDENCES:
        check(
            numpy.mean(numpy.less_equal(p_values, 1 - confidence)), confidence, samples
        )


@pytest.mark.parametrize("bar", [0.5, 0.9, 0.99])
def test_early_stops_on_either_side_of_a_model_at_the_bar_are_rare(bar):
    samples, rows = 1_500, 1_000
    found = {"above": 0, "below": 0, None: 0}
    for scores in seeded(bar).random((samples, rows)) < bar:
        test = BettingTest(bar, 0.95, 0, 1)
        test.add(scores)
        found[test.decided] += 1

    check(found["above"] / samples, 0.95, samples)
    check(found["below"] / samples, 0.95, samples)
