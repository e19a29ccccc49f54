"""A data source file of Power BI, ``.pbids``: it names a source, and nothing else.

Source:
    https://learn.microsoft.com/power-bi/connect-data/desktop-data-sources, and for
    Databricks the file that its Partner Connect gives. The format has no room for
    tables, names of fields, relationships or users.
"""

from __future__ import annotations

import json
from typing import Any

from pytest_llmeval.history.bi.sources import DatabricksSource
from pytest_llmeval.history.bi.sources import PostgresSource
from pytest_llmeval.history.bi.sources import Source


VERSION = "0.1"


def powerbi_source(source: Source) -> str:
    """Return the text of a file that Power BI Desktop opens as a source."""
    document = {"version": VERSION, "connections": [_connection(source)]}
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _connection(source: Source) -> dict[str, Any]:
    if isinstance(source, DatabricksSource):
        return {
            "details": {
                "protocol": "databricks-sql",
                "address": {"host": source.host, "path": source.http_path},
                "authentication": None,
                "query": None,
            },
            "options": {"Catalog": source.catalog, "Database": source.schema},
            "mode": "DirectQuery",
        }
    if isinstance(source, PostgresSource):
        server = f"{source.host}:{source.port}"
        address = {"server": server, "database": source.database}
        details: dict[str, Any] = {"protocol": "postgresql", "address": address}
    else:
        details = {"protocol": "folder", "address": {"path": source.folder}}
    return {"details": details, "options": {}, "mode": "Import"}
