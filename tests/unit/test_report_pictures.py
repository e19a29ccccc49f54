"""The pictures of the HTML report lie where the numbers are."""

import itertools
import xml.etree.ElementTree as ET

import pytest

from pytest_llmeval.report.html.draw import WIDTH
from pytest_llmeval.report.html.draw import draw_histogram
from pytest_llmeval.report.html.draw import draw_interval
from pytest_llmeval.report.html.figures import Bin
from pytest_llmeval.report.html.figures import Estimate


def shapes(picture, name):
    found = ET.fromstring(picture).iter()
    return [shape for shape in found if shape.get("class") == name]


def place(shape, name):
    return float(shape.get(name))


def test_interval_value_and_bar_are_on_one_scale():
    picture = draw_interval(Estimate(0.5, 0.4, 0.6), ">=", 0.3)

    # The numbers reach from .3 to .6, with .4 of that as room on either side.
    def expected(number):
        return pytest.approx(WIDTH * (number - 0.18) / (0.72 - 0.18), abs=0.1)

    (line,) = shapes(picture, "interval")
    (dot,) = shapes(picture, "value")
    (bar,) = shapes(picture, "threshold")
    assert place(line, "x1") == expected(0.4)
    assert place(line, "x2") == expected(0.6)
    assert place(dot, "cx") == expected(0.5)
    assert place(bar, "x1") == expected(0.3)


@pytest.mark.parametrize(
    ("op", "begins", "ends"), [(">=", "bar", WIDTH), ("<", 0, "bar"), ("==", None, 0)]
)
def test_side_on_which_a_gate_passes_is_shaded(op, begins, ends):
    picture = draw_interval(Estimate(0.5), op, 0.4)
    shaded, (line,) = shapes(picture, "passing"), shapes(picture, "threshold")

    bar = place(line, "x1")
    sides = [
        (place(side, "x"), place(side, "x") + place(side, "width")) for side in shaded
    ]
    expected = [bar if end == "bar" else end for end in (begins, ends)]
    assert sides == ([] if begins is None else [pytest.approx(expected)])


def test_estimates_to_compare_are_on_the_same_scale():
    one, other = Estimate(0.2, 0.1, 0.3), Estimate(0.8, 0.7, 0.9)
    pictures = [draw_interval(each, among=[one, other]) for each in (one, other)]
    (left,), (right,) = [shapes(picture, "interval") for picture in pictures]

    assert place(left, "x2") < place(right, "x1")


def test_picture_says_in_words_what_it_shows():
    picture = draw_interval(Estimate(0.5, 0.4, 0.6), ">=", 0.3)

    words = ET.fromstring(picture).get("aria-label")
    assert words == "value 0.500, from 0.400 to 0.600; needed >= 0.300"


def test_bars_are_as_tall_as_they_have_scores():
    bins = [Bin(0, 0, 5), Bin(0.5, 0.5, 0), Bin(1, 1, 10)]
    picture = draw_histogram(bins, 'by "a" & <b>')

    heights = [place(bar, "height") for bar in shapes(picture, "bin")]
    assert heights == [29, 0, 58]
    words = ET.fromstring(picture).get("aria-label")
    assert words == 'by "a" & <b>: 0: 5; 0.5: 0; 1: 10'


def test_bars_do_not_overlap_and_fill_the_width():
    bins = [Bin(at, at + 1, 1) for at in range(20)]
    bars = shapes(draw_histogram(bins, "by a"), "bin")

    ends = [(place(bar, "x"), place(bar, "x") + place(bar, "width")) for bar in bars]
    assert all(one[1] <= other[0] for one, other in itertools.pairwise(ends))
    assert ends[0][0] >= 0
    assert ends[-1][1] <= WIDTH
