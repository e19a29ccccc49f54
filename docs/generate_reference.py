"""Write the table of options in reference.md, from the package itself.

python -m docs.generate_reference           write it into docs/reference.md
python -m docs.generate_reference --print   print it
"""

from pathlib import Path

from docs.generated import page_between
from docs.generated import write_or_print
from pytest_llmeval.options import OPTIONS


PAGE = Path(__file__).with_name("reference.md")
BEGIN = "<!-- options: written by docs/generate_reference.py -->"
END = "<!-- end of options -->"


def table() -> str:
    """Return the Markdown table of all options and ini values."""
    lines = ["| option | ini value | values | what it does |", "|---|---|---|---|"]
    for option in OPTIONS:
        kind = {int: "whole number", float: "number"}.get(option.type, "text")
        values = ", ".join(f"`{choice}`" for choice in option.choices) or kind
        cells = (
            f"`{option.option}`" if option.option else "",
            f"`{option.ini}`" if option.ini else "",
            "flag" if option.flag else values,
            option.help.replace("|", "\\|"),
        )
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def page_with(page: str, content: str) -> str:
    """Return the page with what stands between the two markers replaced."""
    return page_between(page, content, BEGIN, END)


if __name__ == "__main__":
    write_or_print(PAGE, table(), page_with)
