"""Write the tables of fields in guides/bi.md, from what the file for Tableau says.

python -m docs.generate_bi           write them into docs/guides/bi.md
python -m docs.generate_bi --print   print them
"""

from pathlib import Path

from docs.generated import page_between
from docs.generated import write_or_print
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
    return page_between(page, content, BEGIN, END)


if __name__ == "__main__":
    write_or_print(PAGE, fields(), page_with)
