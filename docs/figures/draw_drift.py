"""Draw the picture of docs/monitoring.md and write its tables, from drift.json."""

import json

from docs.figures.draw import FOLDER
from docs.figures.draw import lines
from docs.figures.draw import markdown
from docs.figures.draw import page_with
from docs.figures.draw import shown
from docs.figures.draw import table
from docs.figures.drift import FARTHEST
from docs.figures.drift import NUMBERS
from docs.figures.drift import RUN_LENGTHS
from pytest_llmeval.chart import Axis
from pytest_llmeval.chart import draw_chart


PAGE = FOLDER.parent / "monitoring.md"
SCRIPT = "draw_drift.py"
LONGEST_DELAY = 100


def pictures(numbers):
    """Return the text of each SVG file by its name."""
    shorter = {
        method: {drop: delay for drop, delay in delays.items() if delay < LONGEST_DELAY}
        for method, delays in numbers["drops"].items()
    }
    return {
        "drift.svg": draw_chart(
            "Evaluations of 200 rows up to the alarm",
            lines(shorter),
            [],
            Axis("drop of a mean of .9", (0.02, 0.03, 0.05, 0.07, 0.1)),
            Axis("evaluations, on average", (1, 2, 5, 10, 20, 50, 100), log=True),
        )
    }


def tables(numbers):
    """Return the Markdown of each table by its name in the page."""
    return {
        "run lengths": run_length_table(numbers["run_lengths"]),
        "delays": delay_table("rows", numbers["delays"]),
        "drops": delay_table("drop", numbers["drops"]),
        "first quarter": first_quarter_table(numbers["first_quarter"]),
        "intervals": interval_table(numbers["intervals"]),
        "stability": table("values", numbers["stability"]),
        "n-grams": ngram_table(numbers["ngrams"]),
    }


def run_length_table(measured):
    """Return the table of run lengths, which were followed only so far."""
    body = [
        [name, *(counted(mean, int(length)) for length, mean in found.items())]
        for name, found in measured.items()
    ]
    return markdown(["promised:", *(f"{length:,}" for length in RUN_LENGTHS)], body)


def counted(mean, length):
    """Return a mean length, or that almost no run ended."""
    most = FARTHEST * length
    return f"{mean:,.0f}" if mean < 0.98 * most else f"about {most:,} or more"


def delay_table(unit, measured):
    """Return the table of delays, a row for each method."""
    sizes = [shown_size(size) for size in next(iter(measured.values()))]
    body = [
        [name, *(f"{delay:,.1f}" for delay in delays.values())]
        for name, delays in measured.items()
    ]
    return markdown([f"{unit}:", *sizes], body)


def shown_size(size):
    """Return a number of rows, or a drop without the zero before the point."""
    number = float(size)
    return f"{number:,.0f}" if number >= 1 else f"{number:.2f}".removeprefix("0")


def first_quarter_table(measured):
    """Return the table of early false alarms."""
    head = ["", *next(iter(measured.values()))]
    body = [[name, *map(shown, shares.values())] for name, shares in measured.items()]
    return markdown(head, body)


def interval_table(measured):
    """Return the table of coverage and width of the intervals."""
    sizes = list(next(iter(measured.values())))
    body = [
        [
            shown_size(drop),
            *(f"{shown(one['held'])}, {one['wide']:.1f}" for one in by_rows.values()),
        ]
        for drop, by_rows in measured.items()
    ]
    return markdown(["drop, rows:", *map(shown_size, sizes)], body)


def ngram_table(measured):
    """Return the table of the test on trigrams."""
    sizes = list(next(iter(measured.values())))
    body = [
        [shown_size(share) if float(share) else "none", *map(shown, found.values())]
        for share, found in measured.items()
    ]
    return markdown(["texts in other words, of:", *map(shown_size, sizes)], body)


if __name__ == "__main__":
    measured = json.loads(NUMBERS.read_text(encoding="utf-8"))
    for name, text in pictures(measured).items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page_with(text, tables(measured), SCRIPT), encoding="utf-8")
