"""What unit tests share: hooks without pytest, and settings that stay in tmp_path."""

import tempfile
from functools import partial

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from pytest_llmeval import evaluate
from pytest_llmeval.config import Settings
from pytest_llmeval.hooks import headless_manager


set_hypothesis_home_dir(f"{tempfile.gettempdir()}/hypothesis")
hypothesis.settings.register_profile("unit", deadline=None, database=None)
hypothesis.settings.load_profile("unit")


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
