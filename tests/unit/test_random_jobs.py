"""The random jobs of `make stress`, a few of them."""

import pytest

from tests.behaviour.conftest import Suite
from tests.stress.jobs import play_many


@pytest.fixture
def committed(tmp_path):
    suite = Suite(tmp_path / "project")
    suite.commit()
    return suite


def test_no_fault_and_no_kill_starts_a_second_run_or_ends_green(committed):
    ends, wrong = play_many(range(10), committed)
    assert wrong == []
    assert ends["killed"] > 2
    assert ends["13"] > 0
