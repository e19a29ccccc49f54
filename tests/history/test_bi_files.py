"""The files for Tableau and Power BI: what stands in them, and what never does."""

import json
import os
import xml.etree.ElementTree as ET

import pytest

from pytest_llmeval.cli import main
from pytest_llmeval.history.bi.fields import JOINS
from pytest_llmeval.history.bi.fields import TABLES
from pytest_llmeval.history.bi.fields import history_fields
from pytest_llmeval.history.schema import BY_NAME

from .synthetic import write_synthetic


HTTP_PATH = "/sql/1.0/warehouses/0123456789abcdef"
DATABRICKS = (
    *("--history", f"databricks://adb-1.azuredatabricks.net{HTTP_PATH}"),
    *("--catalog", "main", "--schema", "ev]als"),
)
POSTGRES = ("--history", "postgresql://me:hunter22@db.example.org:5433/evals?sslkey=k7")
SECRETS = ("hunter22", "k7", "me:")


@pytest.fixture
def write(tmp_path, capsys):
    """Calls a command, and returns the file that it wrote, or what it said."""

    def write(tool, *arguments, status=0, out=None):
        file = out or tmp_path / {"tableau": "h.tds", "powerbi": "h.pbids"}[tool]
        assert main(["dashboard", tool, "--out", str(file), *arguments]) == status
        said = capsys.readouterr()
        assert not any(secret in said.out + said.err for secret in SECRETS)
        return said.err if status else file.read_text(encoding="utf-8")

    return write


@pytest.fixture
def folder(tmp_path):
    folder = tmp_path / "it's a history"
    write_synthetic(folder, runs=3, metrics=1)
    return folder


def connection_of(root):
    return root.find("connection/named-connections/named-connection/connection")


def relations_of(root):
    return root.findall("connection/relation/relation")


def test_tableau_reads_tables_of_databricks(write):
    root = ET.fromstring(write("tableau", *DATABRICKS))
    assert (root.tag, root.get("version")) == ("datasource", "18.1")
    assert connection_of(root).attrib == {
        "class": "databricks",
        "dbname": "main",
        "one-time-sql": "SET TIME ZONE 'UTC'",
        "schema": "ev]als",
        "server": "adb-1.azuredatabricks.net",
        "v-http-path": HTTP_PATH,
    }
    assert [one.get("table") for one in relations_of(root)] == [
        f"[main].[ev]]als].[{table.name}]" for table in TABLES
    ]


def test_tableau_reads_tables_of_postgresql(write):
    root = ET.fromstring(write("tableau", *POSTGRES))
    connection = connection_of(root)
    assert connection.get("class") == "postgres"
    assert connection.get("server") == "db.example.org"
    assert connection.get("port") == "5433"
    assert connection.get("dbname") == "evals"
    assert relations_of(root)[0].get("table") == "[public].[runs]"
    assert {one.get("type") for one in relations_of(root)} == {"table"}


def test_tableau_asks_duckdb_for_a_folder(write, folder):
    root = ET.fromstring(write("tableau", "--history", str(folder)))
    assert connection_of(root).get("class") == "genericodbc"
    assert connection_of(root).get("odbc-driver") == "DuckDB Driver"
    quoted = str(folder).replace("'", "''")
    for relation in relations_of(root):
        assert relation.get("type") == "text"
        assert f"'{quoted}/{relation.get('name')}/*/*.parquet'" in relation.text


def test_no_user_and_no_password_stand_in_a_file(write):
    for tool in ("tableau", "powerbi"):
        text = write(tool, *POSTGRES)
        assert not any(secret in text for secret in SECRETS)
        assert "password" not in text.replace("username-password", "")
    root = ET.fromstring(write("tableau", *POSTGRES))
    assert connection_of(root).get("username") == ""


def test_every_relation_belongs_to_the_connection_and_to_an_object(write):
    root = ET.fromstring(write("tableau", *DATABRICKS))
    (named,) = root.iter("named-connection")
    relations = relations_of(root)
    assert {one.get("connection") for one in relations} == {named.get("name")}
    objects = root.findall("object-graph/objects/object")
    assert [one.get("id") for one in objects] == [one.get("name") for one in relations]
    for one, relation in zip(objects, relations, strict=True):
        assert one.find("properties/relation").attrib == relation.attrib


def test_every_column_is_mapped_described_and_told_once(write):
    root = ET.fromstring(write("tableau", *DATABRICKS))
    expected = {f"[{table.name}].[{name}]" for table in TABLES for name in table.names}
    maps = root.findall("connection/cols/map")
    assert {one.get("value") for one in maps} == expected
    local = [one.get("key") for one in maps]
    assert len(set(local)) == len(local) == len(expected)
    columns = root.findall("column")
    assert [one.get("name") for one in columns] == local
    captions = [one.get("caption") for one in columns]
    assert len(set(captions)) == len(captions)
    records = root.findall("connection/metadata-records/metadata-record")
    assert [one.findtext("local-name") for one in records] == local
    assert {
        f"{one.findtext('parent-name')}.[{one.findtext('remote-name')}]"
        for one in records
    } == expected
    assert all(
        one.findtext("object-id") == one.findtext("parent-name") for one in records
    )


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("[run_id]", ("Run ID", "string", "dimension", "nominal", None)),
        ("[started_at]", ("Started at", "datetime", "dimension", "ordinal", None)),
        ("[day (gates)]", ("Day (gates)", "date", "dimension", "ordinal", None)),
        ("[evaluation]", ("Evaluation", "integer", "dimension", "ordinal", None)),
        ("[dirty]", ("Dirty", "boolean", "dimension", "nominal", None)),
        ("[value]", ("Value", "real", "measure", "quantitative", "Avg")),
        ("[n]", ("Answers counted", "integer", "measure", "quantitative", "Sum")),
        ("[repeats]", ("Repeats", "integer", "measure", "quantitative", "Avg")),
        ("[traffic]", ("Traffic", "integer", "measure", "quantitative", "Avg")),
        (
            "[latency_p95_ms]",
            ("Latency p95 (ms)", "real", "measure", "quantitative", "Avg"),
        ),
        ("[cost_usd]", ("Cost (US dollars)", "real", "measure", "quantitative", "Sum")),
        ("[ci_url]", ("CI URL", "string", "dimension", "nominal", None)),
    ],
)
def test_a_field_has_a_name_for_people_and_what_fits_its_type(write, name, expected):
    root = ET.fromstring(write("tableau", *POSTGRES))
    column = root.find(f"column[@name='{name}']")
    keys = ("caption", "datatype", "role", "type", "aggregation")
    assert tuple(column.get(key) for key in keys) == expected


def test_a_field_is_described_by_the_meaning_in_the_schema(write):
    root = ET.fromstring(write("tableau", *POSTGRES))
    text = root.findtext("column[@name='[latency_p50_ms]']/desc/formatted-text/run")
    assert text == "Median time to an answer. Unit: ms."


def test_tables_are_joined_by_all_their_keys_into_one_tree(write):
    root = ET.fromstring(write("tableau", *POSTGRES))
    relationships = root.findall("object-graph/relationships/relationship")
    told = {
        (
            one.find("first-end-point").get("object-id"),
            one.find("second-end-point").get("object-id"),
        ): [
            tuple(side.get("op") for side in equal)
            for equal in one.iter("expression")
            if equal.get("op") == "="
        ]
        for one in relationships
    }
    assert told == {
        ("runs", "evaluations"): [("[run_id]", "[run_id (evaluations)]")],
        ("evaluations", "metrics"): [
            ("[run_id (evaluations)]", "[run_id (metrics)]"),
            ("[evaluation]", "[evaluation (metrics)]"),
        ],
        ("runs", "gates"): [("[run_id]", "[run_id (gates)]")],
        ("runs", "deployments"): [("[run_id]", "[run_id (deployments)]")],
    }
    # A table above each but the first, so that there is one way between any two.
    assert {many for _, many in told} == {table.name for table in TABLES[1:]}
    hidden = {one.get("name") for one in root.findall("column[@hidden='true']")}
    joined = {side for pairs in told.values() for pair in pairs for side in pair}
    assert hidden == joined - {"[run_id]", "[evaluation]"}


def test_joins_lead_to_whole_keys():
    for join in JOINS:
        assert set(BY_NAME[join.one].keys) == set(join.keys)


def test_names_for_people_have_no_underscores():
    captions = [field.caption for field in history_fields()]
    assert not any("_" in caption for caption in captions)
    assert all(caption[0].isupper() for caption in captions)


STUBS = {
    "http://www.tableausoftware.com/xml/user": (
        '<xs:attributeGroup name="UserAttributes-AG"><xs:anyAttribute '
        'processContents="skip"/></xs:attributeGroup>'
    ),
    "http://www.w3.org/XML/1998/namespace": '<xs:attribute name="base"/>',
}
"""What Tableau's schema imports, and does not bring."""


@pytest.fixture(scope="module")
def tableaus_schema(tmp_path_factory):
    """Tableau's schema of workbooks, for a data source that stands alone."""
    given = os.environ.get("LLMEVAL_TABLEAU_XSD")
    if not given:
        pytest.skip(
            "needs twb_2026.1.0.xsd of github.com/tableau/tableau-document-schemas, "
            "named by LLMEVAL_TABLEAU_XSD"
        )
    etree = pytest.importorskip("lxml.etree")
    folder, xs = tmp_path_factory.mktemp("schema"), "http://www.w3.org/2001/XMLSchema"
    root = etree.parse(given).getroot()
    for number, imported in enumerate(root.findall(f"{{{xs}}}import")):
        space = imported.get("namespace")
        stub = folder / f"{number}.xsd"
        stub.write_text(
            f'<xs:schema xmlns:xs="{xs}" targetNamespace="{space}">{STUBS[space]}'
            "</xs:schema>"
        )
        imported.set("schemaLocation", stub.as_uri())
    alone = {"name": "datasource", "type": "DataSource-CT"}
    etree.SubElement(root, f"{{{xs}}}element", alone)
    return etree.XMLSchema(root)


def test_the_file_for_tableau_is_valid_by_tableaus_schema(
    write, folder, tableaus_schema
):
    etree = pytest.importorskip("lxml.etree")
    for source in (DATABRICKS, POSTGRES, ("--history", str(folder))):
        text = write("tableau", *source)
        tableaus_schema.assertValid(etree.fromstring(text.encode()))
        wrong = text.replace('unique-key="true"', 'only="true"')
        assert not tableaus_schema.validate(etree.fromstring(wrong.encode()))


def test_power_bi_reads_databricks_directly(write):
    assert json.loads(write("powerbi", *DATABRICKS)) == {
        "version": "0.1",
        "connections": [
            {
                "details": {
                    "protocol": "databricks-sql",
                    "address": {
                        "host": "adb-1.azuredatabricks.net",
                        "path": HTTP_PATH,
                    },
                    "authentication": None,
                    "query": None,
                },
                "options": {"Catalog": "main", "Database": "ev]als"},
                "mode": "DirectQuery",
            }
        ],
    }


def test_power_bi_imports_from_postgresql(write):
    (connection,) = json.loads(write("powerbi", *POSTGRES))["connections"]
    assert connection == {
        "details": {
            "protocol": "postgresql",
            "address": {"server": "db.example.org:5433", "database": "evals"},
        },
        "options": {},
        "mode": "Import",
    }


def test_power_bi_imports_from_a_folder(write, folder):
    (connection,) = json.loads(write("powerbi", "--history", str(folder)))[
        "connections"
    ]
    address = {"path": str(folder)}
    assert connection["details"] == {"protocol": "folder", "address": address}


def test_the_history_may_be_named_before_the_tool(write, folder, tmp_path):
    file = tmp_path / "h.pbids"
    command = ["--history", str(folder), "powerbi", "--out", str(file)]
    assert main(["dashboard", *command]) == 0
    assert file.read_text() == write("powerbi", "--history", str(folder))


def test_the_history_is_by_default_beside_the_runs(write, folder, monkeypatch):
    home = folder.parent / "project"
    (home / ".llmeval").mkdir(parents=True)
    folder.rename(home / ".llmeval" / "history")
    monkeypatch.chdir(home)
    (connection,) = json.loads(write("powerbi"))["connections"]
    address = {"path": str(home / ".llmeval" / "history")}
    assert connection["details"]["address"] == address


@pytest.mark.parametrize("path", [r"C:\data\history", r"\\server\share\history"])
def test_a_folder_of_a_windows_machine_is_taken_as_it_is(write, path):
    (connection,) = json.loads(write("powerbi", "--history", path))["connections"]
    assert connection["details"]["address"] == {"path": path}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--history", "nowhere"), "nowhere holds no history as Parquet files; write"),
        (("--history", "sqlite:///x.db"), "--history sqlite://... is nothing that"),
        (("--history", "postgresql://h"), "--history names no database"),
        (("--history", "postgresql:///db"), "has to begin with a scheme and a host"),
        (("--history", "postgresql://me:hunter22@/db"), "a scheme and a host"),
        (("--history", "postgresql://h:hunter22/db"), "a scheme and a host"),
        (("--history", "databricks://h/sql/1.0/x"), "needs --catalog and --schema"),
        ((*DATABRICKS[2:], "--history", "databricks://h/x"), "'/x' is no HTTP path of"),
        (("--catalog", "main"), "--catalog is for databricks://... only"),
        (("--schema", "x"), "a folder has no schema; leave --schema out"),
        ((*POSTGRES, "--schema", "a\nb"), r"--schema 'a\nb' is no name"),
    ],
)
@pytest.mark.parametrize("tool", ["tableau", "powerbi"])
def test_what_names_no_source_is_refused(write, tmp_path, tool, arguments, message):
    assert message in write(tool, *arguments, status=1)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_the_tool_would_not_open_is_refused(write, tmp_path):
    out = tmp_path / "h.xml"
    assert "has to end with .tds" in write("tableau", *POSTGRES, status=1, out=out)
    out = tmp_path / "no" / "h.tds"
    assert "cannot write" in write("tableau", *POSTGRES, status=1, out=out)


def test_the_same_source_is_the_same_file(write):
    assert write("tableau", *POSTGRES) == write("tableau", *POSTGRES)
