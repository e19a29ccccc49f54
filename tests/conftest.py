"""What all tests share: sessions of Spark end with the module that opened them."""

import sys

import pytest


@pytest.fixture(autouse=True, scope="module")
def _sessions_end():
    # MLflow asks the active session of its process, whose server may have ended.
    yield
    opened = sys.modules.get("pytest_llmeval.backends.spark.session")
    if opened is not None:
        opened.close_sessions()
