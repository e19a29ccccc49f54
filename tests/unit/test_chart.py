import xml.etree.ElementTree as ET

import pytest

from pytest_llmeval.chart import Axis
from pytest_llmeval.chart import Bar
from pytest_llmeval.chart import Line
from pytest_llmeval.chart import draw_chart


def chart(lines, bars=(), across=None):
    across = across or Axis("rows", (0, 50, 100))
    return draw_chart("a < b & c", lines, bars, across, Axis("power", (0, 0.5, 1)))


def places(text):
    found = ET.fromstring(text).findall("{*}polyline")
    return [
        [tuple(map(float, point.split(","))) for point in line.get("points").split()]
        for line in found
    ]


def test_corners_of_the_axes_are_corners_of_the_picture():
    (points,) = places(chart([Line("one", [(0, 0), (50, 0.5), (100, 1)])]))

    assert points == [(70, 340), (300, 195), (530, 50)]


def test_equal_factors_are_equal_steps_on_a_log_axis():
    axis = Axis("rows", (10, 1_000), log=True)
    (points,) = places(chart([Line("one", [(10, 0), (100, 0), (1_000, 0)])], (), axis))

    assert [x for x, _ in points] == [70, 300, 530]


def test_texts_are_escaped_and_in_the_picture():
    text = chart([Line("<script>", [(0, 0)])], [Bar('"80 %"', 0.8)])

    assert "<script>" not in text
    words = {element.text for element in ET.fromstring(text).iter()}
    assert {"a < b & c", "<script>", '"80 %"', "rows", "power", "0.5", "50"} <= words


def test_lines_have_colors_of_their_own():
    text = chart([Line(f"line {at}", [(0, 0)]) for at in range(7)])

    lines = ET.fromstring(text).findall("{*}polyline")
    assert len({line.get("stroke") for line in lines}) == 7


def test_a_value_at_the_end_of_an_axis_is_placed_at_its_end():
    assert Axis("x", (2, 3, 6)).place(6) == 1
    assert Axis("x", (2, 3, 6)).place(3) == pytest.approx(0.25)
