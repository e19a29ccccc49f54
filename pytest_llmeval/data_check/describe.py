"""What was found in a dataset, as lines for a terminal and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterator
from collections.abc import Sequence

from pytest_llmeval.data_check import DataReport
from pytest_llmeval.data_check.findings import percent
from pytest_llmeval.data_check.lengths import Length
from pytest_llmeval.text import counted
from pytest_llmeval.text import one_line
from pytest_llmeval.text import redact_within
from pytest_llmeval.text import redactor


BAR = 40
MOST_LANGUAGES = 5
MARGIN = 13
"""Where the text begins of lines that begin with a word."""
INDENT = 9 + 16


def describe(report: DataReport) -> Iterator[str]:
    """Yield the lines; they are harmless whatever the data holds."""
    yield f"{'data':<{MARGIN}}{one_line(report.name)}, {counted(report.rows, 'row')}"
    yield f"{'digest':<{MARGIN}}{report.digest}"
    yield from _columns(report)
    yield ""
    yield from _lengths(report.lengths)
    yield ""
    yield from _languages(report)
    yield ""
    yield from _findings(report)


def _columns(report: DataReport) -> Iterator[str]:
    names = {name: one_line(name, 40) for name in report.filled}
    width = max(map(len, names.values()), default=0)
    head = "columns"
    for name, filled in report.filled.items():
        roles = [field for field, used in report.fields.items() if name in used]
        empty = report.rows - filled
        count = f"{filled:,} filled" + (f", {empty:,} empty" if empty else "")
        role = f"  {', '.join(roles)}" if roles else ""
        yield f"{head:<{MARGIN}}{names[name]:<{width}}  {count}{role}"
        head = ""


def _lengths(lengths: Sequence[Length]) -> Iterator[str]:
    yield f"{'length':<{MARGIN}}{'':<10}     least    median       p95      most"
    for one in lengths:
        numbers = (one.least, one.median, one.p95, one.most)
        shown = "".join(f"{_number(number):>10}" for number in numbers)
        yield f"{one.field:<{MARGIN}}{one.unit:<10}{shown}"
    histogram = next(
        one.histogram for one in lengths if (one.field, one.unit) == ("input", "words")
    )
    yield ""
    yield "words        inputs"
    most = max(count for _, _, count in histogram)
    for low, high, count in histogram:
        label = f"{low:,}" if low == high else f"{low:,} to {high:,}"
        bar = "#" * -(-BAR * count // most)
        yield f"{label:<{MARGIN}}{count:>6,}  {bar}".rstrip()


def _number(value: float) -> str:
    return f"{value:,.1f}".removesuffix(".0")


def _languages(report: DataReport) -> Iterator[str]:
    profile = report.languages
    of = f"{profile.inputs:,} inputs"
    if profile.inputs < report.rows:
        of += ", chosen by the hash of their ids"
    if profile.missing:
        yield f"{'languages':<{MARGIN}}not looked at: {profile.missing}"
    else:
        languages = _shares(profile.languages)
        yield f"{'languages':<{MARGIN}}{languages} (estimates, of {of})"
    yield f"{'scripts':<{MARGIN}}{_shares(profile.scripts)} (of the letters of {of})"


def _shares(counts: Sequence[tuple[str, int]]) -> str:
    total = sum(count for _, count in counts)
    shares = [f"{name} {percent(count, total)}" for name, count in counts]
    more = len(shares) - MOST_LANGUAGES
    others = [f"{more} more"] if more > 0 else []
    return ", ".join(shares[:MOST_LANGUAGES] + others) or "none"


def _findings(report: DataReport) -> Iterator[str]:
    for status, subject, text, next_step, _, shown, _ in report.findings:
        yield f"{status:<9}{subject:<16}{text}"
        for line in shown:
            yield f"{'':<{INDENT}}{line}"
        if next_step:
            yield f"{'':<{INDENT}}next: {next_step}"
    found = [finding.status for finding in report.findings]
    yield ""
    yield ", ".join(
        counted(found.count(status), status) for status in ("problem", "note")
    )


def to_json(report: DataReport) -> str:
    """Return strict JSON in ASCII; ids stand in it as the data has them."""
    document = {
        "schema": 1,
        "status": report.status,
        "data": {
            "name": report.name,
            "rows": report.rows,
            "digest": report.digest,
            "fields": report.fields,
            "filled": report.filled,
        },
        "lengths": [one._asdict() for one in report.lengths],
        "languages": report.languages._asdict(),
        "findings": [finding._asdict() for finding in report.findings],
    }
    redacted = redact_within(document, redactor())
    return json.dumps(redacted, indent=2, allow_nan=False) + "\n"
