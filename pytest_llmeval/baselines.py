"""From the name of a baseline to its rows: a run, one of its evaluations, a file."""

from __future__ import annotations

import hashlib
import json
import threading
import weakref
from array import array
from collections.abc import Callable
from collections.abc import Mapping
from collections.abc import Sequence
from functools import partial
from typing import Any
from typing import BinaryIO

import pluggy

from pytest_llmeval.config import Settings
from pytest_llmeval.errors import BaselineError
from pytest_llmeval.lazy import LazyRows
from pytest_llmeval.records import Row
from pytest_llmeval.records import StoredRun
from pytest_llmeval.repeats import ExampleRows
from pytest_llmeval.repeats import average
from pytest_llmeval.results import Baseline
from pytest_llmeval.results import Columns
from pytest_llmeval.results import EvalResults
from pytest_llmeval.rows import read_row
from pytest_llmeval.seal import broken_seal
from pytest_llmeval.text import first_few
from pytest_llmeval.text import one_line


class Baselines:
    """Finds the baselines of one run; each is looked up and read once.

    Args:
        settings: The run's settings.
        signing_key: Signs verdicts; one that it did not sign is then no baseline.
    """

    def __init__(self, settings: Settings, signing_key: str | None = None) -> None:
        self._settings, self._key = settings, signing_key
        self._runs: dict[tuple[str, str], StoredRun] = {}
        self._found: dict[tuple[str, str, int], Baseline] = {}

    def find(self, hook: pluggy.HookRelay, name: str, results: EvalResults) -> Baseline:
        """Return what a name stands for, as the evaluation that matches results.

        Raises:
            BaselineError: there is none, or it cannot be used.
        """
        model = str(results.model)
        if (name, model) not in self._runs:
            self._runs[name, model] = self._find_run(hook, name, results)
        run = self._runs[name, model]
        evaluation = _choose(run, results)
        key = (name, model, evaluation["number"])
        if key not in self._found:
            in_table = evaluation.get("table") is not None
            read = partial(_open, results) if in_table else _read
            self._found[key] = read(run, evaluation)
        return self._found[key]

    def _find_run(
        self, hook: pluggy.HookRelay, name: str, results: EvalResults
    ) -> StoredRun:
        run: StoredRun | None
        try:
            run = hook.pytest_llmeval_baseline(
                name=name, model=results.model, settings=self._settings
            )
        except BaselineError:
            raise
        except Exception as error:  # a plugin's, of a store that does not answer
            raise BaselineError(
                "BASELINE_UNUSABLE",
                f"looking up the baseline {one_line(name)} failed: "
                f"{type(error).__name__}: {one_line(error, 500)}",
            ) from error
        if run is None:
            raise BaselineError(
                "BASELINE_MISSING",
                f"{one_line(name)} is no alias or version of {results.model}, no run "
                f"in {self._settings.home / 'runs'} or in MLflow, and no results "
                "directory; evaluate the model to compare with, and name that run",
            )
        if self._key is not None and broken_seal(run.verdict, self._key):
            raise BaselineError(
                "BASELINE_UNUSABLE",
                f"the verdict of {run.origin} is not signed with LLMEVAL_SIGNING_KEY, "
                "or was changed since; evaluate it again with the key",
            )
        if run.verdict.get("status") == "incomplete":
            reason = run.verdict.get("reason")
            raise BaselineError(
                "BASELINE_UNUSABLE",
                f"{run.origin} is incomplete ({reason}); run it again to its end",
            )
        return run


def _choose(run: StoredRun, results: EvalResults) -> Mapping[str, Any]:
    """Return the run's evaluation of the same rows under the same name."""
    known: Sequence[Mapping[str, Any]] = run.verdict.get("evaluations", ())
    named = [one for one in known if one["name"] == results.name]
    if not named:
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"{run.origin} has no evaluation named {one_line(results.name)}; it has: "
            f"{first_few(one['name'] for one in known)}",
        )
    candidates = _of_model(run, named)
    digest = results.dataset.digest
    same = [one for one in candidates if one["dataset_digest"] == digest] or candidates
    digest = results.request.digest
    alike = [one for one in same if one["request_digest"] == digest] or same
    if len({one["request_digest"] for one in alike}) > 1:
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"{run.origin} has {len(alike)} evaluations named "
            f"{one_line(results.name)}, all with another request than this one; tell "
            "them apart with evaluate(name=…)",
        )
    return alike[-1]


def _of_model(
    run: StoredRun, named: Sequence[Mapping[str, Any]]
) -> Sequence[Mapping[str, Any]]:
    """Return the evaluations of the one model that the baseline stands for."""
    models = {one["model"] for one in named}
    wanted = run.model or next(iter(models))
    if wanted in models and (run.model or len(models) == 1):
        return [one for one in named if one["model"] == wanted]
    raise BaselineError(
        "BASELINE_UNUSABLE",
        f"{run.origin} evaluated {first_few(sorted(models))} under this name, and "
        f"{run.model or 'one model'} is needed; tell them apart with evaluate(name=…)",
    )


def _open(
    results: EvalResults, run: StoredRun, evaluation: Mapping[str, Any]
) -> Baseline:
    """Return an evaluation whose rows lie where Spark has written them."""
    if results.table is None:
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"the rows of {run.origin} lie in Spark; compare with them by "
            'evaluate(engine="spark")',
        )
    place, definitions = evaluation["table"]["place"], evaluation["definitions"]
    try:
        table = results.table.open(place, list(definitions), evaluation["repeats"])
        digests = table.tally.predictions_digest, table.read_digest()
    except Exception as error:
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"the rows of {run.origin} at {one_line(place)} cannot be read: "
            f"{type(error).__name__}: {one_line(error, 300)}",
        ) from error
    known = evaluation["predictions_digest"], evaluation["table"]["scores_digest"]
    if digests != known:
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"the rows of {run.origin} at {one_line(place)} are not those that its "
            "verdict is about; evaluate it again",
        )
    return Baseline(
        origin=run.origin,
        model=evaluation["model"],
        dataset_digest=evaluation["dataset_digest"],
        request_digest=evaluation["request_digest"],
        sources={name: metric["source"] for name, metric in definitions.items()},
        early_stopped=False,
        columns=Columns([], ()),
        rows=(),
        run_id=run.verdict["run_id"],
        table=table,
    )


def _read(run: StoredRun, evaluation: Mapping[str, Any]) -> Baseline:
    try:
        number, repeats = evaluation["number"], evaluation["repeats"]
        definitions = evaluation["definitions"].items()
        sources = {name: metric["source"] for name, metric in definitions}
        file = run.open_rows(number)
        rows = StoredRows(file, number, list(sources), repeats)
    except Exception as error:  # of a file, a network, a plugin
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"the rows of {run.origin} cannot be read: {type(error).__name__}: "
            f"{one_line(error, 300)}",
        ) from error
    expected = evaluation["rows"] * repeats
    if len(rows) != expected and not evaluation["early_stopped"]:
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"{run.origin} says that it has {expected} rows, and {len(rows)} are there",
        )
    # What was uploaded is redacted, and has a digest of its own.
    if rows.digest not in (
        evaluation["rows_digest"],
        evaluation.get("redacted_digest"),
    ):
        raise BaselineError(
            "BASELINE_UNUSABLE",
            f"the rows of {run.origin} are not those that its verdict is about: "
            "somebody changed one or the other; evaluate it again",
        )
    columns = average(rows.columns)
    return Baseline(
        origin=run.origin,
        model=evaluation["model"],
        dataset_digest=evaluation["dataset_digest"],
        request_digest=evaluation["request_digest"],
        sources=sources,
        early_stopped=evaluation["early_stopped"],
        columns=columns,
        rows=ExampleRows(rows, columns, repeats),
        run_id=run.verdict["run_id"],
    )


class StoredRows(LazyRows):
    """The rows of one evaluation in a file; read again when they are asked for.

    Args:
        file: JSON lines, as in ``results.jsonl``; closed with the last use of this.
        evaluation: Its number in the run; lines of others are passed over.
        metrics: Names of its metrics.
        repeats: Rows of each example; they follow each other.
        show: Makes of a parsed line what is given as a row; that line by default.
    """

    def __init__(
        self,
        file: BinaryIO,
        evaluation: int,
        metrics: Sequence[str],
        repeats: int = 1,
        show: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None,
    ) -> None:
        self._file, self._lock, self._show = file, threading.Lock(), show
        weakref.finalize(self, file.close)
        self._starts = array("q")
        head, start = b'{"evaluation": %d, ' % evaluation, 0
        digest = hashlib.sha256()
        for line in file:
            if line.startswith(head):
                self._starts.append(start)
                digest.update(line)
            start += len(line)
        self.digest = f"sha256:{digest.hexdigest()}"
        ids = [""] * (len(self._starts) // repeats)
        self.columns = Columns(ids, metrics, repeats)
        """Scores and numbers of the rows."""
        for position, row in enumerate(self):
            if row.repeat != position % repeats:
                raise ValueError(f"line {position + 1} is not the next repeat")
            ids[position // repeats] = row.example.id
            self.columns.note(position, row)

    def __len__(self) -> int:
        return len(self._starts)

    def row(self, at: int) -> Row:
        """Read the row at a position."""
        with self._lock:  # gates may be decided in threads
            self._file.seek(self._starts[at])
            line = json.loads(self._file.readline())
        return read_row(line if self._show is None else self._show(line))
