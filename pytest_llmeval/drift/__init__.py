"""Drift of a metric or of the inputs: numbers and texts in, values out.

It reads no clock, file or table. `docs/monitoring.md` says what is promised and proved.
Importing it loads neither NumPy nor SciPy: functions load what they need.
"""

from pytest_llmeval.drift.baseline import Reference
from pytest_llmeval.drift.baseline import estimated
from pytest_llmeval.drift.baseline import fixed
from pytest_llmeval.drift.baseline import measured
from pytest_llmeval.drift.bets import Bets
from pytest_llmeval.drift.change import Change
from pytest_llmeval.drift.change import locate
from pytest_llmeval.drift.detector import detect
from pytest_llmeval.drift.detector import detect_slices
from pytest_llmeval.drift.ngrams import TextShift
from pytest_llmeval.drift.ngrams import compare_texts
from pytest_llmeval.drift.ngrams import features
from pytest_llmeval.drift.series import Detection
from pytest_llmeval.drift.series import Point
from pytest_llmeval.drift.series import Rule
from pytest_llmeval.drift.series import State
from pytest_llmeval.drift.stability import Bins
from pytest_llmeval.drift.stability import Stability
from pytest_llmeval.drift.stability import category_bins
from pytest_llmeval.drift.stability import number_bins
from pytest_llmeval.drift.stability import stability_index


__all__ = [
    "Bets",
    "Bins",
    "Change",
    "Detection",
    "Point",
    "Reference",
    "Rule",
    "Stability",
    "State",
    "TextShift",
    "category_bins",
    "compare_texts",
    "detect",
    "detect_slices",
    "estimated",
    "features",
    "fixed",
    "locate",
    "measured",
    "number_bins",
    "stability_index",
]
