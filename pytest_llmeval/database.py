"""The SQLite file of the predictions store: its tables, opening, writing."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import TypeAlias

from pytest_llmeval.errors import ConfigurationError


SCHEMA_VERSION = 2
TABLES = (
    # `id` is the order of insertion. `text` is UTF-8 with lone surrogates in it, which
    # SQLite's own text cannot hold.
    """CREATE TABLE IF NOT EXISTS predictions (
        id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE, text BLOB NOT NULL,
        prompt_tokens INTEGER, output_tokens INTEGER, cost_usd REAL,
        latency_ms REAL, queue_ms REAL, attempts INTEGER NOT NULL,
        run_id TEXT NOT NULL, stored_at REAL NOT NULL
    )""",
    """CREATE TABLE IF NOT EXISTS evaluations (
        key TEXT PRIMARY KEY, generation TEXT NOT NULL, run_id TEXT NOT NULL,
        instance TEXT, complete INTEGER NOT NULL, started_at REAL NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS claims (
        key BLOB, owner TEXT, run_id TEXT NOT NULL, PRIMARY KEY (key, owner)
    ) WITHOUT ROWID""",
)
BUSY_TIMEOUT_S = 60
BUSY_PAUSE_S = 0.01
VARIABLES_PER_QUERY = 500
WAL_PAGES_LIMIT = 16_384
Values: TypeAlias = Sequence[Any] | Mapping[str, Any]


class Database:
    """An open predictions database; use it from one thread at a time.

    A commit outlives the process at once, and a loss of power after `checkpoint`; the
    file stays whole in either case.

    Args:
        path: The file; it and its folder are created when missing.

    Raises:
        ConfigurationError: the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._connection = sqlite3.connect(
                path,
                timeout=BUSY_TIMEOUT_S,
                isolation_level=None,
                check_same_thread=False,
            )
            try:
                self._prepare_when_free()
            except BaseException:
                self.close()
                raise
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"cannot write the predictions store {path}: {error}; choose another "
                "folder with --llmeval-dir, or do without it with --llmeval-cache off"
            ) from None

    def _prepare_when_free(self) -> None:
        # SQLite does not wait when several processes switch a new file to WAL.
        deadline = time.monotonic() + BUSY_TIMEOUT_S
        while True:
            try:
                return self._prepare()
            except sqlite3.OperationalError as error:
                busy = error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_BUSY
                if not busy or time.monotonic() > deadline:
                    raise
            time.sleep(BUSY_PAUSE_S)

    def _prepare(self) -> None:
        execute = self._connection.execute
        execute("PRAGMA auto_vacuum = INCREMENTAL")  # works before the first table only
        execute("PRAGMA journal_mode = WAL")
        execute("PRAGMA synchronous = NORMAL")
        execute("PRAGMA wal_autocheckpoint = 0")  # would sync several times a second
        execute("BEGIN IMMEDIATE")  # several processes may come at once
        (version,) = execute("PRAGMA user_version").fetchone()
        (tables,) = execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(
                f"it has schema {version}, and this version of the package reads "
                f"{SCHEMA_VERSION}; delete the file to begin a new one"
            )
        for table in TABLES:
            execute(table)
        execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        execute("COMMIT")

    def run(self, query: str, values: Values = ()) -> list[tuple[Any, ...]]:
        """Run one statement to its end and return its rows."""
        try:
            return self._connection.execute(query, values).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from None

    def run_many(self, query: str, rows: Iterable[Values]) -> int:
        """Run one statement for each row; return how many rows it changed."""
        try:
            return self._connection.executemany(query, rows).rowcount
        except sqlite3.Error as error:
            raise self._failure(error) from None

    def select(
        self, query: str, keys: Sequence[bytes], *rest: object
    ) -> Iterator[tuple[Any, ...]]:
        """Run a query whose ``{keys}`` stands for these keys, however many.

        Args:
            query: Holds ``{keys}`` before the marks of the other values.
            keys: Sent in parts, as SQLite takes a limited number of values.
            rest: The other values.
        """
        for start in range(0, len(keys), VARIABLES_PER_QUERY):
            part = keys[start : start + VARIABLES_PER_QUERY]
            marks = ",".join("?" * len(part))
            yield from self.run(query.format(keys=marks), (*part, *rest))

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Do all of it or nothing, while no other process writes."""
        self.run("BEGIN IMMEDIATE")
        try:
            yield
            self.run("COMMIT")
        except BaseException:
            self._connection.rollback()
            raise

    def checkpoint(self) -> None:
        """Sync what was committed, and move it from the log into the file."""
        ((_, pages, _),) = self.run("PRAGMA wal_checkpoint(PASSIVE)")
        if pages > WAL_PAGES_LIMIT:  # other writers kept the log from starting anew
            self.run("PRAGMA wal_checkpoint(RESTART)")

    def size_bytes(self) -> int:
        """Return the size that the file has after the next checkpoint."""
        ((pages,),) = self.run("PRAGMA page_count")
        ((page_bytes,),) = self.run("PRAGMA page_size")
        return int(pages * page_bytes)

    def give_back(self) -> None:
        """Give the space of deleted rows back to the file system."""
        try:
            # A plain execute() frees one page only.
            self._connection.executescript("PRAGMA incremental_vacuum")
        except sqlite3.Error as error:
            raise self._failure(error) from None
        self.checkpoint()

    def close(self) -> None:
        """Close it; the last process to do so syncs it and removes the log."""
        self._connection.close()

    def _failure(self, error: sqlite3.Error) -> ConfigurationError:
        return ConfigurationError(
            f"cannot use the predictions store {self.path}: {error}; what it holds is "
            "intact, and the same command goes on from there"
        )
