"""What the page is made of: its own files, the report's style, and the charts'."""

from __future__ import annotations

import base64
import hashlib
import importlib.util
from pathlib import Path
from typing import NamedTuple

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import optional
from pytest_llmeval.report import html


FOLDER = Path(__file__).parent
CHARTS = "uplot"
"""The Python package that brings the JavaScript of uPlot."""


class Asset(NamedTuple):
    """A file that the page loads, or holds."""

    name: str
    text: str

    @property
    def kind(self) -> str:
        """Its media type."""
        return "text/css" if self.name.endswith(".css") else "text/javascript"

    @property
    def source(self) -> str:
        """How a content security policy names its text."""
        digest = hashlib.sha256(self.text.encode()).digest()
        return f"'sha256-{base64.b64encode(digest).decode()}'"


def read_assets() -> list[Asset]:
    """Return the styles and the scripts, in the order in which they are loaded.

    Raises:
        MissingDependency: the package of the charts is not installed.
    """
    charts = _folder_of_charts() / "static"
    paths = {
        "report.css": Path(html.__file__).with_name("page.css"),
        "charts.css": charts / "uPlot.min.css",
        "page.css": FOLDER / "page.css",
        "uplot.js": charts / "uPlot.iife.js",
        "charts.js": FOLDER / "charts.js",
        "page.js": FOLDER / "page.js",
    }
    try:
        return [
            Asset(name, path.read_text(encoding="utf-8"))
            for name, path in paths.items()
        ]
    except OSError as error:
        raise ConfigurationError(
            f"cannot read {error.filename}: {error.strerror}; install the packages "
            'again: pip install --force-reinstall "pytest-llmeval-gate[dashboard]"'
        ) from None


def _folder_of_charts() -> Path:
    # Not imported, because it brings IPython.
    found = importlib.util.find_spec(CHARTS)
    if found is None or not found.submodule_search_locations:
        optional(CHARTS)
        raise ConfigurationError(f"{CHARTS!r} is not the package uplot-python")
    return Path(next(iter(found.submodule_search_locations)))


def render_page(assets: list[Asset], data: str | None = None) -> str:
    """Return the page: one that asks a server, or one that holds assets and answers.

    Args:
        assets: From `read_assets`.
        data: The answers as JSON, for a page that needs no server.
    """
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    return environment.get_template("page.html").render(
        styles=[one for one in assets if one.kind == "text/css"],
        scripts=[one for one in assets if one.kind != "text/css"],
        data=data,
        policy=None if data is None else policy_of(assets),
    )


def policy_of(assets: list[Asset]) -> str:
    """Return a policy that lets through these texts, and no address."""
    styles = " ".join(one.source for one in assets if one.kind == "text/css")
    scripts = " ".join(one.source for one in assets if one.kind != "text/css")
    return (
        f"default-src 'none'; style-src {styles}; script-src {scripts}; "
        "base-uri 'none'; form-action 'none'"
    )
