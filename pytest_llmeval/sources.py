"""Which texts in ``data=`` name a table, a query or a place that Spark reads."""

from __future__ import annotations

import re
from typing import Literal


Kind = Literal["sql", "delta", "path", "table"]
PLACES = (
    *("s3://", "s3a://", "s3n://", "gs://", "abfs://", "abfss://", "wasbs://"),
    *("hdfs://", "dbfs:/", "/Volumes/"),
)
"""Where paths begin that files of this machine do not have."""
FILE_ENDINGS = ("csv", "tsv", "json", "jsonl", "ndjson", "parquet")
_SQL = re.compile(r"\s*(?:select|with|from)\s", re.IGNORECASE)
_NAME = r"(?:`[^`]+`|[^\W\d][\w-]*)"
_TABLE = re.compile(rf"{_NAME}(?:\.{_NAME}){{1,2}}(?:@v\d+)?")


def spark_kind(text: str) -> Kind | None:
    """Return what a text names for Spark; None for what files of this machine may be.

    Args:
        text: ``main.evals.qa``, ``main.evals.qa@v12`` (a version of a Delta table),
            ``delta:/path``, ``s3://bucket/qa.parquet``, or a query.
    """
    if text.startswith("delta:"):
        return "delta"
    if text.startswith(PLACES):
        return "path"
    if _SQL.match(text):
        return "sql"
    is_file = text.lower().rpartition(".")[2] in FILE_ENDINGS
    return "table" if not is_file and _TABLE.fullmatch(text) else None
