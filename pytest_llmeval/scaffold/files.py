"""Writes files that are missing, and shows how those that are there would differ."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path

from pytest_llmeval.errors import ConfigurationError
from pytest_llmeval.text import safe


LONGEST_DIFF = 80
LONGEST_LINE = 200


def text_of(path: Path) -> str | None:
    """Return what a file holds, or None where there is none.

    Raises:
        ConfigurationError: it cannot be read.
    """
    try:
        return path.read_text(encoding="utf-8", errors="replace")
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise ConfigurationError(f"cannot read {path}: {error.strerror}") from None


def write_missing(
    folder: Path, files: Mapping[str, str], say: Callable[[str], None]
) -> None:
    """Write each file that is not there, and say what became of all of them.

    Raises:
        ConfigurationError: the folder cannot be written.
    """
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            is_new = _write_new(path, text)
        except OSError as error:
            raise ConfigurationError(f"cannot write {path}: {error.strerror}") from None
        if is_new:
            say(f"wrote  {name}")
            continue
        for line in _kept(path, name, text):
            say(line)


def _write_new(path: Path, text: str) -> bool:
    try:
        # Not even through a symbolic link whose target is missing.
        with path.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError:
        return False
    return True


def _kept(path: Path, name: str, text: str) -> Iterator[str]:
    present = (text_of(path) or "").splitlines()
    wanted = text.splitlines()
    if present == wanted:
        yield f"kept   {name}"
        return
    yield f"kept   {name}, which differs; what init would change in it:"
    lines = list(difflib.unified_diff(present, wanted, name, name, n=2, lineterm=""))
    for line in lines[:LONGEST_DIFF]:
        yield f"    {safe(line, LONGEST_LINE)}".rstrip()
    if len(lines) > LONGEST_DIFF:
        yield f"    … and {len(lines) - LONGEST_DIFF} more lines"
