"""Pieces of GitHub's Markdown that hold any text without obeying it.

Escapes do not help: GitHub looks for mentions, issue numbers, emoji codes and addresses
in the text after its escapes are resolved, but never within code. So what is no plain
word becomes code.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from collections.abc import Sequence
from itertools import groupby

from pytest_llmeval.text import one_line
from pytest_llmeval.text import safe


LETTERS = r"[^\W\d_]+(?:['-][^\W\d_]+)*"
NUMBER = r"(?:n=)?[+-]?\d+(?:[.,]\d+)*"
# Seven hexadecimal digits may be a commit, which GitHub links.
COMMIT = "[0-9a-fA-F]{7}"
PLAIN = re.compile(rf"(?!\(?{COMMIT})(?:\(?(?:{LETTERS}|{NUMBER})\)?|%|-)[,.;:]?")


def inert(text: object, limit: int = 160) -> str:
    """Return any text on one line of Markdown: plain words, and code for the rest.

    Not for the beginning of a line, where ``1.`` would be a list, nor within HTML. A
    cell of a table takes it through `table`.

    Args:
        text: Made safe here.
        limit: In characters, of the text.
    """
    words = one_line(text, limit).split()
    return " ".join(
        " ".join(run) if is_plain else _code(" ".join(run))
        for is_plain, run in groupby(words, key=_is_plain)
    )


def _is_plain(word: str) -> bool:
    return PLAIN.fullmatch(word) is not None


def _code(text: str) -> str:
    """Return text as code; punctuation at its end belongs to the sentence."""
    content = text.rstrip(",.;: ") or text
    if content.count(")") > content.count("("):
        content = content.removesuffix(")") or text
    ticks = "`" * (_longest_run(content) + 1)
    padding = " " if "`" in (content[0], content[-1]) else ""
    return f"{ticks}{padding}{content}{padding}{ticks}{text[len(content) :]}"


def _longest_run(text: str) -> int:
    return max(map(len, re.findall("`+", text)), default=0)


def fenced(text: str) -> str:
    """Return a text of many lines as a block of code."""
    shown = safe(text)
    fence = "`" * max(_longest_run(shown) + 1, 3)
    return f"{fence}text\n{shown}\n{fence}"


def table(heading: Sequence[str], lines: Iterable[Sequence[str]]) -> str:
    """Return a table.

    Args:
        heading: One cell for each column.
        lines: Cells of inert Markdown.
    """
    rule = ["---"] * len(heading)
    return "\n".join(map(_line, [heading, rule, *lines]))


def _line(cells: Sequence[str]) -> str:
    # Engines disagree on a backslash before an escaped pipe.
    shown = [
        cell.replace("\\|", r"\x5c|").replace("|", r"\|").ljust(1) for cell in cells
    ]
    return f"| {' | '.join(shown)} |"


def folded(summary: str, *blocks: str) -> str:
    """Return blocks that are hidden until one opens them.

    Args:
        summary: Of our own words: it stands within HTML.
        blocks: Markdown.
    """
    head = f"<details>\n<summary>{summary}</summary>"
    return "\n\n".join([head, *blocks, "</details>"])
