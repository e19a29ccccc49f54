"""The content of the dashboard as the API takes it, and the mark that it bears.

The mark is a comment in a query, with a digest of what llmeval wrote. It survives what
the workspace adds, tells our dashboards from others, and tells whether somebody has
edited one.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pytest_llmeval.backends.databricks.dashboards.pages import DATASETS
from pytest_llmeval.backends.databricks.dashboards.pages import PAGES
from pytest_llmeval.errors import ConfigurationError


SQL = Path(__file__).with_name("sql")
MARK = re.compile(r"-- made by llmeval dashboard, sha256 ([0-9a-f]{64})\n")
LONGEST_NAME = 255


def dataset_query(name: str, catalog: str, schema: str) -> str:
    """Return the SQL of a dataset.

    Args:
        name: One of `DATASETS`.
        catalog: Of the history tables; any text, it is quoted.
        schema: Of the history tables; any text, it is quoted.

    Raises:
        ConfigurationError: catalog or schema cannot be a name.
    """
    text = (SQL / f"{name}.sql").read_text(encoding="utf-8")
    return text.replace("{history}", f"{quoted(catalog)}.{quoted(schema)}")


def quoted(name: str) -> str:
    """Return a name as Spark SQL and Databricks SQL take any.

    Raises:
        ConfigurationError: it cannot be the name of a catalog or schema.
    """
    if not name or len(name) > LONGEST_NAME or not name.isprintable():
        raise ConfigurationError(
            f"{name!r:.200} is no name of a catalog or schema; give 1 to "
            f"{LONGEST_NAME} printable characters, such as main"
        )
    return "`" + name.replace("`", "``") + "`"


def dashboard_content(catalog: str, schema: str) -> str:
    """Return the content of the dashboard, as JSON that bears the mark.

    Raises:
        ConfigurationError: catalog or schema cannot be a name.
    """
    document: dict[str, Any] = {
        "datasets": [
            {
                "name": name,
                "displayName": title,
                "queryLines": _lines(dataset_query(name, catalog, schema)),
            }
            for name, title in DATASETS.items()
        ],
        "pages": [
            {
                "name": name,
                "displayName": title,
                "pageType": "PAGE_TYPE_CANVAS",
                "layout": [
                    {"widget": widget, "position": place._asdict()}
                    for widget, place in placed
                ],
            }
            for name, (title, placed) in PAGES.items()
        ],
    }
    mark = f"-- made by llmeval dashboard, sha256 {content_digest(document)}\n"
    document["datasets"][0]["queryLines"].insert(0, mark)
    return json.dumps(document)


def read_content(serialized: str | None) -> dict[str, Any]:
    """Return the content that a workspace gives; empty when it is none."""
    try:
        document = json.loads(serialized or "{}")
    except ValueError:
        return {}
    return document if isinstance(document, dict) else {}


def mark_of(document: Mapping[str, Any]) -> str | None:
    """Return the digest that a content bears; None when llmeval has not made it."""
    found = (MARK.search(_query(dataset)) for dataset in _parts(document, "datasets"))
    return next((mark[1] for mark in found if mark), None)


def content_digest(document: Mapping[str, Any]) -> str:
    """Return the digest of what people see of a content, without the mark.

    What a workspace adds beside datasets and widgets does not change it.
    """
    datasets = [
        [one.get("name"), one.get("displayName"), MARK.sub("", _query(one))]
        for one in _parts(document, "datasets")
    ]
    pages = [
        [
            one.get("name"),
            one.get("displayName"),
            [
                [item.get("widget"), item.get("position")]
                for item in _parts(one, "layout")
            ],
        ]
        for one in _parts(document, "pages")
    ]
    canonical = json.dumps([datasets, pages], sort_keys=True)
    return hashlib.sha256(canonical.encode()).hexdigest()


def _lines(query: str) -> list[str]:
    return query.splitlines(keepends=True)


def _query(dataset: Mapping[str, Any]) -> str:
    """Return the SQL of a dataset, in either form in which a workspace keeps it."""
    lines = dataset.get("queryLines")
    if isinstance(lines, list):
        return "".join(map(str, lines))
    return str(dataset.get("query") or "")


def _parts(document: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    found = document.get(key)
    for part in found if isinstance(found, list) else ():
        if isinstance(part, dict):
            yield part
