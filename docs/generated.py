"""What the generators of tables in these pages have in common."""

import sys
from collections.abc import Callable
from pathlib import Path


def page_between(page: str, content: str, begin: str, end: str) -> str:
    """Return a page with what stands between two markers replaced."""
    before, _, rest = page.partition(begin)
    _, _, after = rest.partition(end)
    return f"{before}{begin}\n\n{content}\n\n{end}{after}"


def write_or_print(
    path: Path, content: str, page_with: Callable[[str, str], str]
) -> None:
    """Write a generated part into its page, or print it for ``--print``."""
    if sys.argv[1:] == ["--print"]:
        sys.stdout.write(f"{content}\n")
    else:
        page = path.read_text(encoding="utf-8")
        path.write_text(page_with(page, content), encoding="utf-8")
