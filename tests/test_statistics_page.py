"""What docs/statistics.md shows is what docs/figures measured, and still measures."""

import json

import pytest

from docs.figures import draw
from docs.figures import measure
from docs.figures.families import FAMILIES


NUMBERS = json.loads(measure.NUMBERS.read_text(encoding="utf-8"))
PAGE = draw.PAGE.read_text(encoding="utf-8")


def test_tables_come_from_the_measured_numbers():
    assert draw.page_with(PAGE, draw.tables(NUMBERS)) == PAGE
    for name, content in draw.tables(NUMBERS).items():
        assert content in PAGE, name


@pytest.mark.parametrize("name", draw.pictures(NUMBERS))
def test_pictures_come_from_the_measured_numbers(name):
    text = (draw.FOLDER / name).read_text(encoding="utf-8")

    assert text == draw.pictures(NUMBERS)[name]
    assert len(text) < 10_000
    assert f"](figures/{name})" in PAGE


def test_all_that_can_be_measured_is_in_the_numbers():
    assert list(NUMBERS) == [part.__name__ for part in measure.PARTS]
    assert list(NUMBERS["families"]) == list(FAMILIES)


def test_rates_that_are_counted_are_the_same_again():
    assert measure.rounded(measure.binary()) == NUMBERS["binary"]
    again = measure.rounded(measure.worst_paired(50))
    assert again == {name: rates["50"] for name, rates in NUMBERS["paired"].items()}


@pytest.mark.parametrize("name", ["five grades", "noisy scores, missed accidents"])
def test_a_simulated_rate_is_the_same_again(name):
    family = FAMILIES[name]
    samples = family.draw(measure.seeded("families", name, 30), (10_000, 30))

    again = measure.passes(samples, family.mean(30))
    # Another release of NumPy may draw other numbers: then within four errors.
    assert abs(again - NUMBERS["families"][name]["30"]) < 4 * (2 * 0.05 / 10_000) ** 0.5


def test_gaffke_keeps_the_promise_in_every_measurement():
    for part in ("binary", "accidents", "paired"):
        assert max(NUMBERS[part]["Gaffke"].values()) <= 0.05 + 3 * 0.0049
    for rates in NUMBERS["families"].values():
        assert max(rates.values()) <= 0.05 + 3 * 0.0022
    assert max(NUMBERS["clusters"]["each cluster"].values()) <= 0.05 + 3 * 0.0031
    for decided in NUMBERS["early_stop"].values():
        assert min(decided["above"], decided["below"]) <= 0.05 + 3 * 0.0035
