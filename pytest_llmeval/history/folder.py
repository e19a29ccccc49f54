"""What folders of history tables have in common: their note file and their lock."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from filelock import FileLock
from filelock import Timeout

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.history.places import check_version
from pytest_llmeval.history.schema import SCHEMA_VERSION
from pytest_llmeval.store import replace_file


LONGEST_WAIT_S = 600


class Folder:
    """A folder that holds a history, and nothing else.

    Args:
        path: Of the folder; it is made where it is not there.
        form: What the files are: ``parquet`` or ``csv``.

    Raises:
        ConfigurationError: the folder cannot be written, or holds something else.
    """

    def __init__(self, path: Path, form: str) -> None:
        self.path, self._form = path, form
        self._file = path / "history.json"
        with self.writing():
            if not self._file.exists():
                self._begin()
            document = self._read()
        check_version(document.get("schema"), str(path))
        if document.get("format") != form:
            raise ConfigurationError(
                f"{path} holds a history as {document.get('format')!r:.20}, not as "
                f"{form}; name another folder with --to"
            )

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Keep other processes from writing."""
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            with FileLock(self.path / ".lock", timeout=LONGEST_WAIT_S):
                yield
        except Timeout:
            raise ConfigurationError(
                f"another export has been writing to {self.path} for "
                f"{LONGEST_WAIT_S // 60} minutes; try again when it is done"
            ) from None
        except OSError as error:
            raise ConfigurationError(
                f"cannot write the history to {self.path}: {error}; name another "
                "folder with --to"
            ) from None

    def note(self, name: str) -> str | None:
        """Return a note."""
        text: str | None = self._read().get("notes", {}).get(name)
        return text

    def keep_note(self, name: str, text: str) -> None:
        """Keep a note."""
        with self.writing():
            document = self._read()
            document["notes"] = {**document.get("notes", {}), name: text}
            self._write(document)

    def _begin(self) -> None:
        # A killed process may have left the file that was to become ours.
        ours = (".lock", self._file.name)
        others = sorted(
            p.name for p in self.path.iterdir() if not p.name.startswith(ours)
        )
        if others:
            raise ConfigurationError(
                f"{self.path} holds {others[0]!r:.60} and no history.json, so it is no "
                "history; name an empty folder with --to"
            )
        self._write({"schema": SCHEMA_VERSION, "format": self._form, "notes": {}})

    def _read(self) -> dict[str, Any]:
        try:
            document = json.loads(self._file.read_bytes())
        except (OSError, ValueError) as error:
            raise ConfigurationError(
                f"cannot read {self._file}: {error}; remove the folder and export again"
            ) from None
        return document if isinstance(document, dict) else {}

    def _write(self, document: dict[str, Any]) -> None:
        replace_file(self._file, json.dumps(document, indent=2) + "\n")
