"""A history in a database, which does the work itself."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from pytest_llmeval.dashboard.source import Record
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import optional
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    import sqlalchemy

STATE = """
select (select count(*) from runs) as runs,
       (select max(finished_at) from runs) as run,
       (select count(*) from metrics) as metrics,
       (select count(*) from deployments) as deployments,
       (select max(ended_at) from deployments) as deployment
"""


class DatabaseHistory:
    """The tables of a database at a SQLAlchemy URL, only read.

    Raises:
        ConfigurationError: the URL is none, or its driver is not installed.
    """

    def __init__(self, url: str) -> None:
        import sqlalchemy

        try:
            place = _with_driver(sqlalchemy.make_url(url))
            self._place = place.render_as_string(hide_password=True)
            self._engine = sqlalchemy.create_engine(
                place, poolclass=sqlalchemy.NullPool
            )
        except (sqlalchemy.exc.ArgumentError, ImportError) as error:
            raise ConfigurationError(
                f"cannot use the database URL: {one_line(error, 300)}; it must look "
                "like sqlite:///history.db or postgresql+psycopg://user@host/name, "
                "with its driver installed"
            ) from None
        if self._engine.dialect.name == "sqlite":
            _check_file(place)
            sqlalchemy.event.listen(self._engine, "connect", _only_read)
        elif self._engine.dialect.name == "postgresql":
            self._engine = self._engine.execution_options(postgresql_readonly=True)

    def ask(self, sql: str, **values: object) -> list[Record]:
        """Return what a query finds."""
        import sqlalchemy

        try:
            with self._engine.connect() as connection:
                found = connection.execute(_statement(sql, values), values)
                return [dict(row) for row in found.mappings()]
        except sqlalchemy.exc.SQLAlchemyError as error:
            cause = getattr(error, "orig", None) or error
            raise ConfigurationError(
                f"cannot read the history in {self._place}: {one_line(cause, 300)}; "
                "write it with: llmeval export --to URL"
            ) from None

    def refresh(self) -> str:
        """Return a word that changes with the tables."""
        return repr(self.ask(STATE))


def _with_driver(url: sqlalchemy.URL) -> sqlalchemy.URL:
    """Return a URL with the driver that the export takes."""
    if url.drivername == "postgresql":
        optional("psycopg")
        return url.set(drivername="postgresql+psycopg")
    return url


def _check_file(url: sqlalchemy.URL) -> None:
    """See that there is a file, which SQLite would make."""
    if not Path(url.database or "").is_file():
        raise ConfigurationError(
            f"there is no history in {url.database!r}: it is no file; write it with: "
            f"llmeval export --to {url.render_as_string()}"
        )


def _statement(sql: str, values: dict[str, object]) -> sqlalchemy.TextClause:
    """Return a query whose times are given as the database stores them."""
    import sqlalchemy

    times = [n for n, value in values.items() if isinstance(value, datetime.datetime)]
    kind = sqlalchemy.DateTime(timezone=True)
    return sqlalchemy.text(sql).bindparams(
        *(sqlalchemy.bindparam(name, type_=kind) for name in times)
    )


def _only_read(
    connection: sqlalchemy.engine.interfaces.DBAPIConnection, _: object
) -> None:
    connection.cursor().execute("pragma query_only = on")
