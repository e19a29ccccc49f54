"""A run as Markdown: for a comment on a pull request, and GitHub's job summary."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Callable
from collections.abc import Iterable
from collections.abc import Iterator
from collections.abc import Mapping
from collections.abc import Sequence
from itertools import chain
from typing import Any
from typing import NamedTuple

from pytest_llmeval.records import ModelRef
from pytest_llmeval.report.excerpt import MOST_LISTS
from pytest_llmeval.report.excerpt import MOST_ROWS
from pytest_llmeval.report.excerpt import ErrorRows
from pytest_llmeval.report.excerpt import Excerpt
from pytest_llmeval.report.excerpt import ShownRow
from pytest_llmeval.report.excerpt import changed_rows
from pytest_llmeval.report.excerpt import missed_gates
from pytest_llmeval.report.excerpt import read_excerpt
from pytest_llmeval.report.gates import GateTable
from pytest_llmeval.report.gates import gate_table
from pytest_llmeval.report.gates import subject
from pytest_llmeval.report.gates import undecided_list
from pytest_llmeval.report.gfm import fenced
from pytest_llmeval.report.gfm import folded
from pytest_llmeval.report.gfm import inert
from pytest_llmeval.report.gfm import table
from pytest_llmeval.report.run import ReportedRun
from pytest_llmeval.report.terminal import short_name
from pytest_llmeval.results import number
from pytest_llmeval.text import age
from pytest_llmeval.text import counted
from pytest_llmeval.text import first_few
from pytest_llmeval.text import safe


LONGEST_SENTENCE = 1_000
USAGE_NOUNS = {
    "requests": "request",
    "prompt_tokens": "prompt token",
    "output_tokens": "output token",
}
URL = re.compile(r"https?://[\w.:/?=&%+~-]+", re.ASCII)


class Extent(NamedTuple):
    """How much a report shows."""

    rows: int = MOST_ROWS
    """Of each list of rows."""
    details: bool = True
    """Whether it says more of gates and evaluations than the table of gates."""
    gates: int | None = None
    """Lines of the table of gates; None for all of them."""

    def left_out(self) -> str:
        """Return what it does not show, in words; empty when it shows all."""
        parts = []
        if self.rows < MOST_ROWS:
            few = f"all but {self.rows} of each list of " if self.rows else ""
            parts.append(f"{few}rows")
        if not self.details:
            parts.append("details")
        if self.gates is not None:
            parts.append(f"all but {self.gates} gates")
        return ", ".join(parts)


EXTENTS = (
    Extent(),
    Extent(rows=2),
    Extent(rows=1),
    Extent(rows=0),
    *(Extent(0, details=False, gates=gates) for gates in (None, 100, 20, 0)),
)
"""From all there is to what always has room in a comment."""


def markdown_report(
    run: ReportedRun,
    places: Mapping[str, str],
    room: int,
    size: Callable[[str], int] = len,
) -> str | None:
    """Return a run as Markdown for GitHub, in which no text of the run is obeyed.

    Args:
        run: What is shown.
        places: Where its parts are, by what they are, for people.
        room: The largest size; rows are left out first, then details, then gates.
        size: What counts as a text's size.

    Returns:
        The text, or None when not even the verdict has room.
    """
    parts = _Parts(
        head=[*_head(run.verdict)],
        gates=gate_table(run),
        undecided=undecided_list(run),
        sections=[*_sections(run.verdict, read_excerpt(run))],
        closing=_list(_closing(run)),
        evaluations=_evaluations(run.verdict["evaluations"]),
        links=_list(_links(run.verdict, places)),
    )
    texts = (parts.show(extent) for extent in EXTENTS)
    return next((text for text in texts if size(text) <= room), None)


class _Section(NamedTuple):
    """What is said of one gate or evaluation, and the rows that show it."""

    sentences: list[str]
    title: str = ""
    rows: Sequence[Sequence[str]] = ()
    """The blocks of each row."""

    def show(self, most: int) -> Iterator[str]:
        yield from self.sentences
        if shown := self.rows[:most]:
            yield folded(self.title, *chain(*shown))


class _Parts(NamedTuple):
    """A report's blocks of Markdown, made once for all extents."""

    head: list[str]
    gates: GateTable
    undecided: str
    sections: list[_Section]
    closing: str
    evaluations: str
    links: str

    def show(self, extent: Extent) -> str:
        sections = self.sections if extent.details else []
        left_out = extent.left_out()
        blocks = [
            *self.head,
            self.gates.cut(extent.gates),
            self.undecided,
            *chain(*(section.show(extent.rows) for section in sections)),
            self.closing,
            self.evaluations if extent.details else "",
            self.links,
            f"Left out, because it has no room here: {left_out}." if left_out else "",
        ]
        return "\n\n".join(filter(None, blocks)) + "\n"


def _list(lines: Iterable[str]) -> str:
    return "\n".join(f"- {line}" for line in lines)


def _head(verdict: Mapping[str, Any]) -> Iterator[str]:
    status, reason = verdict["status"], verdict["reason"]
    words = reason.replace("_", " ").lower()
    because = "" if words in ("ok", status) else f", {words}"
    yield f"## Verdict: {inert(status + because)}"
    yield f"Because: {inert(verdict['detail'], LONGEST_SENTENCE)}"
    yield _list(
        [
            f"model: {_model(verdict['model'])}",
            f"data: {_datasets(verdict['datasets'])}",
            f"commit: {_commit(verdict)}",
            f"run: {inert(verdict['run_id'])}",
        ]
    )


def _model(model: Mapping[str, Any] | None) -> str:
    if model is None:
        return "none was gated"
    identity = {name: model[name] for name in ("scheme", "name", "version")}
    shown = str(ModelRef(**identity))
    asked, pinned = model["requested"], model["pinned"]
    parts = [f"asked for as {inert(asked)}"] if asked not in (None, shown) else []
    parts += [] if pinned else ["not pinned to a version"]
    return f"{inert(shown)}" + (f" ({', '.join(parts)})" if parts else "")


def _datasets(datasets: Sequence[Mapping[str, Any]]) -> str:
    names = (f"{data['name']} ({data['rows']:,} rows)" for data in datasets)
    return inert(first_few(names), 500)


def _commit(verdict: Mapping[str, Any]) -> str:
    if verdict["commit"] is None:
        return "none"
    shown = inert(verdict["commit"])
    if verdict["branch"]:
        shown += f" of {inert(verdict['branch'])}"
    return f"{shown}, with uncommitted changes" if verdict["dirty"] else shown


def _sections(verdict: Mapping[str, Any], excerpt: Excerpt) -> Iterator[_Section]:
    missed = missed_gates(verdict)
    for at in missed[:MOST_LISTS]:
        yield _missed_gate(verdict["gates"][at], excerpt.worst.get(at, []))
    if more := len(missed[MOST_LISTS:]):
        yield _Section([f"And {more:,} more gates that did not pass: see the table."])
    for evaluation in verdict["evaluations"]:
        if errors := excerpt.errors.get(evaluation["number"]):
            yield _failed(evaluation, errors)


def _missed_gate(gate: Mapping[str, Any], worst: Sequence[ShownRow]) -> _Section:
    name = f"{inert(short_name(gate['test']))} {inert(subject(gate))}"
    sentences = [
        f"### {gate['decision'].capitalize()}: {name}",
        f"Gate: {inert(_sentences(gate), LONGEST_SENTENCE)}",
    ]
    title, rows = "Worst rows", worst
    if "compared" in gate:
        title = f"Rows that got worse ({gate['compared']['worse']})"
        rows = changed_rows(gate["compared"])
    return _Section(sentences, title, [*map(_row, rows)])


def _sentences(gate: Mapping[str, Any]) -> str:
    """Return what the gate says for itself, without the rows that follow."""
    text: str = gate["text"]
    for begin in ("\nworst rows:\n", "\nbaseline: "):
        text = text.partition(begin)[0]
    return "; ".join(text.splitlines())


def _failed(evaluation: Mapping[str, Any], errors: ErrorRows) -> _Section:
    kinds = Counter(errors.kinds).most_common()
    named = first_few((f"{kind}: {count}" for kind, count in kinds), 10)
    sentences = [
        f"### Errors: {inert(evaluation['name'])}",
        f"Kinds: {inert(named, 500)}",
    ]
    return _Section(sentences, "Rows in error", [*map(_row, errors.rows)])


def _row(row: ShownRow) -> list[str]:
    head = f"Row {inert(row.title)}: {inert(row.note, LONGEST_SENTENCE)}"
    texts = ((f"{name}:", fenced(text)) for name, text in row.texts.items())
    return [head, *chain(*texts)]


def _closing(run: ReportedRun) -> Iterator[str]:
    verdict = run.verdict
    yield f"usage: {_usage([one['usage'] for one in verdict['evaluations']])}"
    stored = verdict["stored_replies"]
    if stored["rows"]:
        old = age(verdict["finished_at"] - stored["oldest"])
        yield f"stored replies: {stored['rows']:,}, up to {old} old"
    if run.deployment is not None:
        reason, target = run.deployment["reason"], inert(run.deployment["target"])
        words = {
            "DEPLOYED": "deployed",
            "NOOP": "nothing to deploy",
            "DRY_RUN": "would be deployed",
        }
        word = words.get(reason, f"not deployed, {inert(reason)}")
        said = inert(run.deployment["message"], LONGEST_SENTENCE)
        yield f"deployment to {target}: {word}: {said}"


def _usage(usages: Sequence[Mapping[str, Any]]) -> str:
    """Return what all evaluations took; only sums, which are there for all of them."""
    asked = [usage for usage in usages if usage["rows"]]
    sums = {
        name: math.fsum(usage[name] for usage in asked)
        for name in (*USAGE_NOUNS, "cost_usd")
        if asked and all(usage[name] is not None for usage in asked)
    }
    cost_usd = sums.pop("cost_usd", None)
    shown = [counted(int(total), USAGE_NOUNS[name]) for name, total in sums.items()]
    shown += [] if cost_usd is None else [f"{cost_usd:.4f} US dollars"]
    return ", ".join(shown) or "no request"


def _evaluations(evaluations: Sequence[Mapping[str, Any]]) -> str:
    if not evaluations:
        return ""
    metrics = [
        [
            inert(evaluation["name"], 80),
            inert(name, 80),
            "" if value["value"] is None else number(value["value"]),
            _metric_interval(value),
            f"{value['n']}",
            f"{value['errors']}",
        ]
        for evaluation in evaluations
        for name, value in evaluation["metrics"].items()
    ]
    heading = ["evaluation", "metric", "value", "interval", "n", "errors"]
    took = ["evaluation", "rows", "requests", "median latency", "95 % within", "took"]
    return folded(
        "Evaluations", table(heading, metrics), table(took, map(_took, evaluations))
    )


def _metric_interval(value: Mapping[str, Any]) -> str:
    lower, upper = value["lower"], value["upper"]
    return "" if None in (lower, upper) else f"{number(lower)} to {number(upper)}"


def _took(evaluation: Mapping[str, Any]) -> list[str]:
    usage = evaluation["usage"]
    latencies = (usage["latency_p50_ms"], usage["latency_p95_ms"])
    return [
        inert(evaluation["name"], 80),
        f"{evaluation['rows']:,}",
        f"{usage['requests']:,}",
        *("" if ms is None else f"{ms:.0f} ms" for ms in latencies),
        f"{evaluation['duration_s']:.1f} s",
    ]


def _links(verdict: Mapping[str, Any], places: Mapping[str, str]) -> Iterator[str]:
    url = safe(verdict["ci_url"] or "")
    if url:
        yield f"CI run: {f'<{url}>' if URL.fullmatch(url) else inert(url, 500)}"
    for name, place in places.items():
        yield f"{name}: {inert(place, 500)}"
