"""Statistics for gates: arrays in, numbers out; no pytest, no pandas.

Importing it loads neither NumPy nor SciPy: functions load what they need.
"""

from pytest_llmeval.stats.gaffke import GRID
from pytest_llmeval.stats.gaffke import lower_bound
from pytest_llmeval.stats.gaffke import mean
from pytest_llmeval.stats.gaffke import p_value
from pytest_llmeval.stats.gaffke import rows_to_decide
from pytest_llmeval.stats.gaffke import upper_bound


__all__ = [
    "GRID",
    "lower_bound",
    "mean",
    "p_value",
    "rows_to_decide",
    "upper_bound",
]
