"""Write the tables of columns in history.md, from the schema itself.

python -m docs.generate_history           write them into docs/history.md
python -m docs.generate_history --print   print them
"""

from pathlib import Path

from docs.generated import page_between
from docs.generated import write_or_print
from pytest_llmeval.history.schema import TABLES
from pytest_llmeval.history.schema import Table


PAGE = Path(__file__).with_name("history.md")
BEGIN = "<!-- tables: written by docs/generate_history.py -->"
END = "<!-- end of tables -->"
TYPES = {
    "text": "text",
    "integer": "64-bit integer",
    "real": "64-bit float",
    "boolean": "boolean",
    "time": "timestamp, UTC",
    "day": "date",
    "json": "JSON as text",
}


def tables() -> str:
    """Return the Markdown of all tables."""
    return "\n\n".join(map(section, TABLES))


def section(table: Table) -> str:
    """Return the Markdown of one table."""
    lines = [
        f"### {table.name}",
        "",
        f"{table.meaning} Key: {', '.join(f'`{key}`' for key in table.keys)}.",
        "",
        "| column | type | unit | meaning |",
        "|---|---|---|---|",
    ]
    for column in table.columns:
        cells = (f"`{column.name}`", TYPES[column.kind], column.unit, column.meaning)
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page_with(page: str, content: str) -> str:
    """Return the page with what stands between the two markers replaced."""
    return page_between(page, content, BEGIN, END)


if __name__ == "__main__":
    write_or_print(PAGE, tables(), page_with)
