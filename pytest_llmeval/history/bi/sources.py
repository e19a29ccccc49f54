"""Where a BI tool finds the history tables; no user and no password stand in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import SplitResult
from urllib.parse import unquote
from urllib.parse import urlsplit

from pytest_llmeval.errors import ConfigurationError


WINDOWS = re.compile(r"[A-Za-z]:[\\/]|\\\\")
"""How paths begin that are of another machine than this one."""
HTTP_PATH = re.compile(r"/sql/[\w./-]+")
HOST = re.compile(r"[\w.-]+")
POSTGRES_PORT = 5432


@dataclass(frozen=True, slots=True, kw_only=True)
class DatabricksSource:
    """A SQL warehouse of Databricks."""

    host: str
    http_path: str
    catalog: str
    schema: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PostgresSource:
    """A database of a PostgreSQL server."""

    host: str
    port: int
    database: str
    schema: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ParquetSource:
    """The folder of Parquet files that an export writes."""

    folder: str
    """As the machine of the BI tool has it."""


Source: TypeAlias = DatabricksSource | PostgresSource | ParquetSource


def find_source(place: str, catalog: str | None, schema: str | None) -> Source:
    """Return the source that a place names.

    Args:
        place: ``databricks://HOST/sql/1.0/warehouses/ID``,
            ``postgresql://HOST:PORT/DATABASE``, or a folder of Parquet files, also one
            of a Windows machine. User, password and further parts of a URL are left
            out.
        catalog: Of Databricks.
        schema: Of Databricks or PostgreSQL, where it is ``public`` by default.

    Raises:
        ConfigurationError: it names no source, or something is missing or too much.
    """
    for option, value in (("--catalog", catalog), ("--schema", schema)):
        if value is not None and (not value or not value.isprintable()):
            raise ConfigurationError(
                f"{option} {value!r:.200} is no name; give printable characters"
            )
    scheme = place.partition("://")[0].lower() if "://" in place else ""
    if scheme == "databricks":
        return _databricks(_split(place), catalog, schema)
    if catalog is not None:
        raise ConfigurationError("--catalog is for databricks://... only; leave it out")
    if re.fullmatch(r"postgres(ql)?(\+\w+)?", scheme):
        return _postgres(_split(place), schema or "public")
    if schema is not None:
        raise ConfigurationError("a folder has no schema; leave --schema out")
    if scheme:
        raise ConfigurationError(
            f"--history {scheme}://... is nothing that these files can name; give "
            "databricks://HOST/sql/1.0/warehouses/ID, postgresql://HOST:PORT/DATABASE "
            "or a folder of Parquet files"
        )
    return _parquet(place)


def _split(place: str) -> SplitResult:
    """Split a URL; the message shows no part that may hold a password."""
    try:
        parts = urlsplit(place)
        has_host = HOST.fullmatch(parts.hostname or "") and parts.port != 0
    except ValueError:
        has_host = None
    if not has_host:
        raise ConfigurationError(
            "--history has to begin with a scheme and a host, such as "
            "postgresql://db.example.org:5432/evals"
        )
    return parts


def _databricks(
    parts: SplitResult, catalog: str | None, schema: str | None
) -> DatabricksSource:
    if catalog is None or schema is None:
        raise ConfigurationError(
            "databricks://... needs --catalog and --schema, those of llmeval export"
        )
    if not HTTP_PATH.fullmatch(parts.path):
        raise ConfigurationError(
            f"{parts.path!r:.200} is no HTTP path of a SQL warehouse; copy it from the "
            "warehouse's connection details: databricks://HOST/sql/1.0/warehouses/ID"
        )
    return DatabricksSource(
        host=str(parts.hostname),
        http_path=parts.path,
        catalog=catalog,
        schema=schema,
    )


def _postgres(parts: SplitResult, schema: str) -> PostgresSource:
    database = unquote(parts.path.lstrip("/"))
    if not database or not database.isprintable():
        raise ConfigurationError(
            "--history names no database; give postgresql://HOST:PORT/DATABASE"
        )
    return PostgresSource(
        host=str(parts.hostname),
        port=parts.port or POSTGRES_PORT,
        database=database,
        schema=schema,
    )


def _parquet(place: str) -> ParquetSource:
    if not place.isprintable():
        raise ConfigurationError(f"--history {place!r:.200} is no path")
    if WINDOWS.match(place):
        return ParquetSource(folder=place.rstrip("\\/"))
    folder = Path(place).expanduser().resolve()
    if not any((folder / "metrics").glob("*/*.parquet")):
        raise ConfigurationError(
            f"{folder} holds no history as Parquet files; write it with: llmeval export"
        )
    return ParquetSource(folder=str(folder))
