"""`llmeval plan-size`: what it says, and the curve that it draws."""

import re
import xml.etree.ElementTree as ET

import pytest
from scipy.stats import binom
from scipy.stats import binomtest

from pytest_llmeval.cli import main


@pytest.fixture
def plan(capsys):
    def plan(*arguments):
        status = main(["plan-size", *arguments])
        said = capsys.readouterr()
        return status, said.out + said.err

    return plan


def table(text):
    rows = re.findall(r"^ +([\d,]+)  ([\d.]+)$", text, re.MULTILINE)
    return {int(count.replace(",", "")): float(power) for count, power in rows}


def test_says_how_many_rows_a_gate_needs(plan):
    status, text = plan("--threshold", ".9", "--expect", ".95")

    assert status == 0
    assert text.splitlines()[:4] == [
        "gate         at least 0.9 right, at 95 % confidence",
        "model        0.95 of its answers are right",
        "rows         203 or more pass with a power of 80 %",
        "all right    29 rows pass when every answer is right",
    ]
    assert sorted(table(text)) == [50, 100, 200, 203, 300]


def test_the_powers_in_the_table_are_exact(plan):
    _, text = plan("--threshold", ".9", "--expect", ".95")
    for rows, power in table(text).items():
        least = next(
            right
            for right in range(rows + 1)
            if binomtest(right, rows, alternative="greater").proportion_ci(0.95).low
            >= 0.9
        )
        assert power == round(binom.sf(least - 1, rows, 0.95), 3)


def test_confidence_and_power_are_taken_from_the_command(plan):
    _, text = plan(
        *("--threshold", ".9", "--expect", ".99", "--confidence", ".99"),
        *("--power", ".9"),
    )

    assert "at 99 % confidence" in text
    assert "with a power of 90 %" in text
    assert "all right    44 rows" in text  # .9 ** 44 = .0097


def test_plans_a_gate_against_a_baseline(plan):
    status, text = plan("--max-drop", ".1", "--discordant", ".1")

    assert status == 0
    assert text.splitlines()[:2] == [
        "gate         a drop of at most 0.1, at 95 % confidence",
        "model        0.1 of the rows change, by +0 on average",
    ]
    needed = int(re.search(r"rows +([\d,]+) or more", text)[1].replace(",", ""))
    assert table(text)[needed] >= 0.8
    assert "all right" not in text


def test_a_model_that_is_better_than_the_baseline_needs_fewer_rows(plan):
    needed = []
    for expected in ("0", "0.02"):
        common = "--max-drop", ".1", "--discordant", ".1", "--expect", expected
        _, text = plan(*common)
        needed.append(int(re.search(r"rows +([\d,]+) or more", text)[1]))

    assert needed[1] < 0.8 * needed[0]


@pytest.mark.parametrize(
    "gate",
    [
        ("--threshold", ".9", "--expect", ".95"),
        ("--max-drop", ".1", "--discordant", ".1"),
    ],
)
def test_draws_a_power_curve_with_axes_and_labels(plan, tmp_path, gate):
    file = tmp_path / "power.svg"
    status, text = plan(*gate, "--svg", str(file))

    assert status == 0
    assert text.splitlines()[-1] == f"power curve  {file}"
    root = ET.fromstring(file.read_text(encoding="utf-8"))
    words = ["".join(element.itertext()) for element in root.iter() if element.text]
    assert any(word.startswith("rows, when ") for word in words)
    assert "power" in words
    assert any(word.startswith("80 %: ") for word in words)
    points = root.find("{*}polyline").get("points").split()
    heights = [float(point.split(",")[1]) for point in points]
    assert len(points) >= 25
    assert heights[0] > 330  # no power with one row, at the bottom
    assert heights[-1] < 80  # nearly 1 with twice as many as needed, at the top
    assert len(file.read_bytes()) < 10_000


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--threshold", ".9"), "--threshold needs --expect too"),
        (("--max-drop", ".02"), "--max-drop needs --discordant too"),
        (("--threshold", ".95", "--expect", ".9"), "below the expected value"),
    ],
)
def test_a_plan_without_sense_is_an_error_that_says_why(plan, arguments, words):
    status, text = plan(*arguments)

    assert status == 1
    assert text.startswith("llmeval: ")
    assert words in text


def test_a_picture_that_cannot_be_written_is_an_error(plan, tmp_path):
    file = tmp_path / "nowhere" / "a.svg"

    status, text = plan("--threshold", ".9", "--expect", ".95", "--svg", str(file))

    assert status == 1
    assert f"cannot write {file}" in text
