"""What tests of the monitor share: a webhook, a history, a log of traffic."""

import datetime
import json

import pytest

from pytest_llmeval.config import Settings
from pytest_llmeval.history.places import open_place
from pytest_llmeval.hooks import headless_manager

from .webhooks import Webhook


@pytest.fixture
def webhook():
    server = Webhook()
    yield server
    server.close()


@pytest.fixture
def hook():
    return headless_manager().hook


@pytest.fixture
def settings(tmp_path):
    return Settings(rootdir=tmp_path, tracking=f"sqlite:///{tmp_path / 'mlflow.db'}")


@pytest.fixture
def place(tmp_path, hook, settings):
    return open_place(".llmeval/history", hook, settings)


@pytest.fixture
def write_log(tmp_path):
    """Write records as JSON lines, and return the file's name."""

    def write_log(records, name="traffic.jsonl"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(record) + "\n" for record in records))
        return name

    return write_log


@pytest.fixture
def day():
    return datetime.date(2026, 11, 20)
