"""The fixture `spark`; a plugin of its own, which gives way to others of that name."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.fixtures import fail
from pytest_llmeval.fixtures import settings_key


@pytest.fixture(scope="session")
def spark(request: pytest.FixtureRequest) -> Iterator[Any]:
    """Spark session: --llmeval-spark, an active one, SPARK_REMOTE, or on this machine.

    Starts when a test first needs it; xdist workers share one Spark, and each has a
    session with views of its own. Override it in a suite to use yours:

        @pytest.fixture(scope="session")
        def spark():
            return SparkSession.builder.remote("sc://cluster:15002").getOrCreate()
    """
    from pytest_llmeval.hooks import register_backends

    config = request.config
    register_backends(config.pluginmanager)
    try:
        session, is_ours = config.hook.pytest_llmeval_spark_session(
            settings=config.stash[settings_key]()
        )
    except LLMEvalError as error:
        fail(error)
    yield session
    if is_ours:
        session.stop()
