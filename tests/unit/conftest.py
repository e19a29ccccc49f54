"""What unit tests share: hooks without pytest, and settings that stay in tmp_path."""

from functools import partial

import pytest

from pytest_llmeval import evaluate
from pytest_llmeval.config import Settings
from pytest_llmeval.hooks import headless_manager


@pytest.fixture
def manager():
    return headless_manager()


@pytest.fixture
def hook(manager):
    return manager.hook


@pytest.fixture
def settings(tmp_path):
    return Settings(rootdir=tmp_path, cache="off")


@pytest.fixture
def run(settings):
    """evaluate() that writes nothing and asks for every row."""
    return partial(evaluate, settings=settings)
