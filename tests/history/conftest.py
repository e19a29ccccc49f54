"""What tests of the history share: places, and a real PostgreSQL."""

import os
import time

import pytest

from pytest_llmeval.config import Settings
from pytest_llmeval.history.places import open_place
from pytest_llmeval.hooks import headless_manager

from .postgres import NEEDED
from .postgres import is_installed
from .postgres import postgres_server


@pytest.fixture
def home(tmp_path):
    return tmp_path / ".llmeval"


@pytest.fixture
def open_at(tmp_path):
    """Open a place, relative to the test's own folder."""

    def open_at(text, **settings):
        hook = headless_manager().hook
        return open_place(text, hook, Settings(rootdir=tmp_path, **settings))

    return open_at


@pytest.fixture(scope="session")
def postgres():
    """Start a PostgreSQL server; give the URL of its empty database."""
    if not is_installed():
        if os.environ.get("CI"):
            pytest.fail(NEEDED)
        pytest.skip(NEEDED)
    with postgres_server() as url:
        yield url


@pytest.fixture
def database(postgres):
    """Make a database of the test's own; give its URL."""
    psycopg = pytest.importorskip("psycopg")
    name = f"t{time.monotonic_ns()}"
    with psycopg.connect(postgres, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return postgres.removesuffix("postgres") + name
