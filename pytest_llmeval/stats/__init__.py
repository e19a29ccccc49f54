"""Statistics for gates: arrays in, numbers out; no pytest, no pandas.

Importing it loads neither NumPy nor SciPy: functions load what they need.
"""

from pytest_llmeval.stats.betting import BettingTest
from pytest_llmeval.stats.corpus import LEAST_UNITS
from pytest_llmeval.stats.corpus import CorpusBounds
from pytest_llmeval.stats.corpus import corpus_bounds
from pytest_llmeval.stats.gaffke import GRID
from pytest_llmeval.stats.gaffke import bounds_of
from pytest_llmeval.stats.gaffke import lower_bound
from pytest_llmeval.stats.gaffke import mean
from pytest_llmeval.stats.gaffke import p_value
from pytest_llmeval.stats.gaffke import rows_to_decide
from pytest_llmeval.stats.gaffke import upper_bound
from pytest_llmeval.stats.holm import adjust_p_values
from pytest_llmeval.stats.power import binary_power
from pytest_llmeval.stats.power import binary_rows_for_power
from pytest_llmeval.stats.power import paired_power
from pytest_llmeval.stats.power import paired_rows_for_power
from pytest_llmeval.stats.power import rows_all_right
from pytest_llmeval.stats.repeats import Variances
from pytest_llmeval.stats.repeats import pass_at_k
from pytest_llmeval.stats.repeats import pass_hat_k
from pytest_llmeval.stats.repeats import split_variance


__all__ = [
    "GRID",
    "LEAST_UNITS",
    "BettingTest",
    "CorpusBounds",
    "Variances",
    "adjust_p_values",
    "binary_power",
    "binary_rows_for_power",
    "bounds_of",
    "corpus_bounds",
    "lower_bound",
    "mean",
    "p_value",
    "paired_power",
    "paired_rows_for_power",
    "pass_at_k",
    "pass_hat_k",
    "rows_all_right",
    "rows_to_decide",
    "split_variance",
    "upper_bound",
]
