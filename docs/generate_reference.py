"""Write the table of options in reference.md, from the package itself.

python docs/generate_reference.py           write it into docs/reference.md
python docs/generate_reference.py --print   print it
"""

import sys
from pathlib import Path

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
    before, _, rest = page.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{content}\n\n{END}{after}"


if __name__ == "__main__":
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(f"{table()}\n")
    else:
        page = PAGE.read_text(encoding="utf-8")
        PAGE.write_text(page_with(page, table()), encoding="utf-8")
