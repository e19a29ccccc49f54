"""The predictions store: cache, resume and claims in one.

A reply is committed before its slot takes the next request, so that a command which is
run again finds the rows that were finished, however the last one ended.
"""

from __future__ import annotations

import hashlib
import json
import time
import uuid
from collections.abc import Callable
from collections.abc import Sequence
from itertools import islice
from pathlib import Path
from types import TracebackType
from typing import Any
from typing import NamedTuple

from pytest_llmeval.claims import Owner
from pytest_llmeval.claims import living_owners
from pytest_llmeval.database import Database
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import Example
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Prompt
from pytest_llmeval.records import Reply
from pytest_llmeval.records import Request
from pytest_llmeval.records import canonical
from pytest_llmeval.text import redactor


COLUMNS = (
    "key, text, prompt_tokens, output_tokens, cost_usd, latency_ms, queue_ms, attempts,"
    " run_id, stored_at"
)
FIND = f"SELECT {COLUMNS} FROM predictions WHERE key IN ({{keys}})"  # noqa: S608  # ours
ADD = (
    f"INSERT OR REPLACE INTO predictions ({COLUMNS})"  # noqa: S608  # ours
    " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)"
)
CLAIMED = "SELECT key, owner FROM claims WHERE key IN ({keys}) AND owner <> ?"
OURS = "SELECT key FROM claims WHERE key IN ({keys}) AND owner = ?"
OWNERS = "SELECT DISTINCT owner FROM claims"
FORGET = """DELETE FROM predictions WHERE id IN (
    SELECT id FROM predictions ORDER BY id
    LIMIT 1 + (SELECT coalesce(max(id) - min(id), 0) FROM predictions) / 100
)"""
KEY_BYTES = 16
SYNC_EVERY_S = 1.0
KEPT_SHARE = 0.8
FORGETTING_S = 2.0


class Taken(NamedTuple):
    """What came of the keys that someone wants predictions for."""

    found: dict[bytes, Prediction]
    """Those that are stored."""
    ours: set[bytes]
    """Those to ask for; any other key is being asked for by another owner."""


class Predictions:
    """An open predictions store; use it in a ``with`` block, from one thread at a time.

    Any number of processes may use one store. What `commit` returned from outlives the
    process, however it ends; the last second may be lost with the power.

    Args:
        path: The SQLite file; created when missing.
        run_id: The run that uses the store.
        limit_bytes: Delete the oldest predictions when the file is larger, now.

    Raises:
        ConfigurationError: the file cannot be opened, read or written; so all methods.
    """

    def __init__(
        self, path: Path, *, run_id: str, limit_bytes: int | None = None
    ) -> None:
        self._database = Database(path)
        self._run_id = run_id
        self._owner = Owner(path.parent / "claims")
        self._redact = redactor()
        self._added: list[tuple[Any, ...]] = []
        self._unanswered: list[tuple[bytes, str]] = []
        self._synced = time.monotonic()
        if limit_bytes is not None and self._database.size_bytes() > limit_bytes:
            forget_oldest(self._database, int(limit_bytes * KEPT_SHARE))

    def __enter__(self) -> Predictions:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            self.release()
        except ConfigurationError:
            if value is None:  # else it would hide what ended the block
                raise
        finally:
            self._owner.end()
            self._database.close()

    def generation(self, evaluation: str, instance: str | None, *, latest: bool) -> str:
        """Return which stored replies of an unpinned model may serve.

        The same reference may be another model tomorrow. So its replies serve only
        within one run, or to finish a run that did not score every row.

        Args:
            evaluation: Digest of model, request and dataset.
            instance: Tells models of one name apart, see `ModelRef`.
            latest: Take the last generation whatever run and instance it came from.
        """
        with self._database.transaction():
            for generation, run_id, stored_instance, complete in self._database.run(
                "SELECT generation, run_id, instance, complete FROM evaluations"
                " WHERE key = ?",
                (evaluation,),
            ):
                ours = not complete or run_id == self._run_id
                if stored_instance == instance and ours:
                    self._database.run(
                        "UPDATE evaluations SET run_id = ? WHERE key = ?",
                        (self._run_id, evaluation),
                    )
                    return str(generation)
                if latest:
                    return str(generation)
            return self._begin_generation(evaluation, instance)

    def _begin_generation(self, evaluation: str, instance: str | None) -> str:
        fresh = uuid.uuid4().hex
        self._database.run(
            "INSERT OR REPLACE INTO evaluations VALUES (?, ?, ?, ?, 0, ?)",
            (evaluation, fresh, self._run_id, instance, time.time()),
        )
        return fresh

    def finish(self, evaluation: str) -> None:
        """Note that every row of an unpinned model's evaluation has been answered."""
        self.commit()
        self._database.run(
            "UPDATE evaluations SET complete = 1 WHERE key = ?", (evaluation,)
        )

    def find(
        self, keys: Sequence[bytes], *, own_run_only: bool = False
    ) -> dict[bytes, Prediction]:
        """Return the stored predictions among these keys.

        Args:
            keys: Any number.
            own_run_only: Only what this run stored itself. Such a prediction is not an
                old one, so its `stored_at` is None.
        """
        self.commit()
        return {
            row[0]: self._prediction(row)
            for row in self._database.select(FIND, keys)
            if not own_run_only or row[-2] == self._run_id
        }

    def _prediction(self, row: tuple[Any, ...]) -> Prediction:
        (
            _,
            text,
            prompt_tokens,
            output_tokens,
            cost_usd,
            latency_ms,
            queue_ms,
            _,
            run_id,
            stored_at,
        ) = row
        return Prediction(
            reply=Reply(
                text=text.decode("utf-8", "surrogatepass"),
                prompt_tokens=prompt_tokens,
                output_tokens=output_tokens,
                cost_usd=cost_usd,
            ),
            latency_ms=latency_ms,
            queue_ms=queue_ms,
            attempts=0,
            stored_at=None if run_id == self._run_id else stored_at,
        )

    def take(
        self,
        keys: Sequence[bytes],
        *,
        own_run_only: bool = False,
        most: int | None = None,
    ) -> Taken:
        """Return what is stored, and claim of the rest what no one else is asking for.

        A claim ends with `release` or the process, or when `add` gets a prediction that
        is not stored. A key that is neither found nor ours comes later: take it again.

        Args:
            keys: Any number; one write for all of them.
            own_run_only: As in `find`; then other runs' claims do not count either.
            most: Claim so many, the first ones; None for all.
        """
        found = self.find(keys, own_run_only=own_run_only)
        missing = [key for key in keys if key not in found]
        if not missing:
            return Taken(found, set())
        with self._database.transaction():
            # Another process may have stored some since.
            found |= self.find(missing, own_run_only=own_run_only)
            open_keys = [key for key in missing if key not in found]
            claimed = self._claimed_by_others(open_keys, own_run_only)
            free = (key for key in open_keys if key not in claimed)
            ours = set(islice(free, most))
            self._claim(ours)
        return Taken(found, ours)

    def _claimed_by_others(
        self, keys: Sequence[bytes], own_run_only: bool
    ) -> set[bytes]:
        values, query = [self._owner.name], CLAIMED
        if own_run_only:
            values, query = [*values, self._run_id], f"{CLAIMED} AND run_id = ?"
        claims = list(self._database.select(query, keys, *values))
        if not claims:
            return set()
        living = self._drop_void_claims({owner for _, owner in claims})
        return {key for key, owner in claims if owner in living}

    def _claim(self, keys: set[bytes]) -> None:
        if keys and not self._owner.lives:
            self._owner.begin()
            self._drop_void_claims({owner for (owner,) in self._database.run(OWNERS)})
        self._database.run_many(
            "INSERT OR IGNORE INTO claims VALUES (?, ?, ?)",
            [(key, self._owner.name, self._run_id) for key in keys],
        )

    def _drop_void_claims(self, owners: set[str]) -> set[str]:
        """Delete the claims of those owners who died; return who lives."""
        living = living_owners(self._owner.folder)
        dead = [(owner,) for owner in owners - living]
        self._database.run_many("DELETE FROM claims WHERE owner = ?", dead)
        return living

    def add(self, key: bytes, prediction: Prediction) -> bool:
        """Store one prediction with the next `commit`; return whether it is stored.

        Errors, empty replies and secrets are never stored; their claims end.
        """
        reply = prediction.reply
        if reply is None or not reply.text or self._redact(reply.text) != reply.text:
            self._unanswered.append((key, self._owner.name))
            return False
        row = (
            key,
            reply.text.encode("utf-8", "surrogatepass"),
            reply.prompt_tokens,
            reply.output_tokens,
            reply.cost_usd,
            prediction.latency_ms,
            prediction.queue_ms,
            prediction.attempts,
            self._run_id,
            time.time(),
        )
        self._added.append(row)
        return True

    def commit(self) -> None:
        """Write what was added, all of it or nothing; sync it at most once a second."""
        if not self._added and not self._unanswered:
            return
        added, self._added = self._added, []
        unanswered, self._unanswered = self._unanswered, []
        with self._database.transaction():
            self._database.run_many(ADD, added)
            self._database.run_many(
                "DELETE FROM claims WHERE key = ? AND owner = ?", unanswered
            )
        if time.monotonic() - self._synced >= SYNC_EVERY_S:
            self._database.checkpoint()
            self._synced = time.monotonic()

    def end_claims(self, keys: Sequence[bytes]) -> None:
        """End this run's claims on stored keys: the predictions have come to use."""
        with self._database.transaction():
            self._database.run_many(
                "DELETE FROM claims WHERE key = ? AND run_id = ?",
                [(key, self._run_id) for key in keys],
            )

    def claimed(self, keys: Sequence[bytes]) -> set[bytes]:
        """Return those of these keys on which this store object has a claim still."""
        return {key for (key,) in self._database.select(OURS, keys, self._owner.name)}

    def release(self) -> None:
        """End all claims of this store object."""
        self.commit()
        if self._owner.lives:
            self._database.run(
                "DELETE FROM claims WHERE owner = ?", (self._owner.name,)
            )


def forget_oldest(database: Database, limit_bytes: int) -> bool:
    """Delete the oldest predictions until the file fits, or the time is up.

    Returns:
        Whether there were any left to delete.
    """
    deadline, deleted = time.monotonic() + FORGETTING_S, 1
    while (
        deleted and database.size_bytes() > limit_bytes and time.monotonic() < deadline
    ):
        deleted = database.run_many(FORGET, [()])
        database.give_back()
    return deleted > 0


def key_maker(
    model: ModelRef, request: Request, generation: str | None, *, sees_example: bool
) -> Callable[[Prompt], bytes]:
    """Return the function that gives each prompt of a request its key.

    A key is a digest of all that a reply depends on: the same in every process.

    Args:
        model: Counts by its `identity`.
        request: Counts by system message and parameters.
        generation: Of an unpinned model, see `Predictions.generation`.
        sees_example: Whether the whole example counts.
    """
    who, params = json.dumps([model.identity(), generation]), canonical(request.params)
    shared = _frame(who, request.system or "", params.decode())
    start = hashlib.blake2b(shared, digest_size=KEY_BYTES)

    def key(prompt: Prompt) -> bytes:
        earlier = json.dumps(prompt.earlier, sort_keys=True) if prompt.earlier else ""
        example = _example_text(prompt.example) if sees_example else ""
        digest = start.copy()
        digest.update(_frame(str(prompt.repeat), prompt.user, earlier, example))
        return digest.digest()

    return key


def _frame(*parts: str) -> bytes:
    """Join texts so that no other list of texts gives the same bytes."""
    lengths = [len(part) for part in parts]
    return f"{lengths}{''.join(parts)}".encode("utf-8", "surrogatepass")


def _example_text(example: Example) -> str:
    fields = (example.id, example.input, example.references, example.context)
    return canonical([*fields, example.metadata]).decode()
