"""The rows of one evaluation: written as they come, read when they are asked for."""

from __future__ import annotations

import json
import tempfile
import threading
import weakref
from array import array
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from io import RawIOBase
from pathlib import Path
from typing import Any

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.lazy import LazyRows
from pytest_llmeval.records import Example
from pytest_llmeval.records import Prediction
from pytest_llmeval.records import Reply
from pytest_llmeval.records import Row
from pytest_llmeval.records import RowError
from pytest_llmeval.records import plain
from pytest_llmeval.results import Columns
from pytest_llmeval.text import redact_within


REPLY_FIELDS = ("prompt_tokens", "output_tokens", "cost_usd")
PREDICTION_FIELDS = ("latency_ms", "queue_ms", "attempts", "stored_at")
_encode = json.JSONEncoder().encode


class RowLog(LazyRows):
    """Rows in a temporary file that ends with the results that hold it.

    The repeats of an example follow each other, so its position in the dataset, times
    their number, is the position of the first.

    Memory grows by arrays of numbers only. What is read back is what the file may
    hold: metadata as JSON has it, secrets taken out.

    Args:
        columns: Takes the rows' scores and numbers.
        fields: Which column of the data is which, see `Dataset.columns`.
        redact: Takes secrets out of a text.
        folder: Where the file lies; the system's temporary folder by default.
        name: What the file is called when it is to stay.

    Raises:
        ConfigurationError: the folder takes no file, or has no space; so does `add`.
    """

    def __init__(
        self,
        columns: Columns,
        fields: Mapping[str, Any],
        redact: Callable[[str], str],
        folder: Path | None = None,
        name: str | None = None,
    ) -> None:
        self.columns = columns
        self._names = _text_columns(fields)
        self._redact = redact
        self._folder = folder or "the temporary folder"
        try:
            self._file = _open(folder, name)
        except OSError as error:
            raise _unwritable(self._folder, error) from None
        weakref.finalize(self, self._file.close)
        self._lock = threading.Lock()  # gates may be decided in threads
        rows = len(columns.ids) * columns.repeats
        self._starts = array("q", [-1]) * rows
        self._sizes = array("q", [0]) * rows
        self._end = self.done = 0
        self._at_end = True

    def has(self, position: int) -> bool:
        """Return whether the row at a position has been added."""
        return self._starts[position] >= 0

    def add(self, position: int, row: Row) -> None:
        """Append the row at a position."""
        if self.has(position):
            raise RuntimeError(f"row {row.example.id!r} was added twice")
        self.put(position, row)

    def put(self, position: int, row: Row) -> None:
        """Append the row at a position, in the place of an earlier one."""
        entry = self._entry(row)
        if self.columns.repeats > 1:
            entry["repeat"] = position % self.columns.repeats
        elif row.repeat:  # one of few rows that are shown of a table
            entry["repeat"] = row.repeat
        text = _encode(entry)
        if self._redact(text) != text:  # rarely; the whole line is looked at quicker
            text = _encode(redact_within(entry, self._redact))
        self._append(position, f"{text}\n".encode(), row)

    def put_line(self, position: int, line: bytes) -> None:
        """Append the row at a position as another log has written it."""
        self._append(position, line, read_row(json.loads(line), self._names))

    def _append(self, position: int, line: bytes, row: Row) -> None:
        with self._lock:
            self._write(line)
        if self.has(position):
            self.columns.forget(position)
            self.done -= 1
        self._starts[position], self._sizes[position] = self._end, len(line)
        self._end += len(line)
        self.done += 1
        self.columns.note(position, row)

    def _write(self, line: bytes) -> None:
        try:
            if not self._at_end:
                self._file.seek(self._end)
            self._at_end = False  # if not all of it is written
            written = self._file.write(line)
            while written < len(line):
                written += self._file.write(line[written:])
            self._at_end = True
        except OSError as error:
            raise _unwritable(self._folder, error) from None

    def __len__(self) -> int:
        return len(self._starts)

    def row(self, at: int) -> Row:
        """Read the row at a position."""
        return read_row(json.loads(self.line(at)), self._names)

    def lines(self) -> Iterator[bytes]:
        """Yield each row as a line of JSON, in the dataset's order."""
        return map(self.line, range(len(self)))

    def line(self, position: int) -> bytes:
        """Return the row at a position as a line of JSON."""
        with self._lock:
            self._at_end = False
            self._file.seek(self._starts[position])
            return self._file.read(self._sizes[position])

    def _entry(self, row: Row) -> dict[str, Any]:
        example, prediction, reply = row.example, row.prediction, row.prediction.reply
        texts = {"id": example.id, "input": example.input, "context": example.context}
        if len(example.references) == 1:
            texts["references"] = example.references[0]
        known = {name: texts.get(field) for name, field in self._names.items()}
        return {
            "id": example.id,
            "input": example.input,
            "references": list(example.references),
            "context": example.context,
            "metadata": {
                str(name): plain(value)
                for name, value in example.metadata.items()
                if not isinstance(value, str) or value != known.get(name)
            },
            "prediction": reply.text if reply else None,
            "errors": [
                {"kind": e.kind, "message": e.message, "attempts": e.attempts}
                for e in row.errors
            ],
            "scores": dict(row.scores),
            **{name: getattr(prediction, name) for name in PREDICTION_FIELDS},
            **{name: getattr(reply, name, None) for name in REPLY_FIELDS},
        }


def _unwritable(folder: Path | str, error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"cannot keep the rows in {folder}: {error.strerror}; free some space there or "
        "choose another folder with --llmeval-dir (outside pytest: TMPDIR); replies "
        "are stored, and the same command goes on from there"
    )


def _open(folder: Path | None, name: str | None) -> RawIOBase:
    # Without a buffer, because one that a full disk did not take stays in it.
    if folder is None or name is None:
        return tempfile.TemporaryFile(dir=folder, buffering=0)
    return (folder / name).open("w+b", buffering=0)


def read_row(entry: Mapping[str, Any], names: Mapping[str, str] | None = None) -> Row:
    """Return a row from its line of JSON.

    Args:
        entry: The parsed line.
        names: Columns whose text stands in one of the line's own fields only.
    """
    texts = {**entry, "references": next(iter(entry["references"]), None)}
    known = {name: texts[field] for name, field in (names or {}).items()}
    metadata = {name: text for name, text in known.items() if text is not None}
    example = Example(
        id=entry["id"],
        input=entry["input"],
        references=tuple(entry["references"]),
        context=entry["context"],
        metadata={**metadata, **entry["metadata"]},
    )
    errors = tuple(RowError(id=example.id, **error) for error in entry["errors"])
    reply = None
    if entry["prediction"] is not None:
        tokens = {name: entry[name] for name in REPLY_FIELDS}
        reply = Reply(text=entry["prediction"], **tokens)
    prediction = Prediction(
        reply=reply,
        error=errors[0] if errors and reply is None else None,
        **{name: entry[name] for name in PREDICTION_FIELDS},
    )
    return Row(
        example=example,
        prediction=prediction,
        scores=entry["scores"],
        errors=errors,
        repeat=entry.get("repeat", 0),
    )


def _text_columns(fields: Mapping[str, Any]) -> dict[str, str]:
    """Return the columns whose text a row has already, with the field that holds it."""
    references: Sequence[str] = fields.get("references") or ()
    names = {fields.get(field): field for field in ("id", "input", "context")}
    if len(references) == 1:
        names[references[0]] = "references"
    return {str(name): field for name, field in names.items() if name is not None}
