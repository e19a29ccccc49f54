"""From gates and results to decisions, and from decisions to sentences."""

from __future__ import annotations

from pytest_llmeval.gate.check import problem_of
from pytest_llmeval.gate.compare import decide_change
from pytest_llmeval.gate.decide import decide_gate
from pytest_llmeval.gate.decide import decide_slices
from pytest_llmeval.gate.explain import explain
from pytest_llmeval.gate.explain import headline
from pytest_llmeval.gate.interval import USUAL_CONFIDENCE
from pytest_llmeval.gate.plain_assert import explain_assert


__all__ = [
    "USUAL_CONFIDENCE",
    "decide_change",
    "decide_gate",
    "decide_slices",
    "explain",
    "explain_assert",
    "headline",
    "problem_of",
]
