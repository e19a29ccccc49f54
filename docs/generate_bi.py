"""Write the tables of fields in guides/bi.md, from what the file for Tableau says.

python docs/generate_bi.py           write them into docs/guides/bi.md
python docs/generate_bi.py --print   print them
"""

import sys
from pathlib import Path

from pytest_llmeval.history.bi.fields import TABLES
from pytest_llmeval.history.bi.fields import history_fields
from pytest_llmeval.history.schema import Table


PAGE = Path(__file__).parent / "guides" / "bi.md"
BEGIN = "<!-- fields: written by docs/generate_bi.py -->"
END = "<!-- end of fields -->"
COMBINED = {"Sum": "sum", "Avg": "mean", None: ""}


def fields() -> str:
    """Return the Markdown of the fields of all tables."""
    return "\n\n".join(map(section, TABLES))


def section(table: Table) -> str:
    """Return the Markdown of the fields of one table."""
    lines = [
        f"### {table.name}",
        "",
        "| field | column | combined by | meaning |",
        "|---|---|---|---|",
    ]
    for field in history_fields():
        if field.table is table and not field.is_hidden:
            combined = COMBINED[field.aggregation]
            cells = (field.caption, f"`{field.column.name}`", combined)
            lines.append(f"| {' | '.join(cells)} | {field.column.meaning} |")
    return "\n".join(lines)


def page_with(page: str, content: str) -> str:
    """Return the page with what stands between the two markers replaced."""
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(f"{fields()}\n")
    else:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(page_with(page, fields()), encoding="utf-8")
