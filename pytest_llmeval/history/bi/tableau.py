"""A data source file of Tableau, ``.tds``: source, tables, joins and fields.

Tables are related, not joined: Tableau asks each for what a sheet shows of it. The
form is that of files which Tableau 2020.2 and later write.
"""

from __future__ import annotations

import xml.etree.ElementTree as ET  # writes only
from collections.abc import Mapping

from pytest_llmeval.history.bi.fields import JOINS
from pytest_llmeval.history.bi.fields import TABLES
from pytest_llmeval.history.bi.fields import Field
from pytest_llmeval.history.bi.fields import Join
from pytest_llmeval.history.bi.fields import history_fields
from pytest_llmeval.history.bi.sources import DatabricksSource
from pytest_llmeval.history.bi.sources import ParquetSource
from pytest_llmeval.history.bi.sources import PostgresSource
from pytest_llmeval.history.bi.sources import Source
from pytest_llmeval.history.schema import Kind
from pytest_llmeval.history.schema import Table
from pytest_llmeval.history.wide import standard_literal


VERSION = "18.1"
CAPTION = "LLM evaluations"
TYPES: Mapping[Kind, str] = {
    "text": "string",
    "json": "string",
    "integer": "integer",
    "real": "real",
    "boolean": "boolean",
    "time": "datetime",
    "day": "date",
}
IN_UTC = "SET TIME ZONE 'UTC'"
"""Sent by Tableau when it connects, so that times are those of the tables."""


def tableau_source(source: Source) -> str:
    """Return the text of a file that Tableau opens as a data source."""
    root = ET.Element(
        "datasource",
        {
            "formatted-name": "federated.llmeval",
            "caption": CAPTION,
            "inline": "true",
            "version": VERSION,
        },
    )
    fields = history_fields()
    _add_connection(root, source, fields)
    ET.SubElement(root, "aliases", {"enabled": "yes"})
    for field in fields:
        _add_column(root, field)
    ET.SubElement(
        root,
        "layout",
        {
            "dim-ordering": "alphabetic",
            "measure-ordering": "alphabetic",
            "show-structure": "true",
        },
    )
    _add_graph(root, source)
    ET.indent(root)
    body = ET.tostring(root, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8' ?>\n{body}\n"


def parquet_query(folder: str, table: Table) -> str:
    """Return the SQL that DuckDB's ODBC driver is sent for a table in a folder."""
    files = standard_literal(f"{folder}/{table.name}/*/*.parquet")
    columns = ", ".join(
        f'"{column.name}" AT TIME ZONE \'UTC\' AS "{column.name}"'
        if column.kind == "time"
        else f'"{column.name}"'
        for column in table.columns
    )
    source = f"read_parquet({files}, hive_partitioning = true)"
    return f"SELECT {columns} FROM {source}"  # noqa: S608  # names of the schema


def _add_connection(
    root: ET.Element, source: Source, fields: tuple[Field, ...]
) -> None:
    connection = ET.SubElement(root, "connection", {"class": "federated"})
    named = ET.SubElement(
        ET.SubElement(connection, "named-connections"),
        "named-connection",
        {"caption": CAPTION, "name": _connection(source)},
    )
    ET.SubElement(named, "connection", _attributes(source))
    relations = ET.SubElement(connection, "relation", {"type": "collection"})
    for table in TABLES:
        _add_relation(relations, source, table)
    columns = ET.SubElement(connection, "cols")
    for field in fields:
        value = f"[{field.table.name}].[{field.column.name}]"
        ET.SubElement(columns, "map", {"key": f"[{field.name}]", "value": value})
    records = ET.SubElement(connection, "metadata-records")
    for field in fields:
        _add_record(records, field)


def _connection(source: Source) -> str:
    """Return the name of the connection; Tableau begins it with the driver's."""
    return f"{_attributes(source)['class']}.llmeval"


def _attributes(source: Source) -> dict[str, str]:
    """Return where the source is, and what Tableau connects with; it asks who does."""
    if isinstance(source, DatabricksSource):
        return {
            "class": "databricks",
            "dbname": source.catalog,
            "one-time-sql": IN_UTC,
            "schema": source.schema,
            "server": source.host,
            "v-http-path": source.http_path,
        }
    if isinstance(source, PostgresSource):
        return {
            "authentication": "username-password",
            "class": "postgres",
            "dbname": source.database,
            "one-time-sql": IN_UTC,
            "port": str(source.port),
            "schema": source.schema,
            "server": source.host,
            "username": "",
        }
    return {
        "class": "genericodbc",
        "dbname": "",
        "odbc-connect-string-extras": "Database=:memory:",
        "odbc-driver": "DuckDB Driver",
        "one-time-sql": "",
        "server": "",
        "username": "",
    }


def _add_relation(parent: ET.Element, source: Source, table: Table) -> None:
    attributes = {"connection": _connection(source), "name": table.name}
    if isinstance(source, ParquetSource):
        query = ET.SubElement(parent, "relation", {**attributes, "type": "text"})
        query.text = parquet_query(source.folder, table)
        return
    above = (source.catalog,) if isinstance(source, DatabricksSource) else ()
    names = ".".join(map(_bracketed, (*above, source.schema, table.name)))
    ET.SubElement(parent, "relation", {**attributes, "table": names, "type": "table"})


def _add_record(parent: ET.Element, field: Field) -> None:
    """Say what a column is, so that Tableau need not ask before it connects."""
    record = ET.SubElement(parent, "metadata-record", {"class": "column"})
    ordinal = field.table.names.index(field.column.name)
    told = {
        "remote-name": field.column.name,
        "local-name": f"[{field.name}]",
        "parent-name": f"[{field.table.name}]",
        "remote-alias": field.column.name,
        "ordinal": str(ordinal),
        "local-type": TYPES[field.column.kind],
        "aggregation": field.aggregation or "Count",
        "contains-null": "false" if field.column.is_key else "true",
        "object-id": f"[{field.table.name}]",
    }
    for name, text in told.items():
        ET.SubElement(record, name).text = text


def _add_column(parent: ET.Element, field: Field) -> None:
    attributes = {
        "caption": field.caption,
        "datatype": TYPES[field.column.kind],
        "name": f"[{field.name}]",
        **_role(field),
    }
    if field.is_hidden:
        attributes["hidden"] = "true"
    column = ET.SubElement(parent, "column", attributes)
    text = ET.SubElement(ET.SubElement(column, "desc"), "formatted-text")
    unit = f" Unit: {field.column.unit}." if field.column.unit else ""
    ET.SubElement(text, "run").text = field.column.meaning + unit


def _role(field: Field) -> dict[str, str]:
    if field.aggregation:
        role = {"role": "measure", "type": "quantitative"}
        return {"aggregation": field.aggregation, **role}
    is_ordered = field.column.kind in ("integer", "time", "day")
    return {"role": "dimension", "type": "ordinal" if is_ordered else "nominal"}


def _add_graph(root: ET.Element, source: Source) -> None:
    graph = ET.SubElement(root, "object-graph")
    objects = ET.SubElement(graph, "objects")
    for table in TABLES:
        one = ET.SubElement(
            objects, "object", {"caption": table.name, "id": table.name}
        )
        properties = ET.SubElement(one, "properties", {"context": ""})
        _add_relation(properties, source, table)
    relationships = ET.SubElement(graph, "relationships")
    for join in JOINS:
        _add_relationship(relationships, join)


def _add_relationship(parent: ET.Element, join: Join) -> None:
    names = {
        (field.table.name, field.column.name): f"[{field.name}]"
        for field in history_fields()
    }
    relationship = ET.SubElement(parent, "relationship")
    above = relationship
    if len(join.keys) > 1:
        above = ET.SubElement(relationship, "expression", {"op": "AND"})
    for key in join.keys:
        equal = ET.SubElement(above, "expression", {"op": "="})
        for table in (join.one, join.many):
            ET.SubElement(equal, "expression", {"op": names[table, key]})
    one = {"object-id": join.one, "unique-key": "true"}
    ET.SubElement(relationship, "first-end-point", one)
    ET.SubElement(relationship, "second-end-point", {"object-id": join.many})


def _bracketed(name: str) -> str:
    return "[" + name.replace("]", "]]") + "]"
