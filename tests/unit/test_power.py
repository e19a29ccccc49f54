import itertools
import math

import numpy
import pytest
from scipy.stats import binom
from scipy.stats import binomtest
from scipy.stats import multinomial

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.stats import binary_power
from pytest_llmeval.stats import binary_rows_for_power
from pytest_llmeval.stats import lower_bound
from pytest_llmeval.stats import paired_power
from pytest_llmeval.stats import paired_rows_for_power
from pytest_llmeval.stats import rows_all_right


def passes(right, rows, threshold, confidence):
    exact = binomtest(right, rows, alternative="greater")
    return exact.proportion_ci(confidence, "exact").low >= threshold


@pytest.mark.parametrize("rows", [10, 29, 30, 100, 203])
@pytest.mark.parametrize(("threshold", "expected"), [(0.9, 0.95), (0.5, 0.6)])
def test_power_is_the_sum_over_outcomes_that_pass(rows, threshold, expected):
    likely = sum(
        binom.pmf(right, rows, expected)
        for right in range(rows + 1)
        if passes(right, rows, threshold, 0.95)
    )

    assert binary_power(rows, threshold, expected, 0.95) == pytest.approx(
        likely, abs=1e-12
    )


@pytest.mark.parametrize(
    ("threshold", "expected", "rows"),
    [(0.9, 0.95, 203), (0.9, 0.93, 593), (0.95, 0.97, 694), (0.99, 0.995, 2_185)],
)
def test_rows_from_which_on_the_power_stays_80_percent(threshold, expected, rows):
    assert binary_rows_for_power(threshold, expected, 0.95, 0.8) == rows
    assert binary_power(rows - 1, threshold, expected, 0.95) < 0.8
    assert (
        binary_power(numpy.arange(rows, 4 * rows), threshold, expected, 0.95).min()
        >= 0.8
    )


@pytest.mark.parametrize(("threshold", "rows"), [(0.9, 29), (0.95, 59), (0.99, 299)])
def test_rows_that_must_all_be_right(threshold, rows):
    assert rows_all_right(threshold, 0.95) == rows
    assert lower_bound([1], 0.95, 0, 1, counts=[rows]) >= threshold
    assert lower_bound([1], 0.95, 0, 1, counts=[rows - 1]) < threshold


def enumerated(rows, threshold, expected, discordant, confidence):
    """The power of a gate on differences, outcome by outcome."""
    gain, loss = (discordant + expected) / 2, (discordant - expected) / 2
    likely = 0.0
    for losses, gains in itertools.product(range(rows + 1), repeat=2):
        same = rows - losses - gains
        if same < 0:
            continue
        scores = [-1] * losses + [0] * same + [1] * gains
        if lower_bound(scores, confidence, -1, 1) >= threshold:
            chances = [loss, 1 - loss - gain, gain]
            likely += multinomial.pmf([losses, same, gains], rows, chances)
    return likely


@pytest.mark.parametrize(
    ("rows", "threshold", "expected", "discordant"),
    [
        (20, -0.2, 0, 0.1),
        (25, -0.1, 0.05, 0.3),
        (25, 0.05, 0.3, 0.4),
        (15, 0.05, 0.25, 0.25),
        (20, -0.25, -0.1, 0.1),
    ],
)
def test_paired_power_is_the_sum_over_outcomes(rows, threshold, expected, discordant):
    found = paired_power(rows, threshold, expected, discordant, 0.9)

    likely = enumerated(rows, threshold, expected, discordant, 0.9)
    assert found == pytest.approx(likely, abs=1e-9)
    assert 0.01 < likely < 0.999


@pytest.mark.parametrize(
    ("threshold", "discordant", "wanted"),
    [(-0.1, 0.1, 0.75), (-0.1, 0.05, 0.85), (-0.05, 0.05, 0.8)],
)
def test_rows_from_which_on_the_paired_power_stays(threshold, discordant, wanted):
    powers = [
        paired_power(rows, threshold, 0, discordant, 0.95) for rows in range(1, 200)
    ]
    last_short = max(i for i, likely in enumerate(powers, 1) if likely < wanted)
    first_enough = min(i for i, likely in enumerate(powers, 1) if likely >= wanted)
    assert first_enough < last_short  # a saw-tooth, so that a bisection would miss it

    rows = paired_rows_for_power(threshold, 0, discordant, 0.95, wanted)

    assert rows == last_short + 1


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((0.9, 0.9, 0.95, 0.8), "expected 0.9 is not sure to pass 0.9"),
        ((0.9, 1.1, 0.95, 0.8), "that at most 1"),
        ((0.0, 0.5, 0.95, 0.8), "threshold must be above 0"),
        ((0.9, 0.95, 95, 0.8), "did you mean 0.95"),
        ((0.9, 0.95, 0.95, 80), "power = 80 must be above 0 and below 1"),
        ((0.9, 0.9001, 0.95, 0.8), "more than 100,000 rows"),
        ((math.nan, 0.95, 0.95, 0.8), "threshold must be above 0"),
    ],
)
def test_a_plan_that_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(ConfigurationError, match=words):
        binary_rows_for_power(*arguments)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((-0.02, -0.02, 0.1, 0.95, 0.8), "threshold must be above -1 and below the"),
        ((-0.02, 0.2, 0.1, 0.95, 0.8), "at least the expected difference 0.2"),
        ((-0.02, 0, 0, 0.95, 0.8), "discordant = 0 must be above 0"),
        ((-0.0002, 0, 0.02, 0.95, 0.9), "more than 30,000 rows"),
    ],
)
def test_a_paired_plan_that_makes_no_sense_is_refused(arguments, words):
    with pytest.raises(ConfigurationError, match=words):
        paired_rows_for_power(*arguments)
