"""One run as a page in one file, which asks nobody for anything.

Its security policy allows the style and the script that the package brings, by their
hashes, and nothing else.
"""

from __future__ import annotations

from pytest_llmeval.report.html.page import render_page
from pytest_llmeval.report.html.page import write_page


__all__ = ["render_page", "write_page"]
