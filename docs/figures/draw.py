"""Draw the pictures of docs/statistics.md and write its tables, from numbers.json."""

import json
from pathlib import Path

from docs.figures.measure import LEVEL
from docs.figures.measure import NUMBERS
from pytest_llmeval.chart import Axis
from pytest_llmeval.chart import Bar
from pytest_llmeval.chart import Line
from pytest_llmeval.chart import draw_chart
from pytest_llmeval.sizing import draw
from pytest_llmeval.sizing import plan_size
from pytest_llmeval.stats import binary_rows_for_power
from pytest_llmeval.stats import rows_all_right


FOLDER = Path(__file__).parent
PAGE = FOLDER.parent / "statistics.md"
SHARES = (0, 0.2, 0.4, 0.6, 0.8, 1)
PLANNED = ((0.9, 0.95), (0.9, 0.93), (0.95, 0.97), (0.99, 0.995))
PROMISE = Bar("promise: 0.05", LEVEL)


def pictures(numbers):
    """Return the text of each SVG file by its name."""
    rows = Axis("rows", (30, 100, 300, 1_000), log=True)
    rate = Axis("share of bad models that pass", SHARES)
    stop = numbers["early_stop"]
    return {
        "binary.svg": draw_chart(
            "Right-or-wrong scores, worst threshold",
            lines(numbers["binary"]),
            [PROMISE],
            rows,
            rate,
        ),
        "accidents.svg": draw_chart(
            "Scores near .95 and rare accidents, worst rate",
            lines(numbers["accidents"]),
            [PROMISE],
            rows,
            rate,
        ),
        "power.svg": draw_chart(
            "A mean that is .03 above the threshold",
            lines(numbers["power"]),
            [],
            Axis("rows", (20, 50, 100, 200, 500, 1_000), log=True),
            Axis("share of good models that pass", SHARES),
        ),
        "early-stop.svg": draw_chart(
            "Early stop at a threshold of .9",
            [Line("rows, on average", [(float(s), stop[s]["rows"]) for s in stop])],
            [],
            Axis("true share of right answers", (0.8, 0.85, 0.9, 0.95, 1)),
            Axis("rows of 1,000", (0, 200, 400, 600, 800, 1_000)),
        ),
        "plan-size.svg": draw(plan_size(0.9, 0.95, 0.95, 0.8)),
    }


def lines(measured):
    """Return one line for each method."""
    return [
        Line(name, [(float(rows), rate) for rows, rate in rates.items()])
        for name, rates in measured.items()
    ]


def tables(numbers):
    """Return the Markdown of each table by its name in the page."""
    by_rows = ("binary", "accidents", "families", "paired", "power")
    found = {name: table("rows", numbers[name]) for name in by_rows}
    found["clusters"] = table("clusters", numbers["clusters"])
    found["sizes"] = size_table()
    found["early stop"] = stop_table(numbers["early_stop"])
    found["peeking"] = f"Looked at every 10 rows: {shown(numbers['peeking'])}."
    return found


def table(unit, measured):
    """Return a Markdown table: a row for each method, a column for each size."""
    sizes = list(next(iter(measured.values())))
    head = [f"{unit}:", *(f"{int(size):,}" for size in sizes)]
    body = [[name, *map(shown, rates.values())] for name, rates in measured.items()]
    return markdown(head, body)


def size_table():
    """Return the table of rows that gates at 95 % need for a power of 80 %."""
    body = [
        [
            f"{bar:g}",
            f"{share:g}",
            f"{binary_rows_for_power(bar, share, 0.95, 0.8):,}",
            f"{rows_all_right(bar, 0.95):,}",
        ]
        for bar, share in PLANNED
    ]
    head = ["threshold", "true share", "rows for 80 % power", "rows when all are right"]
    return markdown(head, body)


def stop_table(measured):
    """Return the table of the early stop, a row for each true share."""
    body = [
        [share, f"{found['rows']:.0f}", shown(found["above"]), shown(found["below"])]
        for share, found in measured.items()
    ]
    return markdown(["true share", "rows on average", "above", "below"], body)


def markdown(head, body):
    """Return a Markdown table."""
    rule = ["---" for _ in head]
    return "\n".join(f"| {' | '.join(row)} |" for row in (head, rule, *body))


def shown(share):
    """Return a share with three decimals and no zero before the point."""
    return f"{share:.3f}".removeprefix("0")


def page_with(page, contents, script="draw.py"):
    """Return the page with what stands between the marks of each table replaced."""
    for name, content in contents.items():
        begin, end = (
            f"<!-- {name}: by docs/figures/{script} -->",
            f"<!-- end {name} -->",
        )
        before, _, rest = page.partition(begin)
        _, _, after = rest.partition(end)
        page = f"{before}{begin}\n\n{content}\n\n{end}{after}"
    return page


if __name__ == "__main__":
    measured = json.loads(NUMBERS.read_text(encoding="utf-8"))
    for name, text in pictures(measured).items():
        (FOLDER / name).write_text(text, encoding="utf-8")
    text = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(page_with(text, tables(measured)), encoding="utf-8")
