"""The random sessions of `make stress`, a few of them."""

import pytest

from tests.behaviour.conftest import as_on_a_laptop
from tests.stress.random_sessions import play_many


@pytest.fixture(autouse=True)
def _laptop(monkeypatch):
    as_on_a_laptop(monkeypatch)


def test_what_has_a_defect_never_goes_live_and_no_end_is_mixed():
    ends, wrong = play_many(range(100))
    assert wrong == []
    assert {"refused", "DEPLOYED", "ROLLED_BACK", "ROLLBACK_FAILED", "killed"} <= set(
        ends
    )
