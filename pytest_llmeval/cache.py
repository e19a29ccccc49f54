"""Looks after a predictions store: what it holds, clearing, export and import.

An export is JSON lines: a header, generations of unpinned models, predictions, and a
last line with their number, by which a file that was cut short is told.
"""

from __future__ import annotations

import gzip
import json
import re
import time
import zlib
from collections.abc import Iterator
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path
from typing import IO
from typing import Any
from typing import Literal
from typing import NamedTuple
from typing import cast

from pytest_llmeval.claims import living_owners
from pytest_llmeval.database import SCHEMA_VERSION
from pytest_llmeval.database import Database
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import DataError
from pytest_llmeval.predictions import forget_oldest
from pytest_llmeval.text import redactor


HEADER = {"format": "llmeval predictions", "schema": SCHEMA_VERSION}
KEY = re.compile("[0-9a-f]{32}")
NUMBER_LIMIT = 2**63
ROWS_PER_READ = 1_000
ROW_BYTES = 120
"""What a prediction takes beside its text, about."""
Fields = Mapping[str, tuple[type, ...]]
GENERATION: Fields = {
    "evaluation": (str,),
    "generation": (str,),
    "run_id": (str,),
    "instance": (str, type(None)),
    "complete": (bool,),
    "started_at": (float,),
}
PREDICTION: Fields = {
    "key": (str,),
    "text": (str,),
    "prompt_tokens": (int, type(None)),
    "output_tokens": (int, type(None)),
    "cost_usd": (float, type(None)),
    "latency_ms": (float, type(None)),
    "queue_ms": (float, type(None)),
    "attempts": (int,),
    "run_id": (str,),
    "stored_at": (float,),
}
READ_GENERATIONS = (
    "SELECT key, generation, run_id, instance, complete, started_at FROM evaluations"
)
READ_PREDICTIONS = (
    f"SELECT id, {', '.join(PREDICTION)} FROM predictions"  # noqa: S608  # ours
    " WHERE id > ? ORDER BY id LIMIT ?"
)
# The newer one stays, so that files may be imported in any order and twice.
MERGE_GENERATION = """INSERT OR REPLACE INTO evaluations
    SELECT :evaluation, :generation, :run_id, :instance, :complete, :started_at
    WHERE NOT EXISTS (
        SELECT 1 FROM evaluations WHERE key = :evaluation AND started_at >= :started_at
    )"""
MERGE_PREDICTION = f"""INSERT OR REPLACE INTO predictions ({", ".join(PREDICTION)})
    SELECT :{", :".join(PREDICTION)} WHERE NOT EXISTS (
        SELECT 1 FROM predictions WHERE key = :key AND stored_at >= :stored_at
    )"""  # noqa: S608  # ours
HELD_BEFORE = """SELECT count(*), coalesce(sum(length(text)), 0)
    FROM predictions WHERE stored_at < ?"""
UNDER_WAY = """SELECT count(*) FROM claims
    WHERE owner = ? AND key NOT IN (SELECT key FROM predictions)"""


class Contents(NamedTuple):
    """What a predictions store holds."""

    size_bytes: int
    predictions: int
    oldest_at: float | None
    """Unix time in seconds when the oldest was stored; None in an empty store."""
    newest_at: float | None
    under_way: int
    """Requests that living processes have claimed and not answered."""


class Imported(NamedTuple):
    """What came of the predictions of an exported file."""

    added: int
    known: int
    """Already in the store, as new or newer."""
    secret: int
    """Left out, as they hold a secret of this environment."""


def describe(path: Path) -> Contents:
    """Return what the store at a path holds.

    Raises:
        ConfigurationError: there is none, or it cannot be used; so all functions here.
    """
    with closing(_existing(path)) as database:
        ((count, oldest, newest),) = database.run(
            "SELECT count(*), min(stored_at), max(stored_at) FROM predictions"
        )
        with database.transaction():
            living = living_owners(path.parent / "claims")
            claims = [database.run(UNDER_WAY, (owner,))[0][0] for owner in living]
        size_bytes = database.size_bytes()
        return Contents(size_bytes, count, oldest, newest, sum(claims))


def clear(path: Path, *, older_than_s: float | None = None) -> int:
    """Delete predictions and give their space back; return how many there were.

    Args:
        path: The store.
        older_than_s: Spare those that were stored within these seconds; by default none
            is spared.
    """
    before = float("inf") if older_than_s is None else time.time() - older_than_s
    with closing(_existing(path)) as database:
        with database.transaction():
            deleted = database.run_many(
                "DELETE FROM predictions WHERE stored_at < ?", [(before,)]
            )
            if older_than_s is None:
                database.run("DELETE FROM evaluations")
        database.give_back()
        return deleted


def held_before(path: Path, before: float) -> tuple[int, int]:
    """Return how many predictions were stored before a time, and about their bytes."""
    with closing(_existing(path)) as database:
        ((count, text_bytes),) = database.run(HELD_BEFORE, (before,))
        return count, text_bytes + count * ROW_BYTES


def make_room(path: Path, limit_bytes: int) -> None:
    """Delete the oldest predictions until the store takes no more than this."""
    with closing(_existing(path)) as database:
        while database.size_bytes() > limit_bytes:
            if not forget_oldest(database, limit_bytes):
                return


def export_to(file: Path, path: Path) -> int:
    """Write a store to a file, compressed when it ends in ``.gz``.

    Returns:
        How many predictions were written.
    """
    scratch = file.with_name(f".part-{file.name}")
    with closing(_existing(path)) as database:
        try:
            with _open(scratch, "wb") as stream:
                count = _write_lines(database, stream)
            scratch.replace(file)
        except OSError as error:
            raise ConfigurationError(f"cannot write {file}: {error}") from None
        finally:
            scratch.unlink(missing_ok=True)
        return count


def _write_lines(database: Database, stream: IO[bytes]) -> int:
    def write(line: Mapping[str, object]) -> None:
        stream.write(json.dumps(line).encode("ascii") + b"\n")

    write(HEADER)
    generations = database.run(READ_GENERATIONS)
    for row in generations:
        line = dict(zip(GENERATION, row, strict=True))
        write(line | {"complete": bool(line["complete"])})
    count = 0
    for row in _all_predictions(database):
        line = dict(zip(PREDICTION, row, strict=True))
        text = line["text"].decode("utf-8", "surrogatepass")
        write(line | {"key": line["key"].hex(), "text": text})
        count += 1
    write({"generations": len(generations), "predictions": count})
    return count


def _all_predictions(database: Database) -> Iterator[tuple[Any, ...]]:
    last = 0
    while rows := database.run(READ_PREDICTIONS, (last, ROWS_PER_READ)):
        yield from (row[1:] for row in rows)
        last = rows[-1][0]


def import_from(file: Path, path: Path) -> Imported:
    """Merge an exported file into a store, all of it or nothing.

    The store is made when there is none. Of two predictions of one request the newer
    stays.

    Raises:
        DataError: the file cannot be read; the message names the line.
    """
    redact = redactor()
    added = total = secret = 0
    with closing(Database(path)) as database, database.transaction():
        for line in _read_lines(file):
            if "evaluation" in line:
                database.run(MERGE_GENERATION, line)
                continue
            total += 1
            text = line["text"]
            if redact(text) != text:
                secret += 1
                continue
            added += database.run_many(MERGE_PREDICTION, [_stored_form(line)])
    return Imported(added, total - added - secret, secret)


def _stored_form(line: Mapping[str, Any]) -> dict[str, Any]:
    text = line["text"].encode("utf-8", "surrogatepass")
    return {**line, "key": bytes.fromhex(line["key"]), "text": text}


def _read_lines(file: Path) -> Iterator[dict[str, Any]]:
    """Yield generations and predictions; check header, fields and the last line."""
    counts, ended, number = {"generations": 0, "predictions": 0}, False, 0
    try:
        with _open(file, "rb") as stream:
            for number, raw in enumerate(stream, 1):
                line = _parse(raw)
                if number == 1:
                    _check_header(line)
                elif ended:
                    raise ValueError("there is something after the last line")
                elif "predictions" in line:
                    _check_counts(line, counts)
                    ended = True
                else:
                    counts[_check_fields(line)] += 1
                    yield line
    except ValueError as error:
        raise _refused(f"{file}:{number}: {error}") from None
    except (OSError, EOFError, zlib.error) as error:
        raise _refused(f"cannot read {file}: {error}") from None
    if not ended:
        raise _refused(f"{file} was cut short: its last line is missing")


def _parse(raw: bytes) -> dict[str, Any]:
    line = json.loads(raw)
    if not isinstance(line, dict):
        raise ValueError(f"{raw[:60]!r} is not a JSON object")
    return line


def _check_header(line: Mapping[str, object]) -> None:
    if line.get("format") != HEADER["format"]:
        raise ValueError(
            "it is not an export; make one with: llmeval cache export FILE"
        )
    if line.get("schema") != SCHEMA_VERSION:
        raise ValueError(
            f"it has schema {line.get('schema')!r}, and this version of the package "
            f"reads {SCHEMA_VERSION}"
        )


def _check_counts(line: Mapping[str, object], counts: Mapping[str, int]) -> None:
    if line != counts:
        raise ValueError(f"lines are missing: {line} were written, {counts} are here")


def _check_fields(line: Mapping[str, object]) -> str:
    """Return which kind of line it is."""
    is_generation = "evaluation" in line
    fields = GENERATION if is_generation else PREDICTION
    if set(line) != set(fields):
        names = ", ".join(sorted(set(line) ^ set(fields)))
        raise ValueError(f"fields that are missing or not known: {names}")
    for name, types in fields.items():
        if not _is_valid(name, line[name], types):
            raise ValueError(f"{name!r} cannot be {line[name]!r:.60}")
    return "generations" if is_generation else "predictions"


def _is_valid(name: str, value: Any, types: tuple[type, ...]) -> bool:
    if type(value) not in types:
        return False
    if name == "key":
        return KEY.fullmatch(value) is not None
    if isinstance(value, (int, float)):
        return abs(value) < NUMBER_LIMIT
    return name != "text" or value != ""


def _refused(problem: str) -> DataError:
    return DataError(f"{problem}; nothing was imported")


def _open(file: Path, mode: Literal["rb", "wb"]) -> IO[bytes]:
    if file.suffix == ".gz":
        return cast("IO[bytes]", gzip.open(file, mode))
    return file.open(mode)


def _existing(path: Path) -> Database:
    if not path.is_file():
        raise ConfigurationError(
            f"there is no predictions store {path}; the first evaluation makes it, and "
            "--dir names another folder than .llmeval in this one"
        )
    return Database(path)
