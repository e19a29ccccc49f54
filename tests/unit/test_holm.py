import pytest
from hypothesis import given
from hypothesis import strategies as st
from statsmodels.stats.multitest import multipletests

from pytest_llmeval.stats import adjust_p_values


def test_by_hand():
    # Rising: .01 * 4, .02 * 3, then .03 * 2 and .04 * 1, which may not fall.
    assert adjust_p_values([0.04, 0.01, 0.03, 0.02]) == pytest.approx(
        [0.06, 0.04, 0.06, 0.06]
    )
    assert adjust_p_values([0.5, 0.6]) == [1.0, 1.0]
    assert adjust_p_values([]) == []


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
def test_as_statsmodels(p_values):
    expected = multipletests(p_values, method="holm")[1]

    assert adjust_p_values(p_values) == pytest.approx(list(expected), abs=1e-12)
