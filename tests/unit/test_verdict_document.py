import json
from dataclasses import replace
from pathlib import Path

import pytest

from pytest_llmeval.evidence import Evidence
from pytest_llmeval.records import Decision
from pytest_llmeval.records import Gate
from pytest_llmeval.records import ModelRef
from pytest_llmeval.verdict import Manifest
from pytest_llmeval.verdict import verdict_document


GATE = Gate(metric="rouge1", op=">=", threshold=0.4, confidence=0.95)
PASSED = Decision(
    gate=GATE,
    status="pass",
    reason="OK",
    test="t.py::a",
    value=0.45,
    n=200,
    model=ModelRef(scheme="models", name="qa", version="3", pinned=True),
    dataset_digest="sha256:d",
)


def document(decision=PASSED):
    return verdict_document(
        run_id="r",
        status="pass",
        reason="OK",
        detail="",
        evidence=Evidence(collected=["t.py::a"], decisions=[decision]),
        gates=[decision.to_dict()],
        manifest=Manifest(path=Path("gates.toml"), digest="sha256:m", gates=()),
        provenance={"commit": "c", "dirty": False},
        evaluations=[
            {
                "dataset": {"name": "d", "digest": "sha256:d", "rows": 200},
                "cached": cached,
                "oldest_reply": oldest,
                "name": "qa",
                "test": "t.py::a",
                "params": {"model": "models:/qa/3", "request_digest": "sha256:r"},
                "early_stop": None,
                "confidence": 0.95,
                "predictions_digest": "sha256:p",
                "rows_digest": "sha256:rows",
                "rows_span": (0, 9),
                "started_at": 1.0,
                "duration_s": 0.5,
                "metrics": {"rouge1": {"value": 0.5}},
                "definitions": {"rouge1": {"source": "Lin 2004"}},
                "usage": {"requests": 200},
            }
            for cached, oldest in [(0, None), (3, 50.0), (2, 40.0)]
        ],
        times=(1.0, 2.0),
    )


def test_the_verdict_binds_model_gates_data_manifest_and_commit():
    verdict = json.loads(json.dumps(document(), allow_nan=False))

    assert verdict["schema"] == 1
    assert verdict["model"]["version"] == "3"
    assert verdict["gates"][0]["threshold"] == 0.4
    assert verdict["gates"][0]["decision"] == "pass"
    assert verdict["datasets"] == [{"name": "d", "digest": "sha256:d", "rows": 200}]
    assert verdict["manifest"] == {"path": "gates.toml", "digest": "sha256:m"}
    assert verdict["commit"] == "c"
    assert verdict["evaluations"][2] == {
        "number": 3,
        "name": "qa",
        "test": "t.py::a",
        "model": "models:/qa/3",
        "dataset_digest": "sha256:d",
        "request_digest": "sha256:r",
        "rows": 200,
        "repeats": 1,
        "predictions_digest": "sha256:p",
        "rows_digest": "sha256:rows",
        "redacted_digest": None,
        "rows_span": [0, 9],
        "early_stopped": False,
        "confidence": 0.95,
        "started_at": 1.0,
        "duration_s": 0.5,
        "metrics": {"rouge1": {"value": 0.5}},
        "definitions": {"rouge1": {"source": "Lin 2004"}},
        "usage": {"requests": 200},
        "columns": None,
        "table": None,
    }
    assert verdict["stored_replies"] == {"rows": 5, "oldest": 40.0}


@pytest.mark.parametrize(
    "change",
    [
        {"threshold": float("nan")},
        {"threshold": float("-inf")},
        {"threshold": "0.4"},
        {"confidence": float("nan")},
        {"where": {"x": float("nan")}},
        {"bounds": (0.0, float("inf"))},
        {"max_error_rate": float("nan")},
    ],
)
def test_the_verdict_holds_no_nan_or_infinity(change):
    decision = replace(
        PASSED, status="error", reason="BAD_TYPE", gate=replace(GATE, **change)
    )

    json.dumps(document(decision), allow_nan=False)
