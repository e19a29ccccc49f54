"""Takes out of rows what must not leave the run directory: by pattern and by column.

Apart from `text`, which takes secrets out of everything: these rules are a project's
own, and the run directory keeps what they hide.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from dataclasses import dataclass
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING
from typing import Any

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.errors import optional
from pytest_llmeval.text import one_line


if TYPE_CHECKING:
    from pytest_llmeval.records import Decision
    from pytest_llmeval.records import WorstRow


HIDDEN = "[redacted]"
ROW_FIELDS = ("input", "references", "context", "prediction")
"""What a row has whatever the columns of its data are called."""
MOST_SECONDS = 5.0
"""For one text. The engine is linear, but not in how often it has to begin again."""
Fields = Mapping[str, Any]
"""Which column of the data each field of a row was taken from, see `Dataset.columns`:
one name, several, or None."""


@dataclass(frozen=True, slots=True)
class Redaction:
    """The rules of a project; every text that they leave over is as it was.

    Cheap to make and to send to another process: patterns are compiled when first used,
    once per process.

    Args:
        patterns: Regular expressions of RE2; what they match is replaced.
        columns: Columns of the data, or fields of a row, that are hidden whole.
    """

    patterns: tuple[str, ...] = ()
    columns: tuple[str, ...] = ()

    def __bool__(self) -> bool:
        return bool(self.patterns or self.columns)

    def __or__(self, other: Redaction) -> Redaction:
        """Return the rules of both."""
        return Redaction(
            tuple(dict.fromkeys((*self.patterns, *other.patterns))),
            tuple(dict.fromkeys((*self.columns, *other.columns))),
        )

    def text(self, text: str) -> str:
        """Replace every match of a pattern, in time that grows with the text alone."""
        if not self.patterns:
            return text
        encoded, until = text.encode("utf-8", "surrogatepass"), _now() + MOST_SECONDS
        spans = []
        for pattern in self.patterns:
            for span in _matches(pattern, encoded):
                spans.append(span)
                if _now() > until:
                    return HIDDEN
        return _without(encoded, spans) if spans else text

    def within(self, value: Any) -> Any:
        """Return a value of builtins with its texts, keys and numbers redacted."""
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            shown = str(value)
            return value if self.text(shown) == shown else HIDDEN
        if isinstance(value, Mapping):
            return {self.text(str(k)): self.within(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [self.within(item) for item in value]
        return value

    def apply(
        self, row: Mapping[str, Any], fields: Fields | None = None
    ) -> dict[str, Any]:
        """Return a row, as ``results.jsonl`` has it, that may leave the run directory.

        Its id, scores and numbers stay, so that rows can be joined. Unknown entries are
        left alone.

        Args:
            row: Is not changed.
            fields: Makes the names of the data's columns count for the row's fields.
        """
        hidden, columns = self.hidden(fields), set(self.columns)
        for name in hidden:
            columns.update(_names((fields or {}).get(name)))
        changed = dict(row)
        for name in ROW_FIELDS:
            if row.get(name) is not None:
                changed[name] = _hide(row[name], self, name in hidden)
        if "metadata" in row:
            changed["metadata"] = {
                name: _hide(value, self, name in columns)
                for name, value in row["metadata"].items()
            }
        if "errors" in row:  # a metric may quote what it could not use
            changed["errors"] = [
                {**error, "message": _hide(error["message"], self, bool(hidden))}
                for error in row["errors"]
            ]
        return changed

    def hidden(self, fields: Fields | None = None) -> frozenset[str]:
        """Return the fields of a row that are hidden whole."""
        taken = {name: _names((fields or {}).get(name)) for name in ROW_FIELDS}
        return frozenset(
            name
            for name in ROW_FIELDS
            if {name, *taken[name]}.intersection(self.columns)
        )

    def decision(self, decision: Decision, fields: Fields | None = None) -> Decision:
        """Return a decision whose rows may be shown in a log, a report or a verdict."""
        if not self:
            return decision
        show, compared = self._shower(fields), decision.compared
        if compared is not None:
            flips = tuple(
                replace(
                    flip,
                    input=show(flip.input, "input"),
                    before=show(flip.before, "prediction"),
                    after=show(flip.after, "prediction"),
                )
                for flip in compared.flips
            )
            compared = replace(compared, flips=flips)
        return replace(
            decision,
            worst=self.worst(decision.worst, fields),
            compared=compared,
            detail=self.text(decision.detail),
        )

    def worst(
        self, rows: Sequence[WorstRow], fields: Fields | None = None
    ) -> tuple[WorstRow, ...]:
        """Return rows to look at that may be shown likewise."""
        show = self._shower(fields)
        return tuple(
            replace(
                row,
                input=show(row.input, "input"),
                expected=tuple(show(one, "references") for one in row.expected),
                got=show(row.got, "prediction"),
            )
            for row in rows
        )

    def _shower(self, fields: Fields | None) -> Callable[[str, str], str]:
        hidden = self.hidden(fields)
        return lambda text, field: HIDDEN if field in hidden else self.text(text)


NO_RULES = Redaction()


def read_patterns(text: str, name: str = "llmeval_redact") -> tuple[str, ...]:
    """Read patterns, one a line.

    Args:
        text: Lines; space around a pattern does not belong to it.
        name: Where they stand, for messages.

    Raises:
        ConfigurationError: a line is no pattern that RE2 takes.
        MissingDependency: RE2 is not installed.
    """
    patterns = []
    for number, line in enumerate(text.strip().splitlines(), 1):
        if pattern := line.strip():
            _check(pattern, f"{name}, line {number}: {one_line(pattern)}")
            patterns.append(pattern)
    return tuple(patterns)


def read_columns(text: str, name: str = "llmeval_redact_columns") -> tuple[str, ...]:
    """Read names of columns, one a line.

    Raises:
        ConfigurationError: the rows' ids are to be hidden.
    """
    columns = tuple(filter(None, map(str.strip, text.splitlines())))
    if "id" in columns:
        raise ConfigurationError(
            f"{name} has the line 'id', and ids stay, so that rows can be joined; give "
            "the data ids that say nothing of a person"
        )
    return columns


def _check(pattern: str, where: str) -> None:
    re2 = optional("re2")
    try:
        matches_nothing = _compiled(pattern).search(b"") is not None
    except re2.error as error:
        cause = error.args[0] if error.args else ""
        cause = cause.decode("utf-8", "replace") if isinstance(cause, bytes) else cause
        raise ConfigurationError(
            f"{where} is no regular expression of RE2: {one_line(cause)}; it has no "
            "look-around and no backreferences: "
            "https://github.com/google/re2/wiki/Syntax"
        ) from None
    if matches_nothing:
        raise ConfigurationError(
            f"{where} matches the empty text, and so everywhere; ask for one character "
            "at least, as + does where * does not"
        )


@lru_cache(maxsize=1_000)
def _compiled(pattern: str) -> Any:
    re2 = optional("re2")
    options = re2.Options()
    options.log_errors = False  # to standard error
    return re2.compile(pattern.encode("utf-8", "surrogatepass"), options)


def _matches(pattern: str, encoded: bytes) -> Iterator[tuple[int, int]]:
    for match in _compiled(pattern).finditer(encoded):
        yield match.span()


def _without(encoded: bytes, spans: Sequence[tuple[int, int]]) -> str:
    """Return the text with each run of overlapping spans replaced once."""
    kept, at, end = [], 0, -1
    for start, stop in sorted(spans):
        if start == stop:
            continue
        if start >= end:
            kept += [encoded[at:start], HIDDEN.encode()]
        at = end = max(end, stop)
    joined = b"".join([*kept, encoded[at:]])
    try:
        return joined.decode("utf-8", "surrogatepass")
    except UnicodeDecodeError:  # a pattern with \\C has cut a character in two
        return joined.decode("utf-8", "backslashreplace")


def _hide(value: Any, rules: Redaction, whole: bool) -> Any:
    if not whole or value is None:
        return rules.within(value)
    return [HIDDEN] * len(value) if isinstance(value, list) else HIDDEN


def _names(columns: Any) -> tuple[str, ...]:
    if columns is None:
        return ()
    return (columns,) if isinstance(columns, str) else tuple(columns)


def _now() -> float:
    return time.monotonic()
