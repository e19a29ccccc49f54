"""How often a gate was tried on new answers of one model to the same data.

A gate lets a bad model pass in at most 5 % of the tries, so the tries are counted.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable
from collections.abc import Iterator
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from typing import TypeAlias

from pytest_llmeval.config import experiment
from pytest_llmeval.records import ModelRef
from pytest_llmeval.records import Tracker
from pytest_llmeval.records import canonical


SAME_GATE = ("test", "metric", "op", "kind", "quantile", "where", "baseline")
"""What makes it the same gate; a threshold that was changed does not."""
SAME_DATA = ("test", "dataset_digest", "request_digest")
SAME_MODEL = ("scheme", "name", "version", "digest")
_Runs: TypeAlias = defaultdict[str, set[str]]
"""The digests of the predictions that each run made."""


def count_attempts(
    verdict: Mapping[str, Any], home: Path, open_tracker: Callable[[], Tracker | None]
) -> int:
    """Return how often the gate with the most tries was tried, this one included.

    A try is a complete run that decided the gate on predictions which no other has. A
    run that evaluated the same data several times in one test made one try.

    Args:
        verdict: The one to be deployed.
        home: The ``.llmeval`` folder, whose runs are looked at.
        open_tracker: Gives the store that has the runs of other machines, or None.
    """
    tries: dict[bytes, _Runs] = {
        _gate_key(gate): defaultdict(set) for gate in verdict["gates"]
    }
    for one in (verdict, *_earlier(home, verdict)):
        for key, digest in _predictions(one):
            if key in tries:
                tries[key][one["run_id"]].add(digest)
    tracker = open_tracker()
    if tracker is not None:
        tracked = _tracked(verdict, tracker)
        for gate in verdict["gates"]:
            for run_id, digest in tracked.get(_data_key(gate), ()):
                tries[_gate_key(gate)][run_id].add(digest)
    return max(map(_count_distinct, tries.values()), default=0)


def _count_distinct(runs: _Runs) -> int:
    return len(set(map(frozenset, runs.values())))


def _tracked(
    verdict: Mapping[str, Any], tracker: Tracker
) -> dict[bytes, set[tuple[str, str]]]:
    """Return runs and digests that the store has, for each evaluation."""
    return {
        _data_key(evaluation): tracker.find_predictions(
            experiment(),
            evaluation["test"],
            {name: evaluation[name] for name in ("model", *SAME_DATA[1:])},
        )
        for evaluation in _of_model(verdict)
    }


def _earlier(home: Path, verdict: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """Yield the verdicts of complete runs on the same model."""
    model = _model_key(verdict["model"])
    for path in (home / "runs").glob("*/verdict.json"):
        try:
            found = json.loads(path.read_bytes())
            is_same = found["model"] and _model_key(found["model"]) == model
            if is_same and found["status"] in ("pass", "fail"):
                yield found
        except (OSError, ValueError, LookupError, TypeError):
            continue  # no verdict that anything could be told from


def _predictions(verdict: Mapping[str, Any]) -> Iterator[tuple[bytes, str]]:
    """Yield each gate with predictions that it was decided on."""
    digests = defaultdict(set)
    for evaluation in _of_model(verdict):
        if "predictions_digest" in evaluation:
            digests[_data_key(evaluation)].add(evaluation["predictions_digest"])
    for gate in verdict["gates"]:
        for digest in digests.get(_data_key(gate), ()):
            yield _gate_key(gate), digest


def _of_model(verdict: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    """Return the evaluations of the model under test: a baseline's are no tries."""
    identity = {name: verdict["model"][name] for name in ("scheme", "name", "version")}
    model = str(ModelRef(**identity))
    return [one for one in verdict["evaluations"] if one["model"] == model]


def _gate_key(gate: Mapping[str, Any]) -> bytes:
    return canonical([gate.get(name) for name in (*SAME_GATE, *SAME_DATA)])


def _data_key(one: Mapping[str, Any]) -> bytes:
    return canonical([one[name] for name in SAME_DATA])


def _model_key(model: Mapping[str, Any]) -> bytes:
    return canonical([model[name] for name in SAME_MODEL])
