"""The random sessions of `make stress`, a few of them."""

import pytest

from tests.stress.random_sessions import play_many


@pytest.fixture(autouse=True)
def _laptop(monkeypatch):
    for name in ("CI", "GITHUB_ACTIONS", "GITHUB_EVENT_NAME"):
        monkeypatch.delenv(name, raising=False)


def test_what_has_a_defect_never_goes_live_and_no_end_is_mixed():
    ends, wrong = play_many(range(100))
    assert wrong == []
    assert {"refused", "DEPLOYED", "ROLLED_BACK", "ROLLBACK_FAILED", "killed"} <= set(
        ends
    )
