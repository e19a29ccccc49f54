"""The books of deployments: what each one is about to do, does, and has done.

``deployment.json`` beside the verdict says it at every moment, so that another process
can end what a killed one began; ``deployments.jsonl`` keeps a line for each attempt.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from pytest_llmeval.deploy.outcome import Outcome
from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.records import Note
from pytest_llmeval.records import Plan
from pytest_llmeval.store import replace_file
from pytest_llmeval.text import redact_within
from pytest_llmeval.text import redactor


Say = Callable[[str], None]
"""Shows a line to the user."""
SCHEMA = 2
APPLYING = "APPLYING"
"""Stands as the reason while a deployment is on its way, and after a crash."""
POINTER = "deploying"
"""The file that leads to the books of the attempt that is on its way."""
UNSETTLED = (APPLYING, "ROLLBACK_FAILED")
"""Reasons of a deployment that the next one has to bring back first."""


class Journal:
    """The books of one attempt.

    Args:
        home: The ``.llmeval`` folder.
        path: The attempt's ``deployment.json``.
        document: Who deploys what, and on which verdict.
    """

    def __init__(self, home: Path, path: Path, document: Mapping[str, Any]) -> None:
        self._home, self.path = home, path
        self._document: dict[str, Any] = {
            "schema": SCHEMA,
            "id": os.urandom(8).hex(),
            **document,
            "reason": APPLYING,
            "message": "",
            "plans": [],
            "calls": [],
            "began_at": time.time(),
            "ended_at": None,
        }

    @classmethod
    def reopened(cls, home: Path, path: Path, document: Mapping[str, Any]) -> Journal:
        """Return the books of an attempt that broke off."""
        journal = cls(home, path, {})
        journal._document = dict(document)
        return journal

    @property
    def id(self) -> str:
        """Tells attempts apart."""
        return str(self._document["id"])

    @property
    def reason(self) -> str:
        """How it ended, ``APPLYING`` before that."""
        return str(self._document["reason"])

    @property
    def target(self) -> str:
        """What the attempt deploys to, as the user wrote it."""
        return str(self._document["target"])

    @property
    def run_id(self) -> str | None:
        """The run whose verdict it deploys; None when it rolls back."""
        run_id: str | None = self._document["run_id"]
        return run_id

    @property
    def plans(self) -> tuple[Plan, ...]:
        """What was to be done, one for each target, in the order of the targets."""
        return tuple(
            Plan(
                **{
                    **plan,
                    "changes": tuple(plan["changes"]),
                    "notes": tuple(plan["notes"]),
                }
            )
            for plan in self._document["plans"]
        )

    @property
    def has_begun(self) -> bool:
        """Whether a write may have been made."""
        return bool(self._document["plans"])

    def begin(self, plans: Sequence[Plan]) -> None:
        """Write down what is about to be done, before the first write."""
        self._document["plans"] = [asdict(plan) for plan in plans]
        self._write()
        replace_file(self._home / POINTER, f"{self.path.absolute()}\n")

    def note(self, target: str) -> Note:
        """Return what keeps the writes to a target."""

        def keep(call: str) -> None:
            entry = {"at": time.time(), "target": target, "call": call}
            self._document["calls"].append(entry)
            self._write()

        return keep

    def end(self, outcome: Outcome) -> None:
        """Write down how it ended, here and in the list of all attempts."""
        pointed = _pointed(self._home / POINTER)
        is_ours = self.has_begun or pointed != self.path.absolute()
        self._document |= {
            "reason": outcome.reason,
            "message": outcome.message,
            "ended_at": time.time(),
        }
        if is_ours:  # else the books of one that is on its way stand there
            self._write()
        self.append()
        if self.has_begun and outcome.reason not in UNSETTLED:
            (self._home / POINTER).unlink(missing_ok=True)

    def append(self) -> None:
        """Add the attempt to the list of all of them."""
        line = json.dumps(redact_within(self._document, redactor()), allow_nan=False)
        self._home.mkdir(parents=True, exist_ok=True)
        with audit_path(self._home).open("a", encoding="utf-8") as file:
            file.write(line + "\n")

    def _write(self) -> None:
        document = redact_within(self._document, redactor())
        text = json.dumps(document, indent=2, allow_nan=False)
        self.path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(self.path, text + "\n")


def audit_path(home: Path) -> Path:
    """Return the file with a line for each attempt; lines are only ever added."""
    return home / "deployments.jsonl"


def unsettled(home: Path) -> Journal | None:
    """Return the books of the attempt that broke off, or could not be brought back.

    Raises:
        ConfigurationError: they cannot be read.
    """
    journal = _last_begun(home)
    return journal if journal is not None and journal.reason in UNSETTLED else None


def forget_settled(home: Path) -> None:
    """Keep the line of an attempt that was killed when all but that was done."""
    journal = _last_begun(home)
    if journal is None or journal.reason in UNSETTLED:
        return
    if journal.id not in {entry.get("id") for entry in past_attempts(home)}:
        journal.append()
    (home / POINTER).unlink(missing_ok=True)


def _last_begun(home: Path) -> Journal | None:
    """Return the books that the pointer leads to, None when there is none."""
    pointer = home / POINTER
    path = _pointed(pointer)
    if path is None:
        return None
    try:
        document = json.loads(path.read_bytes())
        if document["schema"] != SCHEMA:
            raise ValueError(f"its schema is {document['schema']!r}")
        return Journal.reopened(home, path, document)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ConfigurationError(
            f"a deployment broke off, and its books {path} cannot be read "
            f"({type(error).__name__}: {error}); look at the target with: llmeval "
            f"deploy status --target TARGET, then remove {pointer}"
        ) from None


def past_attempts(home: Path) -> Iterator[dict[str, Any]]:
    """Yield the attempts, oldest first; what cannot be read as one is left out."""
    try:
        with audit_path(home).open(encoding="utf-8") as file:
            for line in file:
                try:
                    entry = json.loads(line)
                except ValueError:
                    continue  # cut short by a crash
                if isinstance(entry, dict):
                    yield entry
    except FileNotFoundError:
        return


def _pointed(pointer: Path) -> Path | None:
    try:
        return Path(pointer.read_text(encoding="utf-8").strip())
    except FileNotFoundError:
        return None
