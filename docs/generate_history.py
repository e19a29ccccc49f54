"""Write the tables of columns in history.md, from the schema itself.

python docs/generate_history.py           write them into docs/history.md
python docs/generate_history.py --print   print them
"""

import sys
from pathlib import Path

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
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(f"{tables()}\n")
    else:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(page_with(page, tables()), encoding="utf-8")
