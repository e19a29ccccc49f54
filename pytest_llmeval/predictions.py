"""The predictions store: cache and resume in one SQLite file.

A reply is committed before its slot takes the next request, so that a command which is
run again finds the rows that were finished.
"""

from __future__ import annotations

import json
import sqlite3
import time
import uuid
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from types import TracebackType

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply
from pytest_llmeval.records import digest_of
from pytest_llmeval.text import redact


SCHEMA_VERSION = 1
TABLES = (
    """CREATE TABLE IF NOT EXISTS predictions (
        key TEXT PRIMARY KEY, reply TEXT NOT NULL, latency_ms REAL, attempts INTEGER,
        stored_at REAL NOT NULL
    ) WITHOUT ROWID""",
    """CREATE TABLE IF NOT EXISTS evaluations (
        key TEXT PRIMARY KEY, generation TEXT NOT NULL, run_id TEXT NOT NULL,
        instance TEXT, complete INTEGER NOT NULL
    ) WITHOUT ROWID""",
)
VARIABLES_PER_QUERY = 500


class Predictions:
    """An open predictions store; use it in a ``with`` block, from one thread at a time.

    Args:
        path: The SQLite file; created when missing.

    Raises:
        ConfigurationError: the file cannot be opened or written.
    """

    def __init__(self, path: Path) -> None:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._db = sqlite3.connect(
                path, timeout=60, isolation_level=None, check_same_thread=False
            )
            self._db.execute("PRAGMA journal_mode = WAL")
            self._db.execute("PRAGMA synchronous = NORMAL")
            self._create_tables()
        except (OSError, sqlite3.Error) as error:
            raise ConfigurationError(
                f"cannot write the predictions store {path}: {error}; choose another "
                "folder with --llmeval-dir, or do without it with --llmeval-cache off"
            ) from None

    def _create_tables(self) -> None:
        self._db.execute("BEGIN IMMEDIATE")  # several processes may come at once
        (version,) = self._db.execute("PRAGMA user_version").fetchone()
        (tables,) = self._db.execute("SELECT count(*) FROM sqlite_master").fetchone()
        if tables and version != SCHEMA_VERSION:
            raise sqlite3.DatabaseError(
                f"it has schema {version}, and this version of the package reads "
                f"{SCHEMA_VERSION}; delete the file to begin a new one"
            )
        for table in TABLES:
            self._db.execute(table)
        self._db.execute(f"PRAGMA user_version = {SCHEMA_VERSION}")
        self._db.execute("COMMIT")

    def __enter__(self) -> Predictions:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._db.close()

    def generation(
        self, evaluation: str, run_id: str, instance: str | None, *, latest: bool
    ) -> str:
        """Return which stored replies of an unpinned model may serve.

        The same reference may be another model tomorrow. So its replies serve only
        within one run, or to finish a run that did not score every row.

        Args:
            evaluation: Digest of model, request and dataset.
            run_id: The run that evaluates.
            instance: Tells models of one name apart, see `ModelRef`.
            latest: Take the last generation whatever run and instance it came from.
        """
        row = self._db.execute(
            "SELECT generation, run_id, instance, complete FROM evaluations"
            " WHERE key = ?",
            (evaluation,),
        ).fetchone()
        if row is not None:
            generation, owner, stored_instance, complete = row
            current = stored_instance == instance and (not complete or owner == run_id)
            if current:
                self._db.execute(
                    "UPDATE evaluations SET run_id = ? WHERE key = ?",
                    (run_id, evaluation),
                )
            if current or latest:
                return str(generation)
        fresh = uuid.uuid4().hex
        self._db.execute(
            "INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?, 0)",
            (evaluation, fresh, run_id, instance),
        )
        return fresh

    def finish(self, evaluation: str) -> None:
        """Note that every row of an unpinned model's evaluation has been answered."""
        self._db.execute(
            "UPDATE evaluations SET complete = 1 WHERE key = ?", (evaluation,)
        )

    def find(self, keys: Iterable[str]) -> dict[str, Prediction]:
        """Return the stored predictions among these keys."""
        wanted, found = list(keys), {}
        for start in range(0, len(wanted), VARIABLES_PER_QUERY):
            part = wanted[start : start + VARIABLES_PER_QUERY]
            marks = ", ".join("?" * len(part))
            query = f"SELECT * FROM predictions WHERE key IN ({marks})"  # noqa: S608  # only marks
            for key, reply, latency_ms, attempts, stored_at in self._db.execute(
                query, part
            ):
                found[key] = Prediction(
                    reply=Reply(**json.loads(reply)),
                    latency_ms=latency_ms,
                    attempts=attempts,
                    stored_at=stored_at,
                )
        return found

    def add(self, key: str, prediction: Prediction) -> None:
        """Commit one prediction; errors, empty replies and secrets are never stored."""
        reply = prediction.reply
        if reply is None or not reply.text or redact(reply.text) != reply.text:
            return
        try:
            self._db.execute(
                "INSERT OR REPLACE INTO predictions VALUES (?, ?, ?, ?, ?)",
                (
                    key,
                    json.dumps(asdict(reply)),
                    prediction.latency_ms,
                    prediction.attempts,
                    time.time(),
                ),
            )
        except sqlite3.Error as error:
            raise ConfigurationError(
                f"cannot write to the predictions store: {error}; what it holds is "
                "intact, and the same command goes on from there"
            ) from None


def prediction_key(
    model: ModelRef, prompt: Prompt, generation: str | None, *, sees_example: bool
) -> str:
    """Return the digest of all that a reply depends on."""
    return digest_of(
        {
            "model": model.identity(),
            "generation": generation,
            "system": prompt.system,
            "earlier": prompt.earlier,
            "user": prompt.user,
            "params": prompt.params,
            "example": asdict(prompt.example) if sees_example else None,
        }
    )
