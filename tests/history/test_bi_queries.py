"""What Tableau and Power BI ask for with our files, asked of real databases.

The queries are made of what stands in a file: the tables, columns and joins that it
names, with the quotes of the database.
"""

import datetime
import json
import re
import xml.etree.ElementTree as ET

import pytest

from pytest_llmeval.cli import main
from pytest_llmeval.config import Settings
from pytest_llmeval.history.bi.fields import TABLES
from pytest_llmeval.history.places import open_place
from pytest_llmeval.hooks import headless_manager

from .synthetic import synthetic_history
from .synthetic import write_synthetic
from .warehouse import sail_tables


pytestmark = pytest.mark.filterwarnings("ignore")
SIZE = {"runs": 120, "metrics": 3, "slices": 2}


class Server:
    """A database with the history, and the file that names it.

    Args:
        ask: Runs a query, and returns its rows.
        send: Runs a statement that has none.
        quote: The sign around its names.
        source: Arguments of the command.
    """

    def __init__(self, ask, send, quote, source):
        self.ask, self.send, self._quote, self.source = ask, send, quote, source

    def quoted(self, *names):
        sign = self._quote
        return ".".join(sign + one.replace(sign, sign * 2) + sign for one in names)


@pytest.fixture(scope="module")
def history():
    tables = synthetic_history(**SIZE)
    return {table.name: tables[table.name] for table in TABLES}


@pytest.fixture(scope="module")
def database(history, postgres, tmp_path_factory):
    """Export the history to a database; give its URL."""
    psycopg = pytest.importorskip("psycopg")
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute("CREATE DATABASE bi")
    url = postgres.removesuffix("postgres") + "bi"
    settings = Settings(rootdir=tmp_path_factory.mktemp("root"))
    open_place(url, headless_manager().hook, settings).replace(history)
    return url


@pytest.fixture
def postgres_server(database):
    import psycopg

    with psycopg.connect(database, options="-ctimezone=Asia/Tokyo") as connection:

        def ask(query):
            return connection.execute(query).fetchall()

        source = ("--history", database.replace("me@", "me:pw@"))
        yield Server(ask, connection.execute, '"', source)


@pytest.fixture(scope="module")
def parquet(tmp_path_factory):
    folder = tmp_path_factory.mktemp("history") / "it's a history"
    write_synthetic(folder, **SIZE)
    return folder


@pytest.fixture
def duckdb_folder(parquet):
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET TimeZone = 'Asia/Tokyo'")

    def ask(query):
        return connection.execute(query).fetchall()

    yield Server(ask, connection.execute, '"', ("--history", str(parquet)))
    connection.close()


@pytest.fixture(scope="module")
def sail(history, tmp_path_factory):
    folder = tmp_path_factory.mktemp("warehouse")
    with sail_tables(history, folder, "ev]als") as (spark, catalog):
        source = ("--history", "databricks://127.0.0.1/sql/1.0/warehouses/0")
        place = ("--catalog", catalog, "--schema", "ev]als")

        def ask(query):
            return [tuple(row) for row in spark.sql(query).collect()]

        def send(statement):
            """Sail has no such statement; its session is in UTC as it is."""
            assert statement == "SET TIME ZONE 'UTC'"

        yield Server(ask, send, "`", (*source, *place))


@pytest.fixture(params=["postgres_server", "duckdb_folder", "sail"])
def server(request):
    return request.getfixturevalue(request.param)


@pytest.fixture
def tableau(server, tmp_path):
    """The file for Tableau, after what Tableau sends when it connects."""
    file = tmp_path / "h.tds"
    assert main(["dashboard", "tableau", "--out", str(file), *server.source]) == 0
    root = ET.parse(file).getroot()
    (named,) = root.iter("named-connection")
    first = named.find("connection").get("one-time-sql")
    if first:
        server.send(first)
    return root


def relation_of(server, root, table):
    """Return what stands behind FROM for a table."""
    relation = root.find(f"connection/relation/relation[@name='{table}']")
    if relation.get("type") == "text":
        return f"({relation.text})"
    names = re.findall(r"\[((?:[^\]]|\]\])*)\]", relation.get("table"))
    return server.quoted(*(name.replace("]]", "]") for name in names))


def columns_of(root, table):
    return [
        record.findtext("remote-name")
        for record in root.iter("metadata-record")
        if record.findtext("parent-name") == f"[{table}]"
    ]


def column_of(server, root, field):
    """Return the column that a field of the file stands for."""
    value = root.find(f"connection/cols/map[@key='{field}']").get("value")
    table, column = re.fullmatch(r"\[(.*)\]\.\[(.*)\]", value).groups()
    return server.quoted(table, column)


def rows_of(table):
    return [plain(row.values()) for row in table.to_pylist()]


def plain(values):
    """Return values whose times are naive UTC."""
    return tuple(
        value.astimezone(datetime.UTC).replace(tzinfo=None)
        if getattr(value, "tzinfo", None)
        else value
        for value in values
    )


@pytest.mark.parametrize("table", [table.name for table in TABLES])
def test_tableau_gets_every_row_and_column_of_a_table(server, tableau, history, table):
    columns = ", ".join(map(server.quoted, columns_of(tableau, table)))
    place = relation_of(server, tableau, table)
    query = f"SELECT {columns} FROM {place} AS {server.quoted(table)}"
    found = sorted(map(plain, server.ask(query)), key=str)
    expected = sorted(rows_of(history[table]), key=str)
    assert len(found) == history[table].num_rows
    assert found == expected


def test_times_are_those_of_utc_wherever_the_tool_runs(server, tableau, history):
    column = server.quoted("started_at")
    place = relation_of(server, tableau, "runs")
    rows = server.ask(f"SELECT {column} FROM {place} AS r ORDER BY 1")
    times = history["runs"].column("started_at").to_pylist()
    naive = [time.replace(tzinfo=None) for time in times]
    assert [time.replace(tzinfo=None) for (time,) in rows] == naive


def joined(server, root, *tables):
    """Return the FROM of a query over tables, by the relationships of the file."""
    first, *others = tables
    text = f"{relation_of(server, root, first)} AS {server.quoted(first)}"
    for table in others:
        (relationship,) = (
            one
            for one in root.iter("relationship")
            if one.find("second-end-point").get("object-id") == table
        )
        keys = [
            " = ".join(column_of(server, root, side.get("op")) for side in equal)
            for equal in relationship.iter("expression")
            if equal.get("op") == "="
        ]
        place = f"{relation_of(server, root, table)} AS {server.quoted(table)}"
        text += f" JOIN {place} ON {' AND '.join(keys)}"
    return text


def test_a_sheet_over_three_tables_has_the_means_of_pandas(server, tableau, history):
    version = column_of(server, tableau, "[model_version]")
    name = column_of(server, tableau, "[name]")
    metric = column_of(server, tableau, "[metric]")
    value = column_of(server, tableau, "[value]")
    groups = f"{version}, {name}, {metric}"
    tables = joined(server, tableau, "runs", "evaluations", "metrics")
    query = f"SELECT {groups}, AVG({value}) FROM {tables} GROUP BY {groups}"
    frames = {name: table.to_pandas() for name, table in history.items()}
    rows = frames["metrics"].merge(
        frames["evaluations"][["run_id", "evaluation", "name"]]
    )
    rows = rows.merge(frames["runs"][["run_id", "model_version"]])
    means = rows.groupby(["model_version", "name", "metric"])["value"].mean()
    found = {row[:3]: row[3] for row in server.ask(query)}
    assert len(found) == 3 * 3 * 3
    assert found == pytest.approx(means.to_dict(), rel=1e-12)


def test_gates_and_deployments_belong_to_their_runs(server, tableau, history):
    tables = joined(server, tableau, "runs", "gates")
    assert server.ask(f"SELECT COUNT(*) FROM {tables}") == [(120,)]
    model = column_of(server, tableau, "[model]")
    told = column_of(server, tableau, "[model (deployments)]")
    tables = joined(server, tableau, "runs", "deployments")
    found = server.ask(f"SELECT {model}, {told} FROM {tables}")
    assert len(found) == history["deployments"].num_rows == 3
    assert all(of_run == deployed for of_run, deployed in found)


@pytest.mark.parametrize("table", [table.name for table in TABLES])
def test_power_bi_finds_the_tables_in_the_database_that_its_file_names(
    postgres_server, history, tmp_path, table
):
    psycopg = pytest.importorskip("psycopg")
    file = tmp_path / "h.pbids"
    arguments = ("--out", str(file), *postgres_server.source)
    assert main(["dashboard", "powerbi", *arguments]) == 0
    (connection,) = json.loads(file.read_text())["connections"]
    address = connection["details"]["address"]
    host, _, port = address["server"].partition(":")
    names = history[table].column_names
    # As Power BI asks for a table that was ticked in its Navigator.
    columns = ", ".join(f'"$Table"."{name}" as "{name}"' for name in names)
    query = f'select {columns} from "public"."{table}" "$Table"'
    with psycopg.connect(
        host=host, port=port, dbname=address["database"], user="me"
    ) as client:
        found = client.execute(query).fetchall()
    assert sorted(map(plain, found), key=str) == sorted(
        rows_of(history[table]), key=str
    )


def test_power_bi_finds_the_files_in_the_folder_that_its_file_names(
    duckdb_folder, history, tmp_path
):
    file = tmp_path / "h.pbids"
    arguments = ("--out", str(file), *duckdb_folder.source)
    assert main(["dashboard", "powerbi", *arguments]) == 0
    (connection,) = json.loads(file.read_text())["connections"]
    folder = connection["details"]["address"]["path"].replace("'", "''")
    query = f"SELECT count(*) FROM '{folder}/metrics/*/*.parquet'"
    assert duckdb_folder.ask(query) == [(history["metrics"].num_rows,)]
