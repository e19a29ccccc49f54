"""Looks at a dataset before a model is asked: copies, gaps, leaks and profile."""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Sequence
from typing import NamedTuple

from pytest_llmeval.data_check.blanks import Blanks
from pytest_llmeval.data_check.copies import Copies
from pytest_llmeval.data_check.findings import Check
from pytest_llmeval.data_check.findings import Finding
from pytest_llmeval.data_check.findings import Status
from pytest_llmeval.data_check.languages import LanguageProfile
from pytest_llmeval.data_check.languages import Languages
from pytest_llmeval.data_check.lengths import Length
from pytest_llmeval.data_check.lengths import Lengths
from pytest_llmeval.data_check.near import NearCopies
from pytest_llmeval.data_check.overlap import Overlap
from pytest_llmeval.data_check.words import prepare
from pytest_llmeval.records import Dataset


NEAR = 0.8
LENGTH = 8


class DataReport(NamedTuple):
    """All that was found."""

    name: str
    rows: int
    digest: str
    fields: Mapping[str, Sequence[str]]
    """Which columns are id, input, references and context."""
    filled: Mapping[str, int]
    """How many rows have a value, by column."""
    lengths: Sequence[Length]
    languages: LanguageProfile
    findings: Sequence[Finding]

    @property
    def status(self) -> Status:
        """The worst of all findings."""
        found = {finding.status for finding in self.findings}
        return "problem" if "problem" in found else "note" if "note" in found else "ok"


def check_data(
    dataset: Dataset,
    train: Dataset | None = None,
    *,
    near: float = NEAR,
    length: int = LENGTH,
) -> DataReport:
    """Check a dataset, and whether its rows stand in training data.

    Reads each of both once. Of a row it keeps hashes and numbers, of a row of the
    training data nothing. Takes some 20 bytes for each word of the inputs at its peak,
    and 70 with training data.

    Args:
        dataset: The rows that a model is evaluated on.
        train: Rows that a model was, or will be, trained on.
        near: Jaccard similarity from which on two inputs are nearly the same, above 0.
        length: How many words in a row count as shared with the training data.
    """
    checks: list[Check] = [
        Copies(),
        NearCopies(near),
        Blanks(has_context=bool(dataset.columns.get("context"))),
    ]
    if train is not None:
        checks.append(Overlap(train, length))
    lengths, languages = Lengths(), Languages(dataset.ids)
    columns: dict[str, None] = {}
    for at, example in enumerate(dataset.examples):
        row = prepare(at, example)
        columns.update(dict.fromkeys(map(str, example.metadata)))
        lengths.add(row)
        languages.add(row)
        for check in checks:
            check.add(row)
    found = [finding for check in checks for finding in check.findings(dataset.ids)]
    return DataReport(
        name=dataset.name,
        rows=len(dataset.ids),
        digest=dataset.digest,
        fields=_fields(dataset),
        filled={name: dataset.filled.get(name, 0) for name in columns},
        lengths=list(lengths.profile()),
        languages=languages.profile(),
        findings=found,
    )


def _fields(dataset: Dataset) -> dict[str, list[str]]:
    return {
        field: [names] if isinstance(names, str) else list(names or ())
        for field, names in dataset.columns.items()
    }
