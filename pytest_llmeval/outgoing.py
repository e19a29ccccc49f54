"""Rows of a run as they may leave its directory: redacted by the run's own rules.

The rules are those that the run has written down, so that rows which are uploaded later
have the digest that stands in the verdict.
"""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pytest_llmeval.redaction import Redaction
from pytest_llmeval.store import RunDirectory
from pytest_llmeval.store import lines_within


_encode = json.JSONEncoder().encode


def redacted_digest(
    directory: RunDirectory, evaluation: Mapping[str, Any], rules: Redaction
) -> str:
    """Return the digest that the rows of an evaluation have once they are redacted."""
    digest = hashlib.sha256()
    for line in _redacted(directory, evaluation, rules):
        digest.update(line)
    return f"sha256:{digest.hexdigest()}"


@contextmanager
def outgoing_rows(
    directory: RunDirectory, run: Mapping[str, Any]
) -> Iterator[tuple[Mapping[str, Any], Path]]:
    """Give a run as it is uploaded, and the file that its spans of rows are of.

    Without rules that is the run's own file.

    Args:
        directory: Of the run.
        run: The content of ``tracking.json``.

    Raises:
        ConfigurationError: the run's rules cannot be read.
    """
    rules = directory.read_redaction()
    if not rules:
        yield run, directory.results
        return
    with tempfile.TemporaryDirectory(prefix="llmeval-") as folder:
        copy = Path(folder) / directory.results.name
        evaluations = _copy(directory, run["evaluations"], rules, copy)
        yield {**run, "evaluations": evaluations}, copy


def _copy(
    directory: RunDirectory,
    evaluations: Sequence[Mapping[str, Any]],
    rules: Redaction,
    copy: Path,
) -> list[dict[str, Any]]:
    moved = []
    with copy.open("wb") as file:
        for evaluation in evaluations:
            start = file.tell()
            file.writelines(_redacted(directory, evaluation, rules))
            moved.append({**evaluation, "rows_span": (start, file.tell())})
    return moved


def _redacted(
    directory: RunDirectory, evaluation: Mapping[str, Any], rules: Redaction
) -> Iterator[bytes]:
    fields = evaluation.get("columns")
    for line in lines_within(directory.results, evaluation["rows_span"]):
        row = rules.apply(json.loads(line), fields)
        yield f"{_encode(row)}\n".encode()
