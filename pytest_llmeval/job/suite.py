"""Runs pytest in this process, which has the Spark session."""

from __future__ import annotations

import os
from collections.abc import Sequence

import pytest

from pytest_llmeval.backends.databricks.cluster import worker_environment
from pytest_llmeval.errors import LLMEvalError
from pytest_llmeval.job.place import Place
from pytest_llmeval.text import redact


IMPORTED = "ignore:Module already imported:pytest.PytestAssertRewriteWarning"
"""This package, by the entry point; it asserts nothing that pytest could explain."""


class SuiteLeft(LLMEvalError, RuntimeError):
    """The suite has ended this process's work, and is not at its end."""


def run_suite(place: Place, arguments: Sequence[str]) -> int:
    """Run a suite; return pytest's exit status.

    Args:
        place: Where it is.
        arguments: As they were given for pytest.

    Raises:
        SuiteLeft: it called `sys.exit`; what becomes of a job then is not known.
    """
    # Last, so that they win: what is left elsewhere is lost, or slow, or refused.
    ours = [
        "-p",
        "no:cacheprovider",
        f"--basetemp={place.scratch}",
        f"--llmeval-dir={place.home}",
        f"--junitxml={place.junit}",
        "-W",
        IMPORTED,
    ]
    try:
        return int(pytest.main([*arguments, *ours], plugins=[_Workers()]))
    except SystemExit as left:
        # It may hold a secret, and Databricks shows what an error comes from.
        code = redact(repr(left.code))
        raise SuiteLeft(
            f"the suite has left the interpreter by SystemExit({code}), and not come "
            "to its end; a conftest.py may do that, or a plugin"
        ) from None


class _Workers:
    """Gives xdist's workers, which are other processes, the way to the workspace."""

    @pytest.hookimpl(optionalhook=True)
    def pytest_xdist_setupnodes(self) -> None:
        os.environ.update(worker_environment())
        # A session in a worker would speak to this process's JVM, and hang.
        for name in ("PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"):
            os.environ.pop(name, None)
