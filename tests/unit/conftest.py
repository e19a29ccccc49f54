"""What unit tests share: hooks without pytest, and settings that stay in tmp_path."""

import os
import tempfile
import threading
from functools import partial

import hypothesis
import pytest
from hypothesis.configuration import set_hypothesis_home_dir

from pytest_llmeval import evaluate
from pytest_llmeval.config import Settings
from pytest_llmeval.datasets import load_dataset
from pytest_llmeval.hooks import headless_manager
from pytest_llmeval.runner import Engine
from pytest_llmeval.runner import run_evaluation

from .chat_server import Server
from .chosen_scores import UNIT
from .chosen_scores import echo
from .chosen_scores import table
from .tiny_model import LENGTH
from .tiny_model import ROWS


KEYS = ("LLMEVAL_API_KEY", "OPENAI_API_KEY", "OPENAI_BASE_URL")
QUESTION = [{"id": "r0", "input": "2+2?"}]
set_hypothesis_home_dir(f"{tempfile.gettempdir()}/hypothesis")
# CI repeats the same examples; a developer's runs look for new ones.
hypothesis.settings.register_profile(
    "unit",
    deadline=None,
    database=None,
    max_examples=60,
    derandomize="CI" in os.environ,
)
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


@pytest.fixture
def run_stored(tmp_path, hook):
    """Evaluate in a run of this id, with the predictions store."""

    def run_stored(model, rows=ROWS, metrics=(LENGTH,), run_id="1", **given):
        settings = Settings(
            rootdir=tmp_path, **{"concurrency": 8, "attempts": 1, **given}
        )
        engine = Engine(settings=settings, hook=hook, run_id=run_id)
        return run_evaluation(engine, model, rows, metrics)

    return run_stored


@pytest.fixture
def load(hook, settings):
    def load(data, **options):
        return load_dataset(data, hook, settings, **options)

    return load


@pytest.fixture
def score(run):
    def score(scores, metric=UNIT, broken=(), **columns):
        rows = table(scores, **columns)
        for i in broken:
            rows[i]["input"] = "broken"
        return run(echo, rows, [metric])

    return score


@pytest.fixture
def no_keys(monkeypatch):
    for name in KEYS:
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    server = Server()
    threading.Thread(
        target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True
    ).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.fixture
def ask(run, server, tmp_path):
    def ask(model=None, data=QUESTION, attempts=2, **options):
        settings = Settings(
            rootdir=tmp_path, cache="off", timeout_s=2, attempts=attempts
        )
        model = model or f"{server.url}#tiny"
        return run(model, data, ["json_valid"], settings=settings, **options)

    return ask
