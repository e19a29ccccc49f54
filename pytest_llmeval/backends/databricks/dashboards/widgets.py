"""The parts of a Lakeview dashboard as its JSON has them: texts, charts, filters.

The form follows what Databricks publishes in its examples; a page is six columns wide.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from typing import NamedTuple


Widget = dict[str, Any]
Field = tuple[str, str]
"""A column of a dataset, and what people read for it."""


class Place(NamedTuple):
    """Where a widget is on its page."""

    x: int
    y: int
    width: int
    height: int


def text(name: str, *lines: str) -> Widget:
    """Return a text in Markdown."""
    return {"name": name, "multilineTextboxSpec": {"lines": list(lines)}}


def counter(name: str, dataset: str, value: Field) -> Widget:
    """Return a number of a dataset that has one row."""
    column, title = value
    return {
        "name": name,
        "queries": _query(dataset, {column: _column(column)}),
        "spec": {
            "version": 2,
            "widgetType": "counter",
            "encodings": {"value": _encoding(column, title)},
            "frame": _frame(title),
        },
    }


def table(name: str, dataset: str, title: str, columns: tuple[Field, ...]) -> Widget:
    """Return a table with columns of a dataset, in its order."""
    return {
        "name": name,
        "queries": _query(dataset, {column: _column(column) for column, _ in columns}),
        "spec": {
            "version": 2,
            "widgetType": "table",
            "encodings": {"columns": [_encoding(*column) for column in columns]},
            "frame": _frame(title),
        },
    }


def heat_map(
    name: str, dataset: str, title: str, *, x: Field, y: Field, color: Field
) -> Widget:
    """Return a grid; its colour is the mean of a column."""
    mean = f"avg({color[0]})"
    fields = {
        x[0]: _column(x[0]),
        y[0]: _column(y[0]),
        mean: f"AVG({_column(color[0])})",
    }
    return {
        "name": name,
        "queries": _query(dataset, fields, is_raw=False),
        "spec": {
            "version": 3,
            "widgetType": "heatmap",
            "encodings": {
                "x": _encoding(*x, scale="categorical"),
                "y": _encoding(*y, scale="categorical"),
                "color": _encoding(mean, color[1], scale="quantitative"),
            },
            "frame": _frame(title),
        },
    }


def lines(
    name: str, dataset: str, title: str, *, x: Field, ys: tuple[Field, ...]
) -> Widget:
    """Return a line for each of some columns: their means at each x."""
    means = {f"avg({column})": f"AVG({_column(column)})" for column, _ in ys}
    named = [_encoding(mean, told) for mean, (_, told) in zip(means, ys, strict=True)]
    return {
        "name": name,
        "queries": _query(dataset, {x[0]: _column(x[0]), **means}, is_raw=False),
        "spec": {
            "version": 3,
            "widgetType": "line",
            "encodings": {
                "x": _encoding(*x, scale="temporal"),
                "y": {"scale": {"type": "quantitative"}, "fields": named},
            },
            "frame": _frame(title),
        },
    }


def series(
    name: str, dataset: str, title: str, *, x: Field, y: Field, color: Field
) -> Widget:
    """Return a line for each value of a column."""
    columns = (x[0], y[0], color[0])
    return {
        "name": name,
        "queries": _query(dataset, {column: _column(column) for column in columns}),
        "spec": {
            "version": 3,
            "widgetType": "line",
            "encodings": {
                "x": _encoding(*x, scale="temporal"),
                "y": _encoding(*y, scale="quantitative"),
                "color": _encoding(*color, scale="categorical"),
            },
            "frame": _frame(title),
        },
    }


def bars(name: str, dataset: str, title: str, *, x: Field, y: Field) -> Widget:
    """Return horizontal bars: the mean of ``x`` for each value of ``y``."""
    mean = f"avg({x[0]})"
    fields = {y[0]: _column(y[0]), mean: f"AVG({_column(x[0])})"}
    return {
        "name": name,
        "queries": _query(dataset, fields, is_raw=False),
        "spec": {
            "version": 3,
            "widgetType": "bar",
            "encodings": {
                "x": _encoding(mean, x[1], scale="quantitative"),
                "y": _encoding(*y, scale="categorical"),
            },
            "frame": _frame(title),
        },
    }


def chooser(name: str, dataset: str, column: Field) -> Widget:
    """Return a filter that leaves one value of a column, on its page."""
    query = f"choose_{column[0]}"
    field = {**_encoding(*column), "queryName": query}
    return {
        "name": name,
        "queries": _query(
            dataset, {column[0]: _column(column[0])}, is_raw=False, name=query
        ),
        "spec": {
            "version": 2,
            "widgetType": "filter-single-select",
            "encodings": {"fields": [field]},
            "frame": _frame(column[1]),
        },
    }


def _query(
    dataset: str,
    fields: Mapping[str, str],
    *,
    is_raw: bool = True,
    name: str = "main_query",
) -> list[dict[str, Any]]:
    """Return the query of a widget; raw are the rows of its dataset, one by one."""
    asked = [{"name": field, "expression": what} for field, what in fields.items()]
    query = {"datasetName": dataset, "fields": asked, "disaggregated": is_raw}
    return [{"name": name, "query": query}]


def _column(name: str) -> str:
    return f"`{name}`"


def _encoding(field: str, title: str, *, scale: str | None = None) -> dict[str, Any]:
    encoding: dict[str, Any] = {"fieldName": field, "displayName": title}
    return encoding if scale is None else {**encoding, "scale": {"type": scale}}


def _frame(title: str) -> dict[str, Any]:
    return {"showTitle": True, "title": title}
