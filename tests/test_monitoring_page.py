"""What docs/monitoring.md shows is what docs/figures measured, and still measures."""

import json
import math

import pytest
from scipy.stats import binom

from docs.figures import draw_drift
from docs.figures import drift
from docs.figures.draw import page_with


NUMBERS = json.loads(drift.NUMBERS.read_text(encoding="utf-8"))
PAGE = draw_drift.PAGE.read_text(encoding="utf-8")


def test_tables_come_from_the_measured_numbers():
    tables = draw_drift.tables(NUMBERS)

    assert page_with(PAGE, tables, draw_drift.SCRIPT) == PAGE
    for name, content in tables.items():
        assert content in PAGE, name


@pytest.mark.parametrize("name", draw_drift.pictures(NUMBERS))
def test_pictures_come_from_the_measured_numbers(name):
    text = (draw_drift.FOLDER / name).read_text(encoding="utf-8")

    assert text == draw_drift.pictures(NUMBERS)[name]
    assert len(text) < 10_000
    assert f"](figures/{name})" in PAGE


def test_all_that_can_be_measured_is_in_the_numbers():
    assert list(NUMBERS) == [part.__name__ for part in drift.PARTS]
    assert list(NUMBERS["run_lengths"]) == list(drift.CASES)


def test_no_promised_run_length_was_broken():
    for name, found in NUMBERS["run_lengths"].items():
        kept = [
            mean >= int(length) * (1 - 3 / math.sqrt(300))
            for length, mean in found.items()
        ]
        assert all(kept) != ("not promised" in name), name


def test_coverage_and_levels_are_those_that_are_stated():
    for by_rows in NUMBERS["intervals"].values():
        error = 3 * math.sqrt(0.95 * 0.05 / 1_000)
        assert min(one["held"] for one in by_rows.values()) >= 0.95 - error
    error = 3 * math.sqrt(0.05 * 0.95 / 1_000)
    assert max(NUMBERS["stability"]["p-value at most .05"].values()) <= 0.05 + error
    error = 3 * math.sqrt(0.05 * 0.95 / 200)
    assert max(NUMBERS["ngrams"]["0"].values()) <= 0.05 + error


def test_delays_of_the_plain_threshold_are_the_same_again():
    for rows, delay in NUMBERS["delays"]["plain threshold"].items():
        n = int(rows)
        limit = max(k for k in range(n) if binom.cdf(k, n, 0.9) <= 1 / 365)
        assert delay == pytest.approx(1 / binom.cdf(limit, n, 0.85), abs=1e-4)


def test_a_simulated_run_length_is_the_same_again():
    name = "either way"
    again = drift.mean_length(name, 30, 300)

    # Another release of NumPy may draw other numbers: then within four errors.
    assert again == pytest.approx(NUMBERS["run_lengths"][name]["30"], rel=0.33)
