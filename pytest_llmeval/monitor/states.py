"""The file of states and of messages that are still to be sent.

A change of state and its message are written in one step. So a process that is killed
before it could send leaves the message to the next one, and no change is told twice.
"""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from typing import NamedTuple

from filelock import FileLock
from filelock import Timeout

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.monitor.judge import Finding
from pytest_llmeval.monitor.message import write_message
from pytest_llmeval.store import replace_file


SCHEMA = 1
LONGEST_WAIT_S = 120
MOST_WAITING = 100
"""Messages of a channel; the oldest go, and what they told is still in the states."""


class Change(NamedTuple):
    """A series with another state than before, or one to be reminded of."""

    finding: Finding
    before: str
    """The earlier state; the same one for a reminder."""


class Waiting(NamedTuple):
    """A message that has not reached a channel yet."""

    number: int
    channel: str
    text: str


class States:
    """The states of all series, for whoever holds the lock.

    Args:
        path: Of the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._document = self._read()

    @classmethod
    @contextmanager
    def locked(cls, folder: Path) -> Iterator[States]:
        """Open the file in a folder; other monitors wait.

        Raises:
            ConfigurationError: it cannot be used, or is in use for too long.
        """
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with FileLock(folder / "lock", timeout=LONGEST_WAIT_S):
                yield cls(folder / "states.json")
        except Timeout:
            raise ConfigurationError(
                f"another monitor has been at {folder} for {LONGEST_WAIT_S} seconds; "
                "try again when it is done"
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"cannot keep states in {folder}: {error}; name another with --dir"
            ) from None

    def note(
        self,
        model: str,
        findings: Sequence[Finding],
        channels: Sequence[str],
        now: datetime.datetime,
        remind: datetime.timedelta | None = None,
    ) -> list[Change]:
        """Keep the states of a model's series, and a message about what has changed.

        Args:
            model: Whose series they are.
            findings: How they are now; series that are not named stay as they were.
            channels: Whom to tell.
            now: The time.
            remind: How long after it was told an alarm is told again.
        """
        stored = self._document["states"].setdefault(model, {})
        changes = []
        for finding in findings:
            known = stored.get(finding.series)
            change = _change(finding, known, now, remind)
            told_at = now.isoformat() if change or not known else known["told_at"]
            stored[finding.series] = {"state": finding.state, "told_at": told_at}
            changes += [change] if change else []
        if changes:
            self._enqueue(write_message(model, changes, now), channels)
        self._write()
        return changes

    def waiting(self, channels: Sequence[str]) -> list[Waiting]:
        """Return the messages that these channels have not had, the oldest first."""
        waiting = [Waiting(**one) for one in self._document["waiting"]]
        return [one for one in waiting if one.channel in channels]

    def sent(self, message: Waiting) -> None:
        """Forget a message that has arrived."""
        self._document["waiting"].remove(message._asdict())
        self._write()

    def _enqueue(self, text: str, channels: Sequence[str]) -> None:
        for channel in channels:
            self._document["number"] += 1
            message = Waiting(self._document["number"], channel, text)
            self._document["waiting"].append(message._asdict())
            own = [
                one for one in self._document["waiting"] if one["channel"] == channel
            ]
            for old in own[:-MOST_WAITING]:
                self._document["waiting"].remove(old)

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self._path.read_bytes())
            known = isinstance(document, dict) and document.get("schema") == SCHEMA
        except FileNotFoundError:
            return {"schema": SCHEMA, "number": 0, "states": {}, "waiting": []}
        except ValueError:
            known = False
        if not known:
            raise ConfigurationError(
                f"{self._path} is no file of states of schema {SCHEMA}; move it away, "
                "and every alarm that is on will be told once more"
            )
        return dict(document)

    def _write(self) -> None:
        replace_file(self._path, json.dumps(self._document, indent=1))


def _change(
    finding: Finding,
    known: dict[str, str] | None,
    now: datetime.datetime,
    remind: datetime.timedelta | None,
) -> Change | None:
    before = known["state"] if known else "ok"
    if finding.state != before:
        return Change(finding, before)
    if known is None or remind is None or finding.state in ("ok", "warning"):
        return None
    told_at = datetime.datetime.fromisoformat(known["told_at"])
    return Change(finding, before) if now - told_at >= remind else None
