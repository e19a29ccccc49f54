"""The data, what the local engine makes of it, and whether there is Java."""

import os
import shutil

import pytest

from . import suites
from .engines import Engine
from .engines import settings_in


pytest.register_assert_rewrite("tests.spark.agreement", "tests.spark.native")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    return {
        **suites.write_graded(folder),
        "hostile": suites.write_hostile(folder),
        "moments": suites.write_moments(folder),
    }


@pytest.fixture(scope="session")
def local(data, tmp_path_factory):
    return Engine(data, settings_in(tmp_path_factory.mktemp("local")))


@pytest.fixture(scope="session")
def java():
    if not (os.environ.get("JAVA_HOME") or shutil.which("java")):
        reason = "needs Java 17 or newer, Debian's package openjdk-17-jre-headless"
        if os.environ.get("CI"):
            pytest.fail(reason)
        pytest.skip(reason)
