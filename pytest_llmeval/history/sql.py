"""History tables in a database that SQLAlchemy knows: SQLite, PostgreSQL and others."""

from __future__ import annotations

from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import optional
from pytest_llmeval.history.arrow import to_arrow
from pytest_llmeval.history.places import check_version
from pytest_llmeval.history.places import in_order
from pytest_llmeval.history.places import owners_of
from pytest_llmeval.history.schema import BY_NAME
from pytest_llmeval.history.schema import SCHEMA_VERSION
from pytest_llmeval.history.schema import TABLES
from pytest_llmeval.history.schema import Table
from pytest_llmeval.history.wide import wide_query
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    import pyarrow
    import sqlalchemy


NOTES = "llmeval_history"
"""The table that says that a database holds a history, and of which schema."""
SCHEMA_NOTE, METRICS_NOTE = "schema", "metrics"
BUSY_S = 60
IDS_AT_ONCE = 500
"""In one statement; databases bound the number of its parameters."""


class SqlPlace:
    """A database.

    Args:
        url: Of SQLAlchemy; ``postgresql://`` takes the driver psycopg.
        rootdir: Where the relative path of an SQLite file starts.

    Raises:
        ConfigurationError: it does not answer, or holds something else.
    """

    def __init__(self, url: str, rootdir: Path) -> None:
        import sqlalchemy

        parsed = _parse(url, rootdir)
        self.name = parsed.render_as_string(hide_password=True)
        waits = {"timeout": BUSY_S} if parsed.get_backend_name() == "sqlite" else {}
        # Nothing stays open: an export is a few transactions.
        self._engine = sqlalchemy.create_engine(
            parsed, connect_args=waits, poolclass=sqlalchemy.NullPool
        )
        self._metadata = _metadata()
        self._notes = self._metadata.tables[NOTES]
        self._open()

    def read(self, table: str, columns: Sequence[str]) -> pyarrow.Table:
        """Return columns of a table."""
        import sqlalchemy

        definition, stored = BY_NAME[table], self._metadata.tables[table]
        names = dict.fromkeys((*columns, *definition.keys))
        query = sqlalchemy.select(*(stored.c[name] for name in names))
        with self._writing() as connection:
            records = [dict(row) for row in connection.execute(query).mappings()]
        return to_arrow(definition, records).select(list(columns))

    def replace(self, tables: Mapping[str, pyarrow.Table]) -> None:
        """Replace the records in one transaction."""
        with self._writing() as connection:
            self._lock(connection)
            for table in in_order(tables):
                stored = self._metadata.tables[table.name]
                owners = owners_of(table, tables).column(0).to_pylist()
                for at in range(0, len(owners), IDS_AT_ONCE):
                    some = owners[at : at + IDS_AT_ONCE]
                    owner = stored.c[table.names[0]]
                    connection.execute(stored.delete().where(owner.in_(some)))
                records = tables[table.name].to_pylist()
                if records:
                    connection.execute(stored.insert(), records)

    def note(self, name: str) -> str | None:
        """Return what an earlier export has noted."""
        with self._writing() as connection:
            return self._noted(connection, name)

    def keep_note(self, name: str, text: str) -> None:
        """Note something for the next export."""
        with self._writing() as connection:
            self._lock(connection)
            self._keep(connection, name, text)

    def finish(self) -> None:
        """Make the view anew, where the metrics are others than before."""
        import sqlalchemy

        metric = self._metadata.tables["metrics"].c.metric
        with self._writing() as connection:
            self._lock(connection)
            names = connection.scalars(sqlalchemy.select(metric).distinct())
            query = wide_query(names)
            if query == self._noted(connection, METRICS_NOTE):
                return
            connection.execute(sqlalchemy.text("DROP VIEW IF EXISTS metrics_wide"))
            view = f"CREATE VIEW metrics_wide AS {query}".replace(":", "\\:")
            connection.execute(sqlalchemy.text(view))
            self._keep(connection, METRICS_NOTE, query)

    def _open(self) -> None:
        import sqlalchemy

        with self._writing() as connection:
            names = set(sqlalchemy.inspect(connection).get_table_names())
            foreign = sorted(names & set(BY_NAME)) if NOTES not in names else []
            if foreign:
                raise ConfigurationError(
                    f"{self.name} has a table {foreign[0]!r} that is not ours; name "
                    "another database, or in PostgreSQL another schema: "
                    "?options=-csearch_path%3DSCHEMA"
                )
            found = self._noted(connection, SCHEMA_NOTE) if NOTES in names else None
        if found is None:
            self._create()
        else:
            check_version(int(found) if found.isdecimal() else found, self.name)

    def _create(self) -> None:
        """Make all tables; another process may do the same."""
        import sqlalchemy

        try:
            with self._writing() as connection:
                # First: it tells our tables apart, also after a kill between two.
                self._notes.create(connection, checkfirst=True)
                self._metadata.create_all(connection)
                self._keep(connection, SCHEMA_NOTE, str(SCHEMA_VERSION))
        except ConfigurationError:
            with self._writing() as connection:
                names = sqlalchemy.inspect(connection).get_table_names()
                if not {NOTES, *BY_NAME} <= set(names):
                    raise

    def _lock(self, connection: sqlalchemy.Connection) -> None:
        """Keep other processes from writing until the transaction ends."""
        name = self._notes.c.name
        row = self._notes.update().where(name == SCHEMA_NOTE)
        connection.execute(row.values(name=SCHEMA_NOTE))

    def _noted(self, connection: sqlalchemy.Connection, name: str) -> str | None:
        import sqlalchemy

        query = sqlalchemy.select(self._notes.c.text).where(self._notes.c.name == name)
        text: str | None = connection.scalar(query)
        return text

    def _keep(self, connection: sqlalchemy.Connection, name: str, text: str) -> None:
        connection.execute(self._notes.delete().where(self._notes.c.name == name))
        connection.execute(self._notes.insert(), {"name": name, "text": text})

    @contextmanager
    def _writing(self) -> Iterator[sqlalchemy.Connection]:
        """Open a transaction; say of which database an error is."""
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engine.begin() as connection:
                yield connection
        except SQLAlchemyError as error:
            # Without the statement and its parameters, which are rows.
            cause = getattr(error, "orig", None) or error
            raise ConfigurationError(
                f"cannot use the history in {self.name}: {type(cause).__name__}: "
                f"{one_line(cause, 500)}; check the URL, and what its user may do"
            ) from None


def _parse(url: str, rootdir: Path) -> sqlalchemy.URL:
    from sqlalchemy.engine import make_url
    from sqlalchemy.exc import SQLAlchemyError

    try:
        parsed = make_url(url)
        if parsed.drivername in ("postgresql", "postgres"):
            optional("psycopg")
            parsed = parsed.set(drivername="postgresql+psycopg")
        parsed.get_dialect()
    except SQLAlchemyError as error:
        raise ConfigurationError(
            f"{one_line(url)} is no URL of a database: {one_line(error)}; write "
            "sqlite:///FILE or postgresql://USER@HOST/DATABASE"
        ) from None
    if parsed.get_backend_name() == "sqlite" and parsed.database:
        path = rootdir / parsed.database
        path.parent.mkdir(parents=True, exist_ok=True)
        parsed = parsed.set(database=str(path))
    return parsed


def _metadata() -> sqlalchemy.MetaData:
    import sqlalchemy

    metadata = sqlalchemy.MetaData()
    for table in TABLES:
        _define(table, metadata)
    sqlalchemy.Table(
        NOTES,
        metadata,
        sqlalchemy.Column("name", sqlalchemy.String(200), primary_key=True),
        sqlalchemy.Column("text", sqlalchemy.Text),
    )
    return metadata


def _define(table: Table, metadata: sqlalchemy.MetaData) -> None:
    import sqlalchemy

    types: dict[str, Any] = {
        "text": sqlalchemy.Text(),
        "json": sqlalchemy.Text(),
        "integer": sqlalchemy.BigInteger(),
        "real": sqlalchemy.Double(),
        "boolean": sqlalchemy.Boolean(),
        "time": sqlalchemy.DateTime(timezone=True),
        "day": sqlalchemy.Date(),
    }
    columns = [
        sqlalchemy.Column(
            column.name,
            types[column.kind],
            primary_key=column.is_key,
            autoincrement=False,
            comment=column.described,
        )
        for column in table.columns
    ]
    days = sqlalchemy.Index(f"{table.name}_by_day", "day")
    sqlalchemy.Table(table.name, metadata, *columns, days, comment=table.meaning)
